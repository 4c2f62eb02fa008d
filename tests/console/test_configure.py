"""The configure screen: two views of one text, live validation, files, forks, and what is launched."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from textual.events import AppBlur, AppFocus, Key, Paste
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static

from chomp.config import LoadedConfig, derive, derived_section, load_config, settings
from chomp.config.yaml_reader import read_yaml
from chomp.config.yaml_spans import read_layout
from chomp.queue.launch import LaunchRequest
from chomp.record.fork import fork_run
from chomp.record.manifest import seal
from chomp.record.rundir import RunDir
from chomp_tui.app import ChompApp
from chomp_tui.config.draft import Draft, ForkOrigin, OpenRequest
from chomp_tui.config.preflight import Report
from chomp_tui.scopes import SCREENS
from chomp_tui.screens.configure import launch_flow as launching
from chomp_tui.screens.configure.controls import Toggle
from chomp_tui.screens.configure.field import FieldRow
from chomp_tui.screens.configure.file_dialogs import OpenList
from chomp_tui.screens.configure.form import ConfigForm
from chomp_tui.screens.configure.launch_flow import CHECKING
from chomp_tui.screens.configure.picker import Option, Picker, found
from chomp_tui.screens.configure.preflight_panel import OUTDATED_OPACITY
from chomp_tui.screens.configure.screen import ConfigureScreen
from chomp_tui.screens.configure.text_field import TextField
from chomp_tui.screens.configure.yaml_editor import YamlEditor
from chomp_tui.screens.help import HelpScreen
from chomp_tui.settings import Settings
from chomp_tui.state import ConsoleState
from chomp_tui.widgets.chart import LineChart
from chomp_tui.widgets.dialogs import Ask, Choose, Read
from chomp_tui.widgets.listing import Listing
from tests.console.fakehelper import fake_helper
from tests.console.hosting import SIZES, strips
from tests.console.test_document import FILES

# Every size and key of a whole screen, in hundreds of frames.

FIGURES = {
    "parameters": 681_664,
    "breakdown": {"embedding": 49_152, "total": 681_664},
    "tokens_per_step": 1024,
    "total_tokens": 819_200,
    "tokens_per_parameter": 1.2,
    "total_flops": 3.4e12,
    "peak_flops": 1e12,
    "memory": {"parameters": 10, "optimizer": 20, "gradients": 10, "activations": 960, "compiled": None, "total": 1000},
    "device": {"platform": "gpu", "name": "fake", "memory_limit": 1250},
    "schedule": [[1, 1e-4], [10, 1e-3], [20, 1e-5]],
}
COMPILED = {"argument": 300, "output": 300, "temp": 600, "alias": 150, "total": 1050}
SMALL = """\
# A file with a past.
train:
  steps: 2000   # counted from one
  seq_len: $variables.n
  batch_size: 4
variables: {n: 64}
"""


class Console:
    """The real application with a recorder in the engine's place."""

    def __init__(self, tmp_path: Path, text: str = SMALL, inspect: Path | None = None) -> None:
        self.folder = tmp_path
        for name in ("configs", "runs"):
            (tmp_path / name).mkdir(exist_ok=True)
        self.file = tmp_path / "configs" / "small.yaml"
        self.file.write_bytes(text.encode())
        self.app = ChompApp(
            ConsoleState(Settings(path=tmp_path / "console.yaml"), runs=tmp_path / "runs", configs=tmp_path / "configs")
        )
        fake = tmp_path / "fake.py"
        fake.write_text(
            f"import json, sys\nfigures = {FIGURES!r}\n"
            f"figures['memory']['compiled'] = {COMPILED!r} if '--compile' in sys.argv else None\n"
            "print(json.dumps(figures))\n"
        )
        self.app.state.helper = fake_helper(inspect or fake)
        self.screen = ConfigureScreen(debounce_seconds=0)
        self.app.built["configure"] = self.screen
        self.launched: list[LaunchRequest] = []
        self.said: list[str] = []
        self.app.launch = self._launch  # type: ignore[method-assign, assignment]
        notify = self.app.notify

        def remember(message: str, **options: Any) -> None:
            # Whether the check is still going on when F5 is pressed is a matter of speed.
            if message != CHECKING:
                self.said.append(message)
            notify(message, **options)

        self.app.notify = remember  # type: ignore[method-assign]

    def _launch(self, request: LaunchRequest) -> bool:
        self.launched.append(request)
        return True

    async def open(self, pilot: Pilot[None], path: Path | None = None, **options: Any) -> None:
        """Show the screen with a document."""
        await self.app.switch_mode("configure")
        self.screen.edit(path if path or options.get("fork") else self.file, **options)
        # Private: a document that is still to be opened shows nowhere.
        await until(pilot, lambda: self.screen._request is None and not self.busy)
        await pilot.pause()

    @property
    def busy(self) -> bool:
        return any(worker.group in ("open", "asking") for worker in self.app.workers if not worker.is_finished)

    @property
    def form(self) -> ConfigForm:
        return self.screen.query_one(ConfigForm)

    @property
    def editor(self) -> YamlEditor:
        return self.screen.query_one(YamlEditor)

    def row(self, path: str) -> FieldRow:
        return next(row for row in self.form.rows() if row.setting.path == path)

    async def type(self, pilot: Pilot[None], path: str, text: str) -> None:
        """Replace a field's text as a person would."""
        assert await self.form.focus_path(path)
        await pilot.pause()
        control = self.row(path).control
        assert isinstance(control, TextField)
        await pilot.press("enter")
        if text:
            await pilot.press(*(KEYS.get(letter, letter) for letter in text))
        else:
            await pilot.press("ctrl+u")
        await settle(pilot, self)

    def text(self) -> str:
        """All that is drawn."""
        return "\n".join(strip.text for strip in strips(self.app.screen))


KEYS = {
    ".": "full_stop",
    "-": "minus",
    "_": "underscore",
    "$": "dollar_sign",
    " ": "space",
    ":": "colon",
    "[": "left_square_bracket",
    "/": "slash",
}
KEY_CHARACTERS = {name: letter for letter, name in KEYS.items()} | {"space": " "}


async def until(pilot: Pilot[None], condition: Callable[[], Any], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await pilot.pause(0.01)


async def settle(pilot: Pilot[None], console: Console) -> None:
    """Wait until validation has looked at the newest text."""
    await pilot.pause()
    # Private: a validation that is still to come shows nowhere.
    await until(pilot, lambda: console.screen._timer is None)
    await pilot.pause()


@pytest.mark.parametrize("size", SIZES)
async def test_a_value_set_in_the_form_changes_the_yaml_and_the_other_way_round(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=size) as pilot:
        await console.open(pilot)
        await console.type(pilot, "train.steps", "3000")
        assert console.screen.document.text == SMALL.replace("2000", "3000")
        assert console.editor.text == SMALL.replace("2000", "3000")
        assert "train.steps" in console.text()
        console.editor.replace("8", (4, 14), (4, 15))
        await settle(pilot, console)
        assert console.screen.document.text == SMALL.replace("2000", "3000").replace("batch_size: 4", "batch_size: 8")
        assert console.row("train.batch_size").control.value == "8"


async def test_only_enter_or_a_click_begins_an_edit_and_what_leaves_the_field_ends_it(tmp_path: Path) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot)
        assert await console.form.focus_path("train.batch_size")
        await pilot.pause()
        control = console.row("train.batch_size").control
        assert isinstance(control, TextField)
        for entry in (one for one in SCREENS if one.keys):
            await pilot.press(entry.keys)
            await until(pilot, lambda mode=entry.mode: console.app.current_mode == mode)
            await pilot.press("2")
            await until(pilot, lambda: console.app.screen is console.screen)
            assert console.screen.focused is control
        console.app.post_message(Paste("x"))
        await pilot.press("x", "backspace", "delete", "ctrl+u", "ctrl+k", "space")
        await settle(pilot, console)
        assert (control.value, console.screen.document.text) == ("4", SMALL)
        # The whole value is selected: what is typed replaces it, and an arrow keeps it.
        await pilot.press("enter", "8", "enter", "enter", "right", "1", "enter")
        await settle(pilot, console)
        assert console.screen.document.text == SMALL.replace("size: 4", "size: 81")
        assert console.form.current == "train.batch_size"
        await pilot.press("4")
        await until(pilot, lambda: console.app.current_mode == "run")
        await pilot.press("2")
        await until(pilot, lambda: console.app.screen is console.screen)
        # A launch ends the edit: a digit typed after it leads to a screen.
        await pilot.press("enter", "9", "f5")
        await until(pilot, lambda: isinstance(console.app.screen, Choose))
        await pilot.press("escape")
        await until(pilot, lambda: console.app.screen is console.screen)
        await pilot.press("1")
        await until(pilot, lambda: console.app.current_mode == "home")
        await pilot.press("2")
        await until(pilot, lambda: console.app.screen is console.screen)
        assert console.screen.document.text == SMALL.replace("size: 4", "size: 9")
        await pilot.press("enter", "7", "escape")
        await settle(pilot, console)
        assert (control.value, control.is_editing) == ("9", False)
        assert console.screen.focused is control
        assert await pilot.click(control, offset=(0, 0))
        # A terminal window that loses the focus and gets it back leaves the edit as it was.
        for event in (AppBlur(), AppFocus()):
            console.app.post_message(event)
            await pilot.pause()
        console.app.post_message(Paste("5\n6"))
        await pilot.press("up")
        await settle(pilot, console)
        assert console.screen.document.text == SMALL.replace("size: 4", "size: 5"), "the first line of a paste"
        assert not control.is_editing


MOVES = ("up", "down", "left", "right", "tab", "shift+tab", "home", "end", "pageup", "pagedown", "f4", "ctrl+f")
EDITS = ("space", "backspace", "delete", "ctrl+u", "ctrl+k", "ctrl+w", "ctrl+x", "ctrl+v", "ctrl+z", "ctrl+y")
PRESSES = (
    *MOVES,
    *MOVES,
    *EDITS,
    "escape",
    "f7",
    "f10",
    "minus",
    "full_stop",
    "slash",
    *"22222",
    *"01345",
    *"axvekynd",
)


@hypothesis_settings(deadline=None, max_examples=2, suppress_health_check=list(HealthCheck))
@given(pressed=st.lists(st.sampled_from(PRESSES), min_size=60, max_size=90))
async def test_no_keys_without_enter_change_a_setting(tmp_path_factory: Any, pressed: list[str]) -> None:
    console = Console(tmp_path_factory.mktemp("keys"))
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot, overrides=("optim.lr=1",))
        await console.form.focus_path("train.batch_size")
        for key in pressed:
            console.app.post_message(Key(key, KEY_CHARACTERS.get(key, key if len(key) == 1 else None)))
        console.app.post_message(Paste("7"))
        # Private: keys that are still to take effect show nowhere.
        await until(pilot, lambda: not console.app._keys._waiting and not console.app.message_queue_size)
        await pilot.pause()
        assert (console.screen.document.text, console.screen.document.overrides) == (SMALL, ("optim.lr=1",))
        assert list(console.editor.document.lines) == SMALL.split("\n")


@pytest.mark.parametrize(
    ("text", "current", "shown", "best"),
    [
        ("", "hf", ["stdlib", "files", "hf", "stdlib", "tokens"], "hf"),
        ("", "", ["stdlib", "files", "hf", "stdlib", "tokens"], ""),
        ("T", "hf", ["stdlib", "stdlib", "tokens"], "tokens"),
        ("lib", "hf", ["stdlib", "stdlib"], ""),
        ("def", "hf", ["stdlib"], ""),
        ("x", "hf", [], None),
    ],
)
def test_a_list_finds_what_is_typed(text: str, current: str, shown: list[str], best: str | None) -> None:
    options = [Option("", "stdlib", "default"), *(Option(word, word) for word in ("files", "hf", "stdlib", "tokens"))]
    found_options, at = found(options, text, current)
    assert [option.label for option in found_options] == shown
    assert (None if at is None else found_options[at].value) == best


LONG = "/data/corpora/a-long-name-of-a-folder/another-long-name/of-a-folder/part-*.parquet"


async def test_settings_that_the_run_does_not_read_are_folded_away_and_long_values_are_whole_while_edited(
    tmp_path: Path,
) -> None:
    console = Console(tmp_path, f"{SMALL}data:\n  packing_mode: sequential\n  backend: stdlib\n  tokens_path: {LONG}\n")
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot)

        def shown() -> set[str]:
            return {row.setting.path.rpartition(".")[2] for row in console.form.rows()}

        def drawn(path: str) -> str:
            region = console.row(path).region
            return "\n".join(
                line[region.x : region.right] for line in console.text().splitlines()[region.y : region.bottom]
            )

        await console.form.focus_path("data.tokens_path")
        await pilot.pause()
        # What is written stays in sight, and loses its middle.
        assert {"backend", "tokens_path", "eval_files"} <= shown()
        assert not shown() & {"hf_dataset", "files", "text_key"}
        assert " not read, a shows them " in console.text()
        listing = console.form.query_one("#sections", OptionList)
        rules = {"optim.adam", "optim.lion", "optim.muon"}
        assert {option.id for option in listing.options} & rules == {"optim.adam", "optim.muon"}
        before = drawn("data.tokens_path")
        assert before.count("\n") == 0
        assert before.rstrip().endswith("not read")
        assert "/data/" in before
        assert "…" in before
        assert "parquet" in before
        await pilot.press("enter")
        await until(pilot, lambda: LONG in "".join(line.strip() for line in drawn("data.tokens_path").splitlines()[1:]))
        await pilot.press("escape")
        await until(pilot, lambda: drawn("data.tokens_path") == before)
        await pilot.press("a")
        await until(pilot, lambda: {"hf_dataset", "files", "text_key"} <= shown())
        assert "optim.lion" in {option.id for option in console.form.query_one("#sections", OptionList).options}
        await pilot.press("a")
        await until(pilot, lambda: not shown() & {"hf_dataset", "files"})
        # A choice shows the settings that it needs, valid or not.
        console.editor.load_text(f"{SMALL}data:\n  backend: files\n")
        await settle(pilot, console)
        assert {"files", "text_key"} <= shown()
        assert "hf_dataset" not in shown()
        # One that is named is shown, read or not.
        await console.screen.go_to("data.hf_name")
        await until(pilot, lambda: console.form.current == "data.hf_name")
        await pilot.press("a", "ctrl+f", *"optim.name", "enter", *"lion", "enter")
        await settle(pilot, console)
        assert "optim.lion" in {option.id for option in console.form.query_one("#sections", OptionList).options}
        console.form.query_one("#find").focus()
        await pilot.press("escape")
        await until(pilot, lambda: "hf_name" not in shown() and "backend" in shown())


async def test_one_history_spans_form_and_yaml(tmp_path: Path) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot)
        await console.type(pilot, "train.steps", "3000")
        await pilot.press("tab")
        console.editor.replace("8", (4, 14), (4, 15))
        await settle(pilot, console)
        await console.type(pilot, "train.steps", "4000")
        await pilot.press("enter")
        texts = [console.screen.document.text]
        for _ in range(3):
            await pilot.press("ctrl+z")
            await pilot.pause()
            texts.append(console.screen.document.text)
            assert console.editor.text == texts[-1]
        form, both = SMALL.replace("2000", "3000"), SMALL.replace("2000", "3000").replace("size: 4", "size: 8")
        assert texts == [both.replace("3000", "4000"), both, form, SMALL]
        control = console.row("train.steps").control
        assert control.value == "2000"
        await pilot.press("ctrl+y", "ctrl+y", "ctrl+y")
        await pilot.pause()
        assert console.screen.document.text == texts[0]
        assert control.value == "4000"


async def test_every_kind_of_control_writes_its_value(tmp_path: Path) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot)

        async def pick(path: str, *keys: str) -> None:
            await console.form.focus_path(path)
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(console.app.screen, Picker))
            await pilot.press(*keys)
            await until(pilot, lambda: console.app.screen is console.screen)
            await settle(pilot, console)

        await console.form.focus_path("train.allow_cpu")
        await pilot.press("enter")
        await pick("optim.name", *"li", "enter")
        await pick("data.packing_mode", "down", "down", "enter")
        await console.type(pilot, "train.generate_prompts", "a,b c")
        await console.type(pilot, "logging.wandb.run_name", "yes")
        await pilot.press("enter")
        await settle(pilot, console)
        loaded = console.screen.document.check().loaded
        assert loaded is not None
        config = loaded.config
        assert (config.train.allow_cpu, config.optim.name, config.data.packing_mode) == (True, "lion", "bin")
        assert (config.train.generate_prompts, config.logging.wandb.run_name) == (["a", "b c"], "yes")
        # A list opens on the current value.
        text = console.screen.document.text
        await pick("optim.name", "enter")
        await pick("data.packing_mode", "escape")
        assert console.screen.document.text == text
        await pick("optim.name", *"default", "enter")
        assert "optim" not in console.screen.document.text
        control = console.row("optim.name").control
        assert (control.value, control.shown) == ("", "muon")


async def test_a_switch_is_turned_by_one_key_or_a_click_and_can_be_left_at_its_default(tmp_path: Path) -> None:
    console = Console(tmp_path, SMALL.replace("steps: 2000", "allow_cpu: yes\n  steps: 2000"))
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot)

        async def after(path: str, *keys: str) -> tuple[str, object, bool]:
            """What is drawn in its row, its value, and whether the file says so."""
            await console.form.focus_path(path)
            await pilot.press(*keys)
            await settle(pilot, console)
            loaded, row = console.screen.document.check().loaded, console.row(path)
            assert loaded is not None
            assert isinstance(row.control, Toggle)
            section, _, name = path.partition(".")

            def drawn() -> list[str]:
                fields = [line.split("│")[2] for line in console.text().splitlines() if line.count("│") > 2]
                return [line.split(f" {name} ")[1].strip(" ▁▂▃▄▅▆▇█") for line in fields if f" {name} " in line]

            # It may have to be scrolled into view.
            await until(pilot, drawn)
            return drawn()[0], getattr(getattr(loaded.config, section), name), row.view.is_set

        path = "train.allow_cpu"
        assert await after(path) == ("[x] on", True, True)
        assert await after(path, "enter") == ("[ ] off", False, True)
        assert await after(path, "enter") == ("[x] on", True, True)
        assert await after(path, "space", "right", "up", "down", "delete") == ("[x] on", True, True)
        assert await after(path, "enter", "delete") == ("[ ] off", False, False)
        assert await pilot.click(console.row(path).control)
        assert await after(path) == ("[x] on", True, True)
        # Three values: neither on nor off is the default.
        path = "train.deterministic"
        assert await after(path) == ("[–] auto (=true)", None, False)
        assert await after(path, "enter") == ("[x] on", True, True)
        assert await after(path, "enter") == ("[ ] off", False, True)
        assert await after(path, "backspace") == ("[–] auto (=true)", None, False)
        # A variable is shown with its value, and gives way.
        console.editor.load_text("data:\n  packing_mode: sequential\n  shuffle: $variables.s\nvariables: {s: off}\n")
        await settle(pilot, console)
        assert await after("data.shuffle") == ("[ ] off  $variables… = false", False, True)
        assert await after("data.shuffle", "enter") == ("[x] on", True, True)
        assert "shuffle: true\n" in console.screen.document.text


async def test_an_emptied_field_is_the_default_once_it_is_left_and_a_reference_gives_way(tmp_path: Path) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot)
        await console.type(pilot, "train.batch_size", "")
        assert console.screen.document.text == SMALL
        await pilot.press("tab")
        await settle(pilot, console)
        assert console.screen.document.text == SMALL.replace("  batch_size: 4\n", "")
        control = console.row("train.batch_size").control
        assert (control.value, control.shown) == ("", "8")
        await pilot.press("ctrl+z")
        await settle(pilot, console)
        assert console.screen.document.text == SMALL
        view = console.row("train.seq_len").view
        assert (view.text, view.resolved) == ("$variables.n", "64")
        assert "= 64" in console.text()
        await console.type(pilot, "variables.n", "128")
        assert console.screen.document.text == SMALL.replace("{n: 64}", "{n: 128}")
        await console.type(pilot, "train.seq_len", "32")
        assert console.screen.document.text == SMALL.replace("{n: 64}", "{n: 128}").replace("$variables.n", "32")


async def test_a_problem_stands_at_its_field_in_the_yaml_and_in_the_headline(tmp_path: Path) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot)
        assert "✓ valid" in console.text()
        await console.type(pilot, "train.steps", "minus")
        row = console.row("train.steps")
        assert "expected a whole number" in row.view.problems[0]
        assert row.has_class("-wrong")
        drawn = console.text()
        assert "✗ 1 problem" in drawn
        assert drawn.count("expected a whole number, got the text 'minus'") >= 2
        assert any("3✗" in line for line in drawn.splitlines())
        assert any("✗ 3 train.steps " in line for line in drawn.splitlines())
        problems = console.screen.query_one("#problems", OptionList)
        problems.focus()
        await pilot.press("enter")
        assert console.editor.has_focus
        assert console.editor.cursor_location[0] == 2
        await console.type(pilot, "train.steps", "5000")
        assert not problems.display
        assert "✓ valid" in console.text()


async def test_broken_yaml_tells_line_and_column_and_the_form_keeps_the_last_state(tmp_path: Path) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot)
        before = [row.view for row in console.form.rows()]
        console.editor.insert("\n  x: 'never closed", (4, 15))
        await settle(pilot, console)
        assert [row.view for row in console.form.rows()] == before
        assert console.form.has_class("-stale")
        assert console.form.query_one("#fields").disabled
        drawn = console.text()
        # The text ends at line 8 with the quote still open.
        assert any("✗ 8:1 not valid YAML: a quote" in line for line in drawn.splitlines())
        assert any("8✗" in line for line in drawn.splitlines())
        assert "the last version that could be read" in " ".join(drawn.split())
        assert console.file.read_text() == SMALL
        await pilot.press("f5")
        await until(pilot, lambda: console.said)
        assert "not started" in console.said[0]
        assert not console.launched
        await pilot.press("ctrl+z")
        await settle(pilot, console)
        assert not console.form.has_class("-stale")
        assert console.screen.document.text == SMALL


async def test_saving_keeps_comments_and_asks_before_it_overwrites_a_changed_file(tmp_path: Path) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(80, 24)) as pilot:
        await console.open(pilot)
        await console.type(pilot, "train.steps", "3000")
        assert console.screen.draft.has_unsaved
        assert "●" in console.text()
        await pilot.press("ctrl+s")
        await until(pilot, lambda: not console.screen.draft.has_unsaved)
        assert console.file.read_text() == SMALL.replace("2000", "3000")
        await console.type(pilot, "train.steps", "4000")
        console.file.write_text("# another program\n")
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(console.app.screen, Choose))
        await until(pilot, lambda: "small.yaml changed on disk" in console.text())
        assert "-# another program" in console.text()
        # The answer that is selected first writes nothing.
        await pilot.press("enter")
        await pilot.pause()
        assert console.file.read_text() == "# another program\n"
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(console.app.screen, Choose))
        await pilot.press("o")
        await until(pilot, lambda: not console.screen.draft.has_unsaved)
        assert console.file.read_text() == SMALL.replace("2000", "4000")
        console.said.clear()
        await console.type(pilot, "train.steps", "5000")
        shutil.rmtree(tmp_path / "configs")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: console.said)
        assert "cannot be written: No such file or directory" in console.said[0]
        assert console.screen.draft.has_unsaved


async def test_save_as_refuses_bad_names_and_confirms_replacing(tmp_path: Path) -> None:
    console = Console(tmp_path)
    other = tmp_path / "configs" / "other.yaml"
    other.write_text("# other\n")
    async with console.app.run_test(size=(80, 24)) as pilot:
        await console.open(pilot)
        await pilot.press("f3")
        await until(pilot, lambda: isinstance(console.app.screen, Ask))
        field = console.app.screen.query_one(Input)
        for bad, sentence in (("", "needed"), ("a.txt", ".yaml"), ("/no/such/x.yaml", "no folder")):
            field.value = bad
            await pilot.press("enter")
            assert sentence in console.text()
        field.value = str(other)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(console.app.screen, Choose))
        await pilot.press("n")
        await pilot.pause()
        assert other.read_text() == "# other\n"
        await pilot.press("f3")
        await until(pilot, lambda: isinstance(console.app.screen, Ask))
        console.app.screen.query_one(Input).value = str(tmp_path / "configs" / "new.yaml")
        await pilot.press("enter")
        await until(pilot, lambda: console.screen.document.path == tmp_path / "configs" / "new.yaml")
        assert (tmp_path / "configs" / "new.yaml").read_text() == SMALL


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
async def test_every_configuration_is_opened_edited_and_saved_by_one_value(tmp_path: Path, file: Path) -> None:
    text = file.read_text()
    console = Console(tmp_path, text)
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot)
        assert "✓ valid" in console.text()
        span = read_layout(text).places["optim.warmup_steps"].value
        await console.type(pilot, "optim.warmup_steps", "3")
        await pilot.press("f2")
        await until(pilot, lambda: not console.screen.draft.has_unsaved)
        saved = console.file.read_bytes().decode()
        assert saved == text[: span.start] + "3" + text[span.end :]
        assert read_yaml(saved, "saved").values["optim"]["warmup_steps"] == 3


async def test_crlf_survives_typing_in_the_editor_which_has_colours(tmp_path: Path) -> None:
    text = SMALL.replace("\n", "\r\n")
    console = Console(tmp_path, text)
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot)
        assert console.editor.is_syntax_aware
        console.editor.focus()
        console.editor.move_cursor((4, 15))
        await pilot.press("x", "enter")
        await pilot.press("enter", "s", "e", "e", "d", "colon", "space", "1")
        await settle(pilot, console)
        assert console.screen.document.text == text.replace("size: 4\r\n", "size: 4\r\n  seed: 1\r\n")


async def test_the_diff_shows_what_differs_and_the_overrides(tmp_path: Path) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot, overrides=("optim.lr=1",))
        await console.type(pilot, "train.steps", "3000")
        await pilot.press("f7")
        await pilot.pause()
        assert isinstance(console.app.screen, Read)
        drawn = console.text()
        assert "-  steps: 2000" in drawn
        assert "+  steps: 3000" in drawn
        assert "-o optim.lr=1" in drawn


@pytest.mark.parametrize("has_file", [True, False])
async def test_a_diff_without_a_difference_is_a_message(has_file: bool, tmp_path: Path) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(120, 40)) as pilot:
        if has_file:
            await console.open(pilot)
        else:
            await console.app.switch_mode("configure")
            await until(pilot, lambda: console.screen.is_ready)
        await pilot.press("f7")
        await until(pilot, lambda: console.said)
        assert console.said == [f"nothing differs: the text is as it {'is on disk' if has_file else 'began'}"]
        assert console.app.screen is console.screen
        await console.type(pilot, "train.steps", "3000")
        await pilot.press("f7")
        await until(pilot, lambda: isinstance(console.app.screen, Read))
        await until(pilot, lambda: f"--- as it {'is on disk' if has_file else 'began'}" in console.text())


async def test_finding_shows_settings_of_all_sections(tmp_path: Path) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(80, 24)) as pilot:
        await console.open(pilot)
        await pilot.press("ctrl+f", "w", "a", "r", "m", "u", "p", "underscore")
        await pilot.pause()
        assert [row.setting.path for row in console.form.rows()][:1] == ["optim.warmup_steps"]
        # With nothing to find, the section that was open is there again.
        await pilot.press("ctrl+u")
        await until(pilot, lambda: [row.setting.path for row in console.form.rows()][:1] == ["train.seed"])
        await pilot.press("w", "a", "r", "m", "u", "p", "underscore")
        await until(pilot, lambda: [row.setting.path for row in console.form.rows()][:1] == ["optim.warmup_steps"])
        await pilot.press("enter", "7", "enter")
        await settle(pilot, console)
        assert "warmup_steps: 7" in console.screen.document.text
        assert console.form.current == "optim.warmup_steps"
        await pilot.press("escape")
        await until(pilot, lambda: not console.form.has_class("-finding"))
        # The setting that had the cursor keeps it, in its section.
        await until(pilot, lambda: console.form.current == "optim.warmup_steps")
        assert console.form.rows()[0].setting.path == "optim.name"


async def test_escape_goes_out_one_layer_at_a_time_and_edits_stay(tmp_path: Path) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(80, 24)) as pilot:
        await console.open(pilot)
        await console.type(pilot, "train.steps", "3000")
        await pilot.press("f4")
        await pilot.pause()
        assert console.editor.has_focus
        assert console.editor.cursor_location[0] == 2
        await pilot.press("escape")
        await pilot.pause()
        assert console.screen.focused is console.form.query_one("#sections")
        await pilot.press("escape")
        await pilot.pause()
        assert console.app.screen is console.app.screen_of("home")
        await pilot.press("2")
        await pilot.pause()
        assert console.screen.document.text == SMALL.replace("2000", "3000")


async def test_another_file_is_opened_after_a_question_about_unsaved_changes(tmp_path: Path) -> None:
    console = Console(tmp_path)
    (tmp_path / "configs" / "another.yaml").write_text("train:\n  steps: 9000\n")
    async with console.app.run_test(size=(80, 24)) as pilot:
        await console.open(pilot)
        await console.type(pilot, "train.steps", "3000")
        await pilot.press("f6")
        await until(pilot, lambda: isinstance(console.app.screen, OpenList) and bool(console.app.screen.query(Listing)))
        await until(pilot, lambda: "another.yaml" in console.text())
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(console.app.screen, Choose))
        await pilot.press("n")
        await until(pilot, lambda: not console.busy)
        assert console.screen.document.path == console.file
        await pilot.press("f6")
        await until(pilot, lambda: isinstance(console.app.screen, OpenList) and bool(console.app.screen.query(Listing)))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(console.app.screen, Choose))
        await pilot.press("y")
        await until(pilot, lambda: console.screen.document.name.endswith("another.yaml"))
        await until(pilot, lambda: not console.busy)
        assert console.editor.text == "train:\n  steps: 9000\n"


async def test_any_of_a_thousand_past_runs_is_found_by_a_part_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(tmp_path)
    past = make_run(tmp_path, SMALL.replace("2000", "7000"))
    for number in range(1000):
        other = tmp_path / "runs" / f"other-{number:03d}"
        other.mkdir()
        (other / "events.jsonl").touch()
    # The one that is wanted is the oldest.
    os.utime(past / "events.jsonl", (1, 1))
    async with console.app.run_test(size=(80, 24)) as pilot:
        await console.open(pilot)
        await pilot.press("f6")
        await until(pilot, lambda: isinstance(console.app.screen, OpenList) and bool(console.app.screen.query(Listing)))
        listing = console.app.screen.query_one(Listing)
        assert (len(listing.keys), listing.keys[0], listing.keys[-1]) == (1002, str(console.file), str(past))
        assert "▸ file  small.yaml" in console.text()
        await pilot.press("end")
        assert "▸ run   past-20260101-000000" in console.text()
        await pilot.press("slash", *"OTHER-99")
        await pilot.pause()
        assert len(listing.keys) == 10
        # Private: what is drawn again looks as it did before.
        drawn, line = [], Listing._line

        def count(self: Listing, *args: Any, **options: Any) -> Any:
            drawn.append(self)
            return line(self, *args, **options)

        monkeypatch.setattr(Listing, "_line", count)
        await pilot.press(*["backspace"] * 8, *"past")
        await pilot.pause()
        # Twelve keys, of which each draws what is in sight and not a thousand rows.
        assert 0 < len(drawn) < 12 * 3 * 16
        assert listing.keys == [str(past)]
        # Back shows all again, the next one closes.
        await pilot.press("escape")
        assert len(listing.keys) == 1002
        await pilot.press("slash", *"past", "enter", "enter")
        await until(pilot, lambda: console.screen.document.name == "copy of past-20260101-000000")
        await until(pilot, lambda: not console.busy)
        assert console.screen.document.text == SMALL.replace("2000", "7000")
        await pilot.press("f6")
        await until(pilot, lambda: isinstance(console.app.screen, OpenList) and bool(console.app.screen.query(Listing)))
        await pilot.press("escape")
        await until(pilot, lambda: console.app.screen is console.screen)


# Figures -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
async def test_figures_come_from_the_child_and_wait_while_there_are_problems(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=size) as pilot:
        await console.open(pilot)
        await until(pilot, lambda: console.screen.preflight.limit is not None)
        await pilot.press("f4", "f4")
        await pilot.pause()
        drawn = console.text()
        for part in ("681,664", "! tight", "80% of 1.2 KiB", "up to date", "learning rate", "about"):
            assert part in drawn, part
        await console.type(pilot, "train.steps", "minus")
        report = console.screen.preflight
        assert (report.state, report.is_outdated) == ("waiting", True)
        assert console.screen.query_one("#pf-body").styles.opacity == OUTDATED_OPACITY
        await console.type(pilot, "train.steps", "5000")
        await until(pilot, lambda: console.screen.preflight.state == "done")


async def test_colour_is_never_the_only_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(tmp_path)
    async with console.app.run_test(size=(80, 24)) as pilot:
        await console.open(pilot)
        await console.type(pilot, "train.steps", "minus")
        drawn = console.text()
        for sign in ("✗ 1 problem", "✗", "◆", "●"):
            assert sign in drawn
        await pilot.press("f4")
        await pilot.pause()
        assert "3✗" in console.text()


async def test_text_of_a_file_is_shown_literally(tmp_path: Path) -> None:
    console = Console(tmp_path, 'logging:\n  run_dir: "[red]x[/red]\\e[31m"\n  "[b]no[/b]": 1\n')
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot)
        assert "logging.[b]no[/b]" in console.text()
        await console.form.focus_path("logging.run_dir")
        await pilot.pause()
        assert "\x1b" not in console.text()


# Launching -----------------------------------------------------------------------------


async def test_a_saved_file_is_launched_as_it_is(tmp_path: Path) -> None:
    console = Console(tmp_path)
    console.app.state.environment["XLA_FLAGS"] = "--xla_x=1"
    async with console.app.run_test(size=(80, 24)) as pilot:
        await console.open(pilot, overrides=("optim.lr=1",))
        await pilot.press("f5")
        await until(pilot, lambda: console.launched)
        request = console.launched[0]
        assert request.run_dir.parent == tmp_path / "runs"
        assert request.run_dir.name.startswith("small-")
        assert (request.config, request.overrides, request.resume) == (console.file, ("optim.lr=1",), "none")
        assert request.environment == {"XLA_FLAGS": "--xla_x=1"}


@pytest.mark.parametrize(("key", "saved"), [("s", True), ("a", False)])
async def test_unsaved_changes_are_saved_or_kept_with_the_run(tmp_path: Path, key: str, saved: bool) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(80, 24)) as pilot:
        await console.open(pilot, run_dir=tmp_path / "runs" / "mine")
        await console.type(pilot, "train.steps", "3000")
        new = SMALL.replace("2000", "3000")
        await pilot.press("f5")
        await until(pilot, lambda: isinstance(console.app.screen, Choose))
        await pilot.press(key)
        await until(pilot, lambda: console.launched)
        request = console.launched[0]
        assert request.run_dir == tmp_path / "runs" / "mine"
        assert request.config is not None
        assert request.config.read_text() == new
        assert request.config == (console.file if saved else RunDir(request.run_dir).config_original)
        assert console.file.read_text() == (new if saved else SMALL)
        # The run holds the text, so leaving loses nothing; the file still differs.
        await until(pilot, lambda: not console.screen.draft.has_unsaved)
        await pilot.press("ctrl+z")
        assert console.said[-1] == "nothing to undo since the last launch"
        assert console.screen.document.text == new
        assert console.screen.document.is_modified is not saved


async def test_what_is_typed_while_the_start_is_checked_answers_the_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(80, 24)) as pilot:
        await console.open(pilot)
        await console.type(pilot, "train.steps", "3000")
        check = console.screen.check_start

        async def slow(loaded: LoadedConfig) -> Report:
            await asyncio.sleep(0.5)
            return await check(loaded)

        monkeypatch.setattr(console.screen, "check_start", slow)
        # "a" also shows all settings of the form.
        await pilot.press("f5", "a")
        await until(pilot, lambda: console.launched)
        assert console.launched[0].config == RunDir(console.launched[0].run_dir).config_original
        assert not console.form.border_subtitle or "a hides" not in console.form.border_subtitle
        # Then keys act on the screen again.
        await pilot.press("1")
        await until(pilot, lambda: console.app.screen is console.app.screen_of("home"))


async def test_launching_can_be_given_up_and_invalid_files_are_refused_at_their_field(tmp_path: Path) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(80, 24)) as pilot:
        await console.open(pilot)
        await console.type(pilot, "train.steps", "minus")
        console.form.focus_sections()
        await pilot.press("f5")
        await until(pilot, lambda: console.said)
        assert "train.steps" in console.said[-1]
        assert console.form.current == "train.steps"
        await console.type(pilot, "train.steps", "3000")
        await pilot.press("f5")
        await until(pilot, lambda: isinstance(console.app.screen, Choose))
        await pilot.press("escape")
        await until(pilot, lambda: not console.busy)
        assert not console.launched
        assert not list((tmp_path / "runs").iterdir())


async def test_start_launches_at_once_and_a_run_resumed_without_a_file_keeps_its_settings(tmp_path: Path) -> None:
    console = Console(tmp_path)
    past = make_run(tmp_path, SMALL, ("train.seed=5",))
    async with console.app.run_test(size=(80, 24)) as pilot:
        await console.open(pilot, start=True, resume="latest", run_dir=tmp_path / "runs" / "mine")
        await until(pilot, lambda: console.launched and not console.busy)
        assert (console.launched[0].resume, console.launched[0].run_dir) == ("latest", tmp_path / "runs" / "mine")
        console.screen.edit(None, resume="latest", run_dir=past, overrides=("train.steps=777",), start=True)
        await until(pilot, lambda: len(console.launched) == 2)
        request = console.launched[1]
        assert (request.resume, request.run_dir) == ("latest", past)
        overrides = ("train.seed=5", "train.steps=777")
        loaded = load_config(request.config, request.overrides)
        assert loaded.config == load_config(tmp_path / "original.yaml", overrides).config


async def test_a_directory_that_holds_a_run_is_asked_about(tmp_path: Path) -> None:
    console = Console(tmp_path)
    taken = tmp_path / "runs" / "taken"
    RunDir(taken).checkpoints.mkdir(parents=True)
    async with console.app.run_test(size=(80, 24)) as pilot:
        await console.open(pilot, run_dir=taken)
        await pilot.press("f5")
        await until(pilot, lambda: isinstance(console.app.screen, Choose))
        await until(pilot, lambda: "already holds a run" in console.text())
        await pilot.press("n")
        await until(pilot, lambda: console.launched)
        assert console.launched[0].run_dir != taken
        assert console.launched[0].resume == "none"


async def test_a_missing_file_is_one_sentence_and_a_read_only_console_starts_nothing(tmp_path: Path) -> None:
    console = Console(tmp_path)
    console.app.state.read_only = True
    async with console.app.run_test(size=(80, 24)) as pilot:
        await console.open(pilot, tmp_path / "configs" / "smal.yaml")
        assert "does not exist; did you mean" in console.said[0]
        await console.open(pilot)
        await pilot.press("f5")
        await until(pilot, lambda: len(console.said) == 2)
        assert "read-only" in console.said[1]
        assert not console.launched


# Runs and forks ------------------------------------------------------------------------


def make_run(folder: Path, text: str, overrides: tuple[str, ...] = (), step: int = 20) -> Path:
    """A run directory with one checkpoint, as an engine leaves it."""
    file = folder / "original.yaml"
    file.write_text(text)
    config = load_config(file, overrides).config
    run = RunDir(folder / "runs" / "past-20260101-000000")
    saved = run.checkpoints / str(step)
    saved.mkdir(parents=True)
    run.config_original.write_text(text)
    values = {**config.model_dump(), "derived": derived_section(derive(config))}
    run.config_resolved.write_text(json.dumps(values))
    identity = {**values, "data_fingerprint": {"kind": "stdlib"}, "tokenizer_digest": "abc"}
    (saved / "params").write_bytes(b"numbers")
    seal(saved, {"step": step, "identity": identity})
    run.events.write_text("")
    return run.path


async def test_a_past_run_is_the_base_of_a_new_one(tmp_path: Path) -> None:
    console = Console(tmp_path)
    past = make_run(tmp_path, SMALL, ("train.seed=5", "logging.wandb.tags=[a, 'b, c']"))
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot, past)
        assert console.screen.document.text == SMALL
        assert set(console.screen.document.overrides) == {"train.seed=5", 'logging.wandb.tags=[a, "b, c"]'}
        assert "-o train.seed=5" in console.text()
        assert not console.screen.draft.has_unsaved
        await pilot.press("f5")
        await until(pilot, lambda: console.launched)
        request = console.launched[0]
        assert request.run_dir.name.startswith("past-")
        assert request.run_dir != past
        assert request.config == RunDir(request.run_dir).config_original
        loaded = load_config(request.config, request.overrides)
        assert (
            loaded.config
            == load_config(tmp_path / "original.yaml", ("train.seed=5", "logging.wandb.tags=[a, 'b, c']")).config
        )


async def test_a_run_without_its_file_is_written_out(tmp_path: Path) -> None:
    console = Console(tmp_path)
    past = make_run(tmp_path, SMALL, ("optim.lr=2e-5", "data.tokenizer.add_bos=true"))
    RunDir(past).config_original.unlink()
    async with console.app.run_test(size=(80, 24)) as pilot:
        await console.open(pilot, past)
        loaded = console.screen.document.check().loaded
        assert loaded is not None
        expected = load_config(tmp_path / "original.yaml", ("optim.lr=2e-5", "data.tokenizer.add_bos=true"))
        assert loaded.config == expected.config


async def test_a_fork_says_what_may_change_and_launches_with_what_was_accepted(tmp_path: Path) -> None:
    console = Console(tmp_path)
    past = make_run(tmp_path, SMALL)
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot, fork=ForkOrigin(past, 20))
        drawn = console.text()
        assert "fork of past-20260101-000000 at step 20: no settings differ" in drawn
        assert "may change" in drawn
        assert "fixed" in drawn
        await console.type(pilot, "optim.lr", "5e-4")
        await console.type(pilot, "train.steps", "4000")
        assert "1 to confirm, 1 compatible" in console.text()
        await pilot.press("f5")
        await until(pilot, lambda: isinstance(console.app.screen, Choose))
        await until(pilot, lambda: "optim.lr" in console.text())
        await pilot.press("y")
        await until(pilot, lambda: console.launched)
        request = console.launched[0]
        assert (request.resume, request.accept) == ("20", ("optim.lr",))
        assert request.run_dir.name.startswith("past-fork-")
        assert request.config == RunDir(request.run_dir).config_original
        loaded = load_config(request.config, request.overrides)
        assert (loaded.config.optim.lr, loaded.config.train.steps) == (5e-4, 4000)
        assert (request.run_dir / "checkpoints" / "20" / "manifest.json").exists()


async def test_a_fork_tells_what_becomes_of_its_learning_rate(tmp_path: Path) -> None:
    note = "the learning rate keeps its schedule, which ends at step 2000"
    script = tmp_path / "continued.py"
    # As the engine answers: only a run that goes on from this checkpoint has such a note.
    script.write_text(
        "import json, sys\n"
        f"known = {str(Path('checkpoints') / '10')!r} in sys.argv[sys.argv.index('--continue') + 1]\n"
        f"print(json.dumps({FIGURES!r} | {{'notes': [{note!r}] if known else [], 'continues_from': 10}}))\n"
    )
    console = Console(tmp_path, inspect=script)
    past = make_run(tmp_path, SMALL, step=10)
    async with console.app.run_test(size=(200, 60)) as pilot:
        await console.open(pilot, fork=ForkOrigin(past, 10))
        await console.type(pilot, "train.steps", "4000")
        await settle(pilot, console)
        await until(pilot, lambda: "keeps its schedule" in console.text())
        chart = console.screen.query_one("#pf-schedule", LineChart)
        drawn = {line.name: (line.tone, list(line.x)) for line in chart.series}
        assert drawn == {"to step 10": ("dim", [1, 10]), "last": ("smooth", [20])}
        assert "learning rate, peak 0.001" in console.text()
        await pilot.press("f5")
        await until(pilot, lambda: isinstance(console.app.screen, Choose))
        await until(pilot, lambda: "keeps its schedule" in console.text())
        assert not console.launched
        await pilot.press("y")
        await until(pilot, lambda: console.launched)
        assert console.launched[0].accept == ()


async def test_what_the_engine_cannot_estimate_is_started_only_after_a_question(tmp_path: Path) -> None:
    script = tmp_path / "failing.py"
    script.write_text("import sys\nprint('error: out of luck', file=sys.stderr)\nsys.exit(1)\n")
    console = Console(tmp_path, inspect=script)
    async with console.app.run_test(size=(80, 24)) as pilot:
        await console.open(pilot)
        await until(pilot, lambda: "✓ valid  ✗ out of luck" in console.text())
        await pilot.press("f5")
        await until(pilot, lambda: isinstance(console.app.screen, Choose))
        await until(pilot, lambda: "out of luck" in console.text())
        await pilot.press("n")
        await until(pilot, lambda: not isinstance(console.app.screen, Choose))
        assert not console.launched
        await pilot.press("f5")
        await until(pilot, lambda: isinstance(console.app.screen, Choose))
        await pilot.press("y")
        await until(pilot, lambda: console.launched)


async def test_what_cannot_start_is_refused_and_leaves_no_run(tmp_path: Path) -> None:
    script = tmp_path / "refusing.py"
    problem = "no GPU was found and train.allow_cpu is false"
    start = {"problems": [problem], "warnings": ["the run reads the text about 90 times"]}
    script.write_text(
        "import json, os, sys\n"
        f"if os.path.exists({str(tmp_path / 'bad')!r}): print('error: no text at /x', file=sys.stderr); sys.exit(3)\n"
        f"print(json.dumps({FIGURES!r} | {{'start': {start!r}}}))\n"
        "sys.exit(4)\n"
    )
    console = Console(tmp_path, inspect=script)
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot)
        await until(pilot, lambda: f"✓ valid  ✗ cannot start: {problem}" in console.text())
        hints = str(console.screen.query_one("#pf-hints", Static).content)
        assert hints == f"✗ {problem}\n! the run reads the text about 90 times"
        for sentence in (problem, "no text at /x"):
            await pilot.press("f5")
            await until(pilot, lambda: isinstance(console.app.screen, Read))
            # A dialog is on the stack before it has its first layout.
            await until(pilot, lambda said=sentence: said in console.text())
            await pilot.press("escape")
            await until(pilot, lambda: not console.busy)
            (tmp_path / "bad").touch()
        assert not console.launched
        assert list((tmp_path / "runs").iterdir()) == []


async def test_a_fork_that_changes_a_shape_is_refused(tmp_path: Path) -> None:
    console = Console(tmp_path)
    past = make_run(tmp_path, SMALL)
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot, fork=ForkOrigin(past, 20))
        await console.type(pilot, "model.num_layers", "7")
        assert "1 cannot change" in console.text()
        await pilot.press("f5")
        await until(pilot, lambda: isinstance(console.app.screen, Read))
        await until(pilot, lambda: "model.num_layers" in console.text())
        await pilot.press("escape")
        await until(pilot, lambda: not console.busy)
        assert console.form.current == "model.num_layers"
        assert not console.launched
        assert [path.name for path in (tmp_path / "runs").iterdir()] == [past.name]


async def test_what_is_pressed_while_a_fork_is_made_makes_no_second_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(tmp_path)
    past = make_run(tmp_path, SMALL)
    may_go_on, made = threading.Event(), []

    def slow(run: RunDir, step: int, new: Path) -> RunDir:
        made.append(new)
        assert may_go_on.wait(20)
        return fork_run(run, step, new)

    monkeypatch.setattr(launching, "fork_run", slow)
    async with console.app.run_test(size=(80, 24)) as pilot:
        await console.open(pilot, fork=ForkOrigin(past, 20))
        await pilot.press("f5")
        await until(pilot, lambda: made)
        await pilot.press("f5", "f6", "f2", "f5")
        forking, *others = console.said
        assert forking.startswith("forking past-20260101-000000 at step 20 into ")
        assert others == ["one moment: the run is being prepared"] * 4
        assert console.app.screen is console.screen
        # Another run may be configured meanwhile; the launch leaves it as it is.
        console.screen.edit(console.file, run_dir=tmp_path / "runs" / "mine")
        await until(pilot, lambda: console.screen.document.path == console.file)
        may_go_on.set()
        await until(pilot, lambda: console.launched)
        await until(pilot, lambda: not console.busy)
        assert [request.run_dir for request in console.launched] == made
        assert sorted((tmp_path / "runs").iterdir()) == sorted([past, *made])
        # Once it is made, F5 is for the next one.
        await pilot.press("f5")
        await until(pilot, lambda: len(console.launched) == 2)
        assert (console.launched[1].resume, console.launched[1].run_dir) == ("none", tmp_path / "runs" / "mine")


async def test_a_key_before_the_form_is_there_is_not_typed_into_the_hidden_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    console, may_go_on = Console(tmp_path), threading.Event()
    read = OpenRequest.read

    def slow(request: OpenRequest) -> Draft:
        assert may_go_on.wait(20)
        return read(request)

    monkeypatch.setattr(OpenRequest, "read", slow)
    async with console.app.run_test(size=(80, 24)) as pilot:
        console.screen.edit(console.file)
        await console.app.switch_mode("configure")
        await pilot.press("s", "?")
        await until(pilot, lambda: isinstance(console.app.screen, HelpScreen))
        await pilot.press("escape")
        may_go_on.set()
        await until(pilot, lambda: console.screen.is_ready)
        assert console.form.rows()
        assert "No setting has that" not in console.text()


async def test_every_setting_has_a_field(tmp_path: Path) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(80, 24)) as pilot:
        await console.open(pilot)
        await pilot.press("a")
        listing = console.form.query_one("#sections", OptionList)
        shown = []
        for option in listing.options:
            assert option.id is not None
            await console.form.open_section(option.id)
            shown += [row.setting.path for row in console.form.rows()]
        assert shown[1:] == sorted(shown[1:], key=shown[1:].index)
        assert set(shown) == {"variables.n", *settings()}


async def test_the_editor_works_without_its_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Private: as if the optional package were not installed.
    monkeypatch.setattr("textual.widgets._text_area.TREE_SITTER", False)
    console = Console(tmp_path)
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot)
        assert not console.editor.is_syntax_aware
        await console.type(pilot, "train.steps", "3000")
        assert console.editor.text == SMALL.replace("2000", "3000")
