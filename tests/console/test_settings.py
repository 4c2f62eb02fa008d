"""The settings file: what is wrong in it is said and left out, and nothing of the user's is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from chomp.record.user_files import state_file
from chomp_tui import keys
from chomp_tui.keymap import checked_keymap
from chomp_tui.settings import Settings, default_path, load_settings, save_settings


def wrong_in(tmp_path: Path, text: str) -> tuple[Settings, list[str]]:
    path = tmp_path / "console.yaml"
    path.write_text(text)
    settings, wrong = load_settings(path)
    return settings, [sentence.removeprefix(f"{path}: ") for sentence in wrong]


ADVICE = "use f1 to f12 or ctrl+letter"


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert default_path({}) == Path("/home/me/.config/chomp/console.yaml")
    assert default_path({"XDG_CONFIG_HOME": "/x"}) == Path("/x/chomp/console.yaml")
    assert default_path({"XDG_CONFIG_HOME": "relative"}) == Path("/home/me/.config/chomp/console.yaml")
    assert state_file("console.log", {}) == Path("/home/me/.local/state/chomp/console.log")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    settings, wrong = load_settings()
    assert (settings, wrong) == (Settings(tmp_path / "chomp" / "console.yaml"), [])


def test_what_is_saved_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "console.yaml"
    chosen = Settings(path, "nord", {}, "block", 100, "tokens", True)
    save_settings(chosen)
    assert load_settings(path) == (chosen, [])
    assert path.read_text() == (
        "# Settings of chomp-tui; see docs/console.md.\n\n"
        "theme: nord\nmarker: block\nsmoothing: 100\nx_axis: tokens\nlog_y: true\n"
    )


def test_only_what_changed_is_written_and_comments_stay(tmp_path: Path) -> None:
    path = tmp_path / "console.yaml"
    mine = "# mine\r\n{}  # dark\r\nkeymap:   {{run.pause: 'k'}}  # near the others\r\nsmothing: 1\r\n"
    path.write_bytes(mine.format("theme: 'nord'").encode())
    settings, _ = load_settings(path)
    settings.smoothing = 60
    settings.theme = "gruvbox"
    save_settings(settings)
    assert path.read_bytes() == mine.format("theme: 'gruvbox'").encode() + b"smoothing: 60\r\n"
    assert load_settings(path)[0] == Settings(path, "gruvbox", {"run.pause": "k"}, smoothing=60)
    before = path.stat()
    save_settings(settings)
    assert path.stat().st_mtime_ns == before.st_mtime_ns, "nothing had changed"


@pytest.mark.parametrize("text", ["---\n", "null\n", "--- # nothing yet\n"])
def test_a_file_without_settings_takes_the_first(tmp_path: Path, text: str) -> None:
    path = tmp_path / "console.yaml"
    path.write_text(text)
    settings, wrong = load_settings(path)
    assert wrong == []
    settings.smoothing = 60
    save_settings(settings)
    assert load_settings(path)[0].smoothing == 60


def test_two_consoles_do_not_undo_each_other(tmp_path: Path) -> None:
    path = tmp_path / "console.yaml"
    one, other = load_settings(path)[0], load_settings(path)[0]
    one.theme = "nord"
    save_settings(one)
    other, _ = load_settings(path)
    other.marker = "block"
    save_settings(other)
    assert load_settings(path)[0] == Settings(path, theme="nord", marker="block")


def test_what_was_chosen_for_one_time_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "console.yaml"
    settings, _ = load_settings(path)
    settings.theme = settings.kept["theme"] = "nord"
    settings.log_y = True
    save_settings(settings)
    assert load_settings(path)[0] == Settings(path, log_y=True)
    settings.theme = "gruvbox"
    save_settings(settings)
    assert load_settings(path)[0] == Settings(path, theme="gruvbox", log_y=True)


def test_a_console_writes_only_what_was_chosen_in_it(tmp_path: Path) -> None:
    path = tmp_path / "console.yaml"
    one, other = load_settings(path)[0], load_settings(path)[0]
    one.theme = "nord"
    save_settings(one)
    other.marker = "block"
    save_settings(other)
    assert load_settings(path)[0] == Settings(path, theme="nord", marker="block")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("smothing: 0.5", "there is no setting smothing; did you mean smoothing?"),
        ("zzz: 1", "there is no setting zzz"),
        ("path: /x", "there is no setting path"),
        ("theme: nrd", "there is no theme 'nrd'; did you mean nord?"),
        ("marker: dots", "marker is 'dots'; allowed are braille, block"),
        ("smoothing: 1.0", "smoothing is 1.0; allowed is a number of steps up to 1,000,000, 0 for none"),
        ("smoothing: .nan", "smoothing is nan; allowed is a number of steps up to 1,000,000, 0 for none"),
        ("smoothing: true", "smoothing is True; allowed is a number of steps up to 1,000,000, 0 for none"),
        ("x_axis: [step]", "x_axis is ['step']; allowed are step, tokens, time"),
        ("log_y: 1", "log_y is 1; allowed are true and false"),
        ("bell: loud", "bell is 'loud'; allowed are true and false"),
        ("keymap: 3", "keymap: it must be a table of ids and keys"),
        ("keymap: {run.pauze: k}", "keymap: there is no run.pauze; did you mean run.pause?"),
    ],
)
def test_what_is_wrong_is_said_and_left_out(tmp_path: Path, text: str, sentence: str) -> None:
    settings, wrong = wrong_in(tmp_path, f"{text}\nlog_y2: 1\n")
    assert wrong == [sentence, "there is no setting log_y2; did you mean log_y?"]
    assert settings == Settings(tmp_path / "console.yaml")


@pytest.mark.parametrize(
    ("text", "what"),
    [("a: [", "is not YAML (line 2)"), ("- 1", "is not a table of settings"), ("\x00", "is not YAML")],
    ids=range(3),
)
def test_what_is_no_settings_file_is_said_and_never_overwritten(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "console.yaml"
    path.write_text(text + "\n")
    settings, wrong = load_settings(path)
    assert wrong == [f"{path} {what}"]
    settings.theme = "nord"
    with pytest.raises(OSError, match="correct or remove it"):
        save_settings(settings)
    assert path.read_text() == text + "\n"


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "console.yaml").write_bytes(b"\xff\xfe\x00")
    assert load_settings(tmp_path / "console.yaml")[1] == [f"{tmp_path / 'console.yaml'} is not YAML"]


@pytest.mark.parametrize(("weight", "steps"), [(0.9, 9), (0.98, 49), (0.5, 1)])
def test_a_weight_of_an_earlier_version_becomes_steps(tmp_path: Path, weight: float, steps: int) -> None:
    settings, wrong = wrong_in(tmp_path, f"smoothing: {weight}\n")
    assert (settings.smoothing, wrong) == (steps, [])


def test_an_empty_file_is_no_mistake(tmp_path: Path) -> None:
    assert wrong_in(tmp_path, "# nothing yet\n")[1] == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory"):
        save_settings(Settings(tmp_path / "file" / "console.yaml", theme="nord"))
    with pytest.raises(OSError, match="no home folder"):
        save_settings(Settings(None, theme="nord"))


def test_keys_are_spelled_as_textual_does() -> None:
    keymap, refused = checked_keymap({"run.pause": "?", "run.filter": "f2, F", "app.help": "w", "home.new": 9})
    assert refused == []
    assert keymap == {"run.pause": "question_mark", "run.filter": "f2,F", "app.help": "w", "home.new": "9"}


def test_two_keys_may_change_places() -> None:
    swapped = {"run.pause": "c", "run.save_now": "p"}
    assert checked_keymap(swapped) == (swapped, [])


@pytest.mark.parametrize(
    ("keymap", "sentence"),
    [
        ({"run.pause": "c"}, "run.pause: c is taken by run.save_now"),
        ({"run.pause": "q"}, "run.pause: q is taken by app.quit"),
        ({"app.help": "c"}, "app.help: c is taken by home.compare"),
        ({"run.pause": "left"}, "run.pause: ← is taken by chart.crosshair_left"),
        *(
            ({"configure.save": key}, f"configure.save: {key} could no longer be typed into a field; {ADVICE}")
            for key in ("enter", "backspace", "space", "left", "tab", "shift+a")
        ),
        ({"configure.save": "ctrl+p"}, "configure.save: Ctrl+P opens the command palette"),
        ({"run.pause": "ctrl+c"}, "run.pause: Ctrl+C copies what is selected"),
        ({"run.pause": "ctrl+q"}, "run.pause: Ctrl+Q leaves the console, whatever else is remapped"),
        ({"run.pause": "tab"}, "run.pause: Tab moves the focus"),
        ({"run.pause": "up,k"}, "run.pause: Up moves in lists and texts"),
        ({"run.pause": "ctrl+m"}, "run.pause: Ctrl+M is Enter to a terminal"),
        ({"run.pause": "foo"}, "run.pause: there is no key foo"),
        ({"run.pause": ""}, "run.pause: '' names no key; write it like c, f5 or ctrl+s, more than one with commas"),
        (
            {"run.pause": ["a"]},
            "run.pause: ['a'] names no key; write it like c, f5 or ctrl+s, more than one with commas",
        ),
        (
            {"configure.save": "x"},
            "configure.save: x could no longer be typed into a field; use f1 to f12 or ctrl+letter",
        ),
    ],
)
def test_keys_that_cannot_be_had(keymap: dict[str, object], sentence: str) -> None:
    assert checked_keymap(keymap) == ({}, [sentence])


def test_leaving_may_be_left_to_the_key_that_always_leaves() -> None:
    assert checked_keymap({"app.quit": "ctrl+q"}) == ({"app.quit": "ctrl+q"}, [])


def test_the_same_letter_may_mean_two_things_on_two_screens() -> None:
    assert checked_keymap({"home.delete": "p"}) == ({"home.delete": "p"}, [])


def test_the_table_itself_has_no_clash() -> None:
    assert checked_keymap({row.id: row.keys for row in keys.TABLE}) == ({row.id: row.keys for row in keys.TABLE}, [])
