"""A configuration of the predecessor, pszemraj/chomp, written anew.

The text is edited key by key, so that comments and order stay. What the file leaves out and the predecessor has another
default for is added, so that the new file trains the same model on the same batches.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chomp.config import predecessor
from chomp.config.edits import newline, reset_value, set_value
from chomp.config.scalars import Source
from chomp.config.variables import is_reference
from chomp.config.yaml_reader import scalar
from chomp.config.yaml_spans import Layout, Place, Unreadable, read_layout
from chomp.errors import ConfigError

_BRACED = re.compile(r"\$\{variables\.([A-Za-z0-9_]+)\}")
_TRAILING = re.compile(r"[ \t]+(#[^\r\n]*)")


def migrated(text: str) -> tuple[str, list[str]]:
    """The new text, and one line for each change.

    Raises:
        ChompError: the text is not YAML, or a key cannot be changed in place.
    """
    work = _Migration(text)
    for path, known in predecessor.BACKENDS.items():
        if work.value(path) not in (None, *known):
            raise ConfigError(f"{path} is {work.value(path)}, which the predecessor does not have: nothing is migrated")
    later, newest = (any(map(work.has, keys)) for keys in (predecessor.ISOLATING, predecessor.NEWEST))
    work.variables()
    _width(work)
    for old, new in predecessor.RENAMED.items():
        work.move(old, new)
    for rule in (_model, _text, _length, _trackers):
        rule(work)
    for path, why in predecessor.REMOVED.items():
        work.drop(path, why)
    _add_defaults(work, isolates=later or newest, newest=newest)
    return work.text, work.changes


class _Migration:
    """The text so far, and what was changed in it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.changes: list[str] = []

    @property
    def layout(self) -> Layout:
        try:
            return read_layout(self.text)
        except Unreadable:
            raise ConfigError("the YAML does not parse; `chomp config check` names the line") from None

    def has(self, path: str) -> bool:
        return path in self.layout.places

    def value(self, path: str) -> Any:
        """A scalar as the engine reads it, a reference to a variable followed; None where nothing is written."""
        place = self.layout.places.get(path)
        if place is None or place.kind != "scalar":
            return None
        if is_reference(place.text):
            return self.value(f"variables.{place.text.rpartition('.')[2]}")
        return scalar(place.text) if place.style is None else place.text

    def is_null(self, path: str) -> bool:
        """Whether null is written."""
        place = self.layout.places.get(path)
        return place is not None and place.kind == "scalar" and self.value(path) is None

    def source(self, path: str) -> str:
        """The characters of a value."""
        span = self.layout.places[path].value
        return self.text[span.start : span.end]

    def variables(self) -> None:
        """`${variables.NAME}` is written `{$variables.NAME}` here."""
        text = _BRACED.sub(r"{$variables.\1}", self.text)
        if text != self.text:
            self.text = text
            self.changes.append("${variables.NAME} is now {$variables.NAME}")

    def move(self, old: str, new: str) -> None:
        """Give a value another key; a value that the new key has already wins, unless it is null."""
        if not self.has(old):
            return
        if self.is_null(new):
            self.drop(new, f"{old} is written too")
        if self.has(new):
            self.drop(old, f"{new} is written too")
            return
        place, source = self.layout.places[old], self.source(old)
        if old.rpartition(".")[0] == new.rpartition(".")[0]:
            leaf = new.rpartition(".")[2]
            self.text = self.text[: place.key.start] + leaf + self.text[place.key.end :]
        else:
            self._take_out(old)
            self.text = set_value(self.text, new, Source(source))
        self.changes.append(f"{old} is now {new}")

    def put(self, path: str, source: str, why: str) -> None:
        """Write a value, with its reason."""
        before = f"{path} was {self.source(path)} and is now {source}" if self.has(path) else f"added {path}: {source}"
        self.text = set_value(self.text, path, Source(source))
        self.changes.append(f"{before} ({why})")

    def add(self, values: Mapping[str, str]) -> None:
        """Write the predecessor's defaults where the file says nothing."""
        for path, source in values.items():
            if not self.has(path):
                self.put(path, source, "the predecessor's default")

    def drop(self, path: str, why: str) -> None:
        """Take a key out; comments beside it stay."""
        if self.has(path):
            is_scalar = self.layout.places[path].kind == "scalar" and "\n" not in self.source(path)
            was = f": {self.source(path)}" if is_scalar else ""
            self._take_out(path)
            self.changes.append(f"removed {path}{was} ({why})")

    def _take_out(self, path: str) -> None:
        place = self.layout.places[path]
        if not place.inline:
            self._lift_comment(place)
        self.text = reset_value(self.text, path)

    def _lift_comment(self, place: Place) -> None:
        """Move the comment behind a value to a line of its own above the key."""
        found = _TRAILING.match(self.text, max(place.value.end, place.colon))
        if found is None:
            return
        start = place.key.start - place.column
        lifted = f"{' ' * place.column}{found[1]}{newline(self.text)}"
        self.text = self.text[:start] + lifted + self.text[start : found.start()] + self.text[found.end() :]


def _width(work: _Migration) -> None:
    if work.value("model.backend") != "dummy":
        work.drop("model.d_model", "it was the width of a dummy")
    elif work.has("model.d_model"):
        work.drop("model.model_dim", "the width of a dummy was model.d_model")


def _model(work: _Migration) -> None:
    if work.value("model.init_mode") == "none":
        work.put("model.init_mode", "he", "every initialiser is named")
    if work.value("model.accum_dtype") == "bfloat16":
        work.put("model.accum_dtype", "float32", "products accumulate in float32")
    if work.value("data.tokenizer.kind") == "hf":
        work.drop("model.vocab_size", "the tokenizer's size, rounded up, was the size before too")


def _text(work: _Migration) -> None:
    if work.value("data.packing_mode") == "multipack":
        work.put("data.packing_mode", "bin", "the packer of groups")
        if work.has("data.packing_group_docs"):
            work.drop("data.packing_buffer_docs", "multipack did not use it")
            work.move("data.packing_group_docs", "data.packing_buffer_docs")
    if work.has("data.max_eval_samples") and work.value("data.max_eval_samples") == 0:
        work.drop("data.max_eval_samples", "train.eval_every: 0 turns evaluation off")
        work.put("train.eval_every", "0", "no text was held out")
    cut = work.value("data.max_doc_tokens")
    if isinstance(cut, int) and cut <= 0:
        work.drop("data.max_doc_tokens", "documents are not cut without it")


def _length(work: _Migration) -> None:
    total, steps, warmup = (work.value(path) for path in ("optim.total_steps", "train.steps", "optim.warmup_steps"))
    if isinstance(total, int) and total not in (steps, None) and isinstance(warmup, int) and total > warmup:
        work.put("optim.decay_steps", str(total - warmup), "the decay ended at optim.total_steps")
    if work.is_null("train.generate_temperature"):
        work.drop("train.generate_temperature", "the default is 1.0")


def _trackers(work: _Migration) -> None:
    if work.value("logging.wandb.mode") == "disabled":
        work.drop("logging.wandb.mode", "logging.wandb.enabled turns it off")
        work.put("logging.wandb.enabled", "false", "its mode was disabled")
    for path in ("logging.wandb.project", "logging.log_file"):
        if work.is_null(path):
            work.drop(path, "null is the default")


def _add_defaults(work: _Migration, *, isolates: bool, newest: bool) -> None:
    """Write what the predecessor does where the file says nothing."""
    work.add(predecessor.DEFAULTS)
    is_megalodon = work.value("model.backend") in (None, "megalodon")
    work.add(predecessor.WIDTHS if is_megalodon else {"model.model_dim": predecessor.WIDTHS["model.model_dim"]})
    if is_megalodon and work.value("model.output_size") in (None, -1):
        # The head was tied wherever it has the embedding's size.
        work.add({"model.share_emb": "true"})
    if newest:
        work.add({"data.packing_mode": "bin", "data.packing_buffer_docs": "256", "data.tokenizer.kind": "hf"})
    else:
        work.add({"data.packing_mode": "sequential"})
    if work.value("optim.name") == "muon":
        work.add({"optim.muon.lr_scale": predecessor.MUON_SCALE})
    if work.value("data.backend") == "local_text":
        work.add({"data.local_text": predecessor.TEXT})
    if work.value("data.tokenizer.kind") == "hf":
        work.add({"data.tokenizer.hf_name_or_path": predecessor.TOKENIZER})
    else:
        work.add(predecessor.BYTES)
    work.add({"data.tokenizer.add_eos": "true" if newest else "false"})
    is_continuous = not isolates or work.value("data.packing_mode") in (None, "sequential")
    work.add({"data.isolate_documents": "false" if is_continuous else "true"})
    if work.value("train.seed") not in (None, 0):
        work.add({"data.shuffle_seed": "0"})
    steps = work.value("train.steps")
    # The predecessor does not evaluate or sample at the end of a shorter run.
    work.add(
        {path: every for path, every in predecessor.CADENCES.items() if isinstance(steps, int) and int(every) <= steps}
    )
