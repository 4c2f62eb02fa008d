"""Entries of tables in the form: evaluation sets and tasks, sources and stages of a mixture, by two keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from chomp_tui.screens.configure.picker import Picker
from chomp_tui.widgets.dialogs import Ask
from tests.console.test_configure import KEYS, SMALL, Console, settle, until

SIZES = [(80, 24), pytest.param((160, 48), marks=pytest.mark.soak)]


async def pick(pilot: Pilot[None], console: Console, key: str, word: str) -> None:
    """Press a key that opens a list, and take what has this word."""
    await pilot.press(key)
    await until(pilot, lambda: isinstance(console.app.screen, Picker))
    await pilot.press(*word, "enter")


async def add(pilot: Pilot[None], console: Console, kind: str, *names: str) -> None:
    """Add an entry as a person would; of several names, the last is accepted."""
    await pick(pilot, console, "n", kind)
    await until(pilot, lambda: isinstance(console.app.screen, Ask))
    for name in names:
        console.app.screen.query_one(Input).value = ""
        await pilot.press(*(KEYS.get(letter, letter) for letter in name), "enter")
    await until(pilot, lambda: console.app.screen is console.screen and not console.busy)
    await settle(pilot, console)


async def write(pilot: Pilot[None], console: Console, text: str) -> None:
    """Write into the setting that has the cursor."""
    await pilot.press("enter", *(KEYS.get(letter, letter) for letter in text), "enter")
    await settle(pilot, console)


@pytest.mark.parametrize("size", SIZES)
async def test_sets_and_tasks_are_added_written_and_removed(tmp_path: Path, size: tuple[int, int]) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=size) as pilot:
        await console.open(pilot)
        document = console.screen.document
        await add(pilot, console, "set", "a b", "wiki")
        assert console.form.current == "evaluation.sets.wiki.files"
        assert document.text == f"{SMALL}evaluation:\n  sets:\n    wiki:\n      files: []\n"
        assert "names no file" in console.text()
        await write(pilot, console, "texts")
        await add(pilot, console, "task", "wiki", "arc")
        assert console.form.current == "evaluation.tasks.arc.path"
        await write(pilot, console, "arc")
        whole = document.text
        assert document.check().loaded is not None
        assert document.check().loaded.config.evaluation.sets["wiki"].files == ["texts"]
        assert document.check().loaded.config.evaluation.tasks["arc"].path == "arc"
        assert console.editor.text == whole

        # The list opens on the entry that has the cursor.
        await pick(pilot, console, "d", "")
        await until(pilot, lambda: console.app.screen is console.screen and not console.busy)
        await settle(pilot, console)
        assert "arc" not in document.text
        assert document.text == f"{SMALL}evaluation:\n  sets:\n    wiki:\n      files: [texts]\n"
        assert console.said[-1] == "evaluation.tasks.arc is removed; Ctrl+Z brings it back"
        listing = console.form.query_one("#sections", OptionList)
        assert console.screen.focused is listing
        assert listing.highlighted_option is not None
        assert listing.highlighted_option.id == console.form.section == "evaluation"
        assert "n adds a set or a task, d removes one." in " ".join(console.text().split())
        await pilot.press("ctrl+z")
        await settle(pilot, console)
        assert document.text == whole
        # Adding an entry is one step, too: the value, the task, the value, the set.
        await pilot.press("ctrl+z", "ctrl+z", "ctrl+z", "ctrl+z")
        await settle(pilot, console)
        assert document.text == SMALL


@pytest.mark.parametrize("size", SIZES)
async def test_a_mixture_is_made_of_sources_and_a_stage(tmp_path: Path, size: tuple[int, int]) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=size) as pilot:
        await console.open(pilot)
        document = console.screen.document
        await pilot.press("n")
        await until(pilot, lambda: isinstance(console.app.screen, Picker))
        assert "stage of the mixture" not in console.text(), "there is nothing that it could weigh"
        await pilot.press("escape")
        await until(pilot, lambda: console.app.screen is console.screen and not console.busy)
        for name in ("web", "books"):
            await add(pilot, console, "source", name)
            assert console.form.current == f"data.mixture.sources.{name}.files"
            await write(pilot, console, name)
        await add(pilot, console, "stage", "late")
        assert console.form.current == "data.mixture.stages.late.from_tokens"
        await write(pilot, console, "1000")
        loaded = document.check().loaded
        assert loaded is not None, document.check().problems
        assert {name: source.files for name, source in loaded.config.data.mixture.sources.items()} == {
            "web": ["web"],
            "books": ["books"],
        }
        assert loaded.config.data.mixture.stages["late"].weights == {"web": 1.0, "books": 1.0}
        weights = "data.mixture.stages.late.weights"
        assert await console.form.focus_path(f"{weights}.books")
        # The rows of a table of numbers are those that the document has.
        await add(pilot, console, "source", "code")
        assert await console.form.focus_path(f"{weights}.code")
        await pick(pilot, console, "d", "books")
        await until(pilot, lambda: console.app.screen is console.screen and not console.busy)
        await settle(pilot, console)
        assert console.form.section == "data.mixture"
        assert await console.form.focus_path(f"{weights}.web")
        assert [row.setting.path for row in console.form.rows()] == [f"{weights}.web", f"{weights}.code"]


async def test_what_cannot_be_changed_here_is_said_and_changes_nothing(tmp_path: Path) -> None:
    console = Console(tmp_path, f"{SMALL}evaluation: [1\n")
    async with console.app.run_test(size=(80, 24)) as pilot:
        await console.open(pilot)
        document = console.screen.document
        before = document.text
        await add(pilot, console, "task", "arc")
        assert console.said[-1] == "the YAML does not parse; mend it first"
        await pilot.press("d")
        await until(pilot, lambda: "there is no entry to remove" in console.said[-1])
        assert document.text == before


async def test_the_search_finds_settings_of_entries(tmp_path: Path) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(80, 24)) as pilot:
        await console.open(pilot)
        await add(pilot, console, "set", "wiki")
        await write(pilot, console, "texts")
        await pilot.press("ctrl+f", *"wiki", "space", *"files")
        await until(
            pilot, lambda: [row.setting.path for row in console.form.rows()][:1] == ["evaluation.sets.wiki.files"]
        )
        await write(pilot, console, "others")
        assert console.screen.document.text == f"{SMALL}evaluation:\n  sets:\n    wiki:\n      files: [others]\n"
        await pilot.press("escape")
        await until(pilot, lambda: not console.form.has_class("-finding"))
        await until(pilot, lambda: console.form.current == "evaluation.sets.wiki.files")
