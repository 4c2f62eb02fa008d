"""The device screen on recorded readings: what is missing is said and never shown as a zero."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from chomp.device import Gpu, Process, probe_gpus, recommended_environment
from chomp.queue.launch import LaunchRequest, command
from chomp_tui.app import ChompApp
from chomp_tui.engine import launch
from chomp_tui.engine.machine import Machine, remarks
from chomp_tui.live.gpu_watch import INTERVAL_SECONDS, KEPT_READINGS, GpuWatch, History, Trail
from chomp_tui.screens.device import screen as device
from chomp_tui.screens.device.device_list import DeviceList
from chomp_tui.screens.device.flag_rules import RuleList, state
from chomp_tui.screens.device.gpu_card import GpuCard, MachineCard, card, machine_lines, past, title
from chomp_tui.screens.device.screen import DeviceScreen
from chomp_tui.settings import Settings
from chomp_tui.state import ConsoleState
from tests.console.hosting import SIZES, strips
from tests.device.fake_nvml import READINGS, FakeNvml, fake, probe_of
from tests.device.machines import GTX_750, MODELS, V100, Model, readings

# Every size and key of a whole screen, in hundreds of frames.

NAMES = sorted(path.stem for path in READINGS.glob("*.json"))
FLAG = "--xla_gpu_enable_triton_gemm=false"
PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"
MACHINE = Machine(16, 64 << 30, "jax-cuda13-plugin 0.10.2", 25.0, 8 << 30)
DEADLINE_SECONDS = 30


@pytest.fixture(autouse=True)
def _no_child_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "prove_flags", lambda environ: None)


def made(tmp_path: Path, name: str, environ: Mapping[str, str], load: Callable[[], object] | None = None) -> ChompApp:
    settings = Settings(tmp_path / "console.yaml")
    app = ChompApp(ConsoleState(settings, runs=tmp_path / "runs", configs=tmp_path / "configs"))
    app.built["device"] = DeviceScreen(load or (lambda: fake(name)), environ, lambda: MACHINE)
    return app


async def until(pilot: Pilot[None], holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "nothing happened"
        await pilot.pause(0.01)
    await pilot.pause()


@asynccontextmanager
async def shown(
    tmp_path: Path, name: str, environ: Mapping[str, str] | None = None, size: tuple[int, int] = (120, 40)
) -> AsyncIterator[tuple[Pilot[None], DeviceScreen]]:
    """The device screen of the whole console, once the GPUs have been read."""
    app = made(tmp_path, name, environ or {})
    async with app.run_test(size=size) as pilot:
        await pilot.press("3")
        await until(pilot, lambda: app.screen is app.screen_of("device") and app.screen_of("device").probe is not None)
        yield pilot, app.screen_of("device")


def frame(screen: DeviceScreen) -> str:
    """The text on the terminal."""
    return "\n".join(strip.text for strip in strips(screen))


def squeezed(text: str) -> str:
    """Without what wrapping and borders add."""
    return " ".join(text.replace("│", " ").split())


async def frames(tmp_path: Path, size: tuple[int, int]) -> dict[str, str]:
    """The screen for each machine, one after the other in one console."""
    names = [NAMES[0]]
    app = made(tmp_path, "", {}, lambda: fake(names[-1]))
    seen = {}
    async with app.run_test(size=size) as pilot:
        await pilot.press("3")
        for name in NAMES:
            names.append(name)
            probe = probe_of(name)
            await pilot.press("r")
            await until(pilot, lambda probe=probe: app.screen_of("device").probe == probe)
            assert len(app.screen.query(GpuCard)) == len(probe.gpus), name
            seen[name] = frame(app.screen_of("device"))
    return seen


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_every_reading_is_shown(size: tuple[int, int], tmp_path: Path) -> None:
    for name, text in (await frames(tmp_path, size)).items():
        probe = probe_of(name)
        assert {len(line) for line in text.splitlines()} == {size[0]}, name
        if probe.gpus:
            assert title(probe.gpus[0]) in text, name
            assert probe.driver is not None
            assert f"driver {probe.driver}" in text, name
        else:
            assert probe.reason is not None
            assert squeezed(probe.reason).lower() in squeezed(text).lower(), name
            assert "Runs use the CPU: 16 cores, 64.0 GiB of memory." in text, name


async def test_without_colour_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coloured = await frames(tmp_path, (80, 24))
    monkeypatch.setenv("NO_COLOR", "1")
    assert await frames(tmp_path, (80, 24)) == coloured


def test_a_card() -> None:
    [gpu] = probe_of("rtx5090").gpus
    assert card(gpu, 70).plain.splitlines() == [
        "memory    ━─────────────────────────────  1.3 GiB of 31.8 GiB  4%",
        "load      ━─────────────────────────────  4%",
        "power     ━━────────────────────────────  31 of 575 W",
        "state     38 °C · compute capability 12.0 · MIG – not supported",
        "processes    2114     384 MiB  /usr/lib/xorg/Xorg",
    ]


def test_what_a_user_may_not_see_is_a_dash_with_the_reason() -> None:
    [gpu] = probe_of("no_permission").gpus
    refused = "– the driver denies it to this user"
    assert card(gpu, 70).plain.splitlines() == [
        f"memory    {refused}",
        f"load      {refused}",
        "power     ━━━───────────────────────────  70 of 700 W",
        f"state     29 °C · compute capability 9.0 · MIG {refused}",
        f"processes {refused}",
    ]


def test_mig_and_a_process_whose_name_and_memory_are_hidden() -> None:
    lines = card(probe_of("mig").gpus[0], 70).plain.splitlines()
    assert lines[1] == "load      – not supported by this device"
    assert lines[3].endswith("MIG on")
    assert lines[4] == "processes     901           –  –"


def test_idle_is_not_missing() -> None:
    lines = card(probe_of("rtx4090").gpus[0], 70).plain.splitlines()
    assert lines[1].endswith("─  0%")
    assert lines[4] == "processes none"


def test_a_limit_that_is_not_known() -> None:
    assert card(probe_of("wsl").gpus[0], 70).plain.splitlines()[2] == (
        "power     18 W, limit – not supported by this device"
    )


def test_a_lost_gpu() -> None:
    lost = probe_of("lost").gpus[1]
    assert title(lost) == "GPU 1"
    assert card(lost, 70).plain == "No reading: the GPU has fallen off the bus; restart the machine."


def test_nothing_known_at_all_is_no_zero() -> None:
    text = card(Gpu(0, name="X"), 70).plain
    assert "0" not in text
    assert text.count("– not reported") == 7


@pytest.mark.parametrize("width", [1, 20, 38, 500])
def test_any_width(width: int) -> None:
    processes = tuple(Process(pid, None if pid % 2 else pid << 20, f"/a\x1b[2J/{'x' * pid}") for pid in range(40, 50))
    gpu = Gpu(
        0, "X", memory_total_bytes=2, memory_used_bytes=4, power_watts=9.0, power_limit_watts=1.0, processes=processes
    )
    text = card(gpu, width).plain
    assert "\x1b" not in text
    assert "and 5 more" in text
    assert machine_lines(MACHINE, width).plain


def test_the_machine_s_own_line() -> None:
    assert machine_lines(MACHINE, 70).plain.splitlines() == [
        "CPU       ━━━━━━━━──────────────────────  25% of 16 cores",
        "memory    ━━━━──────────────────────────  8.0 GiB of 64.0 GiB",
    ]
    assert machine_lines(Machine(2, 4 << 30), 70).plain.splitlines() == ["CPU       2 cores", "memory    4.0 GiB"]


# The last minutes ------------------------------------------------------------------------


def test_readings_of_the_last_minutes_stand_at_their_times() -> None:
    probe, history = probe_of("rtx5090"), History()
    [gpu] = probe.gpus
    for number in (0, 1, 4):
        history.add(probe, MACHINE, 1000 + number * INTERVAL_SECONDS)
    # A reading in between: replaces the newest.
    history.add(probe, replace(MACHINE, busy_percent=75.0), 1000 + 4.2 * INTERVAL_SECONDS)
    load = history.trail(None).load
    assert len(load) == KEPT_READINGS
    assert load[-5:] == pytest.approx((0.25, 0.25, math.nan, math.nan, 0.75), nan_ok=True)
    assert all(map(math.isnan, load[:-5]))
    assert history.trail(None).memory[-1] == 0.125
    assert history.trail(gpu.index).load[-1] == 0.04
    assert all(map(math.isnan, history.trail(7).load))
    history.add(probe, MACHINE, 1e9)
    assert all(map(math.isnan, history.trail(None).load[:-1])), "a long time away is a gap, not a curve"


def test_curves_of_the_last_minutes() -> None:
    trail = Trail((math.nan,) * 6 + (0.0,) * 7 + (0.5,) * 7 + (1.0,) * 7, (math.nan,) * 27)
    assert past(trail, "load", 42, 2).plain.splitlines()[2:] == [
        "load                          ▇▇▇▇▇▇▇ 100%",
        "                ▁▁▁▁▁▁▁██████████████   0%",
        "          5 minutes ago           now",
    ]


@pytest.mark.parametrize("width", [1, 20, 38, 500])
@pytest.mark.parametrize("trail", [None, Trail(), Trail((0.5,) * 9, (math.nan,) * 9)])
def test_curves_of_any_width(width: int, trail: Trail | None) -> None:
    lines = past(trail, "CPU", width, 4).plain.splitlines()
    assert all(len(line) <= max(0, width) for line in lines)


async def test_curves_have_room_only_on_a_high_and_wide_screen(tmp_path: Path) -> None:
    async with shown(tmp_path, "rtx5090", size=(160, 48)) as (pilot, screen):
        for size, curves in (((160, 48), 2), ((160, 30), 0), ((120, 48), 0)):
            await pilot.resize_terminal(*size)
            await until(pilot, lambda curves=curves: frame(screen).count("5 minutes ago") == curves)
            assert "memory" in frame(screen)


async def test_without_a_gpu_the_curves_have_the_width_of_a_wide_screen(tmp_path: Path) -> None:
    async with shown(tmp_path, "no_driver", size=(160, 48)) as (pilot, screen):

        def tops() -> list[int]:
            return [place for place, line in enumerate(frame(screen).splitlines()) if line.endswith("100% │")]

        # Both end at the right edge, and a first reading is drawn before it is known how much room there is.
        await until(pilot, lambda: len(tops()) == 2 and tops()[1] - tops()[0] > 8)
        below = next(place for place, line in enumerate(frame(screen).splitlines()) if "Runs started here" in line)
        assert below > tops()[1], "what is to be said is below them"


# Where runs compute ----------------------------------------------------------------------


def said(name: str, environ: dict[str, str] | None = None, machine: Machine = MACHINE) -> list[str]:
    return [remark.text for remark in remarks(probe_of(name), machine, environ or {})]


ALLOW = "A configuration must allow that with train.allow_cpu: true."
CPU = "the CPU: 16 cores, 64.0 GiB of memory"
BARE = Machine(16, 64 << 30)


@pytest.mark.parametrize(
    ("name", "environ", "machine", "expected"),
    [
        ("h100", {}, MACHINE, ["A run uses GPU 0, NVIDIA H100 80GB HBM3 (jax-cuda13-plugin 0.10.2)."]),
        (
            "unequal",
            {},
            MACHINE,
            ["A run uses the GPUs of one kind among the 2 that CUDA shows it (jax-cuda13-plugin 0.10.2)."],
        ),
        (
            "unequal",
            {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
            MACHINE,
            ["A run uses GPU 1, NVIDIA GeForce RTX 5090 (jax-cuda13-plugin 0.10.2)."],
        ),
        ("h100", {"JAX_PLATFORMS": "cpu"}, MACHINE, [f"Runs use {CPU}, because JAX_PLATFORMS=cpu says so."]),
        ("h100", {"JAX_PLATFORM_NAME": "cpu"}, MACHINE, [f"Runs use {CPU}, because JAX_PLATFORM_NAME=cpu says so."]),
        (
            "h100",
            {"CUDA_VISIBLE_DEVICES": ""},
            MACHINE,
            [f"Runs use {CPU}, because CUDA_VISIBLE_DEVICES= hides every GPU.", ALLOW],
        ),
        (
            "h100",
            {},
            BARE,
            [f"Runs use {CPU}: JAX is installed without CUDA. Install it: pip install 'chomp[cuda13]'", ALLOW],
        ),
        (
            "no_driver",
            {},
            BARE,
            [
                f"Runs use {CPU}.",
                ALLOW,
                "For an NVIDIA GPU: install NVIDIA's driver, then pip install 'chomp[cuda13]'",
            ],
        ),
        ("driver_mismatch", {}, MACHINE, [f"Runs use {CPU}.", ALLOW]),
        (
            "no_gpu",
            {"JAX_PLATFORMS": "cuda"},
            MACHINE,
            ["JAX_PLATFORMS=cuda asks for a GPU: a run would end at once without one."],
        ),
        ("no_gpu", {"JAX_PLATFORMS": "cuda,cpu"}, MACHINE, [f"Runs use {CPU}.", ALLOW]),
    ],
)
def test_where_runs_compute(name: str, environ: dict[str, str], machine: Machine, expected: list[str]) -> None:
    assert said(name, environ, machine) == expected


@pytest.mark.parametrize(
    ("driver", "model", "advice"),
    [
        ("550.163.01", MODELS[0], "Install it: pip install 'chomp[cuda12]'"),
        ("580.95.05", V100, "Install it: pip install 'chomp[cuda12-pre-turing]'"),
        (
            "580.95.05",
            GTX_750,
            "CPU wheels: NVIDIA GeForce GTX 750 Ti (compute capability 5.0) is older than 5.2, "
            "which JAX's CUDA wheels need.",
        ),
    ],
)
def test_the_wheels_to_install_are_those_for_the_driver_and_the_gpu(driver: str, model: Model, advice: str) -> None:
    probe = probe_gpus(lambda: FakeNvml(readings(driver, [model])))
    assert remarks(probe, BARE, {})[0].text == f"Runs use {CPU}: JAX is installed without CUDA. {advice}"


def test_packages_that_do_not_fit_are_a_warning() -> None:
    probe = probe_gpus(lambda: FakeNvml(readings("550.163.01", MODELS[:1])))
    packages = {"jax-cuda13-plugin": version("jaxlib")}
    _, found = remarks(probe, replace(MACHINE, packages=packages), {})
    assert found.tone == "warn"
    assert found.text == (
        "jax-cuda13-plugin is installed, but NVIDIA driver 550.163.01 is older than 580, which the CUDA 13 wheels "
        "need; uninstall it with jax-cuda13-pjrt, and install 'chomp[cuda12]' instead."
    )


def test_numbers_that_mean_another_card_than_it_seems() -> None:
    assert said("unequal", {"CUDA_VISIBLE_DEVICES": "0"})[-1].startswith(
        "CUDA_VISIBLE_DEVICES=0 counts the fastest card first, this list by slot; set CUDA_DEVICE_ORDER=PCI_BUS_ID"
    )


# Switches --------------------------------------------------------------------------------


async def test_switches_change_what_runs_get_and_outlast_other_screens_and_readings(tmp_path: Path) -> None:
    async with shown(tmp_path, "rtx5090") as (pilot, screen):
        state = screen.chomp.state
        assert "[ ] XLA_FLAGS" in frame(screen)
        assert "recommend: yours to switch on" in frame(screen)
        assert state.environment == {}
        await pilot.press("space")
        assert state.environment == {"XLA_FLAGS": FLAG}
        await pilot.press("down", "space")
        assert state.environment == {"XLA_FLAGS": FLAG, PREALLOCATE: "false"}
        await pilot.press("up", "space")
        assert state.environment == {PREALLOCATE: "false"}
        await pilot.press("space")
        await pilot.pause()
        text = frame(screen)
        assert "[x] XLA_FLAGS" in text
        assert f"[x] {PREALLOCATE} false" in text
        assert "on: runs started here get it" in text
        assert screen.line_to_copy == f"env XLA_FLAGS={FLAG} {PREALLOCATE}=false chomp train CONFIG"
        assert squeezed(screen.line_to_copy) in squeezed(text)
        await pilot.press("y")
        assert pilot.app.clipboard == screen.line_to_copy
        await pilot.press("down", "1", "3")
        await until(pilot, lambda: pilot.app.screen is screen)
        await pilot.press("r")
        await pilot.pause()
        assert f"[x] {PREALLOCATE} false" in frame(screen)
        assert screen.query_one(RuleList).highlighted == 1


def test_a_flag_that_runs_get_by_themselves_is_refused_by_its_opposite() -> None:
    triton, _ = recommended_environment(probe_of("rtx5090"), {}, jax_version=(0, 9))
    assert state(triton, is_on=True) == "apply: every run gets it"
    assert state(triton, is_on=False) == "off: runs get --xla_gpu_enable_triton_gemm=true instead"


async def test_the_old_name_of_the_memory_fraction_leaves_nothing_to_choose(tmp_path: Path) -> None:
    async with shown(tmp_path, "h100", {"XLA_PYTHON_CLIENT_MEM_FRACTION": ".8"}) as (pilot, screen):
        text = squeezed(frame(screen))
        assert "[–] XLA_PYTHON_CLIENT_MEM_FRACTION .9" in text
        assert "kept as you set it: XLA_PYTHON_CLIENT_MEM_FRACTION=.8" in text
        assert "JAX refuses the new name, XLA_CLIENT_MEM_FRACTION, beside this old one" in text
        await pilot.press("space")
        assert screen.chomp.state.environment == {}
        assert screen.line_to_copy == "chomp train CONFIG"


async def test_what_the_user_has_set_is_shown_and_stays(tmp_path: Path) -> None:
    environ = {"XLA_FLAGS": FLAG, PREALLOCATE: "true", "JAX_API_KEY": "secret", "HOME": "/h"}
    async with shown(tmp_path, "rtx5090", environ) as (pilot, screen):
        text = frame(screen)
        assert "[=] XLA_FLAGS" in text
        assert "already set in your environment" in text
        assert f"[–] {PREALLOCATE}" in text
        assert f"kept as you set it: {PREALLOCATE}=true" in text
        assert f"XLA_FLAGS={FLAG}" in text
        assert "secret" not in text
        await pilot.press("space", "down", "space")
        assert screen.chomp.state.environment == {}
        assert screen.line_to_copy == "chomp train CONFIG"


async def test_cards_that_need_nothing_have_no_switches(tmp_path: Path) -> None:
    async with shown(tmp_path, "no_permission") as (pilot, screen):
        assert "These GPUs need no environment variables." in frame(screen)
        await pilot.press("space", "y", "t")
        assert screen.chomp.state.environment == {}


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (None, "✓ ok: the installed XLA accepts these XLA_FLAGS"),
        (
            "the installed XLA does not know the flag --a in XLA_FLAGS; remove it",
            "✗ The installed XLA does not know the flag --a",
        ),
    ],
)
async def test_flags_are_tested_off_the_screen_s_thread(
    problem: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []
    answer = threading.Event()

    def prove(environ: Mapping[str, str]) -> str | None:
        asked.append((environ["XLA_FLAGS"], threading.get_ident()))
        assert answer.wait(DEADLINE_SECONDS)
        return problem

    monkeypatch.setattr(device, "prove_flags", prove)
    async with shown(tmp_path, "rtx5090", {"XLA_FLAGS": "--a"}) as (pilot, screen):
        assert "? XLA_FLAGS not tested yet" in frame(screen)
        await pilot.press("t", "t")
        await pilot.pause()
        assert "testing the flags" in frame(screen)
        answer.set()
        await until(pilot, lambda: expected in frame(screen))
        assert [flags for flags, _ in asked] == ["--a"]
        assert asked[0][1] != threading.get_ident()
        await pilot.press("space")
        await until(pilot, lambda: len(asked) == 2 and expected in frame(screen))
        assert asked[1][0] == f"--a {FLAG}", "other flags are tested as they are chosen"


# Reading again ---------------------------------------------------------------------------


async def test_gpus_are_read_only_while_they_are_looked_at(tmp_path: Path) -> None:
    loads: list[int] = []

    def load() -> object:
        loads.append(threading.get_ident())
        return fake("h100")

    app = made(tmp_path, "h100", {}, load)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert loads == [], "the screen is hidden"
        await pilot.press("3")
        await until(pilot, lambda: loads)
        assert threading.get_ident() not in loads
        await pilot.press("1")
        await pilot.pause()
        # Private: a thread that reads the driver shows nowhere.
        assert app.screen_of("device")._watch is None
        await pilot.press("3")
        await until(pilot, lambda: len(loads) > 1)


async def test_a_gpu_that_appears_and_one_that_goes(tmp_path: Path) -> None:
    names = ["rtx5090"]
    app = made(tmp_path, "", {}, lambda: fake(names[-1]))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("3")
        for name, count in (("rtx5090", 1), ("unequal", 2), ("no_driver", 0), ("rtx4090", 1)):
            names.append(name)
            await pilot.press("r")
            await until(pilot, lambda count=count: len(app.screen.query(GpuCard)) == count)
        assert len(app.screen.query(MachineCard)) == 1
        assert not app.screen.query_one("#no-gpu", Static).display


async def test_a_driver_that_does_not_answer_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = threading.Event()
    monkeypatch.setattr(device, "SILENT_SECONDS", -1.0)

    def load() -> object:
        hangs.wait(DEADLINE_SECONDS)
        return fake("h100")

    app = made(tmp_path, "", {}, load)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("3")
        await until(pilot, lambda: app.screen is app.screen_of("device"))
        # The interval itself would take seconds.
        app.screen_of("device")._say_how_fresh()
        await pilot.pause()
        assert "the driver has not answered for" in frame(app.screen_of("device"))
        hangs.set()


def test_a_stopped_watch_delivers_nothing() -> None:
    inside, go = threading.Event(), threading.Event()
    delivered: list[object] = []

    def load() -> object:
        inside.set()
        assert go.wait(DEADLINE_SECONDS)
        return fake("h100")

    watch = GpuWatch(load, delivered.append, interval_seconds=0)
    watch.start()
    assert inside.wait(DEADLINE_SECONDS)
    watch.stop()
    go.set()
    for thread in threading.enumerate():
        if thread.name == "gpu-watch":
            thread.join(DEADLINE_SECONDS)
    assert delivered == []


# Terminals that are too small -------------------------------------------------------------


async def test_a_terminal_that_is_too_small_says_so_until_it_grows(tmp_path: Path) -> None:
    app = made(tmp_path, "h100", {})
    async with app.run_test(size=(59, 20)) as pilot:
        await pilot.press("3")
        await until(pilot, lambda: app.screen is app.screen_of("device"))
        assert "59 × 20 is too small" in frame(app.screen_of("device"))
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "too small" not in frame(app.screen_of("device")))
        await pilot.resize_terminal(80, 15)
        await until(pilot, lambda: "80 × 15 is too small" in frame(app.screen_of("device")))


@pytest.mark.parametrize("size", [(80, 24), (160, 48)], ids=str)
async def test_the_gpus_of_new_runs_are_chosen_by_boxes(size: tuple[int, int], tmp_path: Path) -> None:
    nvml = FakeNvml(readings("580.95.05", [Model("NVIDIA H100 80GB HBM3", (9, 0), 520, 80)] * 4))
    app = made(tmp_path, "", {}, lambda: nvml)
    async with app.run_test(size=size) as pilot:
        await pilot.press("3")
        screen = app.screen_of("device")
        await until(pilot, lambda: app.screen is screen and screen.probe is not None)
        assert isinstance(screen, DeviceScreen)
        assert "[x] GPU 0  NVIDIA H100 80GB HBM3" in frame(screen)
        assert "A run uses all 4 GPUs" in squeezed(frame(screen))
        screen.query_one(DeviceList).focus()
        await pilot.press("space", "down", "space")
        assert app.state.devices == ("2", "3")
        text = squeezed(frame(screen))
        assert "[ ] GPU 0" in text
        assert "A run uses 2 of the 4 GPUs" in text
        assert screen.line_to_copy.endswith("train CONFIG --devices 2,3")
        await pilot.press("down", "space", "down", "space")
        assert app.state.devices == ("3",), "a run needs a device"
        started: list[LaunchRequest] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(launch, "start", lambda request, environ: started.append(request) or 1)
            patch.setattr(app, "open_run", lambda path: None)
            app.launch(LaunchRequest(tmp_path / "runs" / "one"))
        assert started[0].devices == ("3",)
        assert command(started[0])[-2:] == ["--devices", "3"]
