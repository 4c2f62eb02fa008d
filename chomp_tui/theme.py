"""The console's own dark and light theme; every colour that a widget uses is a variable of the theme."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from textual.color import Color
from textual.theme import Theme

_DARK = Theme(
    name="chomp-dark",
    primary="#7aa2f7",
    secondary="#bb9af7",
    accent="#ff9e64",
    success="#9ece6a",
    warning="#e0af68",
    error="#f7768e",
    foreground="#c8d3f5",
    background="#16161e",
    surface="#1a1b26",
    panel="#24283b",
    dark=True,
    variables={
        "border": "#3b4261",
        "border-blurred": "#2a2e42",
        "scrollbar-background": "#1a1b26",
        "footer-key-foreground": "#ff9e64",
        "footer-description-foreground": "#9aa5ce",
        "footer-background": "#1f2335",
        "chart-raw": "#6d7bb8",
        "chart-smooth": "#7dcfff",
        "chart-eval": "#ff9e64",
        "chart-second": "#bb9af7",
        "chart-dim": "#737aa2",
        "chart-grid": "#2f3549",
        "chart-run0": "#7dcfff",
        "chart-run1": "#ff9e64",
        "chart-run2": "#9ece6a",
        "chart-run3": "#f7768e",
        "chart-run4": "#bb9af7",
        "chart-run5": "#e0d268",
        "chart-run6": "#2ac3a2",
        "chart-run7": "#d5d6e8",
        "muted": "#8089b3",
    },
)
_LIGHT = Theme(
    name="chomp-light",
    primary="#2e59c7",
    secondary="#7847bd",
    accent="#b15c00",
    success="#3f7d20",
    warning="#8f5e15",
    error="#c0223b",
    foreground="#2b3044",
    background="#f5f6fa",
    surface="#ffffff",
    panel="#e6e9f2",
    dark=False,
    variables={
        "border": "#b4bcd4",
        "border-blurred": "#d5daea",
        "footer-key-foreground": "#b15c00",
        "footer-description-foreground": "#4c5470",
        "footer-background": "#e6e9f2",
        "chart-raw": "#7f8cb8",
        "chart-smooth": "#006a99",
        "chart-eval": "#b15c00",
        "chart-second": "#7847bd",
        "chart-dim": "#868da6",
        "chart-grid": "#d5daea",
        "chart-run0": "#006a99",
        "chart-run1": "#b15c00",
        "chart-run2": "#3f7d20",
        "chart-run3": "#c0223b",
        "chart-run4": "#7847bd",
        "chart-run5": "#857000",
        "chart-run6": "#00796b",
        "chart-run7": "#4c5470",
        "muted": "#5d6687",
    },
)
THEMES = (_DARK, _LIGHT)
# The colour of each tone of a state, see `Tone` in chomp/record/status.py.
TONES = {
    "live": "$success",
    "good": "$success",
    "warn": "$warning",
    "bad": "$error",
    "idle": "$muted",
}
# WCAG 2.2 asks for 3 between a graphic and its background; the grid is behind the curves and fainter.
LEAST_CONTRAST, GRID_CONTRAST = 3.0, 1.2


@lru_cache(maxsize=64)
def _colours(dark: bool, backgrounds: tuple[str, ...]) -> dict[str, str]:
    own = (_DARK if dark else _LIGHT).variables
    return {
        name: _contrasting(value, backgrounds, GRID_CONTRAST if name == "chart-grid" else LEAST_CONTRAST, dark=dark)
        for name, value in own.items()
        if name == "muted" or name.startswith("chart-")
    }


def variable_defaults(theme: Theme) -> dict[str, str]:
    """Our own variables under a theme that is not ours: as in ours, and readable on its backgrounds."""
    if theme.ansi or theme in THEMES:
        return dict(_colours(theme.dark, ()))
    made = theme.to_color_system().generate()
    return dict(_colours(theme.dark, (made["background"], made["surface"])))


def _contrasting(colour: str, backgrounds: Iterable[str], least: float, *, dark: bool) -> str:
    """The colour, as much lighter or darker as the least contrast with every background needs."""
    behind = [Color.parse(one) for one in backgrounds]
    given, towards = Color.parse(colour), Color.parse("white" if dark else "black")
    for tenth in range(11):
        made = given.blend(towards, tenth / 10)
        if all(contrast(made, one) >= least for one in behind):
            return made.hex6
    return towards.hex6


def contrast(one: Color, other: Color) -> float:
    """Contrast ratio of WCAG 2.2, from 1 to 21."""
    brighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def _luminance(colour: Color) -> float:
    """Relative luminance of WCAG 2.2."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour.normalized]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def opposite(*, dark: bool) -> str:
    """The theme to switch to from a dark one, or from a light one."""
    return _LIGHT.name if dark else _DARK.name
