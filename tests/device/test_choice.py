"""`--devices`: from the user's words to what CUDA may see."""

import pytest

from chomp.device import probe_gpus
from chomp.device.choice import gpu_environment, split_devices
from chomp.errors import DeviceError
from tests.device.fake_nvml import FakeNvml
from tests.device.machines import MODELS, readings

pytestmark = pytest.mark.pure

H100, RTX4090 = MODELS[5], MODELS[4]
NUMBERED = "GPU-{:08d}-0000-4000-8000-000000000000"


def machine(*models):
    nvml = FakeNvml(readings("580.95.05", models))
    return probe_gpus(lambda: nvml)


TWO = machine(H100, H100)
FOUR = machine(RTX4090, H100, H100, RTX4090)


@pytest.mark.parametrize(
    ("text", "names"), [("0", ("0",)), ("1, 0", ("1", "0")), ("007", ("7",)), ("GPU-ab,3", ("GPU-ab", "3"))]
)
def test_names(text, names):
    assert split_devices(text) == names


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "'' is no device; write numbers as in 0,1, or identifiers of GPUs (GPU-…)"),
        ("0,,1", "'' is no device"),
        ("0-3", "'0-3' is no device"),
        ("-1", "'-1' is no device"),
        ("9" * 5000, "is no device"),
        ("1,01", "device 1 is named twice"),
    ],
)
def test_what_names_no_device(text, why):
    with pytest.raises(ValueError, match=r"is no device|twice") as error:
        split_devices(text)
    assert why in str(error.value)


@pytest.mark.parametrize(
    ("probe", "environ", "chosen", "seen"),
    [
        (TWO, {}, (), None),
        (TWO, {}, ("1",), NUMBERED.format(1)),
        # Of unequal cards CUDA numbers the fastest first: identifiers mean the same card to all.
        (FOUR, {}, ("3", "0"), f"{NUMBERED.format(3)},{NUMBERED.format(0)}"),
        (FOUR, {"CUDA_VISIBLE_DEVICES": "2,3"}, ("1",), "3"),
        (FOUR, {"CUDA_VISIBLE_DEVICES": "GPU-00000002, GPU-00000003"}, ("0",), "GPU-00000002"),
        (FOUR, {"CUDA_VISIBLE_DEVICES": NUMBERED.format(3)}, ("GPU-00000003",), NUMBERED.format(3)),
        (TWO, {"CUDA_VISIBLE_DEVICES": "MIG-a,MIG-b"}, ("1",), "MIG-b"),
        (TWO, {}, ("MIG-a",), "MIG-a"),
        (TWO, {"JAX_PLATFORMS": "cpu"}, ("1",), None),
        (TWO, {"CUDA_VISIBLE_DEVICES": ""}, ("1",), None),
    ],
)
def test_what_cuda_may_see(probe, environ, chosen, seen):
    assert gpu_environment(chosen, probe, environ) == ({} if seen is None else {"CUDA_VISIBLE_DEVICES": seen})


@pytest.mark.parametrize(
    ("probe", "environ", "name", "why"),
    [
        (TWO, {}, "2", "--devices 2: there is no such GPU; this machine has 0 (NVIDIA H100 80GB HBM3), 1 (NVIDIA H100"),
        (TWO, {}, "GPU-ff", "--devices GPU-ff: there is no such GPU; this machine has 0 ("),
        (TWO, {}, "GPU-0000000", "--devices GPU-0000000: there is no such GPU"),
        (FOUR, {"CUDA_VISIBLE_DEVICES": "2,3"}, "2", "CUDA_VISIBLE_DEVICES=2,3 leaves 0 (2), 1 (3)"),
        (TWO, {"JAX_PLATFORMS": "cpu"}, "GPU-00000001", "no GPU is visible here, and devices of the CPU are numbers"),
    ],
)
def test_a_device_that_is_not_there(probe, environ, name, why):
    with pytest.raises(DeviceError) as error:
        gpu_environment((name,), probe, environ)
    assert why in str(error.value)
