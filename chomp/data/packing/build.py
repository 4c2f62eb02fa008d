"""The packer of the `data` section."""

import grain

from chomp.config.data import DataConfig
from chomp.data.batch import BatchShape, LabelRules
from chomp.data.packing.base import Corpus, PackDataset, PackPlan, Tokens
from chomp.data.packing.bins import BinPackDataset
from chomp.data.packing.sequential import SequentialPackDataset
from chomp.data.sources.base import Document
from chomp.data.tokenizer import Tokenizer


def make_plan(
    data: DataConfig, tokenizer: Tokenizer, shape: BatchShape, vocab_size: int, *, is_tokenized: bool
) -> PackPlan:
    """The packing of the `data` section."""

    def encode(document: Document) -> Tokens:
        return tokenizer.encode_document(document) if isinstance(document, str) else document

    ignored_eos = None if data.train_on_eos else tokenizer.eos_id
    specials = 0 if is_tokenized else tokenizer.specials_per_document
    without_loss = (data.isolate_documents or data.mask_boundary_loss) + (ignored_eos is not None and tokenizer.add_eos)
    return PackPlan(
        shape=shape,
        rules=LabelRules(
            pad_id=tokenizer.pad_id if tokenizer.pad_id is not None else 0,
            ignored_eos_id=ignored_eos,
            mask_boundary=data.mask_boundary_loss,
            isolate=data.isolate_documents,
        ),
        encode=encode,
        min_tokens=1 + max(specials, without_loss),
        max_tokens=data.max_doc_tokens,
        vocab_size=vocab_size,
    )


def pack(
    documents: grain.IterDataset[Document], plan: PackPlan, corpus: Corpus, data: DataConfig, shuffle_seed: int | None
) -> PackDataset:
    """The configured packer over documents."""
    if data.packing_mode == "bin":
        return BinPackDataset(
            documents,
            plan,
            corpus,
            group=data.packing_buffer_docs,
            max_docs=data.packing_max_docs_per_bin,
            shuffle_seed=shuffle_seed,
        )
    return SequentialPackDataset(documents, plan, corpus)
