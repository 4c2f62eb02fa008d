"""Every key of the console: one table that bindings, footer, help, palette and docs/console.md are made from.

A binding's id is `scope.action`; users remap it by that id in the settings file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chomp_tui.key_names import as_read
from chomp_tui.scopes import SCREENS

if TYPE_CHECKING:
    from textual.binding import Binding


@dataclass(frozen=True)
class Key:
    """One row of the table.

    Attributes:
        scope: the screen or widget that has the key; `app` keys work on every screen.
        action: name of the action method, without `action_`; may carry arguments.
        keys: Textual key names, comma-separated; the first is the one shown.
        label: a word or two for the footer.
        help: one sentence for help, palette and documentation.
        footer: whether the footer shows it.
        priority: whether it takes precedence over the focused widget's keys.
        name: last part of the id, if the action's name is not unique.
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


# Panels of the run view by Alt and a digit, from 1.
PANELS: Mapping[str, str] = {
    "loss": "Loss",
    "charts": "Charts",
    "samples": "Samples",
    "log": "Log",
    "checkpoints": "Checkpoints",
    "memory": "Memory",
    "time": "Time",
    "facts": "Facts",
    "alerts": "Alerts",
}

TABLE: tuple[Key, ...] = (
    *(
        Key("app", f"show_screen('{one.mode}')", one.keys, one.label, one.help, name=one.mode)
        for one in SCREENS
        if one.keys
    ),
    Key("app", "help", "question_mark,f1,6", "Help", "Show all keys and the purpose of the screen.", footer=True),
    Key("app", "back", "escape", "Back", "Go back one level."),
    Key("app", "toggle_theme", "f9", "Light/dark", "Switch between the dark and the light theme, and save the choice."),
    Key(
        "app",
        "save_screenshot",
        "f8",
        "Screenshot",
        "Write the screen to an SVG file, and to PNG where a converter is installed.",
    ),
    Key("app", "quit", "q", "Quit", "Close the console; runs continue, and a line shows how to attach.", footer=True),
    Key("home", "open", "enter", "Open", "Watch the selected run, or edit the selected configuration.", footer=True),
    Key("home", "new", "n", "New", "Configure a new run from the selected configuration or run.", footer=True),
    Key("home", "mark", "space", "Mark", "Mark the selected run, to compare, tag or delete several.", footer=True),
    Key("home", "compare", "c", "Compare", "Compare the marked runs, or a fork with its parent.", footer=True),
    Key("home", "sort", "s", "Sort", "Order the runs by the next column.", footer=True),
    Key(
        "home",
        "filter",
        "slash",
        "Filter",
        "Show only runs with a text or for which conditions hold.",
        footer=True,
    ),
    Key("home", "resume", "r", "Resume", "Choose a checkpoint of the selected run and resume from it.", footer=True),
    Key(
        "home",
        "delete",
        "d",
        "Delete",
        "Delete the marked runs, or the selected one, after asking.",
        footer=True,
    ),
    Key("home", "columns", "k", "Columns", "Choose columns: facts, settings, metrics."),
    Key("home", "reverse", "S", "Reverse", "Turn the order round."),
    Key("home", "tree", "f", "Forks", "Show forks below their parents, or in the common order."),
    Key("home", "notes", "e", "Notes", "Edit name, note and tags of the selected run."),
    Key("home", "tag", "t", "Tag", "Add tags to the marked runs, or remove them."),
    Key("home", "mark_all", "a", "Mark all", "Mark all runs shown, or none."),
    Key("home", "open_folder", "o", "Folder", "Show the path of the selected run; on a desktop, open the folder."),
    Key("home", "report", "R", "Report", "Write one page about the marked runs, or about the selected one, to share."),
    # Before the screen's own keys, so that a narrow footer shows it.
    Key(
        "line", "edit", "enter", "Edit", "Edit the text; Enter again, or leaving the field, ends the edit.", footer=True
    ),
    Key("pick", "list", "enter", "Choose", "Choose from a list; type to find a value in it.", footer=True),
    Key("switch", "turn_over", "enter", "On/off", "Turn it on or off.", footer=True),
    Key(
        "switch",
        "clear",
        "delete,backspace",
        "Default",
        "After Enter: remove the setting from the file, so that its default applies.",
        footer=True,
    ),
    Key("edit", "accept", "enter", "Accept", "Accept the text; an empty one restores the default.", footer=True),
    Key("edit", "cancel", "escape", "Cancel", "Restore the value from before the edit.", footer=True),
    Key("yaml", "edit", "enter", "Edit", "Edit the text at the cursor.", footer=True),
    Key("yaml", "leave", "escape", "Done", "End the edit.", footer=True),
    Key("configure", "launch", "f5", "Launch", "Start training with this configuration.", footer=True, priority=True),
    Key("configure", "save", "ctrl+s,f2", "Save", "Save to the opened file.", footer=True, priority=True),
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
        "configure",
        "toggle_yaml",
        "f4",
        "Form/YAML",
        "Switch between the form and the YAML.",
        footer=True,
        priority=True,
    ),
    Key("configure", "diff", "f7", "Diff", "Show the differences from the file on disk.", footer=True, priority=True),
    Key(
        "configure",
        "compile",
        "f10",
        "Compile",
        "Compile the step for this machine or for a GPU elsewhere, and show what it needs.",
        priority=True,
    ),
    Key("configure", "preview", "v", "Data", "Preview a packed batch as the model receives it.", footer=True),
    Key("configure", "queue", "f12", "Queue it", "Add this configuration to the queue as a job.", True, True),
    Key("preview", "batch(1)", "n", "Next batch", "Show the batch of the next step.", name="next_batch"),
    Key("preview", "batch(-1)", "p", "Previous batch", "Show the batch of the step before.", name="previous_batch"),
    Key("preview", "sequences(1)", "right", "Later", "Show the next sequences of the batch.", name="later"),
    Key("preview", "sequences(-1)", "left", "Earlier", "Show the sequences of the batch before.", name="earlier"),
    Key("preview", "tokens", "t", "Tokens", "Separate the tokens, or show the text alone."),
    Key(
        "configure",
        "undo",
        "ctrl+z",
        "Undo",
        "Undo the last edit since the last launch; during an edit, cancel it.",
        priority=True,
    ),
    Key("configure", "redo", "ctrl+y", "Redo", "Redo the edit that was undone last.", priority=True),
    Key("configure", "external", "e", "Editor", "Edit the YAML in $VISUAL or $EDITOR.", footer=True),
    Key("configure", "show_all", "a", "All", "Show also settings that this run does not read, or hide them again."),
    Key(
        "configure", "filter", "ctrl+f", "Find", "Show only settings whose name or help contains a text.", priority=True
    ),
    Key(
        "configure",
        "add_entry",
        "n",
        "Add entry",
        "Add an evaluation set or task, or a source or stage of the mixture.",
    ),
    Key("configure", "remove_entry", "d", "Remove entry", "Choose such an entry and remove it."),
    Key(
        "open",
        "open",
        "enter",
        "Open",
        "Edit the selected configuration, or a copy of the selected run's configuration.",
    ),
    Key("open", "filter", "slash", "Filter", "Show only files and runs whose name contains a text."),
    Key(
        "device",
        "switch",
        "space",
        "Switch",
        "Turn the selected GPU or rule on or off for runs started here.",
        footer=True,
    ),
    Key(
        "device",
        "test_flags",
        "t",
        "Test flags",
        "Test in a short child process whether XLA accepts the flags.",
        footer=True,
    ),
    Key(
        "device",
        "measure",
        "m",
        "Measure",
        "Measure the current configuration's speed without and with the variables, or stop that.",
    ),
    Key("device", "refresh", "r", "Refresh", "Read the GPUs again.", footer=True),
    Key("device", "copy_line", "y", "Copy line", "Copy the `env` line with these variables.", footer=True),
    Key("run", "pause", "p", "Pause", "Pause training after the current step, or continue.", footer=True),
    Key("run", "save_now", "c", "Save", "Save a checkpoint now.", footer=True),
    Key("run", "evaluate_now", "e", "Eval", "Evaluate on the held-out text now.", footer=True),
    Key("run", "sample_now", "g", "Sample", "Type a prompt and show the model's continuation.", footer=True),
    Key("run", "profile_now", "P", "Profile", "Trace the next five steps; Facts then shows the costliest operations."),
    Key("run", "stop", "S", "Stop", "Ask how to stop: with or without saving.", footer=True),
    Key("run", "log_y", "y", "Log y", "Switch loss charts between logarithmic and linear.", footer=True),
    Key("run", "smoothing", "s", "Smooth", "Change the smoothing of the training loss."),
    Key("run", "x_axis", "x", "X axis", "Plot over steps, tokens or time."),
    Key(
        "run",
        "zoom_in",
        "plus,equals_sign",
        "Zoom in",
        "Show a shorter range around the crosshair, or at the right end.",
    ),
    Key("run", "zoom_out", "minus", "Zoom out", "Show a longer range."),
    Key("run", "zoom_reset", "0", "Whole run", "Show the whole run."),
    Key("run", "pan(-1)", "left_square_bracket", "Earlier", "Show earlier steps of a zoomed chart.", name="pan_left"),
    Key("run", "pan(1)", "right_square_bracket", "Later", "Show later steps of a zoomed chart.", name="pan_right"),
    Key("run", "all_values", "a", "All values", "Show all values, or clip the start of the run and spikes again."),
    Key("run", "marker", "b", "Blocks", "Draw charts with braille dots or with blocks, for fonts without braille."),
    Key("run", "zoom_panel", "enter", "Zoom", "Show only the focused panel, or all panels again."),
    Key("run", "next_panel", "n", "Next panel", "Show the next panel."),
    Key("run", "previous_panel", "N", "Previous panel", "Show the previous panel."),
    Key("run", "filter", "slash", "Filter log", "Show only log lines that contain a text."),
    Key("run", "mark", "space", "Mark", "Mark the selected sample to compare it with others of the same prompt."),
    Key("run", "other_prompt", "o", "Prompt", "Show the samples of the next prompt."),
    Key("run", "compare_samples", "v", "Compare", "Show the selected sample beside an earlier one; again, all panels."),
    Key("run", "explain", "d", "Documents", "Show the documents of a bad step, or of the one at the crosshair."),
    Key("explain", "skip", "s", "Leave out", "Go back before the step and leave out its batch, after a question."),
    Key("run", "report", "R", "Report", "Write a page about this run, of a fork beside its parent, to share."),
    Key("run", "resume", "r", "Resume", "Resume this run from a checkpoint after it has ended.", footer=True),
    *(
        Key(
            "run",
            f"panel('{name}')",
            f"alt+{digit}",
            f"{title} panel",
            f"Go to the panel {title}.",
            name=f"panel_{name}",
        )
        for digit, (name, title) in enumerate(PANELS.items(), 1)
    ),
    Key("checkpoints", "resume", "enter", "Resume", "Resume in place from the selected checkpoint.", footer=True),
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
        "Generate text with the selected checkpoint.",
        footer=True,
    ),
    Key(
        "checkpoints",
        "export",
        "x",
        "Export",
        "Export the selected checkpoint's model for other programs.",
        footer=True,
    ),
    Key("checkpoints", "verify", "v", "Verify", "Compare every byte with the checkpoint's manifest.", footer=True),
    Key("checkpoints", "tag", "t", "Tag", "Tag the selected checkpoint so that it is kept.", footer=True),
    Key("checkpoints", "delete", "d", "Delete", "Delete the selected checkpoint after a confirmation.", footer=True),
    Key(
        "checkpoints",
        "differences",
        "i",
        "Differs",
        "Show all settings that differ between the checkpoint and the current configuration.",
    ),
    Key("checkpoints", "samples", "s", "Samples", "Show the samples of the selected checkpoint's step."),
    Key("checkpoints", "filter", "slash", "Filter", "Show only runs whose name contains a text."),
    Key("compare", "x_axis", "x", "X axis", "Plot over steps, tokens, training time or FLOPs.", footer=True),
    Key("compare", "evaluations", "e", "Evals only", "Show only evaluations, or also training losses.", footer=True),
    Key("compare", "log_y", "y", "Log y", "Switch the losses between logarithmic and linear.", footer=True),
    Key("compare", "difference", "d", "Difference", "Show the difference of two runs, or curves.", footer=True),
    Key(
        "compare",
        "baseline",
        "b",
        "Baseline",
        "Make the next run the first one.",
        footer=True,
    ),
    Key(
        "compare",
        "zoom_in",
        "plus,equals_sign",
        "Zoom in",
        "Show a shorter range around the crosshair, or at the right end.",
    ),
    Key("compare", "zoom_out", "minus", "Zoom out", "Show a longer range."),
    Key("compare", "zoom_reset", "0", "All", "Show the whole range."),
    Key("compare", "pan(-1)", "left_square_bracket", "Earlier", "Show an earlier part.", name="pan_left"),
    Key("compare", "pan(1)", "right_square_bracket", "Later", "Show a later part.", name="pan_right"),
    Key("compare", "all_values", "a", "All values", "Show all values, or clip the start of the runs and spikes again."),
    Key("compare", "report", "R", "Report", "Write one page about these runs, to share."),
    Key("queue", "open", "enter", "Open", "Open the run of the job, or the trials of the sweep.", footer=True),
    Key("queue", "hold", "h", "Hold", "Hold the job, or release a held, failed or stopped one.", footer=True),
    Key("queue", "move(-1)", "K", "Up", "Move the job up by one place.", footer=True, name="up"),
    Key("queue", "move(1)", "J", "Down", "Move the job down by one place.", footer=True, name="down"),
    Key("queue", "urgent", "u", "Urgent", "Make the job urgent: a running one gives way; again, no longer."),
    Key("queue", "remove", "d", "Remove", "Remove the job after a confirmation; its run stays.", footer=True),
    Key("queue", "runner", "s", "Runner", "Start the runner, or end it; engines go on.", footer=True),
    Key("queue", "filter", "slash", "Filter", "Show only jobs whose name contains a text."),
    Key("chart", "crosshair(-1)", "left", "Left", "Move the crosshair to the left.", name="crosshair_left"),
    Key("chart", "crosshair(1)", "right", "Right", "Move the crosshair to the right.", name="crosshair_right"),
    Key(
        "chart",
        "crosshair(-10)",
        "shift+left",
        "Far left",
        "Move the crosshair ten cells to the left.",
        name="crosshair_far_left",
    ),
    Key(
        "chart",
        "crosshair(10)",
        "shift+right",
        "Far right",
        "Move the crosshair ten cells to the right.",
        name="crosshair_far_right",
    ),
    Key(
        "chart",
        "crosshair_end(-1)",
        "home",
        "First",
        "Move the crosshair to the first step shown.",
        name="crosshair_first",
    ),
    Key(
        "chart",
        "crosshair_end(1)",
        "end",
        "Newest",
        "Move the crosshair to the newest step shown.",
        name="crosshair_newest",
    ),
    Key("chart", "crosshair_off", "escape", "No crosshair", "Remove the crosshair."),
    Key("dialog", "cancel", "escape", "Cancel", "Close without doing anything."),
    # Where texts are edited it undoes a change.
    *(
        Key(scope, "suspend", "ctrl+z", "Suspend", "Suspend the console; `fg` in the shell continues it.")
        for scope in (*(one.mode for one in SCREENS if one.mode != "configure"), "dialog")
    ),
)


def bindings(scope: str) -> list[Binding]:
    """The Textual bindings of one scope."""
    from textual.binding import Binding

    return [
        Binding(
            as_read(row.keys),
            row.action,
            row.label,
            show=row.footer,
            priority=row.priority,
            id=row.id,
            tooltip=row.help,
        )
        for row in TABLE
        if row.scope == scope
    ]
