"""Driver and GPUs decide which wheels `make` installs; `nvidia-smi` is a script that prints what a test gives it."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from chomp.device import wheels
from tests.device.machines import DRIVERS, GTX_750, GTX_1080, MACHINES, MODELS, V100, branch, smi

T4, RTX_4090 = MODELS[1], MODELS[4]


@pytest.fixture
def chosen(tmp_path, monkeypatch):
    """Run the file as `make` does; returns the extra and the reason."""

    def run(output, *, code=0, script=None):
        program = tmp_path / "nvidia-smi"
        (tmp_path / "output").write_text(output)
        program.write_text(script or f"#!/bin/sh\n/bin/cat {tmp_path}/output\nexit {code}\n")
        program.chmod(0o755)
        return run_file(tmp_path)

    return run


def run_file(path):
    done = subprocess.run(
        [sys.executable, "-I", wheels.__file__],
        env={**os.environ, "PATH": str(path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip(), done.stderr.strip()


@pytest.mark.parametrize(("driver", "model"), MACHINES)
def test_the_driver_decides_from_turing_to_blackwell(driver, model, chosen):
    extra, why = chosen(smi(driver, [model]))
    dotted = ".".join(map(str, model.capability))
    if branch(driver) >= 580:
        assert (extra, why) == (
            "cuda13",
            f"CUDA 13 wheels: NVIDIA driver {driver} and {model.name} (compute capability {dotted}) support them.",
        )
    else:
        assert (extra, why) == (
            "cuda12",
            f"CUDA 12 wheels: NVIDIA driver {driver} is older than 580, which the CUDA 13 wheels need.",
        )


def test_the_drivers_and_cards_tested_are_those_of_the_field():
    assert {branch(driver) for driver in DRIVERS} == {535, 550, 570, 580}
    assert {model.capability for _, model in MACHINES} >= {(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)}


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("model", [V100, GTX_1080], ids=lambda model: model.name)
def test_before_turing_cudnn_must_be_older(driver, model, chosen):
    extra, why = chosen(smi(driver, [model]))
    dotted = ".".join(map(str, model.capability))
    assert extra == "cuda12-pre-turing"
    assert why == (
        f"CUDA 12 wheels with cuDNN 9.10: {model.name} (compute capability {dotted}) is older than 7.5, "
        "which cuDNN 9.11 and newer need."
    )


def test_a_gpu_too_old_for_all_wheels(chosen):
    assert chosen(smi("580.95.05", [GTX_750])) == (
        "",
        "CPU wheels: NVIDIA GeForce GTX 750 Ti (compute capability 5.0) is older than 5.2, "
        "which JAX's CUDA wheels need.",
    )


def test_a_card_too_old_for_all_wheels_does_not_keep_the_others_from_theirs(chosen):
    extra, why = chosen(smi("580.95.05", [GTX_750, T4]))
    assert extra == "cuda13"
    assert why == (
        "CUDA 13 wheels: NVIDIA driver 580.95.05 and Tesla T4 (compute capability 7.5) support them; "
        "NVIDIA GeForce GTX 750 Ti (compute capability 5.0) is too old and stays unused."
    )


def test_wheels_support_every_card_that_can_be_used(chosen):
    assert chosen(smi("580.95.05", [RTX_4090, GTX_1080]))[0] == "cuda12-pre-turing"


def test_equal_cards_are_named_once(chosen):
    assert chosen(smi("580.95.05", [T4, T4]))[1].count("Tesla T4") == 1


def test_a_driver_too_old_for_all_wheels(chosen):
    assert chosen(smi("470.256.02", [T4])) == (
        "",
        "CPU wheels: NVIDIA driver 470.256.02 is older than 525, which the CUDA 12 wheels need; "
        "install driver 580 to use the GPU.",
    )


def test_an_old_nvidia_smi_does_not_know_the_capability(chosen):
    script = (
        "#!/bin/sh\n"
        'case "$1" in *compute_cap*) echo \'Field "compute_cap" is not a valid field to query.\'; exit 2;; esac\n'
        "echo '470.256.02, Tesla T4'\n"
    )
    extra, why = chosen("", script=script)
    assert extra == ""
    assert why.startswith("CPU wheels: NVIDIA driver 470.256.02 is older than 525")


@pytest.mark.parametrize("capability", ["[N/A]", "[Not Supported]", ""])
def test_without_a_capability_the_driver_decides(capability, chosen):
    extra, why = chosen(f"580.95.05, {capability}, NVIDIA Graphics Device\n")
    assert extra == "cuda13"
    assert "NVIDIA Graphics Device (compute capability unknown)" in why


def test_a_lost_gpu_does_not_hide_the_others(chosen):
    lost = "Unable to determine the device handle for GPU0: 0000:01:00.0: Unknown Error\n"
    assert chosen(lost + smi("550.163.01", [T4]), code=255)[0] == "cuda12"


def test_a_name_with_a_comma(chosen):
    assert "A, B, C (compute capability 8.9)" in chosen("580.95.05, 8.9, A, B, C\n")[1]


@pytest.mark.parametrize(
    ("output", "code", "said"),
    [
        ("No devices were found\n", 6, "No devices were found"),
        (
            "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n",
            9,
            "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver",
        ),
        (
            "Failed to initialize NVML: Driver/library version mismatch\n",
            18,
            "Failed to initialize NVML: Driver/library version mismatch",
        ),
        ("", 0, "it printed nothing"),
        ("[N/A], [N/A], [N/A]\n", 0, "[N/A], [N/A], [N/A]"),
    ],
)
def test_no_gpu_and_why(output, code, said, chosen):
    assert chosen(output, code=code) == ("", f"CPU wheels: nvidia-smi lists no GPU: {said}.")


def test_bytes_that_are_no_text(chosen):
    assert chosen("", script="#!/bin/sh\nprintf '580.95.05, 8.9, \\377\\n'\n")[0] == "cuda13"


def test_no_nvidia_smi(tmp_path):
    assert run_file(tmp_path) == ("", "CPU wheels: there is no nvidia-smi, so no NVIDIA driver.")


def test_an_nvidia_smi_that_cannot_be_run(tmp_path, chosen):
    assert chosen("", script="no program") == ("", "CPU wheels: nvidia-smi cannot be run: Exec format error.")


def test_a_driver_that_hangs(tmp_path, chosen, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(wheels, "TIMEOUT_SECONDS", 0.2)
    assert wheels.choose_for_this_machine() == wheels.Choice(
        None, "CPU wheels: nvidia-smi did not answer within 0.2 s."
    )


def test_a_driver_without_a_version():
    assert wheels.choose(None, [wheels.Card("X", (8, 9))]).why == (
        "CPU wheels: NVIDIA's driver does not report its version, and the CUDA 12 wheels need 525; "
        "install driver 580 to use the GPU."
    )


def test_the_file_needs_only_the_standard_library():
    """`-I` leaves out the project, and `-S` what is installed."""
    code = f"import runpy; runpy.run_path({wheels.__file__!r})"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


def test_every_extra_exists():
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert {wheel_set.extra for wheel_set in wheels.WHEELS} <= extras.keys()
