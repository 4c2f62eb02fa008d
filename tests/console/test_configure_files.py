"""The configure screen and other programs: a file that changes on disk, and the user's own editor."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from chomp_tui.config.document import ConfigDocument
from chomp_tui.live.file_watch import FileWatch, OnDisk
from chomp_tui.screens.configure.external import edit_outside, editor_command
from chomp_tui.screens.configure.on_disk import Changed
from chomp_tui.widgets.dialogs import Choose
from tests.console.test_configure import SMALL, Console, settle, until


class Place:
    """What the editor needs of a screen, without one."""

    def __init__(self, document: ConfigDocument) -> None:
        self.document, self.line, self.shown, self.said = document, 1, False, list[str]()
        self.app = self.chomp = self

    def suspend(self) -> contextlib.nullcontext[None]:
        return contextlib.nullcontext()

    def notify(self, message: str, **options: Any) -> None:
        self.said.append(message)

    def document_changed(self) -> None:
        self.shown = True

    async def show_first_problem(self) -> None:
        assert self.document.check().problems


OTHER = SMALL.replace("batch_size: 4", "batch_size: 8")


def test_a_watched_file_is_read_when_it_changes_and_only_then(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    watch = FileWatch(lambda found: None)
    assert list(watch.look()) == []
    watch.watch(path)
    assert list(watch.look()) == [OnDisk(path, None)]
    path.write_bytes(b"one")
    assert list(watch.look()) == [OnDisk(path, b"one")]
    assert list(watch.look()) == []
    other = tmp_path / "y.yaml"
    other.write_bytes(b"two")
    other.replace(path)
    assert list(watch.look()) == [OnDisk(path, b"two")]
    path.unlink()
    assert list(watch.look()) == [OnDisk(path, None)]
    assert list(watch.look()) == []


async def test_a_file_that_changes_on_disk_is_reloaded_or_asked_about_and_never_overwritten_unasked(
    tmp_path: Path,
) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(80, 24)) as pilot:
        await console.open(pilot)
        document, watch = console.screen.document, console.screen.file_watch
        console.file.write_text(OTHER)
        watch.poke()
        await until(pilot, lambda: document.text == OTHER)
        assert "small.yaml changed on disk: reloaded" in console.said[-1]
        assert not document.is_modified
        assert console.row("train.batch_size").control.value == "8"
        await pilot.press("ctrl+z")
        assert document.text == SMALL
        assert document.is_modified
        await pilot.press("ctrl+y")
        # Not while the user types; then the question opens at the answer that keeps both.
        await console.type(pilot, "train.steps", "3000")
        console.file.write_text("# another\x1b[31m program\n")
        watch.poke()
        await pilot.pause(0.1)
        assert console.app.screen is console.screen
        await pilot.press("enter")
        await settle(pilot, console)
        await until(pilot, lambda: isinstance(console.app.screen, Changed))
        await until(pilot, lambda: "-# another" in console.text())
        assert "\x1b" not in console.text()
        await pilot.press("enter")
        await until(pilot, lambda: not console.busy)
        assert "steps: 3000" in document.text
        # F5 writes and starts nothing by its first answer.
        await pilot.press("f5")
        await until(pilot, lambda: isinstance(console.app.screen, Changed))
        await pilot.press("enter")
        await until(pilot, lambda: not console.busy)
        assert console.file.read_text() == "# another\x1b[31m program\n"
        assert not console.launched
        await pilot.press("f5")
        await until(pilot, lambda: isinstance(console.app.screen, Changed))
        await pilot.press("r")
        await until(pilot, lambda: not console.busy)
        assert document.text == console.file.read_text()


async def test_a_launch_reads_the_file_once_more(tmp_path: Path) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(80, 24)) as pilot:
        await console.open(pilot)
        # As if F5 came before the next look at the file.
        console.screen.file_watch.stop()
        console.file.write_text(OTHER)
        await pilot.press("f5")
        # On a busy machine the check of the start is told before.
        await until(pilot, lambda: any("was reloaded; check it and press F5 again" in said for said in console.said))
        assert console.screen.document.text == OTHER
        assert not console.launched
        console.file.unlink()
        await pilot.press("f5")
        await until(pilot, lambda: isinstance(console.app.screen, Choose))
        await pilot.press("a")
        await until(pilot, lambda: console.launched)
        assert not console.file.exists()


@pytest.mark.parametrize(
    ("environ", "command"),
    [
        ({"VISUAL": "code --wait", "EDITOR": "vi"}, ["code", "--wait", "x.yaml"]),
        ({"VISUAL": "", "EDITOR": "/usr/bin/vim -n"}, ["/usr/bin/vim", "-n", "+7", "x.yaml"]),
        ({"EDITOR": "'my editor'"}, ["my editor", "x.yaml"]),
        ({"EDITOR": " "}, None),
    ],
)
def test_an_editor_gets_the_file_and_the_line_if_it_takes_one(
    environ: dict[str, str], command: list[str] | None
) -> None:
    assert editor_command(environ, Path("x.yaml"), 7) == command


@pytest.mark.parametrize(
    ("script", "said", "changed"),
    [
        ("sed -i s/2000/-5/ $1", "", SMALL.replace("2000", "-5")),
        ("true", "the editor has changed nothing", SMALL),
        ("echo x >> $1; exit 3", "ended with exit code 3", SMALL),
        ("printf '\\377' > $1", "not saved UTF-8 text", SMALL),
        ("rm $1", "not saved UTF-8 text", SMALL),
    ],
)
async def test_the_text_of_the_user_s_editor_is_taken_if_it_ended_well(
    script: str, said: str, changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor.sh"
    editor.write_text(f"#!/bin/sh\n{script}\n")
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(editor))
    document = ConfigDocument(SMALL, name="small.yaml")
    place = Place(document)
    await edit_outside(place)  # type: ignore[arg-type]
    assert document.text == changed
    assert said in "\n".join(place.said)
    assert bool(place.said) is bool(said)
    assert place.shown == (changed != SMALL)
    assert document.undo() is (changed != SMALL)


async def test_a_key_opens_the_editor_and_goes_to_the_first_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(tmp_path)
    monkeypatch.setenv("VISUAL", "sed -i s/2000/-5/")
    async with console.app.run_test(size=(80, 24)) as pilot:
        await console.open(pilot)
        await pilot.press("e")
        await until(pilot, lambda: console.said)
        assert "this terminal cannot be given to another program" in console.said[0], "no terminal in this test"
        monkeypatch.setattr(console.app, "suspend", contextlib.nullcontext)
        await pilot.press("e")
        await until(pilot, lambda: console.form.current == "train.steps")
        assert console.screen.document.text == SMALL.replace("2000", "-5")
        assert "above 0" in console.text()
        assert console.file.read_text() == SMALL
