"""What a person reads, on a terminal and in a pipe."""

from __future__ import annotations

import contextlib
import io
import math
import re
from dataclasses import replace
from typing import Any

import pytest

from chomp.record.events import (
    Acknowledged,
    Checkpoint,
    Compiled,
    Evaluated,
    Event,
    NonFinite,
    Phase,
    Progress,
    RunEnded,
    RunStarted,
    Sampled,
    Spike,
    Step,
    Warned,
)
from chomp.record.formatting import count, duration, elapsed, loss, plural, row_line, sanitize, size
from chomp.sinks import LastWords, QueuedSink, Sink, TerminalSink
from chomp.sinks.terminal import EtaMeter
from tests import fakeruns

ROW: dict[str, Any] = {
    "step": 10,
    "loss": 2.5,
    "grad_norm": 0.5,
    "lr": 1e-3,
    "tokens_seen": 5120,
    "tokens_per_sec": 51_200.0,
    "step_time_s": 0.01,
    "packing_mode": "bin",
    "packing_utilization": 0.97,
}
# Clears the screen, sets the title, turns the text round, rings.
HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202egnol\x9b31m\x7f\ud800\r\x00"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def started(**changes: Any) -> RunStarted:
    fields: dict[str, Any] = {"parameters": 1_234_567, "tokens_per_step": 512, "data": "3 files"}
    return replace(fakeruns.started(total_steps=100), **{**fields, **changes})


EVERY_KIND: list[Event] = [
    Phase(name="data", step=0),
    started(data=HOSTILE, environment={"XLA_FLAGS": HOSTILE}, optimizer=HOSTILE),
    Progress(HOSTILE, 3, 9, HOSTILE),
    Progress("hashing files", 1 << 20, 1 << 30, "bytes"),
    Phase(name="compile", step=0),
    Compiled(seconds=1.25, cache_hit=False, memory={}, flops_per_token=None),
    Step(row=ROW),
    Evaluated(step=10, loss=2.0, perplexity=7.4, bpb=1.2, tokens=1000, seconds=0.5),
    Sampled(step=10, prompt=HOSTILE, text="a\n" + HOSTILE, tokens=4, seconds=0.1),
    Checkpoint(state="saving", step=10),
    Checkpoint(state="committed", step=10, bytes=1_500_000, seconds=0.2, blocked_seconds=0.01),
    Checkpoint(state="failed", step=10, reason=HOSTILE),
    Checkpoint(state="refused", step=10, reason="params/x is missing"),
    Warned(topic="resume", message=HOSTILE),
    NonFinite(step=11, loss=math.nan, grad_norm=None, skipped=1, action="skip"),
    Spike(step=12, loss=9.0, grad_norm=1.0, action="skip", message=HOSTILE),
    Phase(name="paused", step=10),
    RunEnded(
        status="stopped", reason=HOSTILE, step=10, exit_code=143, time_budget_seconds={"train": 65.0, "lost": 0.2}
    ),
]


def shown(stream: io.StringIO, *events: Event) -> str:
    sink = TerminalSink(stream)
    for event in events:
        sink.handle(event)
    sink.close()
    return stream.getvalue()


def test_sizes_take_eight_characters_at_most() -> None:
    counts = (0, 999, 1000, 1023, 1024, 99.9 * 2**10, 1000 * 2**20, 1023 * 2**20, 999 * 2**30, 2**50)
    shown = [size(count) for count in counts]
    assert shown == [
        "0 B", "999 B", "1.0 KiB", "1.0 KiB", "1.0 KiB", "99.9 KiB", "1.0 GiB", "1.0 GiB", "999 GiB", "1024 TiB",
    ]  # fmt: skip
    assert max(map(len, shown)) == 8


def test_a_pipe_gets_plain_text_whatever_the_run_says() -> None:
    text = shown(io.StringIO(), *EVERY_KIND)
    assert not re.findall(r"[^\n\t\x20-\x7e\x80-\uffff]", text), "a control character"
    assert not re.findall("[\x80-\x9f\u202a-\u202e\ud800-\udfff]", text)
    assert "\x1b" not in text
    assert "�[2J" in text, "shown as what it is"


def test_a_terminal_gets_only_the_sequences_that_we_send() -> None:
    text = shown(Terminal(), *EVERY_KIND)
    assert "\x1b[2J" not in text
    assert "\x1b]0;" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "\x9b" not in text


def test_an_error_goes_to_standard_error_defused(capsys: pytest.CaptureFixture[str]) -> None:
    shown(
        io.StringIO(), RunEnded(status="crashed", reason=f"no {HOSTILE}", step=7, exit_code=3, time_budget_seconds={})
    )
    assert capsys.readouterr().err.startswith("error: at step 7: no �[2J�]0;owned�")


@pytest.mark.parametrize("fails", [True, False])
def test_an_error_is_printed_once_whatever_becomes_of_standard_output(
    fails: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    terminal = TerminalSink(Full() if fails else io.StringIO())
    sinks: list[Sink] = [QueuedSink(terminal), LastWords(terminal)]
    with contextlib.suppress(OSError):
        for event in (started(), RunEnded(status="crashed", reason="broken", step=0, exit_code=3)):
            for sink in reversed(sinks):
                sink.handle(event)
    for sink in sinks:
        sink.close()
    assert capsys.readouterr().err == "error: broken\n"


def test_a_pause_is_told_of_once() -> None:
    paused, sampling, training = (Phase(name=name, step=1) for name in ("paused", "sample", "train"))  # type: ignore[arg-type]
    assert shown(io.StringIO(), paused, sampling, paused, sampling, paused).count("paused;") == 1
    assert shown(io.StringIO(), paused, sampling, paused, training, paused).count("paused;") == 2


def test_lines_of_a_run_in_a_pipe() -> None:
    text = shown(
        io.StringIO(), started(), Compiled(seconds=1.25, cache_hit=True, memory={}, flops_per_token=None), Step(row=ROW)
    )
    assert "1.23M parameters on cpu, 512 tokens per step, 100 steps\n" in text
    assert "data: 3 files\n" in text
    assert "compiled from the cache in 1.25 s\n" in text
    assert "step  10/100  loss 2.5000  grad 0.5  lr 1.00e-03  51,200 tok/s" in text


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"in_run": "loaded"}, "loaded the run's compiled step in 1.25 s"),
        ({"in_run": "kept", "cache": "/c"}, "compiled in 1.25 s (a resume loads it from the run directory)"),
        ({"cache": "/c"}, "compiled in 1.25 s (the next start loads it from the cache)"),
        ({}, "compiled in 1.25 s (not cached: the compilation cache is off)"),
    ],
)
def test_where_the_program_comes_from(facts: dict[str, Any], line: str) -> None:
    assert shown(io.StringIO(), Compiled(seconds=1.25, cache_hit=False, **facts)).splitlines() == [line]


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_numbers_that_are_none(value: float | None) -> None:
    assert loss(value) == "non-finite"
    line = row_line({**ROW, "loss": value, "grad_norm": value}, 100, None)
    assert "loss non-finite  grad non-finite" in line


def test_long_samples_are_cut_for_the_eye() -> None:
    text = shown(io.StringIO(), Sampled(step=1, prompt="p", text="line\n" * 100, tokens=100, seconds=0.1))
    assert text.count("\n") == 13


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (-5, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (3599, "59m59s"),
        (3600, "1h00m"),
        (86399, "23h59m"),
        (200_000, "2d07h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_times_sizes_and_counts() -> None:
    assert [elapsed(s) for s in (0, 0.00075, 0.538, 0.9996, 61.3)] == ["0 ms", "0.75 ms", "538 ms", "1.00 s", "61.3 s"]
    assert [size(n) for n in (0, 999, 1024, 1.5 * 2**20, 2**31, 2**45)] == [
        "0 B",
        "999 B",
        "1.0 KiB",
        "1.5 MiB",
        "2.0 GiB",
        "32.0 TiB",
    ]
    assert "mem 1.5 GiB" in row_line({**ROW, "device_memory_gb": 1.5}, 100, None)
    assert [plural(n, "document") for n in (0, 1, 4_211)] == ["0 documents", "1 document", "4,211 documents"]
    assert [count(n) for n in (7, 693_952, 3.2e6, 1.1e9)] == ["7", "693,952", "3.20M", "1.10B"]


def test_text_that_is_harmless_stays_as_it_is() -> None:
    text = "def é(x):\n\treturn '日本語 👩‍🔬 עברית'"
    assert sanitize(text) == text


def test_the_remaining_time_is_made_from_the_usual_step() -> None:
    meter = EtaMeter()
    meter.total_steps = 100
    # The first step is slow, and so is one now and then.
    times = [5.0, *[0.5] * 10, 4.0, *[0.5] * 10]
    left = [meter.update({"step": step, "step_time_s": seconds}) for step, seconds in enumerate(times, 1)]
    assert left[1:] == [(100 - step) * 0.5 for step in range(2, len(times) + 1)]


def test_the_remaining_time_counts_what_comes_at_usual_distances_and_not_what_was_asked_for() -> None:
    meter = EtaMeter()
    meter.total_steps = 100
    for step in (10, 20):
        meter.see(Evaluated(step, 2.0, 7.4, None, 1000, seconds=1.0))
        meter.see(Sampled(step, "a", "b", 4, seconds=1.5))
        meter.see(Sampled(step, "c", "d", 4, seconds=0.5))
        meter.see(Checkpoint("committed", step, 10, 3.0, blocked_seconds=2.0))
    usual = pytest.approx(75 * (0.5 + 5 / 10))
    assert meter.update({"step": 25, "step_time_s": 0.5}) == usual
    meter.see(Evaluated(23, 2.0, 7.4, None, 1000, seconds=50.0))
    meter.see(Sampled(23, "a", "b", 4, seconds=50.0))
    meter.see(Checkpoint("committed", 23, 10, 3.0, blocked_seconds=50.0))
    assert meter.update({"step": 25, "step_time_s": 0.5}) != usual
    for command in ("eval", "sample", "save"):
        meter.see(Acknowledged("a1", command, True, "done", 23))
    assert meter.update({"step": 25, "step_time_s": 0.5}) == usual
