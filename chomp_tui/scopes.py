"""Where keys work: the screens of the console, and the parts of screens that have keys of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ScreenEntry:
    """A screen of the console.

    Attributes:
        mode: its name in code; the scope of its own keys.
        screen: `module:Class`; imported when the screen is first shown.
        keys: the keys that show it from everywhere; none for a screen that another one leads to.
        label: its name on the screen.
        help: one sentence for help, palette and documentation.
    """

    mode: str
    screen: str
    keys: str
    label: str
    help: str


SCREENS: tuple[ScreenEntry, ...] = (
    ScreenEntry("home", "chomp_tui.screens.home.screen:HomeScreen", "1", "Home", "List runs and configurations."),
    ScreenEntry(
        "configure",
        "chomp_tui.screens.configure.screen:ConfigureScreen",
        "2",
        "Configure",
        "Edit a configuration and check it.",
    ),
    ScreenEntry(
        "device", "chomp_tui.screens.device.screen:DeviceScreen", "3", "Device", "Show GPUs and the flags they need."
    ),
    ScreenEntry("run", "chomp_tui.screens.run.screen:RunScreen", "4", "Run", "Watch and steer a run."),
    ScreenEntry(
        "checkpoints",
        "chomp_tui.screens.checkpoints.screen:CheckpointsScreen",
        "5",
        "Checkpoints",
        "List checkpoints of one run or of all runs.",
    ),
    ScreenEntry("compare", "chomp_tui.screens.compare.screen:CompareScreen", "", "Compare", "Compare runs."),
    ScreenEntry(
        "queue", "chomp_tui.screens.queue.screen:QueueScreen", "7", "Queue", "List jobs that train in turn, and sweeps."
    ),
)

# Parts of screens with keys of their own -> the screens that help shows them with, and what they are.
PARTS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "line": (("configure",), "A text in the form"),
    "edit": (("configure",), "A text in the form while it is edited"),
    "yaml": (("configure",), "The YAML"),
    "pick": (("configure",), "A choice in the form"),
    "switch": (("configure",), "A switch in the form"),
    "open": (("configure",), "What to start from"),
    "preview": (("configure",), "The data preview"),
    "chart": (("run", "compare"), "A focused chart"),
    "explain": (("run",), "The documents of a step"),
}
WITHIN: Mapping[str, tuple[str, ...]] = {part: screens for part, (screens, _) in PARTS.items()}
SCOPES: Mapping[str, str] = {
    "app": "Everywhere",
    **{one.mode: one.label for one in SCREENS},
    **{part: title for part, (_, title) in PARTS.items()},
    "dialog": "Dialogs",
}
