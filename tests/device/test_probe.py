"""Readings to a probe: every field may be absent, and then says why."""

import json

import pynvml
import pytest

from chomp.device import Gpu, Process, probe_gpus
from chomp.device.probe import load_nvml
from tests.device.fake_nvml import READINGS, FakeNvml, fake, probe_of
from tests.device.machines import MODELS, readings

XORG = {"pid": 2114, "memory": 2, "name": "Xorg"}


def test_all_readings():
    found = probe_of("rtx5090")
    assert (found.driver, found.cuda, found.reason) == ("580.65.06", "13.0", None)
    assert found.gpus == (
        Gpu(
            index=0,
            name="NVIDIA GeForce RTX 5090",
            uuid="GPU-5090aaaa-0000-4000-8000-000000000001",
            compute_capability=(12, 0),
            memory_total_bytes=34_190_917_632,
            memory_used_bytes=1_371_537_408,
            utilisation_percent=4,
            temperature_celsius=38,
            power_watts=31.25,
            power_limit_watts=575.0,
            mig=None,
            processes=(Process(2114, 402_653_184, "/usr/lib/xorg/Xorg", draws=True),),
            desktop=True,
            unavailable={"mig": "not supported by this device"},
        ),
    )


@pytest.mark.parametrize(
    ("name", "capabilities"),
    [
        ("rtx4090", [(8, 9)]),
        ("h100", [(9, 0)]),
        ("h200", [(9, 0)]),
        ("b200", [(10, 0)]),
        ("unequal", [(8, 9), (12, 0)]),
    ],
)
def test_capabilities(name, capabilities):
    assert [gpu.compute_capability for gpu in probe_of(name).gpus] == capabilities


def test_no_permission_gives_none_and_the_reason():
    [gpu] = probe_of("no_permission").gpus
    refused = "the driver denies it to this user"
    assert (gpu.memory_total_bytes, gpu.memory_used_bytes, gpu.utilisation_percent, gpu.processes, gpu.mig) == (
        None,
    ) * 5
    assert gpu.desktop is None
    assert gpu.unavailable == dict.fromkeys(("memory", "utilisation_percent", "processes", "desktop", "mig"), refused)
    assert gpu.name == "NVIDIA H100 80GB HBM3"


def test_mig():
    [gpu] = probe_of("mig").gpus
    assert (gpu.mig, gpu.utilisation_percent) == (True, None)
    assert gpu.processes == (Process(901, None, None),)


def test_mig_that_is_off():
    assert probe_of("h100").gpus[0].mig is False


def test_wsl_hides_processes():
    [gpu] = probe_of("wsl").gpus
    assert gpu.processes is None
    assert gpu.power_limit_watts is None
    assert gpu.unavailable["processes"] == "not supported by this device"
    assert gpu.power_watts == 18.42


def test_idle_is_not_absent():
    [gpu] = probe_of("rtx4090").gpus
    assert (gpu.utilisation_percent, gpu.processes) == (0, ())


@pytest.mark.parametrize(
    ("display", "graphics", "desktop"),
    [
        (1, [], True),
        (0, [XORG], True),
        ({"error": 3}, [XORG], True),
        (1, {"error": 4}, True),
        (0, [], False),
        (0, {"error": 4}, None),
        ({"error": 3}, [], None),
        ({"error": 3}, {"error": 4}, None),
    ],
)
def test_a_desktop_is_a_display_or_a_process_that_draws(display, graphics, desktop):
    machine = readings("580.95.05", MODELS[:1])
    machine["gpus"][0] |= {"display_active": display, "graphics": graphics}
    [gpu] = probe_gpus(lambda: FakeNvml(machine)).gpus
    assert gpu.desktop is desktop
    assert ("desktop" in gpu.unavailable) == (desktop is None)


def test_a_process_that_computes_and_draws_is_listed_once():
    machine = readings("580.95.05", MODELS[:1])
    machine["gpus"][0] |= {"processes": [{"pid": 7, "memory": 1, "name": "train"}, XORG], "graphics": [XORG]}
    [gpu] = probe_gpus(lambda: FakeNvml(machine)).gpus
    assert gpu.processes == (Process(7, 1, "train"), Process(2114, 2, "Xorg", draws=True))


def test_a_lost_gpu_does_not_hide_the_others():
    first, second = probe_of("lost").gpus
    assert first.name == "NVIDIA GeForce RTX 5090"
    assert second == Gpu(1, unavailable={"name": "the GPU has fallen off the bus; restart the machine"})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_driver", "no NVIDIA driver is installed (libnvidia-ml was not found)"),
        ("driver_not_loaded", "the NVIDIA driver is installed but not loaded"),
        ("init_refused", "the driver denies it to this user"),
        (
            "driver_mismatch",
            "the NVIDIA driver was updated and its running kernel module was not; restart the machine",
        ),
        ("no_gpu", "the NVIDIA driver is loaded but reports no GPU"),
    ],
)
def test_no_gpu_and_why(name, reason):
    found = probe_of(name)
    assert (found.gpus, found.reason) == ((), reason)


def test_missing_package():
    def missing():
        raise ImportError("pynvml")

    assert probe_gpus(missing).reason == "the package nvidia-ml-py is not installed"


def test_the_library_is_closed_again():
    nvml = fake("unequal")
    probe_gpus(lambda: nvml)
    assert nvml.open == 0


def test_old_libraries_answer_in_bytes_and_names_may_hold_control_characters():
    recorded = json.loads((READINGS / "rtx5090.json").read_text())
    recorded["driver"] = b"470.1"
    recorded["gpus"][0]["graphics"][0]["name"] = "a\x1b[2Jb"
    found = probe_gpus(lambda: FakeNvml(recorded))
    assert found.driver == "470.1"
    assert found.gpus[0].processes == (Process(2114, 402_653_184, "a?[2Jb", draws=True),)


@pytest.mark.parametrize("file", sorted(READINGS.glob("*.json")), ids=lambda file: file.stem)
def test_every_probe_is_json(file):
    found = probe_of(file.stem)
    assert json.loads(json.dumps(found.to_dict()))["reason"] == found.reason


def test_the_fake_has_only_what_the_library_has():
    assert load_nvml() is pynvml
    for name in dir(FakeNvml):
        if name.lower().startswith("nvml"):
            assert hasattr(pynvml, name)
