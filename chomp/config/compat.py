"""Whether a checkpoint may be continued with the current settings: one table of rules.

Compared from `meta.json` alone, before any array is read, so that a difference is named
instead of surfacing as a shape error deep inside a library.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from chomp.config.spec import flatten, section_at, sections, setting_at, settings, table_at, tables
from chomp.errors import ConfigError

CONTENT = "data_fingerprint.*.content"
"""Hashes of whole files, which checkpoints of older versions lack."""
NOT_SETTINGS = ("data_fingerprint", "tokenizer_digest")
"""Parts of a checkpoint's identity that are not settings: known only once text and tokenizer are open."""

Severity = Literal["incompatible", "needs_accept", "allowed"]


@dataclass(frozen=True)
class Rule:
    """What a difference at the paths matching `pattern` means; the first matching rule counts."""

    pattern: str
    severity: Severity
    why: str


SHAPES = "it changes the shapes of the saved arrays"
TEXT_COMPARED = "the text itself is compared"
ORDER = "the saved position in the data has no meaning under it"
NUMBERS = "later losses would not be those of the run you are continuing"
SHARES = "the shares of the mixture would be others from here on"

RULES: tuple[Rule, ...] = (
    *(
        Rule(f"model.{name}", "incompatible", SHAPES)
        for name in (
            "backend",
            "model_dim",
            "num_layers",
            "num_heads",
            "num_kv_heads",
            "residual_streams",
            "z_dim",
            "value_dim",
            "ffn_hidden_dim",
            "cema_ndim",
            "vocab_size",
            "output_size",
            "swiglu",
            "rescale_nffn",
            "share_emb",
            "norm_affine",
            "param_dtype",
        )
    ),
    Rule("model.preset", "allowed", "the fields that it sets are compared one by one"),
    *(
        Rule(f"model.{name}", "allowed", "parameters are restored, not initialised")
        for name in ("init_mode", "init_from", "init_vocab")
    ),
    Rule("model.*", "needs_accept", NUMBERS),
    Rule("objective.mtp_heads", "incompatible", SHAPES),
    Rule("objective.*", "needs_accept", NUMBERS),
    Rule("optim.name", "incompatible", SHAPES),
    Rule("optim.muon.allow_*", "incompatible", SHAPES),
    Rule("optim.muon.rest", "incompatible", SHAPES),
    Rule("optim.ema.decay", "needs_accept", "the average would not be that of the run you are continuing"),
    Rule("optim.ema.evaluate", "allowed", "a cadence"),
    Rule("optim.*", "needs_accept", NUMBERS),
    *(
        Rule(f"data.{name}", "incompatible", ORDER)
        for name in (
            "backend",
            "packing_mode",
            "packing_buffer_docs",
            "packing_max_docs_per_bin",
            "shuffle",
            "shuffle_buffer_size",
            "hf_streaming",
            "max_doc_tokens",
        )
    ),
    *(
        Rule(f"data.{name}", "allowed", "it does not change what is read")
        for name in ("prefetch", "max_retries", "retry_delay_seconds")
    ),
    *(Rule(f"data.mixture.sources.*.{name}", "incompatible", ORDER) for name in ("backend", "hf_streaming")),
    *(
        Rule(f"data.mixture.sources.*.{name}", "allowed", "it does not change what is read")
        for name in ("max_retries", "retry_delay_seconds")
    ),
    *(
        Rule(f"data.mixture.sources.*.{name}", "allowed", TEXT_COMPARED)
        for name in ("files", "local_text", "eval_files", "*path", "tokens_dtype", "hf_dataset", "hf_revision")
    ),
    Rule("data.mixture.*", "needs_accept", SHARES),
    Rule("derived.data.mixture", "incompatible", ORDER),
    # Sources are judged by what they contain (`data_fingerprint`), so that a moved folder is no difference.
    *(
        Rule(f"data.{name}", "allowed", TEXT_COMPARED)
        for name in (
            "files",
            "local_text",
            "eval_files",
            "eval_text",
            "*path",
            "tokens_dtype",
            "hf_dataset",
            "hf_revision",
        )
    ),
    Rule("data.shuffle_seed", "allowed", "the resulting value is compared"),
    Rule("data.tokenizer.*", "incompatible", ORDER),
    Rule("data.*", "needs_accept", NUMBERS),
    Rule("train.steps", "allowed", "a run may be made longer or shorter"),
    Rule("train.max_seconds", "allowed", "it ends the process, not the run"),
    Rule("train.allow_cpu", "allowed", "another device is warned of, not refused"),
    Rule("train.keep_program", "allowed", "another program is warned of, not refused"),
    Rule("train.strict_determinism", "allowed", "another program is warned of, not refused"),
    *(
        Rule(f"train.{name}", "allowed", "the resulting value is compared")
        for name in ("batch_tokens", "grad_accum", "deterministic", "epochs")
    ),
    Rule("train.seq_len", "incompatible", ORDER),
    *(Rule(f"train.{name}", "allowed", "a cadence") for name in ("log_every", "eval_every", "generate_*")),
    Rule("train.profile.*", "allowed", "it does not change the training"),
    Rule("train.*", "needs_accept", NUMBERS),
    *(
        Rule(f"derived.{name}", "needs_accept", NUMBERS)
        for name in ("train.grad_accum", "train.deterministic", "data.shuffle_seed")
    ),
    Rule("derived.*", "allowed", "it follows from other settings"),
    Rule("data_fingerprint*", "needs_accept", "the text is not the text the checkpoint was trained on"),
    Rule("tokenizer_digest", "incompatible", "the same text would become other token ids"),
    Rule("evaluation.*", "allowed", "it does not change the training"),
    Rule("checkpoint.*", "allowed", "it does not change the training"),
    Rule("logging.*", "allowed", "it does not change the training"),
    Rule("parallel.*", "allowed", "the same rows are trained on any number of devices; a change is warned of"),
    Rule("notify.*", "allowed", "it does not change the training"),
    Rule("debug.*", "allowed", "it decides about the next step that is not finite, or a spike"),
)


@dataclass(frozen=True)
class Difference:
    """One path at which the checkpoint and the current settings disagree."""

    path: str
    saved: Any
    now: Any
    severity: Severity
    why: str


def compare(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Every difference between two nested tables, each judged by the first rule that matches its path.

    A setting that the checkpoint does not know yet had what is its default now, and older versions knew their text by
    samples; any other path that only one side has counts as absent (None) on the other. Settings of an update rule that
    neither side uses are not compared, so that a new default of one refuses no run of another.
    """
    left, right = flatten(saved), flatten(now)
    left, right = _with_lone_entries_folded(left, right), _with_lone_entries_folded(right, left)
    differences = []
    for path in sorted(left.keys() | right.keys()):
        if path not in left and fnmatch.fnmatchcase(path, CONTENT):
            continue
        before, after = left.get(path, _default(path)), right.get(path)
        if before != after and not _is_of_another_rule(path, left, right):
            rule = rule_for(path)
            differences.append(Difference(path, before, after, rule.severity, rule.why))
    return differences


def _with_lone_entries_folded(side: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """`side` with one value for each section of a table that `other` lacks: it was added, or removed, as a whole."""
    folded = dict(side)
    for table in (table for table in tables().values() if table.entry is not None):
        for path in [path for path in side if path.startswith(f"{table.path}.")]:
            entry = ".".join(path.split(".")[: table.path.count(".") + 2])
            if not any(known.startswith(f"{entry}.") for known in other):
                del folded[path]
                folded[entry] = "there"
    return folded


def _is_of_another_rule(path: str, *sides: Mapping[str, Any]) -> bool:
    """Whether `path` is a setting of `optim` that no side reads, such as Muon's beside AdamW."""
    setting = settings().get(path)
    return path.startswith("optim.") and setting is not None and not any(setting.is_read(side) for side in sides)


def _default(path: str) -> Any:
    """What a setting's default is as `flatten` gives it; None for a path that is no setting."""
    setting = settings().get(path)
    return setting.default if setting is not None else None


def rule_for(path: str) -> Rule:
    """The rule for `path`; a difference at a path that no rule names needs to be accepted."""
    for rule in RULES:
        if fnmatch.fnmatchcase(path, rule.pattern):
            return rule
    return Rule(path, "needs_accept", NUMBERS)


def blocking(differences: Iterable[Difference], accepted: Iterable[str]) -> list[Difference]:
    """The differences that forbid resuming: incompatible ones, and those that need `--accept` and lack it."""
    names = list(accepted)
    return [
        d
        for d in differences
        if d.severity == "incompatible" or (d.severity == "needs_accept" and not is_accepted(d.path, names))
    ]


def is_accepted(path: str, names: Iterable[str]) -> bool:
    """Whether `path` is one of `names` or lies inside one of them (`data.tokenizer` covers its fields)."""
    return any(path == name or path.startswith(f"{name}.") for name in names)


def require_known(accept: Sequence[str]) -> None:
    """Refuse a name in `--accept` that no difference can ever have.

    Raises:
        ConfigError: with the nearest known name.
    """
    known = [*settings(), *sections(), *tables(), "data_fingerprint"]
    for name in accept:
        if setting_at(name) or section_at(name) or table_at(name):
            continue
        if name not in known and not name.startswith(("derived.", "data_fingerprint.")):
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"--accept {name}: there is no such setting{hint}")


def format_table(differences: Iterable[Difference]) -> str:
    """The differences as an aligned table for a terminal."""
    rows = [("setting", "checkpoint", "now", "verdict")]
    for d in differences:
        verdict = {
            "incompatible": "cannot change",
            "needs_accept": f"needs --accept {d.path}",
            "allowed": "may change",
        }[d.severity]
        rows.append((d.path, _short(d.saved), _short(d.now), f"{verdict}: {d.why}"))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join(
        "  " + "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]]) for row in rows
    )


def _short(value: Any, limit: int = 28) -> str:
    text = "unset" if value is None else repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
