"""The step on a GPU that is not in this machine: the choice of one, and its figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual.content import Content

from chomp.device.cards import CARDS
from chomp.record.formatting import elapsed, size
from chomp_tui.widgets.dialogs import Choice, Choose

HERE = "here"


def choose_device() -> Choose:
    """The question for which device to compile; answered with `HERE` or a card's name."""
    here = Choice(HERE, "h", "This machine", "the device that a run would use here")
    cards = [
        Choice(name, letter, name, f"{card.device_kind}, {size(card.memory_bytes)}")
        for letter, (name, card) in zip("abcdefg", CARDS.items(), strict=True)
    ]
    return Choose(
        "Compile the step for", (here, *cards), "A GPU elsewhere needs the extra gpu-aot here, but no driver."
    )


def estimate_text(card: Mapping[str, Any]) -> Content:
    """The estimate by shapes for a card for which the step could not be compiled here."""
    heading = Content.styled(f"on {card['name']}, estimated by shapes", "bold")
    return Content("\n").join([heading, _memory(card["estimated"], card)])


def _memory(used: int, card: Mapping[str, Any]) -> Content:
    glyph, tone = ("✓", "$success") if card["fits"] else ("✗", "$error")
    there = f"{size(card['pool_bytes'])} that JAX takes of {size(card['memory_bytes'])}"
    return Content.assemble((f"{glyph} ", tone), f"{size(used)} of {there}")


def card_text(card: Mapping[str, Any]) -> Content:
    """Memory, largest micro-batch and limits of speed, as `chomp inspect --for --json` gives them."""
    largest = card["largest"]
    rows = [
        Content.styled(f"on {card['name']}, compiled in {elapsed(card['compile_seconds'])}", "bold"),
        _memory(card["compiled"]["total"], card),
    ]
    if largest:
        split = f"batch_size {largest['batch_size']} × grad_accum {largest['grad_accum']}"
        rows.append(Content(f"  largest that fits: {split}, {size(largest['memory'])}"))
    else:
        rows.append(Content.styled("  no micro-batch fits: set model.remat, or a smaller loss_chunk_size", "$error"))
    seconds = card["seconds"]
    rows += [
        Content(f"  at least {elapsed(max(seconds.values()))} a step, {card['mfu_bound']:.0%} MFU at most"),
        Content.styled(
            f"  products {elapsed(seconds['products'])}, {size(card['moved_bytes'])} {elapsed(seconds['bytes'])}, "
            f"{card['launches']:,} launches {elapsed(seconds['launches'])}",
            "$muted",
        ),
    ]
    if card["flags"]:
        rows.append(
            Content(f"  needs XLA_FLAGS={' '.join(f'--{k}={str(v).lower()}' for k, v in card['flags'].items())}")
        )
    return Content("\n").join(rows)
