"""The search for the largest micro-batch that fits a card, and what is said where the compiler is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from chomp.analysis import aot, card_report
from chomp.cli.main import cli
from chomp.device.cards import CARDS
from chomp.errors import DeviceError
from chomp.model.flops import peak_flops
from chomp.train.blueprint import build_blueprint
from tests.model.tiny import tiny_config


def search(
    first: int, rows: int, limit: int, memory: Callable[[int], int | None]
) -> tuple[dict[int, int | None], list[int]]:
    """What was tried with its memory, the first try included, and in which order."""
    asked: list[int] = []

    def total(size: int) -> int | None:
        asked.append(size)
        return memory(size)

    start = memory(first)
    assert start is not None
    return {first: start, **card_report.search(first, rows, start, limit, total)}, asked


def largest(tried: dict[int, int | None], limit: int) -> int | None:
    return max((size for size, memory in tried.items() if memory is not None and memory <= limit), default=None)


@pytest.mark.parametrize(
    ("limit", "expected"), [(1000, 16), (999, 8), (600, 8), (330, 4), (300, 2), (219, 2), (160, 1), (100, None)]
)
def test_the_largest_divisor_that_fits_is_found_with_few_compilations(limit: int, expected: int | None) -> None:
    tried, asked = search(2, 16, limit, lambda size: 100 + 56 * size + (4 if size == 16 else 0))
    assert largest(tried, limit) == expected
    assert len(asked) <= 4
    assert set(asked) <= {1, 4, 8, 16}


def test_memory_that_grows_faster_than_a_line_is_not_taken_on_trust() -> None:
    tried, _ = search(1, 16, 500, lambda size: 10 + 10 * size**2)
    assert largest(tried, 500) == 4


def test_a_micro_batch_that_does_not_compile_ends_the_search() -> None:
    tried, asked = search(2, 16, 1000, lambda size: 100 if size == 2 else None)
    assert (largest(tried, 1000), asked) == (2, [4])


def test_a_step_of_one_row_has_nothing_to_search() -> None:
    assert search(1, 1, 1000, lambda size: 100) == ({1: 100}, [])


def test_without_the_compiler_the_estimate_is_given_with_its_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(aot, "PLUGINS", ("no_such_plugin",))
    # Its attention would be cuDNN's, which is part of the wheels.
    options = ["configs/quickstart_llama.yaml", "-o", "model.compute_dtype=bfloat16", "--for", "rtx4090"]
    result = CliRunner().invoke(cli, ["inspect", *options])
    assert result.exit_code == 0, result.output
    assert "on rtx4090, estimated: " in result.output
    assert "attention's scores are counted" in result.output
    assert "note: not compiled for rtx4090: install chomp's extra gpu-aot" in result.output
    with pytest.raises(DeviceError, match=r"compiling for h200 needs the CUDA compiler: install chomp's extra gpu-aot"):
        aot.compile_for(CARDS["h200"], build_blueprint(tiny_config(), "gpu"))


def test_an_unknown_card_is_refused_with_the_known_ones() -> None:
    result = CliRunner().invoke(cli, ["inspect", "configs/debug_smoke.yaml", "--for", "rtx9090"])
    assert result.exit_code == 2
    assert all(name in result.output for name in CARDS)


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_a_card_is_described_by_consistent_figures(card: object) -> None:
    assert isinstance(card, type(CARDS["h200"]))
    assert card.pool_bytes == int(card.memory_bytes * 0.75)
    assert peak_flops(card.device_kind, "bfloat16") == card.bf16_flops
    text = card.target_config()
    assert f"core_count: {card.cores}" in text
    assert f"major: {card.capability[0]} minor: {card.capability[1]}" in text
    assert ("ACCELERATED" in text) == (card.name in ("h100", "h200", "b200"))
