"""Versions of CUDA packages against jaxlib, the driver, the GPUs and each other."""

import sys
from importlib import metadata

import pytest

from chomp.cli import engine
from chomp.device import cuda_packages, packages, probe_gpus, problems, require_compatible
from chomp.errors import DeviceError
from tests.device.fake_nvml import FakeNvml, probe_of
from tests.device.machines import DRIVERS, GTX_750, GTX_1080, MACHINES, MODELS, V100, branch, readings

JAXLIB = "0.10.2"
CUDA13 = {"jax-cuda13-plugin": JAXLIB, "jax-cuda13-pjrt": JAXLIB, "nvidia-cuda-nvrtc": "13.5.37"}
CUDA12 = {"jax-cuda12-plugin": JAXLIB, "jax-cuda12-pjrt": JAXLIB, "nvidia-cudnn-cu12": "9.28.0.42"}
T4, H100, B200, RTX_5090 = MODELS[1], MODELS[5], MODELS[6], MODELS[7]


def machine(driver, *models):
    return probe_gpus(lambda: FakeNvml(readings(driver, models)))


def messages(probe, installed, environ=None, jaxlib=JAXLIB):
    return [problem.message for problem in problems(probe, environ or {}, installed, jaxlib)]


@pytest.mark.parametrize(("driver", "model"), MACHINES)
def test_the_wheels_that_make_chooses_fit(driver, model):
    installed = CUDA13 if branch(driver) >= 580 else CUDA12
    assert messages(machine(driver, model), installed) == []


@pytest.mark.parametrize(("driver", "model"), [pair for pair in MACHINES if branch(pair[0]) < 580])
def test_a_driver_too_old_for_the_installed_wheels(driver, model):
    assert messages(machine(driver, model), CUDA13) == [
        f"jax-cuda13-plugin is installed, but NVIDIA driver {driver} is older than 580, which the CUDA 13 wheels need; "
        "uninstall it with jax-cuda13-pjrt, and install 'chomp[cuda12]' instead"
    ]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("model", [V100, GTX_1080], ids=lambda model: model.name)
def test_a_card_before_turing_needs_an_older_cudnn(driver, model):
    assert messages(machine(driver, model), CUDA12 | {"nvidia-cudnn-cu12": "9.10.2.21"}) == []
    [message] = messages(machine(driver, model), CUDA12)
    assert message.startswith(
        "nvidia-cudnn-cu12 9.28.0.42: cuDNN 9.11 and newer has no kernels for GPUs before Turing; "
        "install 'nvidia-cudnn-cu12>=9.10.1,<9.11' (https://"
    )


def test_a_card_too_old_for_the_installed_wheels():
    assert messages(machine("580.95.05", V100), CUDA13) == [
        "jax-cuda13-plugin is installed, but Tesla V100-SXM2-16GB (compute capability 7.0) is older than 7.5, "
        "which the CUDA 13 wheels need; uninstall it with jax-cuda13-pjrt, "
        "and install 'chomp[cuda12-pre-turing]' instead"
    ]


@pytest.mark.parametrize("plugin", [CUDA12, CUDA13], ids=["cuda12", "cuda13"])
def test_a_card_too_old_for_all_wheels(plugin):
    [message] = messages(machine("580.95.05", GTX_750), plugin | {"nvidia-cudnn-cu12": "9.10.2.21"})
    assert message.endswith(", and use the CPU, since no CUDA wheels fit")


@pytest.mark.parametrize(
    ("nvrtc", "wrong"),
    [("13.0.88", False), ("13.1.0", True), ("13.2.51", True), ("13.3.33", True), ("13.4.0", False), ("13.5.37", False)],
)
@pytest.mark.parametrize("model", [RTX_5090, B200, H100, T4], ids=lambda model: model.name)
def test_nvrtc_on_blackwell(nvrtc, wrong, model):
    found = messages(machine("580.95.05", model), CUDA13 | {"nvidia-cuda-nvrtc": nvrtc})
    if wrong and model in (RTX_5090, B200):
        assert found == [
            f"nvidia-cuda-nvrtc {nvrtc}: NVRTC 13.1 to 13.3 fails on some kernels for Blackwell GPUs, and cuDNN uses "
            "it; install 'nvidia-cuda-nvrtc>=13.4' (https://github.com/NVIDIA/warp/issues/1118)"
        ]
    else:
        assert found == []


@pytest.mark.parametrize("name", ["jax-cuda13-plugin", "jax-cuda13-pjrt"])
def test_another_version_than_jaxlib_is_fatal(name):
    [problem] = problems(machine("580.95.05", H100), {}, CUDA13 | {name: "0.10.1"}, JAXLIB)
    assert problem.fatal
    assert problem.message == (
        f"{name} 0.10.1 does not fit jaxlib 0.10.2, since JAX needs the same version of both; "
        "install it: pip install 'jax-cuda13-plugin[with-cuda]==0.10.2'"
    )


@pytest.mark.parametrize("plugin", ["0.10.2", "0.10.2.dev20260801", "0.10.2+cuda13"])
def test_suffixes_of_versions_do_not_count(plugin):
    assert messages(machine("580.95.05", H100), CUDA13 | {"jax-cuda13-plugin": plugin}) == []


def test_two_plugins():
    assert messages(machine("580.95.05", H100), CUDA12 | CUDA13) == [
        "JAX can use one of jax-cuda13-pjrt and jax-cuda12-pjrt, and both are installed; "
        "uninstall one of: jax-cuda13-pjrt with jax-cuda13-plugin, jax-cuda12-pjrt with jax-cuda12-plugin"
    ]


@pytest.mark.parametrize(
    ("environ", "count"),
    [
        ({}, 1),
        ({"JAX_PLATFORMS": "cuda,cpu"}, 1),
        ({"JAX_PLATFORM_NAME": "gpu"}, 1),
        ({"JAX_PLATFORMS": "cpu"}, 0),
        ({"JAX_PLATFORMS": "", "JAX_PLATFORM_NAME": "cpu"}, 0),
        ({"CUDA_VISIBLE_DEVICES": ""}, 0),
    ],
)
def test_nothing_is_judged_where_runs_use_the_cpu(environ, count):
    wrong = CUDA13 | {"jax-cuda13-plugin": "0.9.0"}
    assert len(messages(machine("580.95.05", H100), wrong, environ)) == count
    assert messages(probe_of("no_driver"), wrong, environ) == []
    assert messages(machine("580.95.05", H100), {}, environ) == []


def test_both_names_of_the_memory_fraction_are_fatal():
    environ = {"XLA_CLIENT_MEM_FRACTION": ".9", "XLA_PYTHON_CLIENT_MEM_FRACTION": ".8"}
    [problem] = problems(machine("580.95.05", H100), environ, CUDA13, JAXLIB)
    assert problem.fatal
    assert problem.message == (
        "XLA_PYTHON_CLIENT_MEM_FRACTION and XLA_CLIENT_MEM_FRACTION are both set, and JAX refuses that; "
        "unset XLA_PYTHON_CLIENT_MEM_FRACTION, the old name"
    )


def test_readings_that_are_absent_judge_nothing():
    absent = readings("580.95.05", [RTX_5090])
    absent["driver"] = absent["gpus"][0]["compute_capability"] = {"error": 4}
    probe = probe_gpus(lambda: FakeNvml(absent))
    assert messages(probe, CUDA13 | {"nvidia-cuda-nvrtc": "13.2.51"}) == []


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install distributions that are nothing but their metadata."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(name, number, *required):
        folder = tmp_path / f"{name.replace('-', '_')}-{number}.dist-info"
        folder.mkdir()
        lines = [f"Requires-Dist: {line}" for line in required]
        (folder / "METADATA").write_text(
            "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {number}", *lines, ""])
        )

    return install


def test_versions_are_read_from_what_the_plugin_requires(installed, tmp_path, monkeypatch):
    # Without what may be installed for a GPU of this machine.
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert cuda_packages() == {}
    installed(
        "jax-cuda13-plugin",
        "0.10.2",
        "jax-cuda13-pjrt==0.10.2",
        'nvidia-cuda-nvrtc>=13.0.48; sys_platform == "linux" and extra == "with-cuda"',
        'nvidia-cudnn-cu13<10.0,>=9.12.0.46; extra == "with-cuda"',
    )
    installed("jax-cuda13-pjrt", "0.10.2")
    installed("nvidia-cuda-nvrtc", "13.2.51")
    assert cuda_packages() == {
        "jax-cuda13-plugin": "0.10.2",
        "jax-cuda13-pjrt": "0.10.2",
        "nvidia-cuda-nvrtc": "13.2.51",
    }


def test_what_jax_loads_counts_without_its_plugin(installed, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    installed("jax-cuda12-pjrt", "0.10.2")
    assert cuda_packages() == {"jax-cuda12-pjrt": "0.10.2"}


def test_commands_end_before_jax_starts_with_a_plugin_that_does_not_fit(installed, monkeypatch):
    installed("jax-cuda12-plugin", "0.1.0")
    monkeypatch.setattr("chomp.device.probe.load_nvml", lambda: FakeNvml(readings("550.163.01", [T4])))
    monkeypatch.delenv("JAX_PLATFORMS")
    probe = machine("550.163.01", T4)
    with pytest.raises(DeviceError) as caught:
        require_compatible(probe, {})
    assert caught.value.exit_code == 4
    assert str(caught.value).startswith(
        f"jax-cuda12-plugin 0.1.0 does not fit jaxlib {metadata.version('jaxlib')}, since JAX needs"
    )
    monkeypatch.setattr("chomp.device.probe.probe_gpus", lambda: probe)
    with pytest.raises(DeviceError):
        engine.prepare_environment()
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    engine.prepare_environment()


def test_every_rule_says_why_and_whence():
    for rule in packages.PACKAGE_RULES:
        assert rule.at_least < rule.below
        assert rule.capability_at_least < rule.capability_below
        assert rule.why
        assert rule.source.startswith("https://")
