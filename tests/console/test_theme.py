"""Colours of curves are readable under every theme that the console offers."""

from __future__ import annotations

import pytest
from textual.color import Color
from textual.theme import BUILTIN_THEMES, Theme

from chomp_tui import theme

OFFERED = [one for one in (*theme.THEMES, *BUILTIN_THEMES.values()) if not one.ansi]


@pytest.mark.parametrize("one", OFFERED, ids=lambda one: one.name)
def test_every_curve_stands_out_from_both_backgrounds_and_the_grid_does_not_hide_it(one: Theme) -> None:
    made = one.to_color_system().generate()
    colours = {**theme.variable_defaults(one), **one.variables}
    behind = [Color.parse(made[name]) for name in ("background", "surface")]
    for name, value in colours.items():
        if name.startswith("chart-"):
            ratio = min(theme.contrast(Color.parse(value), background) for background in behind)
            assert ratio >= (theme.GRID_CONTRAST if name == "chart-grid" else theme.LEAST_CONTRAST) - 0.01, name
    assert len({colours[f"chart-run{slot}"] for slot in range(8)}) == 8


def test_contrast_is_that_of_wcag() -> None:
    assert theme.contrast(Color.parse("white"), Color.parse("black")) == pytest.approx(21)
    assert theme.contrast(Color.parse("#777777"), Color.parse("white")) == pytest.approx(4.48, abs=0.01)
