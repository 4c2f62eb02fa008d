"""`m` on the device screen measures the variables, and the last result of this machine is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Static

from chomp.config.load import parse_config
from chomp.device.comparison import Comparison, Side, save_comparison
from chomp_tui.engine import comparing
from chomp_tui.engine.comparing import compare_flags
from chomp_tui.engine.process import UNREADABLE, EngineError
from chomp_tui.screens.device import measured
from tests.console.test_device_screen import FLAG, shown, until

FOUND = Comparison(0.0, "H200", "c.yaml", {"XLA_FLAGS": FLAG}, Side(4000.0), Side(5000.0))
LOADED = parse_config("train: {steps: 2000}\n", source="c.yaml", overrides=("train.seed=3",))


@pytest.fixture(autouse=True)
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "comparison.json"
    monkeypatch.setattr(measured, "comparison_file", lambda: path)
    return path


def text(screen: object) -> str:
    widget = screen.query_one("#measured", Static)  # type: ignore[attr-defined]
    return str(widget.content) if widget.display else ""


async def test_the_last_result_is_shown(tmp_path: Path, own_file: Path) -> None:
    async with shown(tmp_path, "rtx5090") as (_, screen):
        assert text(screen) == ""
    save_comparison(FOUND, own_file)
    async with shown(tmp_path, "rtx5090") as (pilot, screen):
        await until(pilot, lambda: text(screen))
        assert f": XLA_FLAGS={FLAG}\nwithout 4,000 tokens/s, with 5,000 tokens/s: +25.0%" in text(screen)


async def test_a_key_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Mapping[str, str]] = []
    answer: asyncio.Future[Comparison] = asyncio.get_running_loop().create_future()

    async def compare(loaded: object, environ: Mapping[str, str], variables: Mapping[str, str]) -> Comparison:
        assert loaded is LOADED
        asked.append(variables)
        return await answer

    monkeypatch.setattr(measured, "compare_flags", compare)
    async with shown(tmp_path, "rtx5090") as (pilot, screen):
        screen.chomp.state.environment["XLA_FLAGS"] = FLAG
        await pilot.press("m")
        assert asked == [], "no configuration is open"
        screen.chomp.state.current_config = LOADED
        await pilot.press("m")
        await until(pilot, lambda: asked)
        assert FLAG in asked[0]["XLA_FLAGS"]
        assert text(screen) == "… measuring with and without the variables; m stops"
        answer.set_result(FOUND)
        await until(pilot, lambda: "+25.0%" in text(screen))
        assert "measuring" not in text(screen)


async def test_the_key_stops_and_a_failure_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled = []

    async def never(*args: object) -> Comparison:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return FOUND

    async def fail(*args: object) -> Comparison:
        raise EngineError("out of\x1b memory")

    monkeypatch.setattr(measured, "compare_flags", never)
    async with shown(tmp_path, "rtx5090") as (pilot, screen):
        screen.chomp.state.environment["XLA_FLAGS"] = FLAG
        screen.chomp.state.current_config = LOADED
        await pilot.press("m")
        await until(pilot, lambda: "measuring" in text(screen))
        await pilot.press("m")
        await until(pilot, lambda: cancelled)
        assert text(screen) == ""
        monkeypatch.setattr(measured, "compare_flags", fail)
        await pilot.press("m")
        await until(pilot, lambda: "not measured" in text(screen))
        assert "\x1b" not in text(screen)


async def test_without_variables_nothing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chomp_tui.screens.device.screen.recommended_environment", lambda probe, environ: [])
    async with shown(tmp_path, "rtx4090") as (pilot, screen):
        screen.chomp.state.current_config = LOADED
        await pilot.press("m")
        await pilot.pause()
        assert text(screen) == ""


def asking(monkeypatch: pytest.MonkeyPatch, answer: Callable[[list[str]], Mapping[str, object]]) -> list[list[str]]:
    commands: list[list[str]] = []

    async def ask_engine(command: list[str], environ: Mapping[str, str]) -> Mapping[str, object]:
        commands.append(command)
        path = Path(command[command.index("--compare") + 1])
        assert path.read_text() == LOADED.text
        return answer(command)

    monkeypatch.setattr(comparing, "ask_engine", ask_engine)
    return commands


async def test_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import asdict

    commands = asking(monkeypatch, lambda command: asdict(replace(FOUND, t=1.0)))
    assert await compare_flags(LOADED, {}, {"A": "b c"}) == replace(FOUND, t=1.0)
    assert commands[0][-4:] == ["-o", "train.seed=3", "--set", "A=b c"]

    def fail(command: list[str]) -> Mapping[str, object]:
        raise EngineError(f"{command[command.index('--compare') + 1]}: wrong")

    asking(monkeypatch, fail)
    with pytest.raises(EngineError, match=r"^the configuration: wrong$"):
        await compare_flags(LOADED, {}, {"A": "b"})
    asking(monkeypatch, lambda command: {})
    with pytest.raises(EngineError, match=UNREADABLE.split("?")[0].replace(";", ".")):
        await compare_flags(LOADED, {}, {"A": "b"})
