"""What the configure screen draws: figures, verdicts, the learning rate's curve, help; with colour and without."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.segment import Segment
from textual.color import Color

from chomp.record.formatting import count
from chomp.record.formatting import size as told
from chomp_tui.config.preflight import Report
from chomp_tui.engine.helper import Helper
from chomp_tui.screens.configure.card_panel import card_text
from chomp_tui.screens.configure.preflight_panel import PreflightPanel, memory_text
from chomp_tui.screens.configure.yaml_editor import YamlEditor
from chomp_tui.widgets.chart import LineChart
from chomp_tui.widgets.dialogs import Choose
from tests.console.hosting import SIZES, strips
from tests.console.test_configure import COMPILED, FIGURES, Console, until

# Whole screens at several sizes.

CONFIGS = Path(__file__).parents[2] / "configs"
MEMORY = {"parameters": 100, "optimizer": 250, "gradients": 200, "activations": 450, "compiled": None, "total": 1000}
BRAILLE = range(0x2801, 0x2900)


def rows(panel: PreflightPanel, part: str) -> list[str]:
    """The lines of one part of the panel as they are drawn, each without needless spaces."""
    region = panel.query_one(part).region
    lines = [strip.text for strip in strips(panel.screen)]
    cut = [line[region.x : region.right] for line in lines[region.y : region.bottom]]
    return [text for text in (" ".join(line.split()) for line in cut) if text]


async def estimated(pilot: Any, console: Console) -> PreflightPanel:
    """The panel with the child's figures."""
    await until(pilot, lambda: console.screen.preflight.limit is not None and console.screen.is_inspected)
    await pilot.pause()
    return console.screen.query_one(PreflightPanel)


def tops(chart: LineChart) -> list[int]:
    """The line at which the curve runs through each column, from the left; 0 is the uppermost."""
    lines = [strip.text for strip in strips(chart.screen)]
    region = chart.region
    cut = [line[region.x : region.right] for line in lines[region.y : region.bottom]]
    found = [[row for row, line in enumerate(cut) if ord(line[column]) in BRAILLE] for column in range(region.width)]
    return [marks[0] for marks in found if marks]


async def test_figures_memory_by_part_verdicts_and_the_learning_rate_are_drawn(tmp_path: Path) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(200, 60)) as pilot:
        await console.open(pilot)
        panel = await estimated(pilot, console)
        # The recorder in the engine's place says what the device may give; the panel is handed other totals below.
        assert rows(panel, "#pf-state") == ["✓ up to date"]
        assert rows(panel, "#pf-figures") == [
            "parameters 681,664",
            "embedding 49,152",
            "tokens per step 1,024",
            "tokens in total 819,200",
            "tokens per parameter 1.2",
            "FLOPs in total 3.40e+12",
            "time at 40% of peak about 8s",
            "device fake",
        ]
        bars = [
            "memory, estimated 1.0 KiB",
            "parameters █ 100 B",
            "optimizer ██▌ 250 B",
            "gradients ██ 200 B",
            "activations ████▌ 450 B",
        ]
        verdicts = {
            1_250.0: "! tight 80% of 1.2 KiB",
            4_000.0: "✓ fits 25% of 3.9 KiB",
            500.0: "✗ does not fit 200% of 500 B",
        }
        for limit, verdict in verdicts.items():
            panel.show(Report("done", {**FIGURES, "memory": MEMORY}, limit=(limit, "of the GPU")))
            await pilot.pause()
            assert rows(panel, "#pf-memory") == [
                *bars,
                verdict,
                "of the GPU",
                "fits below 75%, tight below 92%",
                "F10: XLA's memory analysis",
            ]
        panel.show(Report("done", {**FIGURES, "memory": MEMORY}))
        await pilot.pause()
        assert "? device memory unknown" in " ".join(rows(panel, "#pf-memory"))
        # Up for nine of nineteen steps, down to a tenth of where it began for the others.
        curve = tops(panel.query_one(LineChart))
        peak = curve.index(min(curve))
        assert len(curve) > 20
        assert abs(peak / len(curve) - 9 / 19) < 0.1
        assert curve[:peak] == sorted(curve[:peak], reverse=True)
        assert curve[peak:] == sorted(curve[peak:])
        assert min(curve) < 3
        assert max(curve) - min(curve) >= 6
        assert curve[-1] >= curve[0]
        chart = "\n".join(rows(panel, "#pf-schedule"))
        assert "learning rate" in chart
        assert "0.0010" in chart
        assert "1.000e-5" in chart, "where it ends"


async def test_the_panel_shows_what_the_engine_itself_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where no speed was measured yet.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    console = Console(tmp_path, (CONFIGS / "debug_smoke.yaml").read_text())
    console.app.state.helper = Helper()
    async with console.app.run_test(size=(200, 60)) as pilot:
        await console.open(pilot)
        await until(pilot, lambda: console.screen.preflight.state in ("done", "failed"), seconds=60)
        await pilot.pause()
        report, panel = console.screen.preflight, console.screen.query_one(PreflightPanel)
        assert report.state == "done", report.message
        # A fork of a process with threads may hang.
        helper = next(one for one in psutil.Process().children() if "chomp.cli.helper" in one.cmdline())
        assert helper.num_threads() == 1
        said = json.loads(json.dumps(dict(report.figures)))
        loaded = console.screen.document.check().loaded
        assert loaded is not None
        config = loaded.config
        assert said["tokens_per_step"] == config.train.batch_size * config.train.seq_len * (
            config.train.grad_accum or 1
        )
        assert said["total_tokens"] == said["tokens_per_step"] * config.train.steps
        assert rows(panel, "#pf-figures") == [
            f"parameters {said['parameters']:,}",
            f"output head {said['breakdown']['output_head']:,}",
            f"embedding {said['breakdown']['embedding']:,}",
            f"tokens per step {said['tokens_per_step']:,}",
            f"tokens in total {count(said['total_tokens'])}",
            f"tokens per parameter {said['tokens_per_parameter']:.3g}",
            f"FLOPs in total {said['total_flops']:.2e}",
            "tokens of the text 100",
            "epochs 51.2",
            f"checkpoints, at most 2 × {told(said['start']['checkpoints']['each'])}",
            f"disk free {told(said['start']['checkpoints']['free'])}",
            f"device {said['device']['name']}",
        ]
        assert said["start"]["problems"] == []
        assert "! the run reads the text about 51 times (100 tokens)" in " ".join(rows(panel, "#pf-hints"))
        drawn, memory = rows(panel, "#pf-memory"), said["memory"]
        assert drawn[0] == f"memory, estimated {told(memory['total'])}"
        bars = [line.translate(str.maketrans("", "", "█▏▎▍▌▋▊▉")).split(maxsplit=1) for line in drawn[1:5]]
        parts = ("parameters", "optimizer", "gradients", "activations")
        assert bars == [[part, told(memory[part])] for part in parts]
        assert sum(memory[part] for part in parts) == memory["total"]
        # Two steps of warm-up, then a cosine down to a tenth over the rest.
        schedule = said["schedule"]
        assert [step for step, _ in schedule] == list(range(1, config.train.steps + 1))
        [line] = panel.query_one(LineChart).series
        assert [list(pair) for pair in zip(line.x, line.y, strict=True)] == schedule
        curve = tops(panel.query_one(LineChart))
        assert curve.index(min(curve)) < len(curve) / 4
        assert curve[-1] == max(curve)


async def test_the_compiler_is_asked_when_it_is_asked_for(tmp_path: Path) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(200, 60)) as pilot:
        await console.open(pilot)
        panel = await estimated(pilot, console)
        assert "memory, compiled (XLA)" not in console.text()
        answer = tmp_path / "fake.py"
        text = answer.read_text()
        answer.write_text(
            f"import os, time\nwhile not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.01)\n{text}"
        )
        await pilot.press("f10", "h")
        compiling = "… compiling the step; this may take minutes (figures of an earlier version)"
        await until(pilot, lambda: " ".join(rows(panel, "#pf-state")) == compiling)
        (tmp_path / "go").touch()
        await until(pilot, lambda: console.screen.preflight.state == "done")
        await pilot.pause()
        drawn = rows(panel, "#pf-memory")
        assert drawn[drawn.index("memory, compiled (XLA) 1.0 KiB") :] == [
            "memory, compiled (XLA) 1.0 KiB",
            "argument █████ 300 B",
            "output █████ 300 B",
            "temp ██████████ 600 B",
            "alias ██▌ 150 B",
            "! tight 84% of 1.2 KiB",
            "that JAX may take of the GPU",
            "fits below 75%, tight below 92%",
        ]
        assert console.screen.preflight.figures["memory"]["compiled"] == COMPILED
        # It counts for other texts of the same run, and not for another run.
        await console.type(pilot, "train.steps", "minus")
        await pilot.press("f10", "enter")
        assert "correct them before you compile it" in console.said[-1]
        await console.type(pilot, "train.steps", "5000")
        await until(pilot, lambda: console.screen.preflight.state == "done")
        await pilot.pause()
        assert "memory, compiled (XLA)" not in console.text()


CARD = {
    "name": "rtx4090", "compiled": {"total": 9 << 30}, "pool_bytes": 17 << 30, "memory_bytes": 24 << 30, "fits": True,
    "compile_seconds": 61.0, "largest": {"batch_size": 4, "grad_accum": 2, "memory": 16 << 30}, "mfu_bound": 0.41,
    "seconds": {"products": 0.2, "bytes": 0.35, "launches": 0.05}, "moved_bytes": 3.5e11, "launches": 24_000,
    "flags": {},
}  # fmt: skip


async def test_a_gpu_elsewhere_is_chosen_and_its_figures_are_drawn(tmp_path: Path) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(200, 60)) as pilot:
        await console.open(pilot)
        panel = await estimated(pilot, console)
        answer = tmp_path / "fake.py"
        text = answer.read_text()
        answer.write_text(
            f"import sys; card = {CARD!r} if sys.argv[sys.argv.index('--for') + 1] == 'rtx4090' else None\n"
            + text.replace("print(json.dumps(", "print(json.dumps({'card': card} | ", 1)
        )
        await pilot.press("f10")
        await until(pilot, lambda: isinstance(console.app.screen, Choose))
        shown = "\n".join(strip.text for strip in strips(console.app.screen))
        assert "NVIDIA GeForce RTX 5090, 31.8 GiB" in shown
        await pilot.press("a")
        await until(
            pilot, lambda: console.screen.preflight.state == "done" and "card" in console.screen.preflight.figures
        )
        await pilot.pause()
        drawn = " ".join(rows(panel, "#pf-memory"))
        assert "on rtx4090, compiled in 61.0 s" in drawn
        assert "largest that fits: batch_size 4 × grad_accum 2, 16.0 GiB" in drawn
        assert "41% MFU at most" in drawn


@pytest.mark.parametrize(("pool", "glyph"), [(17 << 30, "✓"), (5 << 30, "✗")])
def test_without_the_compiler_the_estimate_is_compared_with_the_card(pool: int, glyph: str) -> None:
    card = {"name": "rtx4090", "memory_bytes": 24 << 30, "pool_bytes": pool, "estimated": 9 << 30}
    figures = {"memory": {"total": 9 << 30}, "card": None, "card_estimate": {**card, "fits": glyph == "✓"}}
    drawn = memory_text(figures, None).plain
    assert "on rtx4090, estimated by shapes" in drawn
    assert f"{glyph} 9.0 GiB of {told(pool)} that JAX takes of 24.0 GiB" in drawn


def test_a_card_that_is_too_small_says_what_to_change() -> None:
    drawn = card_text({**CARD, "fits": False, "largest": None, "flags": {"xla_gpu_enable_triton_gemm": False}}).plain
    assert "✗ 9.0 GiB of 17.0 GiB" in drawn
    assert "no micro-batch fits: set model.remat" in drawn
    assert "XLA_FLAGS=--xla_gpu_enable_triton_gemm=false" in drawn


async def test_the_form_says_groups_units_and_what_the_field_at_the_cursor_is(tmp_path: Path) -> None:
    console = Console(tmp_path)
    async with console.app.run_test(size=(120, 44)) as pilot:
        await console.open(pilot, overrides=("optim.lr=1e-3",))

        def form() -> list[str]:
            region = console.form.region
            lines = [strip.text for strip in strips(console.screen)]
            return [line[region.x : region.right] for line in lines[region.y : region.bottom]]

        async def helped(path: str) -> list[str]:
            assert await console.form.focus_path(path)
            await pilot.pause()
            region = console.form.query_one("#field-help").region
            lines = [strip.text for strip in strips(console.screen)]
            cut = [line[region.x : region.right].strip(" ─") for line in lines[region.y : region.bottom]]
            return [line for line in cut if line]

        fields = [line.split("│")[2].rstrip(" ▁▂▃▄▅▆▇█") for line in form() if line.count("│") > 2]
        named = [line.split() for line in fields if line.split()]
        # Headings stand alone, in the order of the settings, with their settings below them.
        heads = [words[0] for words in named if len(words) == 1]
        assert heads[:2] == ["run", "batch"]
        assert ["batch_size" in words for words in named].index(True) > named.index(["batch"])
        by_name = {next(word for word in words if word not in ("●", "◆")): words for words in named if len(words) > 1}
        assert by_name["steps"] == ["◆", "steps", "2000", "steps"]
        assert by_name["batch_size"] == ["◆", "batch_size", "4", "sequences"]
        assert by_name["batch_tokens"][:4] == ["batch_tokens", "auto", "(=256)", "tokens"]
        assert by_name["grad_accum"][:3] == ["grad_accum", "auto", "(=1)"]
        assert await helped("train.steps") == [
            "train.steps  a whole number above 0 and at most 2147483647, in",
            "steps",
            "Optimizer updates in the whole run.",
            "default 1000 · line 3",
        ]
        assert await helped("train.seq_len") == [
            "train.seq_len  a whole number of at least 8, in tokens",
            "Tokens per row.",
            "default 512 · line 4",
        ]
        assert await helped("data.shuffle") == [
            "data.shuffle  true or false",
            "Visit documents in a random order that changes each pass.",
            "default true · not written",
        ]
        assert await helped("optim.name") == [
            "optim.name  one of adamw, lion, muon",
            "Update rule.",
            "default muon · not written",
        ]
        assert await helped("optim.lr") == [
            "optim.lr  a number above 0",
            "Peak learning rate.",
            "default 1e-3 · -o optim.lr=1e-3 wins; editing the field drops it",
        ]
        assert (await helped("variables.n"))[0] == "variables.n  any value"


def painted(editor: YamlEditor, row: int) -> dict[str, Segment]:
    """The parts of a line of the editor by their text."""
    return {part.text.strip(): part for part in editor.render_line(row) if part.text.strip()}


async def test_the_editor_paints_names_values_and_comments_in_the_theme_s_colours(tmp_path: Path) -> None:
    console = Console(tmp_path, "# Why.\ntrain:\n  steps: 2000   # counted from one\n  allow_cpu: true\n")
    async with console.app.run_test(size=(120, 40)) as pilot:
        await console.open(pilot)

        def colour(row: int, text: str) -> str:
            style = painted(console.editor, row)[text].style
            assert style is not None
            assert style.color is not None
            return Color.from_rich_color(style.color).hex.lower()

        seen = []
        for key in ("", "f9"):
            if key:
                await pilot.press(key)
                await pilot.pause()
            theme = {name: value.lower() for name, value in console.app.theme_variables.items()}
            assert colour(0, "# Why.") == theme["muted"]
            assert colour(2, "# counted from one") == theme["muted"]
            assert colour(2, "steps") == theme["primary"]
            assert colour(2, "2000") == theme["chart-second"]
            assert colour(3, "true") == theme["accent"]
            style = painted(console.editor, 0)["# Why."].style
            assert style is not None
            assert style.italic
            seen.append(theme["primary"])
        assert seen[0] != seen[1], "the other theme has other colours"


def cells(console: Console) -> list[Segment]:
    """Every part of the screen that is drawn."""
    return [part for strip in strips(console.app.screen) for part in strip]


async def looked_at(folder: Path, size: tuple[int, int], theme: str = "chomp-dark") -> tuple[list[str], list[Segment]]:
    """The form with a problem and a switch, the YAML and the figures; and the parts that they are made of."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    console = Console(folder)
    console.app.state.settings.theme = theme
    async with console.app.run_test(size=size) as pilot:
        await console.open(pilot)
        await estimated(pilot, console)
        await console.form.focus_path("train.allow_cpu")
        await pilot.press("enter")
        await console.type(pilot, "train.steps", "minus")
        drawn, parts = [], []
        for key in ("", "f4", "f4"):
            if key:
                await pilot.press(key)
                await pilot.pause()
            # A chart draws its curve by other dots where there is no colour.
            drawn.append(console.text().translate(dict.fromkeys([*BRAILLE, ord("·")], " ")))
            parts += cells(console)
        return drawn, parts


@pytest.mark.parametrize("size", SIZES)
async def test_without_colour_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    coloured, parts = await looked_at(tmp_path / "x", size)
    tones = {part.style.color.triplet for part in parts if part.style and part.style.color}
    assert len(tones) > 6
    monkeypatch.setenv("NO_COLOR", "1")
    drawn, parts = await looked_at(tmp_path / "x", size)
    triplets = {part.style.color.triplet for part in parts if part.style and part.style.color}
    assert all(one is None or one.red == one.green == one.blue for one in triplets)
    # Every sign is a glyph or a word: the same ones stand there as with colour.
    assert drawn == coloured
    whole = "\n".join(drawn)
    for sign in (
        "✗ 1 problem",
        "●◆ allow_cpu",
        "[x] on",
        "3✗",
        "✗ 3 train.steps",
        "expected a whole number",
        "! tight",
    ):
        assert sign in whole, sign


async def test_a_light_theme_shows_the_same_in_colours_that_stand_out(tmp_path: Path) -> None:
    dark, _ = await looked_at(tmp_path / "x", (80, 24))
    light, parts = await looked_at(tmp_path / "x", (80, 24), "chomp-light")
    assert light == dark
    for part in parts:
        style = part.style
        if style is None or style.color is None or style.bgcolor is None or not any(map(str.isalnum, part.text)):
            continue
        front, back = Color.from_rich_color(style.color), Color.from_rich_color(style.bgcolor)
        assert abs(front.brightness - back.brightness) > 0.2, (part.text, front, back)
    grounds = [part for part in parts if part.style and part.style.bgcolor]
    bright = [part for part in grounds if Color.from_rich_color(part.style.bgcolor).brightness > 0.8]  # type: ignore[union-attr, arg-type]
    assert sum(len(part.text) for part in bright) > 0.8 * sum(len(part.text) for part in grounds)
