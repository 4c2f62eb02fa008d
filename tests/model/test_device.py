"""Where JAX finds no device, one sentence names the reason and the variables that chose it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import jax
import pytest

from chomp.cli import engine
from chomp.errors import DeviceError
from chomp.model.device import chosen_devices, first_device, unused_devices

ROOT = Path(__file__).parents[2]
ADVICE = "; correct or unset the variable"

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("error", "environment", "said"),
    [
        (AssertionError(), {"JAX_PLATFORMS": "cuda"}, "no GPU is visible (JAX_PLATFORMS=cuda)" + ADVICE),
        (
            AssertionError(),
            {"JAX_PLATFORMS": "cuda", "CUDA_VISIBLE_DEVICES": ""},
            "no GPU is visible (JAX_PLATFORMS=cuda, CUDA_VISIBLE_DEVICES=)" + ADVICE,
        ),
        (
            RuntimeError("Unable to initialize backend 'tpu': no libtpu (set JAX_PLATFORMS='' to choose)\nmore"),
            {"JAX_PLATFORMS": "tpu"},
            "Unable to initialize backend 'tpu': no libtpu (JAX_PLATFORMS=tpu)" + ADVICE,
        ),
        (
            RuntimeError("Unknown backend x"),
            {"JAX_PLATFORM_NAME": "x"},
            "Unknown backend x (JAX_PLATFORM_NAME=x)" + ADVICE,
        ),
        (RuntimeError("no driver"), {}, "no driver"),
    ],
)
def test_the_reason_and_the_variable_are_named(
    error: Exception, environment: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(jax, "devices", fail)
    monkeypatch.delenv("JAX_PLATFORMS")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DeviceError) as caught:
        first_device()
    assert (str(caught.value), caught.value.exit_code) == (f"JAX found no usable device: {said}", 4)


def test_a_variable_that_jax_refuses_at_its_import_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_ENABLE_X64", "perhaps")
    # As in a process that has not imported it.
    monkeypatch.setitem(sys.modules, "equinox", None)
    with pytest.raises(DeviceError, match=r"^JAX cannot be imported: .*; correct or unset .*JAX_ENABLE_X64=perhaps"):
        engine.prepare_environment()


@pytest.mark.process
@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("JAX_PLATFORMS=cuda", ("train", "configs/debug_smoke.yaml", "--dry-run")),
        ("JAX_PLATFORMS=cudda", ("inspect", "configs/debug_smoke.yaml")),
        ("EQX_ON_ERROR=perhaps", ("presets", "tiny-cpu")),
    ],
)
def test_a_command_ends_with_the_exit_code_of_a_device(variable: str, words: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["env", variable, sys.executable, "-m", "chomp", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    assert variable in done.stderr
    assert "Traceback" not in done.stderr


def device(process_index: int, platform: str = "cpu", kind: str = "cpu") -> Mock:
    return Mock(spec=jax.Device, process_index=process_index, platform=platform, device_kind=kind)


def test_devices_of_a_cpu_are_chosen_by_number_in_each_process(monkeypatch):
    own, other = [[device(process) for _ in range(3)] for process in (0, 1)]
    monkeypatch.setattr(jax, "devices", lambda: [*own, *other])
    assert chosen_devices() == [*own, *other]
    assert chosen_devices(("2", "0")) == [own[2], own[0], other[2], other[0]]
    with pytest.raises(DeviceError) as error:
        chosen_devices(("3",))
    assert str(error.value) == "--devices 3: there is no such device; JAX has 3 devices on the CPU, 0 to 2"


def test_gpus_that_were_not_chosen_are_not_visible(monkeypatch):
    visible = [device(0, "gpu", "H100") for _ in range(2)]
    monkeypatch.setattr(jax, "devices", lambda: visible)
    assert chosen_devices(("5",)) == chosen_devices() == visible
    assert unused_devices() is None


def test_one_run_computes_on_devices_of_one_kind(monkeypatch):
    fast, old = device(0, "gpu", "RTX 4090"), device(0, "gpu", "GT 1030")
    monkeypatch.setattr(jax, "devices", lambda: [fast, old])
    assert chosen_devices() == [fast]
    assert unused_devices() == (
        "1 of 2 GPUs are used, those of the kind RTX 4090: one run computes on devices of one kind; "
        "--devices chooses others"
    )
    with pytest.raises(DeviceError, match="--devices 0,1: one run computes on devices of one kind, not RTX 4090, GT"):
        chosen_devices(("0", "1"))
