"""Keys and defaults of the predecessor, pszemraj/chomp: what became of them.

Read from its releases of January to July 2026. In that time some defaults changed; the keys of a file tell which ones
it was written for.
"""

from __future__ import annotations

from collections.abc import Mapping

RENAMED: Mapping[str, str] = {
    "model.d_model": "model.model_dim",
    "model.softmax_dtype": "model.attention_softmax_dtype",
    "model.segment_masking": "data.isolate_documents",
    "data.seed": "data.shuffle_seed",
    "data.retry_delay_sec": "data.retry_delay_seconds",
    "data.packing_strict_segments": "data.isolate_documents",
    "data.grain_prefetch": "data.prefetch",
    "data.tokenizer.max_doc_tokens": "data.max_doc_tokens",
    "optim.muon_lr_scale": "optim.muon.lr_scale",
    **{
        f"logging.wandb_{name}": f"logging.wandb.{name}"
        for name in ("enabled", "project", "entity", "run_name", "mode", "tags")
    },
    "logging.project": "logging.wandb.project",
}

_CACHE = "the cache follows model.chunk_size or model.attention_window"
_ROWS = "packing_mode: bin shuffles the rows of a group"
REMOVED: Mapping[str, str] = {
    "model.gemm_backend": "the model library no longer has this option",
    "model.max_positions": "positions are no longer limited",
    "model.max_cache_len": _CACHE,
    "model.cache_unbounded": _CACHE,
    "model.use_associative_segment_scan": "model.cema chooses how the moving average is computed",
    "model.loss_softmax_dtype": "the loss is always computed in float32",
    "data.state_update_interval": "a stream is reopened at the exact document",
    "data.device_put": "batches are always prepared ahead, see data.prefetch",
    "data.packing_group_docs": "packing_mode: bin packs data.packing_buffer_docs documents together",
    "data.window_shuffle_tokens": _ROWS,
    "data.window_shuffle_max_rows": _ROWS,
    "data.shuffle_buffer_bytes": "data.shuffle_buffer_size limits the window of a stream",
    "data.hf_eval_holdout_fraction": "data.max_eval_samples documents are held out, see docs/data.md",
    "data.recreate_eval_cache": "a resume holds the same documents out again",
    "data.tokenizer.hf_use_fast": "fast tokenizers are always used",
    "train.jit": "the step is always compiled",
    "train.profile": "the engine writes no profile",
    "train.profile_dir": "the engine writes no profile",
    "train.eval_failure_policy": "text that cannot be evaluated is found before training",
    "optim.total_steps": "optim.decay_steps and train.steps determine the schedule",
    "checkpoint.root_dir": "checkpoints are always in the run directory",
    "checkpoint.resume_compat": "a resume compares all settings; --accept allows a difference",
    "checkpoint.max_save_checkpoints": "checkpoint.max_to_keep limits them",
    "logging.console_every": "the terminal shows every metrics row, see train.log_every",
    "logging.console_use_rich": "the output follows the terminal",
    "debug.nan_check": "the check is always on; debug.nonfinite decides what follows",
    "debug.check_device_every": "batches are always on the device of the step",
    "derived": "the engine derives these numbers",
}

# Only files of a later release have these keys; no migrated file gets one of them.
ISOLATING = (
    "data.packing_strict_segments",
    "data.packing_group_docs",
    "data.window_shuffle_tokens",
    "data.hf_eval_holdout_fraction",
    "data.hf_revision",
)
NEWEST = (
    "model.attention_window",
    "model.loss_softmax_dtype",
    "data.shuffle_buffer_bytes",
    "train.eval_failure_policy",
    "checkpoint.resume_compat",
)

BACKENDS: Mapping[str, tuple[str, ...]] = {
    "model.backend": ("megalodon", "dummy"),
    "data.backend": ("hf", "local_text"),
}

# Defaults that are not chomp's, as YAML.
DEFAULTS: Mapping[str, str] = {
    "data.backend": "hf",
    "train.steps": "100",
    "train.batch_size": "2",
    "train.seq_len": "128",
    "train.log_every": "25",
    "optim.name": "adamw",
    "optim.lr": "3e-4",
    "optim.weight_decay": "0.01",
    "optim.warmup_steps": "10",
    "optim.min_lr_ratio": "0.0",
    "optim.adam.b2": "0.999",
    "checkpoint.save_every": "5000",
    "checkpoint.max_to_keep": "3",
}
CADENCES: Mapping[str, str] = {"train.eval_every": "2500", "train.generate_every": "5000"}
WIDTHS: Mapping[str, str] = {
    "model.model_dim": "128",
    "model.num_layers": "2",
    "model.num_heads": "1",
    "model.z_dim": "64",
    "model.value_dim": "128",
    "model.ffn_hidden_dim": "256",
    "model.chunk_size": "128",
}
MUON_SCALE = "100.0"
BYTES: Mapping[str, str] = {"data.tokenizer.byte_offset": "0"}
TOKENIZER = "pszemraj/bytebpe-tokenizer-32k-mlm"
TEXT = '"Hello from chomp.\\n"'


def sentence(path: str) -> str | None:
    """What became of a key of the predecessor; None for any other key."""
    if path in RENAMED:
        return f"it is now called {RENAMED[path]}"
    return f"{REMOVED[path]}; delete the line" if path in REMOVED else None
