"""The strip of GPUs: what is said of each in how much room, and which GPUs are a run's."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chomp.device import Process
from chomp.record.columns import Columns
from chomp.record.fold import fold
from chomp.record.formatting import device_words
from chomp.record.run_view import RunView
from chomp.record.rundir import RunDir
from chomp.record.status import Liveness, Status
from chomp_tui.live.feed import RunUpdate
from chomp_tui.live.snapshot import RunSnapshot
from chomp_tui.screens.run import gpu_strip
from chomp_tui.screens.run.facts import sections
from chomp_tui.screens.run.gpu_strip import devices_of, form_for, gpus_of, strip_text
from chomp_tui.screens.run.memory import MemoryPanel
from chomp_tui.screens.run.tiles import readouts
from tests.console.hosting import frame, until
from tests.console.test_run_screen import LIVE, host
from tests.device.fake_nvml import fake, probe_of
from tests.fakeruns import started, write_run


@pytest.mark.parametrize(("width", "form"), [(78, 0), (158, 0)])
def test_one_gpu_says_all_that_the_driver_reports(width: int, form: int) -> None:
    gpus = probe_of("rtx5090").gpus
    assert form_for(1, width) == (1, form)
    assert strip_text(gpus, width).plain == "GPU 0 ╸╌╌╌╌╌╌╌   4%  1.3/32 GiB  31/575 W  38°C"
    assert strip_text(probe_of("no_permission").gpus, width).plain.endswith("  –  –  70/700 W  29°C")
    assert "not reported" in strip_text((), width).plain


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8, 16, 64])
@pytest.mark.parametrize("width", [20, 78, 118, 158, 198])
def test_many_gpus_keep_within_their_rows(count: int, width: int) -> None:
    one = probe_of("h200").gpus[0]
    gpus = [replace(one, index=index, utilisation_percent=100) for index in range(count)]
    lines = strip_text(gpus, width).split()
    assert len(lines) <= form_for(count, width)[0] <= 3
    assert all(line.cell_length <= width for line in lines)
    text = "\n".join(line.plain for line in lines)
    shown = text.count("100%")
    assert shown == count or f"and {count - shown} more" in text


def snapshot(platform: str, count: int = 1, pid: int | None = 7, **environment: str) -> RunSnapshot:
    begun = replace(started(), device={"platform": platform, "count": count}, environment=environment)
    update = RunUpdate(None, fold(RunView(), [begun]), Liveness(pid=pid))  # type: ignore[arg-type]
    return RunSnapshot(update, 0.0, Status("training", "●", "live", is_live=pid is not None))


def test_only_a_live_run_on_gpus_of_this_machine_has_the_strip() -> None:
    assert devices_of(snapshot("gpu", 2)) == 2
    assert devices_of(snapshot("cpu")) == 0
    assert devices_of(snapshot("gpu", pid=None)) == 0
    probe = probe_of("unequal")
    busy = replace(probe.gpus[1], processes=(Process(7),))
    assert gpus_of(replace(probe, gpus=(probe.gpus[0], busy)), snapshot("gpu"), 1) == (busy,)
    hidden = replace(probe, gpus=tuple(replace(gpu, processes=None, name="one") for gpu in probe.gpus))
    assert [gpu.index for gpu in gpus_of(hidden, snapshot("gpu", CUDA_VISIBLE_DEVICES="1"), 1)] == [1]
    assert [gpu.index for gpu in gpus_of(hidden, snapshot("gpu"), 1)] == [0]


async def test_the_strip_of_a_live_run_stays_in_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_strip, "load_nvml", lambda: fake("rtx5090"))
    app = host(tmp_path, write_run(tmp_path / "live", LIVE).path)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "GPU 0 ╸╌╌╌╌╌╌╌   4%  1.3/32 GiB  31/575 W  38°C" in frame(app)[3])
        assert os.getpid() == app.state.live[tmp_path / "live"]
        app.held.show_run(write_run(tmp_path / "done", replace(LIVE, live=False, ending="stopped")).path)  # type: ignore[attr-defined]
        await until(pilot, lambda: "■ stopped" in frame(app)[1] and "GPU" not in frame(app)[3])


TWO_HOSTS = {
    "platform": "gpu",
    "name": "NVIDIA H100",
    "count": 4,
    "mesh": {"data": 2, "fsdp": 2},
    "processes": [{"host": "here", "devices": [0, 1]}, {"host": "there", "devices": [2, 3]}],
}


def on_two_hosts(row: dict[str, Any], device: dict[str, Any] = TWO_HOSTS) -> RunSnapshot:
    view = replace(fold(RunView(), [replace(started(), device=device, host="here")]), rows=rows_of(row))
    update = RunUpdate(RunDir(Path("runs/mine")), view, Liveness(pid=7))
    return RunSnapshot(update, 0.0, Status("training", "●", "live", is_live=True))


def rows_of(row: dict[str, Any]) -> Columns:
    return Columns.empty().append({name: np.asarray([float(value)]) for name, value in row.items()})


def test_a_run_on_several_hosts_shows_its_devices_here_and_the_slowest_process() -> None:
    row = {
        "step": 4, "loss": 1.0, "device_memory_gb": 21.5, "device_0_memory_gb": 20.25, "device_1_memory_gb": 21.5,
        "slowest_process": 1, "host_s_max": 0.52, "host_s_median": 0.41,
    }  # fmt: skip
    snapshot = on_two_hosts(row)
    assert devices_of(snapshot) == 2
    shown = {one.label: (one.value, one.note) for one in readouts(snapshot)}
    assert shown["slowest process"] == ("520 ms", "process 1 on there")
    assert shown["median process"] == ("410 ms", "")
    memory = MemoryPanel(id="memory", title="Memory").text(snapshot, 40).plain
    assert "each    20.2 21.5 GiB" in memory
    facts = dict(fact for title, section in sections(snapshot) if title == "Run" for fact in section)
    assert facts["device"] == "4 × NVIDIA H100, data 2 × fsdp 2, 2 processes on 2 hosts"
    assert (facts["process 0"], facts["process 1"]) == ("here", "there")


@pytest.mark.parametrize(
    "device",
    [
        {"platform": "gpu", "name": "NVIDIA H100", "count": 1},
        {"platform": "gpu", "name": "NVIDIA H100", "count": 1, "mesh": 7, "processes": "x"},
        {"platform": "gpu", "name": "NVIDIA H100", "count": 1, "processes": [1, {"devices": 3}]},
    ],
)
def test_one_device_and_damaged_facts_show_nothing_new(device: dict[str, Any]) -> None:
    snapshot = on_two_hosts({"step": 4, "loss": 1.0, "device_memory_gb": 21.5}, device)
    assert devices_of(snapshot) == 1
    assert device_words(device) == "NVIDIA H100"
    assert not {"slowest process", "median process"} & {one.label for one in readouts(snapshot)}
    assert "each" not in MemoryPanel(id="memory", title="Memory").text(snapshot, 40).plain
