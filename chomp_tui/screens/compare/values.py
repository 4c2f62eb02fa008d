"""Values as short texts: a number loses digits, a list its last items, only other texts lose their middle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len

from chomp.record.comparison import setting_text
from chomp_tui.widgets.listing import fit_text

# Significant digits of a number in a list, as on Home; more where numbers would look the same.
DIGITS, MOST_DIGITS = 4, 17


def fitted_settings(values: Sequence[Any], cells: int) -> list[str]:
    """The values of one setting in at most `cells` cells each; different numbers differ, where there is room for it."""
    texts: list[str] = []
    for digits in range(DIGITS, MOST_DIGITS + 1):
        texts = [_written(value, digits) for value in values]
        numbers = [(value, text) for value, text in zip(values, texts, strict=True) if _is_number(value)]
        if len({text for _, text in numbers}) == len({value for value, _ in numbers}):
            break
    return [fitted(value, text, cells) for value, text in zip(values, texts, strict=True)]


def fitted(value: Any, text: str, cells: int) -> str:
    """`text`, which shows `value`, in at most `cells` cells."""
    if cell_len(text) <= cells:
        return text
    if _is_number(value):
        shorter = (f"{value:.{digits}g}" for digits in range(MOST_DIGITS, 0, -1))
        return next((one for one in shorter if len(one) <= cells), fit_text(text, cells))
    if isinstance(value, (list, tuple)):
        items = text.split(", ")
        for kept in range(len(items) - 1, 0, -1):
            shorter_list = ", ".join([*items[:kept], "…"])
            if cell_len(shorter_list) <= cells:
                return shorter_list
    return fit_text(text, cells, middle=True)


def _written(value: Any, digits: int) -> str:
    return f"{value:.{digits}g}" if isinstance(value, float) else setting_text(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
