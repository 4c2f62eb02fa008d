"""The console's own dark and light theme; every colour that a widget uses is a variable of the theme."""

from __future__ import annotations

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
        "footer-key-foreground": "#ff9e64",
        "footer-description-foreground": "#9aa5ce",
        "footer-background": "#1f2335",
        "chart-raw": "#4a5580",
        "chart-smooth": "#7dcfff",
        "chart-eval": "#ff9e64",
        "chart-second": "#bb9af7",
        "chart-grid": "#2f3549",
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
        "chart-raw": "#b3bcd9",
        "chart-smooth": "#006a99",
        "chart-eval": "#b15c00",
        "chart-second": "#7847bd",
        "chart-grid": "#d5daea",
        "muted": "#5d6687",
    },
)
THEMES = (_DARK, _LIGHT)
# Our own variables under themes that are not ours, and before any theme is set.
DEFAULTS = {name: value for name, value in _DARK.variables.items() if name == "muted" or name.startswith("chart-")}


def opposite(*, dark: bool) -> str:
    """The theme to switch to from a dark one, or from a light one."""
    return _LIGHT.name if dark else _DARK.name
