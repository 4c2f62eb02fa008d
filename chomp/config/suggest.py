"""The sentence about an unknown key: the nearest known one, or what became of it."""

from __future__ import annotations

import difflib

from chomp.config import predecessor
from chomp.config.spec import children, section_at, sections, setting_at, settings, table_at, tables

# What other programs of this field call a setting, in any section or in one: the key that means it here.
ALIASES = {
    "accumulation_steps": "train.grad_accum",
    "adam_beta1": "optim.adam.b1",
    "adam_beta2": "optim.adam.b2",
    "adam_eps": "optim.adam.eps",
    "adam_epsilon": "optim.adam.eps",
    "beta1": "optim.adam.b1",
    "beta2": "optim.adam.b2",
    "bf16": "model.compute_dtype",
    "block_size": "train.seq_len",
    "bsz": "train.batch_size",
    "checkpoint_every": "checkpoint.save_every",
    "checkpoint_interval": "checkpoint.save_every",
    "clip": "optim.grad_clip_norm",
    "clip_grad": "optim.grad_clip_norm",
    "clip_grad_norm": "optim.grad_clip_norm",
    "context_length": "train.seq_len",
    "context_size": "train.seq_len",
    "d_ff": "model.ffn_hidden_dim",
    "d_model": "model.model_dim",
    "dataset": "data.hf_dataset",
    "dataset_name": "data.hf_dataset",
    "dtype": "model.compute_dtype",
    "embed_dim": "model.model_dim",
    "eval_freq": "train.eval_every",
    "eval_interval": "train.eval_every",
    "eval_steps": "train.eval_every",
    "ffn_dim": "model.ffn_hidden_dim",
    "grad_clip": "optim.grad_clip_norm",
    "grad_clipping": "optim.grad_clip_norm",
    "gradient_accumulation": "train.grad_accum",
    "gradient_accumulation_steps": "train.grad_accum",
    "gradient_checkpointing": "model.remat",
    "gradient_clipping": "optim.grad_clip_norm",
    "hidden_dim": "model.model_dim",
    "hidden_size": "model.model_dim",
    "intermediate_size": "model.ffn_hidden_dim",
    "init_checkpoint_path": "model.init_from",
    "initial_load_path": "model.init_from",
    "initialize_from": "model.init_from",
    "initialize_from_hf": "model.init_from",
    "iterations": "train.steps",
    "keep_last": "checkpoint.max_to_keep",
    "learning_rate": "optim.lr",
    "log_interval": "train.log_every",
    "logging_steps": "train.log_every",
    "lr_decay_iters": "optim.decay_steps",
    "lr_decay_steps": "optim.decay_steps",
    "lr_schedule": "optim.schedule",
    "lr_scheduler": "optim.schedule",
    "lr_scheduler_type": "optim.schedule",
    "lr_warmup_steps": "optim.warmup_steps",
    "max_grad_norm": "optim.grad_clip_norm",
    "max_iters": "train.steps",
    "max_length": "train.seq_len",
    "max_lr": "optim.lr",
    "max_new_tokens": "train.generate_max_tokens",
    "max_seq_len": "train.seq_len",
    "max_seq_length": "train.seq_len",
    "max_steps": "train.steps",
    "micro_batch_size": "train.batch_size",
    "min_lr": "optim.min_lr_ratio",
    "mixed_precision": "model.compute_dtype",
    "model_name": "model.preset",
    "model_name_or_path": "model.init_from",
    "n_ctx": "train.seq_len",
    "n_embd": "model.model_dim",
    "n_head": "model.num_heads",
    "n_heads": "model.num_heads",
    "n_kv_heads": "model.num_kv_heads",
    "n_layer": "model.num_layers",
    "n_layers": "model.num_layers",
    "num_attention_heads": "model.num_heads",
    "num_hidden_layers": "model.num_layers",
    "num_iterations": "train.steps",
    "num_key_value_heads": "model.num_kv_heads",
    "num_steps": "train.steps",
    "num_train_steps": "train.steps",
    "optimizer_type": "optim.name",
    "out_dir": "logging.run_dir",
    "original_max_position_embeddings": "model.rope_original_seq_len",
    "output_dir": "logging.run_dir",
    "peak_lr": "optim.lr",
    "per_device_train_batch_size": "train.batch_size",
    "precision": "model.compute_dtype",
    "random_seed": "train.seed",
    "rms_norm_eps": "model.norm_eps",
    "rope_theta": "model.rope_base",
    "save_dir": "logging.run_dir",
    "save_interval": "checkpoint.save_every",
    "save_steps": "checkpoint.save_every",
    "save_total_limit": "checkpoint.max_to_keep",
    "scheduler": "optim.schedule",
    "seq_length": "train.seq_len",
    "sequence_length": "train.seq_len",
    "text_column": "data.text_key",
    "text_field": "data.text_key",
    "tie_word_embeddings": "model.share_emb",
    "total_steps": "train.steps",
    "train.optimizer": "optim.name",
    "train_files": "data.files",
    "warmup": "optim.warmup_steps",
    "warmup_iters": "optim.warmup_steps",
    "wd": "optim.weight_decay",
}


def nearest(word: str, known: list[str] | tuple[str, ...], cutoff: float = 0.6) -> str | None:
    """The most similar of `known`, or None when none is similar."""
    found = difflib.get_close_matches(word.lower(), [name.lower() for name in known], n=1, cutoff=cutoff)
    return next((name for name in known if name.lower() == found[0]), None) if found else None


def _elsewhere(leaf: str, path: str) -> list[str]:
    """Known keys and sections called `leaf`, those most like `path` first."""
    same = [known for known in (*sections(), *settings()) if known.rpartition(".")[2] == leaf]
    return sorted(same, key=lambda known: -difflib.SequenceMatcher(None, path, known).ratio())


def _in_entries(section: str, leaf: str) -> list[str]:
    """Keys called `leaf` in entries of the tables of a section."""
    beside = [table for table in tables().values() if table.path.rpartition(".")[0] == section]
    return [f"{one.path}.NAME.{leaf}" for one in beside if one.entry is not None and leaf in one.entry.model_fields]


def _alias(path: str, leaf: str) -> list[str]:
    """The key that means what other programs call `path`, or its last part `leaf`."""
    known = ALIASES.get(path) or ALIASES.get(leaf.lower().replace("-", "_"))
    if known is None:
        return []
    beside = f"{path.rpartition('.')[0]}.{known.rpartition('.')[2]}"
    return [beside if setting_at(beside) else known]


def dotted_key(path: str, value: str) -> str:
    """What to say about a key that is written with dots.

    Args:
        path: of the key, from the top.
        value: what it is set to, as YAML.
    """
    if setting_at(path) is None and section_at(path) is None and not path.startswith("variables."):
        return unknown_key(path)
    *outer, leaf = path.split(".")
    nested = " / ".join([*(f"{name}:" for name in outer), f"{leaf}: {value}"])
    return f"a key has no dots; write it as a section: {nested} (a line each, indented below the one before)"


def unknown_key(path: str) -> str:
    """What to say about a dotted key that does not exist.

    A key of the same name in another section is the likeliest mistake, then the name that other programs use, then a
    misspelling beside it, then a misspelling anywhere.
    """
    retired = predecessor.sentence(path)
    if retired is not None:
        return f"unknown key; {retired}; `chomp config migrate` rewrites the file"
    section, _, leaf = path.rpartition(".")
    same = _in_entries(section, leaf) or _elsewhere(leaf, path) or _alias(path, leaf)
    if section_at(section) is None and not same:
        section, leaf = _known_part(path)
        same = _elsewhere(leaf, path) or _alias(path, leaf)
    if same:
        return f"unknown key; did you mean {' or '.join(same[:3])}?"
    beside = nearest(leaf, children(section))
    if beside:
        return f"unknown key; did you mean {f'{section}.{beside}' if section else beside}?"
    leaves = {name.rpartition(".")[2]: name for name in settings()}
    anywhere = nearest(leaf, list(leaves), cutoff=0.75)
    if anywhere:
        return f"unknown key; did you mean {leaves[anywhere]}?"
    names = ", ".join((*children(section), "variables") if not section else children(section))
    return f"unknown key; the keys {f'of {section}' if section else 'at the top'} are {names}"


def _known_part(path: str) -> tuple[str, str]:
    """Split a path whose section is unknown into (deepest known section, first unknown name)."""
    section, unknown, place = "", "", ""
    for name in path.split("."):
        place = f"{place}.{name}" if place else name
        if section_at(place) is not None:
            section, unknown = place, ""
            continue
        unknown = unknown or name
        if table_at(place) is None:
            break
    return section, unknown or path.rpartition(".")[2]
