"""`chomp probe`, as text and as JSON."""

import json

import pytest
from click.testing import CliRunner

from chomp.cli import probe
from chomp.device import recommended_environment
from tests.device.fake_nvml import probe_of

FLAG = "--xla_gpu_enable_triton_gemm=false"


@pytest.fixture
def run(monkeypatch):
    for name in ("XLA_FLAGS", "XLA_PYTHON_CLIENT_PREALLOCATE", "CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS"):
        monkeypatch.delenv(name, raising=False)

    def invoke(name, *arguments, packages=None):
        monkeypatch.setattr(probe, "probe_gpus", lambda: probe_of(name))
        monkeypatch.setattr(probe, "cuda_packages", lambda: packages or {})
        result = CliRunner().invoke(probe.command, arguments, catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    return invoke


def test_table_and_line_to_copy(run):
    lines = run("rtx5090").splitlines()
    assert lines[0] == "NVIDIA driver 580.65.06, CUDA up to 13.0"
    head = "GPU name capability memory used / total load temp power / limit MIG"
    row = "0 NVIDIA GeForce RTX 5090 12.0 1.3 GiB / 31.8 GiB 4% 38 C 31 W / 575 W -"
    assert [" ".join(line.split()) for line in lines[2:4]] == [head, row]
    assert "GPU 0: mig -: not supported by this device" in lines
    assert "GPU 0: process 2114 /usr/lib/xorg/Xorg draws with 384 MiB" in lines
    assert f"recommend: XLA_FLAGS {FLAG}" in lines
    assert "recommend: XLA_PYTHON_CLIENT_PREALLOCATE false" in lines
    assert lines[-1] == f"env XLA_FLAGS={FLAG} XLA_PYTHON_CLIENT_PREALLOCATE=false chomp train CONFIG"


def test_missing_readings_are_not_zero(run):
    output = run("no_permission")
    assert "- / -" in output
    assert "GPU 0: memory -: the driver denies it to this user" in output
    assert output.rstrip().endswith("These GPUs need no environment variables.")


def test_without_cuda_the_wheels_to_install_are_named(run):
    assert (
        "\n\nJAX is installed without CUDA.\n"
        "CUDA 13 wheels: NVIDIA driver 580.65.06 and NVIDIA H200 (compute capability 9.0) support them.\n"
        "To install them: pip install 'chomp[cuda13]'\n\n"
    ) in run("h200")
    values = json.loads(run("h200", "--json"))
    assert (values["wheels"]["extra"], values["packages"], values["problems"]) == ("cuda13", {}, [])


def test_packages_and_what_does_not_fit(run):
    packages = {"jax-cuda13-plugin": "0.10.0", "nvidia-cuda-nvrtc": "13.2.51"}
    lines = run("rtx5090", packages=packages).splitlines()
    start = lines.index("CUDA packages:")
    assert lines[start + 1 : start + 3] == ["  jax-cuda13-plugin 0.10.0", "  nvidia-cuda-nvrtc 13.2.51"]
    assert lines[start + 3].startswith("problem: jax-cuda13-plugin 0.10.0 does not fit jaxlib ")
    assert lines[start + 4].startswith("problem: nvidia-cuda-nvrtc 13.2.51: NVRTC 13.1 to 13.3 fails")
    values = json.loads(run("rtx5090", "--json", packages=packages))
    assert values["packages"] == packages
    assert len(values["problems"]) == 2


def test_no_gpu(run):
    assert run("no_driver") == "No GPU: no NVIDIA driver is installed (libnvidia-ml was not found).\n"


def test_packages_are_shown_without_a_gpu_too(run):
    output = run("no_driver", packages={"jax-cuda13-plugin": "0.10.2"})
    assert output == (
        "No GPU: no NVIDIA driver is installed (libnvidia-ml was not found).\n\n"
        "CUDA packages:\n  jax-cuda13-plugin 0.10.2\n"
    )


def test_nothing_to_copy_when_all_is_set():
    environ = {"XLA_FLAGS": FLAG, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    found = probe_of("rtx5090")
    text = probe.render(found, recommended_environment(found, environ), {}, environ)
    assert f"already set: XLA_FLAGS {FLAG}" in text
    assert "env " not in text


def test_json(run):
    values = json.loads(run("unequal", "--json"))
    assert [gpu["compute_capability"] for gpu in values["gpus"]] == [[8, 9], [12, 0]]
    assert [decision["action"] for decision in values["environment"]] == ["recommend", "recommend"]
    assert values["command"].startswith(f"env XLA_FLAGS={FLAG} ")
    values = json.loads(run("no_driver", "--json"))
    assert (values["gpus"], values["wheels"]) == ([], None)
