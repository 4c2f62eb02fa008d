"""Every key of the console: one table that bindings, footer, help, palette and docs/console.md are made from.

A binding's id is `scope.action`; users remap it by that id in the settings file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.binding import Binding


@dataclass(frozen=True)
class ScreenEntry:
    """A screen of the console.

    Attributes:
        mode: its name in code; the scope of its own keys.
        screen: `module:Class`; imported when the screen is first shown.
        keys: the keys that show it from everywhere.
        label: its name on the screen.
        help: one sentence for help, palette and documentation.
    """

    mode: str
    screen: str
    keys: str
    label: str
    help: str


SCREENS: tuple[ScreenEntry, ...] = (
    ScreenEntry("home", "chomp_tui.screens.home.screen:HomeScreen", "1", "Home", "Runs and configurations."),
    ScreenEntry(
        "configure",
        "chomp_tui.screens.configure.screen:ConfigureScreen",
        "2",
        "Configure",
        "Edit a configuration and check it.",
    ),
    ScreenEntry(
        "device", "chomp_tui.screens.device.screen:DeviceScreen", "3", "Device", "GPUs and the flags they need."
    ),
    ScreenEntry("run", "chomp_tui.screens.run.screen:RunScreen", "4", "Run", "Watch and steer a run."),
    ScreenEntry(
        "checkpoints",
        "chomp_tui.screens.checkpoints.screen:CheckpointsScreen",
        "5",
        "Checkpoints",
        "Checkpoints of one run, or of all.",
    ),
)

# Parts of screens with keys of their own -> the screen that help shows them with, and what they are.
PARTS: Mapping[str, tuple[str, str]] = {
    "pick": ("configure", "A choice in the form"),
    "switch": ("configure", "A switch in the form"),
    "open": ("configure", "What to start from"),
    "chart": ("run", "A chart with the focus"),
}
WITHIN: Mapping[str, str] = {part: screen for part, (screen, _) in PARTS.items()}
SCOPES: Mapping[str, str] = {
    "app": "Everywhere",
    **{one.mode: one.label for one in SCREENS},
    **{part: title for part, (_, title) in PARTS.items()},
    "dialog": "Dialogs",
}


@dataclass(frozen=True)
class Key:
    """One row of the table.

    Attributes:
        scope: the screen or widget that has it; `app` reaches everywhere.
        action: name of the action method, without `action_`; may carry arguments.
        keys: Textual key names, comma-separated; the first is the one shown.
        label: a word or two for the footer.
        help: one sentence for help, palette and documentation.
        footer: whether it stands in the footer.
        priority: whether it counts before the focused widget's own keys.
        name: last part of the id where the action's name does not tell rows apart.
    """

    scope: str
    action: str
    keys: str
    label: str
    help: str
    footer: bool = False
    priority: bool = False
    name: str = ""

    @property
    def id(self) -> str:
        return f"{self.scope}.{self.name or self.action}"


TABLE: tuple[Key, ...] = (
    *(Key("app", f"show_screen('{one.mode}')", one.keys, one.label, one.help, name=one.mode) for one in SCREENS),
    Key("app", "help", "question_mark,f1,6", "Help", "All keys, and what the screen is for.", footer=True),
    Key("app", "back", "escape", "Back", "One layer out."),
    Key("app", "toggle_theme", "f9", "Light/dark", "Switch between the dark and the light theme; remembered."),
    Key("app", "save_screenshot", "f8", "Screenshot", "Write the screen to an SVG file."),
    Key("app", "quit", "q", "Quit", "Leave the console; runs go on, and a line says how to attach.", footer=True),
    Key("home", "open", "enter", "Open", "Watch the selected run, or edit the selected configuration.", footer=True),
    Key("home", "new", "n", "New", "Configure a new run from the selected configuration or run.", footer=True),
    Key("home", "resume", "r", "Resume", "Pick a checkpoint of the selected run and go on from it.", footer=True),
    Key(
        "home", "open_folder", "o", "Folder", "Show where the selected run lies, and open it where there is a desktop."
    ),
    Key("home", "delete", "d", "Delete", "Delete the selected run, after asking.", footer=True),
    Key("home", "filter", "slash", "Filter", "Show only names that contain a text.", footer=True),
    Key("configure", "launch", "f5", "Launch", "Start training with this configuration.", footer=True, priority=True),
    Key("configure", "save", "ctrl+s,f2", "Save", "Save to the file it came from.", footer=True, priority=True),
    Key("configure", "save_as", "f3", "Save as", "Save under another name.", priority=True),
    Key(
        "configure",
        "open_file",
        "f6",
        "Open",
        "Start from another file or from a past run.",
        footer=True,
        priority=True,
    ),
    Key(
        "configure", "toggle_yaml", "f4", "Form/YAML", "Move between the form and the YAML.", footer=True, priority=True
    ),
    Key("configure", "diff", "f7", "Diff", "What differs from the file on disk.", footer=True, priority=True),
    Key("configure", "compile", "f10", "Compile", "Ask the compiler how much memory the step takes.", priority=True),
    Key("configure", "undo", "ctrl+z", "Undo", "Take the last change back.", priority=True),
    Key("configure", "redo", "ctrl+y", "Redo", "Make the change again that was taken back.", priority=True),
    Key(
        "configure", "filter", "ctrl+f", "Find", "Show only settings whose name or help contains a text.", priority=True
    ),
    Key("pick", "step(1)", "right,space", "Next", "Take the next value.", name="next"),
    Key("pick", "step(-1)", "left", "Previous", "Take the value before.", name="previous"),
    Key("pick", "list", "enter", "List", "List all values, to choose one."),
    Key("pick", "clear", "delete,backspace", "Default", "Take it out of the file, so that the default counts."),
    Key("switch", "turn_over", "space,enter", "On/off", "Turn it on, or off."),
    Key("switch", "turn(True)", "right", "On", "Turn it on.", name="on"),
    Key("switch", "turn(False)", "left", "Off", "Turn it off.", name="off"),
    Key("switch", "clear", "delete,backspace", "Default", "Take it out of the file, so that the default counts."),
    Key("open", "open", "enter", "Open", "Edit the selected configuration, or a copy of the selected run's."),
    Key("open", "filter", "slash", "Filter", "Show only files and runs whose name contains a text."),
    Key("device", "switch", "space", "Switch", "Apply the selected rule to runs started here, or do not.", footer=True),
    Key(
        "device", "test_flags", "t", "Test flags", "Prove in a short child process that XLA accepts them.", footer=True
    ),
    Key("device", "refresh", "r", "Refresh", "Read the GPUs again.", footer=True),
    Key("device", "copy_line", "y", "Copy line", "Copy the `env` line with these variables.", footer=True),
    Key("run", "pause", "p", "Pause", "Pause training after the step at hand, or go on.", footer=True),
    Key("run", "save_now", "c", "Save", "Save a checkpoint now.", footer=True),
    Key("run", "evaluate_now", "e", "Eval", "Evaluate on the held-out text now.", footer=True),
    Key("run", "sample_now", "g", "Sample", "Type a prompt and see what the model makes of it.", footer=True),
    Key("run", "stop", "S", "Stop", "Save and stop, stop without saving, or neither.", footer=True),
    Key("run", "log_y", "y", "Log y", "Switch the charts of losses between logarithmic and linear.", footer=True),
    Key("run", "smoothing", "s", "Smooth", "Next amount of smoothing of the training loss."),
    Key("run", "x_axis", "x", "X axis", "Plot by step, by tokens or by time."),
    Key("run", "zoom_in", "plus,equals_sign", "Zoom in", "Show a shorter part; the newest record stays in view."),
    Key("run", "zoom_out", "minus", "Zoom out", "Show a longer part."),
    Key("run", "zoom_reset", "0", "All", "Show the whole run."),
    Key("run", "marker", "b", "Blocks", "Draw charts with braille dots, or with blocks where a font lacks them."),
    Key("run", "zoom_panel", "enter", "Zoom", "Show the focused panel alone, or all again."),
    Key("run", "next_panel", "n", "Next panel", "Show the next panel."),
    Key("run", "previous_panel", "N", "Previous panel", "Show the previous panel."),
    Key("run", "filter", "slash", "Filter log", "Show only log lines that contain a text."),
    Key("run", "mark", "space", "Mark", "Mark the selected sample, to compare it with others of the same prompt."),
    Key("run", "other_prompt", "o", "Prompt", "Samples of the next prompt."),
    Key("run", "resume", "r", "Resume", "Go on with this run after it ended, from a checkpoint.", footer=True),
    Key("checkpoints", "resume", "enter", "Resume", "Go on in place from the selected checkpoint.", footer=True),
    Key(
        "checkpoints",
        "fork",
        "f",
        "Fork",
        "Start a new run from the selected checkpoint, with other settings.",
        footer=True,
    ),
    Key(
        "checkpoints",
        "sample",
        "g",
        "Sample",
        "Write with the selected checkpoint, prompt by prompt.",
        footer=True,
    ),
    Key(
        "checkpoints",
        "export",
        "x",
        "Export",
        "Write the selected checkpoint's model for other programs.",
        footer=True,
    ),
    Key("checkpoints", "verify", "v", "Verify", "Compare every byte with the checkpoint's manifest.", footer=True),
    Key("checkpoints", "tag", "t", "Tag", "Tag the selected checkpoint, so that it is kept.", footer=True),
    Key("checkpoints", "delete", "d", "Delete", "Delete the selected checkpoint, after asking.", footer=True),
    Key(
        "checkpoints", "differences", "i", "Differs", "All settings in which it differs from the configuration at hand."
    ),
    Key("checkpoints", "samples", "s", "Samples", "What the model wrote at the selected checkpoint's step."),
    Key("checkpoints", "filter", "slash", "Filter", "Show only runs whose name contains a text."),
    Key("chart", "crosshair(-1)", "left", "Left", "Move the crosshair to the left.", name="crosshair_left"),
    Key("chart", "crosshair(1)", "right", "Right", "Move the crosshair to the right.", name="crosshair_right"),
    Key("chart", "crosshair_off", "escape", "No crosshair", "Take the crosshair away."),
    Key("dialog", "cancel", "escape", "Cancel", "Close without doing anything."),
)


def bindings(scope: str) -> list[Binding]:
    """The Textual bindings of one scope."""
    from textual.binding import Binding

    return [
        Binding(row.keys, row.action, row.label, show=row.footer, priority=row.priority, id=row.id, tooltip=row.help)
        for row in TABLE
        if row.scope == scope
    ]


def shown(keys: str) -> str:
    """Key names as people read them: `? or F1`."""
    return " or ".join(_NAMES.get(key, key if len(key) == 1 else _spell(key)) for key in keys.split(","))


_NAMES = {
    "question_mark": "?",
    "slash": "/",
    "plus": "+",
    "minus": "-",
    "equals_sign": "=",
    "escape": "Esc",
    "enter": "Enter",
    "space": "Space",
    "left": "←",
    "right": "→",
}


def _spell(key: str) -> str:
    if key.startswith("ctrl+"):
        return f"Ctrl+{key.removeprefix('ctrl+').upper()}"
    return key.upper() if key.startswith("f") and key[1:].isdecimal() else key.capitalize()
