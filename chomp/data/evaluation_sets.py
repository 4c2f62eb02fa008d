"""Evaluation sets: named files that are scored beside the held-out text."""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from chomp.config.evaluation import cadence
from chomp.config.schema import Config
from chomp.data.batch import Batch
from chomp.data.heldout import Selection, spread
from chomp.data.overlap import SAMPLED, SHARED, WINDOW, Named, require_apart
from chomp.data.packing.base import PackPlan, Tokens
from chomp.data.pipeline import scored_batches
from chomp.data.remembered import once
from chomp.data.sources.base import Document
from chomp.data.sources.files import FilesSource, find_files
from chomp.errors import DataError


@dataclass(frozen=True)
class EvaluationSet:
    """A named text, encoded.

    Attributes:
        every: steps between two evaluations; 0 never.
        documents: their token ids.
        plan: how rows are packed.
        digest: of the text.
    """

    name: str
    every: int
    documents: list[Tokens]
    plan: PackPlan
    digest: str

    def batches(self, devices: int = 1) -> Iterator[Batch]:
        """Its documents as batches `[1, batch, seq]`, like `DataPipeline.eval_batches`."""
        return scored_batches(self.documents, self.plan, f"the evaluation set {self.name}", devices)


@dataclass(frozen=True)
class Training:
    """Text that must not hold a document of a set, nor one of the held-out text.

    Attributes:
        texts: as far as they can be read in any order.
        digest: of all that decides what they are.
        compared: what `comparison` says of earlier comparisons that found nothing.
        held_out: held-out text that the configuration names; empty where it is a part of the training text's source.
    """

    texts: Sequence[Named]
    digest: str
    compared: Collection[str] = ()
    held_out: Sequence[Named] = ()

    def comparison(self, sets: Iterable[EvaluationSet]) -> str:
        """A digest of what is compared, and how."""
        held_out = [name for name, _ in self.held_out]
        said = [self.digest, *held_out, *([one.name, one.digest] for one in sets), WINDOW, SAMPLED, SHARED]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def open_sets(
    config: Config,
    plan: PackPlan,
    training: Training | None = None,
    on_overlap: Callable[[str], None] | None = None,
) -> tuple[EvaluationSet, ...]:
    """Open the sets of `evaluation.sets`, at most `data.max_eval_samples` documents of each, evenly spread.

    Args:
        config: a checked configuration.
        plan: the packing of training batches.
        training: what the sets, and its held-out text, are compared with, unless that was done before; None compares
            nothing.
        on_overlap: called with the sentence about a document that is training text, in place of an error.

    Raises:
        DataError: a set cannot be read or is too short to be scored, or a document of it is training text.
    """
    texts: dict[str, list[Document]] = {}
    sets: list[EvaluationSet] = []
    for name in config.evaluation.sets:
        source = set_source(config, name)
        chosen = Selection(source, spread(min(config.data.max_eval_samples, len(source)), len(source)))
        texts[name] = [chosen[number] for number in range(len(chosen))]
        documents = [plan.encode(document) for document in texts[name]]
        if not any(len(document) >= plan.min_tokens for document in documents):
            raise DataError(f"the evaluation set {name} has too little text to score; name longer files")
        every = cadence(config.evaluation, name, config.train.eval_every)
        sets.append(EvaluationSet(name, every, documents, plan, _digest(texts[name])))
    if training is not None and training.comparison(sets) not in training.compared:
        named = [*training.held_out, *((f"the evaluation set {name}", documents) for name, documents in texts.items())]
        try:
            if named:
                require_apart(training.texts, named, plan.encode)
        except DataError as error:
            if on_overlap is None:
                raise
            on_overlap(str(error))
    return tuple(sets)


def set_source(config: Config, name: str) -> FilesSource:
    """Open the files of a set.

    Raises:
        DataError: one cannot be read.
    """
    one = config.evaluation.sets[name]
    data = config.data if one.text_key is None else config.data.model_copy(update={"text_key": one.text_key})
    return FilesSource(data, one.files, _setting(name))


def check_set(config: Config, name: str) -> None:
    """Open the files of a set, unless they were opened before and are as they were.

    Raises:
        DataError: one cannot be read.
    """
    one = config.evaluation.sets[name]
    question = ["set", name, *one.files, one.text_key or config.data.text_key, config.data.on_bad_text]
    once(question, find_files(one.files, _setting(name)), lambda: set_source(config, name))


def _setting(name: str) -> str:
    return f"evaluation.sets.{name}.files"


def _digest(documents: list[Document]) -> str:
    digest = hashlib.sha256()
    for document in documents:
        assert isinstance(document, str)
        content = document.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()
