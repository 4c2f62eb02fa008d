"""The export dialog: which formats there are, where the model goes, and what becomes of the child."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from textual.widgets import Input, OptionList

from chomp.queue.launch import engine_command
from chomp.record.rundir import RunDir
from chomp_tui.engine.export import free_folder, read_offers, summary
from chomp_tui.engine.helper import Helper
from chomp_tui.engine.process import helper_command, printed_object
from chomp_tui.screens.checkpoints.exporting import ExportDialog
from tests.console.fakehelper import fake_helper
from tests.console.hosting import SIZES, Host, frame, until
from tests.console.test_checkpoints_screen import filled, host
from tests.engine import dummy_config, write_config, write_corpus
from tests.engine import run as engine
from tests.fakeruns import make_checkpoint, make_run

# Whole screens at every size, and an engine.

WHY = "megalodon-jax writes Megalodon models, and this one is a llama"
OFFERS = {
    "megalodon-jax": {"possible": False, "why": WHY, "what": "for megalodon_jax"},
    "hf": {"possible": True, "why": None, "what": "a folder that transformers loads as LlamaForCausalLM, \x1b[2J[red]"},
    "gguf": {"possible": True, "why": None, "what": "one file for llama.cpp"},
}
# A fake engine: it keeps its arguments in the file `asked`, and answers --list.
RECORDER = f"""
import json, os, pathlib, subprocess, sys, time
arguments = sys.argv[1:]
with open("asked", "a") as file:
    file.write(json.dumps([os.getpid(), *arguments]) + "\\n")
if "--list" in arguments:
    print("noise")
    print(json.dumps({OFFERS!r}))
    sys.exit()
folder = pathlib.Path(next(one for one in arguments if one.startswith("--output=")).removeprefix("--output="))
print("step 150 of \\x1b[2J[b]one", file=sys.stderr, flush=True)
"""
WRITES = """
folder.mkdir(parents=True)
(folder / "model").write_bytes(b"0" * 3_400_000)
print(json.dumps({"folder": str(folder), "step": 150, "bytes": {"model": 3_400_000}}))
"""
HANGS = """
folder.with_name(f".{folder.name}.{os.getpid()}.unfinished").mkdir(parents=True)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path("grandchild").write_text(str(grandchild.pid))
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    monkeypatch.chdir(tmp_path)
    made = make_run(Path("runs/one"))
    make_checkpoint(made, 150)
    return made


def use(app: Host, script: str) -> None:
    """Run a script in place of the engine."""
    app.state.helper = fake_helper(script)


def asked() -> list[list[Any]]:
    path = Path("asked")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def seen(app: Host) -> str:
    return "\n".join(frame(app))


async def opened(app: Host, pilot: Any) -> ExportDialog:
    await filled(app, pilot, 1)
    await pilot.press("x")
    await until(pilot, lambda: isinstance(app.screen, ExportDialog) and app.screen.is_mounted)
    assert isinstance(app.screen, ExportDialog)
    return app.screen


async def listed(app: Host, pilot: Any) -> ExportDialog:
    dialog = await opened(app, pilot)
    await until(pilot, lambda: app.focused is dialog.query_one(OptionList) and dialog.query_one(Input).value)
    await pilot.pause()
    return dialog


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("colour", [True, False])
async def test_a_format_is_picked_and_written(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], colour: bool
) -> None:
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    app = host(run, run.path)
    use(app, RECORDER + WRITES)
    async with app.run_test(size=size) as pilot:
        dialog = await listed(app, pilot)
        text = seen(app)
        assert "Export step 150 of one" in text
        assert "✓ hf" in text
        assert "�[2J[red]" in text, "what the engine says is shown literally"
        assert "✗ megalodon-jax" in text
        assert "this one is a" in text
        assert "Esc closes" in text
        assert "write hf to exported/one-150-hf" in text
        assert asked()[0][1:] == ["export", "--list", "--json", "--", "runs/one/checkpoints/150"]
        await pilot.press("down")
        await until(pilot, lambda: dialog.query_one(Input).value == "exported/one-150-gguf")
        await pilot.press("enter")
        await until(pilot, lambda: app.focused is dialog.query_one(Input))
        await pilot.press("enter")
        await until(pilot, lambda: "✓ written to exported/one-150-gguf: 3.2 MiB in 1 file" in seen(app))
        await until(pilot, lambda: "step 150 of �[2J[b]one" in seen(app))
        assert asked()[1][1:] == [
            "export", "--to=gguf", "--output=exported/one-150-gguf", "--json", "--", "runs/one/checkpoints/150",
        ]  # fmt: skip
        # Another one may follow; it has a place of its own.
        await until(pilot, lambda: dialog.query_one(Input).value == "exported/one-150-gguf-2")
        await until(pilot, lambda: app.focused is dialog.query_one(OptionList))
        await pilot.press("up")
        await until(pilot, lambda: dialog.query_one(Input).value == "exported/one-150-hf")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.held)
        assert app.told == []


async def test_a_folder_of_one_s_own_stays_and_is_never_written_over(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("taken").mkdir()
    app = host(run, run.path)
    use(app, RECORDER + WRITES)
    async with app.run_test(size=(80, 24)) as pilot:
        dialog = await listed(app, pilot)
        await pilot.press("tab", "ctrl+u", "enter")
        await until(pilot, lambda: "name a folder" in seen(app))
        await pilot.press(*"taken", "enter")
        await until(pilot, lambda: "taken exists; name another folder, or delete it" in seen(app))
        assert len(asked()) == 1, "no engine starts for what would be refused"
        await pilot.press("shift+tab", "down")
        await pilot.pause()
        assert dialog.query_one(Input).value == "taken"
        await pilot.press("enter", "end", *"-2", "enter")
        await until(pilot, lambda: "✓ written to taken-2" in seen(app))
        assert asked()[1][2:4] == ["--to=gguf", "--output=taken-2"]
        assert list(Path("taken").iterdir()) == []


async def test_a_format_that_is_not_possible_says_why_and_starts_nothing(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = host(run, run.path)
    use(app, RECORDER + WRITES)
    async with app.run_test(size=(80, 24)) as pilot:
        dialog = await listed(app, pilot)
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: WHY in seen(app))
        assert "no megalodon-jax" in seen(app)
        assert app.focused is dialog.query_one(OptionList)
        await pilot.press("tab", "enter")
        await pilot.pause()
        assert len(asked()) == 1


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("print('error: the disk is \\x1b[31mfull', file=sys.stderr); sys.exit(1)", "the disk is �[31mfull"),
        ("os.kill(os.getpid(), 9)", "the engine was killed by signal 9"),
    ],
)
async def test_an_export_that_fails_says_why_and_may_be_tried_again(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, code: str, sentence: str
) -> None:
    app = host(run, run.path)
    use(app, RECORDER + f"if not os.path.exists('again'):\n    {code}\n" + WRITES)
    async with app.run_test(size=(80, 24)) as pilot:
        dialog = await listed(app, pilot)
        await pilot.press("enter", "enter")
        await until(pilot, lambda: sentence in seen(app))
        await until(pilot, lambda: app.focused is dialog.query_one(Input))
        Path("again").touch()
        await pilot.press("enter")
        await until(pilot, lambda: "✓ written to exported/one-150-hf" in seen(app))
        assert sentence not in seen(app)


# Also one whose child is gone while what it started holds its pipes.
@pytest.mark.parametrize("end", ["time.sleep(600)", "os._exit(0)"])
async def test_escape_kills_the_child_and_what_it_started_and_leaves_nothing(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    app = host(run, run.path)
    use(app, RECORDER + HANGS + end)
    async with app.run_test(size=(80, 24)) as pilot:
        await listed(app, pilot)
        await pilot.press("enter", "enter")
        await until(pilot, lambda: Path("grandchild").exists() and Path("grandchild").read_text())
        await until(pilot, lambda: "writing hf…" in seen(app) and "step 150 of �[2J[b]one" in seen(app))
        # Keys typed meanwhile start no second one.
        await pilot.press("enter", "tab", "enter")
        pids = [asked()[1][0], int(Path("grandchild").read_text())]
        assert len(asked()) == 2
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.held and all(map(is_gone, pids)))
        await until(pilot, lambda: not Path("exported").exists())
        assert app.told == ["the export of step 150 was stopped"]


async def test_leaving_the_console_kills_the_child_too(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    app = host(run, run.path)
    use(app, RECORDER + HANGS + "time.sleep(600)")
    async with app.run_test(size=(80, 24)) as pilot:
        await listed(app, pilot)
        await pilot.press("enter", "enter")
        await until(pilot, lambda: Path("grandchild").exists() and Path("grandchild").read_text())
    pids = [asked()[1][0], int(Path("grandchild").read_text())]
    for pid in pids:
        if not is_gone(pid):
            psutil.Process(pid).wait(10)
    assert not Path("exported").exists()


async def test_escape_while_the_formats_are_asked_for_leaves_no_process(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = host(run, run.path)
    use(app, "import os, time; open('pid', 'w').write(f'{os.getpid()}\\n'); time.sleep(600)")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app, pilot)
        await until(pilot, lambda: "asking the engine which formats are possible" in seen(app))
        await until(pilot, lambda: Path("pid").exists() and Path("pid").read_text().endswith("\n"))
        # There is nothing to pick yet.
        await pilot.press("enter")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.held and is_gone(int(Path("pid").read_text())))
        assert app.told == []


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("/nonexistent/python",), "the engine could not be started: No such file or directory"),
        ((sys.executable, "-c", "raise SystemExit('No module named chomp')"), "No module named chomp"),
        ("print('[1]')", "the engine's answer could not be read"),
    ],
)
async def test_an_engine_that_cannot_be_asked_says_so_in_one_sentence(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...] | str, sentence: str
) -> None:
    app = host(run, run.path)
    app.state.helper = Helper(command) if isinstance(command, tuple) else fake_helper(command)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app, pilot)
        await until(pilot, lambda: sentence in seen(app))
        await pilot.press("enter", "escape")
        await until(pilot, lambda: app.screen is app.held)


async def test_a_read_only_console_and_a_damaged_checkpoint_export_nothing(run: RunDir) -> None:
    app = host(run, run.path, read_only=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await filled(app, pilot, 1)
        await pilot.press("x")
        await until(pilot, lambda: app.told == ["this console is read-only"])
        assert app.screen is app.held
    (run.checkpoints / "150" / "meta.json").write_text("{")
    app = host(run, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await filled(app, pilot, 1)
        await pilot.press("x")
        await until(pilot, lambda: app.told)
        assert "meta.json is damaged" in app.told[0]
        assert app.screen is app.held


@pytest.mark.process
async def test_a_real_engine_exports_a_real_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = write_config(Path("config.yaml"), dummy_config(write_corpus(tmp_path / "corpus"), train={"steps": 5}))
    trained = engine("train", config, "--run-dir", "runs/real")
    assert trained.returncode == 0, trained.stderr
    run = RunDir(Path("runs/real"))
    app = host(run, run.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app, pilot)
        await until(pilot, lambda: "✓ int8" in seen(app) and "✗ gguf" in seen(app), 120)
        dialog = app.screen
        await until(pilot, lambda: dialog.query_one(Input).value == "exported/real-5-int8")
        await pilot.press("enter", "enter")
        await until(pilot, lambda: "✓ written to exported/real-5-int8" in seen(app), 120)
        await until(pilot, lambda: "held-out loss" in seen(app))
    files = {path.name for path in Path("exported/real-5-int8").iterdir()}
    assert files >= {"config.json", "model.safetensors"}
    assert [path.name for path in Path("exported").iterdir()] == ["real-5-int8"]


def test_an_engine_is_this_very_python_s() -> None:
    assert engine_command("train", "x.yaml") == [sys.executable, "-P", "-m", "chomp", "train", "x.yaml"]
    assert helper_command() == [sys.executable, "-P", "-m", "chomp.cli.helper"]


@pytest.mark.parametrize("out", ["", "[]", "{", "{}", '{"hf": 1}', "[" * 100_000])
def test_an_answer_that_lists_nothing_is_no_list(out: str) -> None:
    assert read_offers(printed_object(out)) == ()


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("", "written to x"),
        ('{"bytes": {"a": "many"}}', "written to x"),
        ('{"bytes": {"a": 1024, "b": 512}}', "✓ written to x: 1.5 KiB in 2 files"),
        (
            json.dumps(
                {"bytes": {"a": 1}, "loss": {"before": {"nats_per_token": 2}, "after": {"nats_per_token": 2.5}}}
            ),
            "✓ written to x: 1 B in 1 file\nheld-out loss 2.00000 → 2.50000 nats/token (+0.50000)",
        ),
    ],
)
def test_the_summary(said: str, text: str) -> None:
    assert summary(Path("x"), printed_object(said)) == text


def test_the_proposed_folder_is_free(tmp_path: Path) -> None:
    checkpoint = tmp_path / "runs" / "one" / "checkpoints" / "10"
    first = tmp_path / "exported" / "one-10-hf"
    assert free_folder(checkpoint, "hf") == first
    first.parent.mkdir()
    first.symlink_to("nowhere")
    assert free_folder(checkpoint, "hf") == first.with_name("one-10-hf-2")
