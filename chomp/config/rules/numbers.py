"""The limits of whole numbers that have none of their own."""

from __future__ import annotations

from collections.abc import Iterator

from chomp.config.fields import MAX_STEPS
from chomp.config.problems import Problem
from chomp.config.schema import Config
from chomp.config.spec import flatten, setting_at

# Of a length of an array: JAX counts places in 32 bits, also those of two lengths together.
MAX_LENGTH = 2**29
# Parts that are traced one by one.
MAX_PARTS = 1000
PARTS = ("model.num_layers", "objective.mtp_heads", "optim.muon.ns_steps")


def _whole_numbers(config: Config) -> Iterator[Problem]:
    """Python's integers have no end, those of a device have."""
    for path, value in flatten(config).items():
        setting = setting_at(path)
        if setting and setting.kind == "int" and setting.maximum is None and value is not None and value > _most(path):
            yield Problem(path, f"expected a whole number of at most {_most(path)}, got {value}")


def _most(path: str) -> int:
    if path in PARTS:
        return MAX_PARTS
    return MAX_LENGTH if path == "train.seq_len" or path.startswith("model.") else MAX_STEPS


RULES = (_whole_numbers,)
