"""The data preview in the console: what is drawn of a batch, and what becomes of the engine that reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.screen import Screen

from chomp_tui.engine.preview import PreviewSource
from chomp_tui.screens.preview.dialog import PreviewDialog
from chomp_tui.screens.preview.drawing import row_text, rows_text, summary_text
from tests.console.fakehelper import fake_helper
from tests.console.hosting import Host, console_state, frame, until

SUMMARY = {
    "step": 1,
    "shape": [1, 40, 600],
    "documents": 3,
    "lengths": {"min": 2, "median": 3, "max": 7},
    "tokens_per_byte": 0.25,
    "packing_efficiency": 0.975,
    "masked": 0.125,
    "source": "the file \x1b[2J[b]a.txt",
    "text_documents": 12,
    "text_lengths": {"min": 1, "median": 50, "max": 900},
    "epoch_tokens": 1_500_000,
    "epochs": 2.5,
    "isolated": True,
}
RUNS = [
    {"document": 0, "begins": False, "counted": True, "ids": [5], "pieces": ["tail"]},
    {"document": 1, "begins": True, "counted": False, "ids": [6], "pieces": ["\x1b[31m"]},
    {"document": 1, "begins": False, "counted": True, "ids": [7, 8, 2], "pieces": ["[red]\n", "\u202ex\t", "<eos>"]},
    {"document": -1, "begins": False, "counted": False, "ids": [0, 0, 0], "pieces": []},
]
# In place of the engine: it says what it does, and answers as `chomp preview --interactive --json` does.
ENGINE = f"""
import json, sys, pathlib
text = pathlib.Path(sys.argv[2]).read_text()
print("opening \\x1b[2Jthe text…", file=sys.stderr, flush=True)
if "never" in text:
    import time; time.sleep(600)
if "missing" in text:
    sys.exit("error: no file matches \\x1b[2J*.txt")
for line in sys.stdin:
    asked = json.loads(line)
    if asked["batch"] == 3:
        print(json.dumps({{"problem": "the text ends after 2 batches"}}), flush=True)
        continue
    row = {{"micro_batch": 0, "row": asked["first"], "documents": 2, "padding": 3, "runs": {RUNS!r}}}
    summary = {SUMMARY!r} | {{"step": asked["batch"]}}
    print("noise", json.dumps(asked), flush=True)
    print(json.dumps({{"summary": summary, "rows": [row] * asked["rows"]}}), flush=True)
"""


def dialog(text: str = "train: {}\n") -> PreviewDialog:
    source = PreviewSource(text, ("train.steps=5",), None, {})
    return PreviewDialog(fake_helper(ENGINE), source, "[b]a.yaml", seq_len=600, sequences=40)


def seen(app: App[Any]) -> str:
    return "\n".join(frame(app))


def host(tmp_path: Path) -> Host:
    return Host(Screen(), console_state(tmp_path / "runs", tmp_path / "configs"))


@pytest.mark.parametrize(("size", "colour"), [((80, 24), False), ((160, 48), True)])
async def test_batches_and_sequences_are_shown_and_hostile_text_is_inert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], colour: bool
) -> None:
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    app = host(tmp_path)
    async with app.run_test(size=size) as pilot:
        await app.push_screen(shown := dialog())
        await until(pilot, lambda: "tail⟦1⟧‹�[31m›[red]↵�x→<eos>░ padding × 3" in seen(app))
        assert "Data preview of [b]a.yaml" in seen(app)
        assert "1 × 40 sequences of 600 tokens · packing efficiency 97.5%" in seen(app)
        # 16,384 tokens are 27 sequences of 600.
        assert "sequences 1 to 27 of 40 · the file �[2J[b]a.txt" in seen(app)
        await pilot.press("t")
        await until(pilot, lambda: "tail│⟦1⟧‹�[31m›│[red]↵│�x→│<eos>│░ padding × 3" in seen(app))
        await pilot.press("right")
        await until(pilot, lambda: "sequences 28 to 54 of 40" in seen(app))
        await pilot.press("right", "left")
        await until(pilot, lambda: "sequences 1 to 27 of 40" in seen(app))
        await pilot.press("p", "n")
        await until(pilot, lambda: "step 2" in seen(app))
        await pilot.press("n")
        await until(pilot, lambda: "the text ends after 2 batches" in seen(app))
        await pilot.press("p")
        await until(pilot, lambda: "sequences 1 to 27 of 40" in seen(app))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is not shown)


async def test_a_text_that_cannot_be_opened_says_why_and_a_long_opening_can_be_left(tmp_path: Path) -> None:
    app = host(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await app.push_screen(dialog("missing"))
        await until(pilot, lambda: "no file matches �[2J*.txt" in seen(app))
        await pilot.press("n", "right")
        assert "no file matches" in seen(app)
        await pilot.press("escape")
        await app.push_screen(slow := dialog("never"))
        await until(pilot, lambda: "opening �[2Jthe text…" in seen(app))
        await pilot.press("n", "escape")
        await until(pilot, lambda: app.screen is not slow)
        assert slow._session._call is not None
        await until(pilot, slow._session._call.ended.done)


def test_every_mark_has_its_tone_and_is_there_without_it() -> None:
    drawn = row_text(RUNS, by_token=False)
    assert drawn.plain == "tail⟦1⟧‹�[31m›[red]↵�x→<eos>░ padding × 3"
    tones = {drawn.plain[span.start : span.end]: str(span.style) for span in drawn.spans}
    assert tones["tail"] != tones["⟦1⟧"]
    assert tones["‹�[31m›"].startswith("underline")
    heading = rows_text([{"micro_batch": 1, "row": 0, "documents": 1, "padding": 0, "runs": []}], by_token=False)
    assert heading.plain == "micro-batch 2, sequence 1: 1 document\n"


def test_a_batch_beyond_the_end_of_the_run_is_named() -> None:
    first = {step: summary_text(SUMMARY | {"step": step, "last_step": 20}).plain.splitlines()[0] for step in (20, 21)}
    assert first[21].startswith("step 21     beyond the end of the run, step 20 · ")
    assert "beyond" not in first[20]


def test_the_summary_of_a_stream_says_what_is_not_known() -> None:
    stream = {"text_documents": None, "text_lengths": None, "epoch_tokens": None, "epochs": None, "isolated": False}
    plain = summary_text(SUMMARY | stream | {"tokens_per_byte": None, "lengths": None}).plain.splitlines()
    assert [line.split(maxsplit=1)[1] for line in plain[1:]] == [
        "3 · masked labels 12.5% · not isolated",
        "a stream",
        "the length of the text is not known",
    ]
