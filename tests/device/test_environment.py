"""From GPUs and the user's environment to decisions."""

import pytest

from chomp.device import (
    RULES,
    apply,
    changes,
    environment_report,
    recommended_environment,
    shell_line,
    visible_gpus,
)
from tests.device.fake_nvml import probe_of

FLAG = "--xla_gpu_enable_triton_gemm=false"
PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"


def actions(name, environ):
    return [(decision.variable, decision.action) for decision in recommended_environment(probe_of(name), environ)]


def test_blackwell_desktop_cards():
    decisions = recommended_environment(probe_of("rtx5090"), {})
    assert [(d.variable, d.value, d.action) for d in decisions] == [
        ("XLA_FLAGS", FLAG, "apply"),
        (PREALLOCATE, "false", "recommend"),
    ]
    assert apply({}, decisions) == {"XLA_FLAGS": FLAG}
    assert apply({}, decisions, recommended=True) == {"XLA_FLAGS": FLAG, PREALLOCATE: "false"}


@pytest.mark.parametrize(
    "name", ["rtx4090", "h100", "h200", "b200", "no_permission", "mig", "wsl", "no_driver", "no_gpu"]
)
def test_silent_on_others(name):
    assert recommended_environment(probe_of(name), {}) == []


def test_one_of_two_cards_is_enough():
    assert actions("unequal", {}) == [("XLA_FLAGS", "apply"), (PREALLOCATE, "recommend")]


def test_flags_are_appended_to_the_users():
    environ = {"XLA_FLAGS": "--xla_dump_to=/tmp/x", "HOME": "/h"}
    decisions = recommended_environment(probe_of("rtx5090"), environ)
    assert apply(environ, decisions) == {"XLA_FLAGS": f"--xla_dump_to=/tmp/x {FLAG}", "HOME": "/h"}
    assert changes(environ, decisions) == {"XLA_FLAGS": f"--xla_dump_to=/tmp/x {FLAG}"}
    assert environ == {"XLA_FLAGS": "--xla_dump_to=/tmp/x", "HOME": "/h"}


@pytest.mark.parametrize(
    ("flags", "action"),
    [
        (FLAG, "already set"),
        (f"--xla_a=1 {FLAG}", "already set"),
        ("--xla_gpu_enable_triton_gemm=true", "kept"),
        ("--xla_gpu_enable_triton_gemm", "kept"),
        (f"{FLAG} --xla_gpu_enable_triton_gemm=true", "kept"),
        ("--xla_gpu_enable_triton_gemm_any=true", "apply"),
        ("", "apply"),
    ],
)
def test_the_users_flag_stands(flags, action):
    environ = {"XLA_FLAGS": flags}
    decisions = recommended_environment(probe_of("rtx5090"), environ)
    assert decisions[0].action == action
    expected = flags if action != "apply" else f"{flags} {FLAG}".strip()
    assert apply(environ, decisions, recommended=True)["XLA_FLAGS"] == expected


def test_a_file_of_flags_is_left_alone():
    environ = {"XLA_FLAGS": "/etc/xla.flags"}
    decision = recommended_environment(probe_of("rtx5090"), environ)[0]
    assert decision.action == "kept"
    assert decision.why.startswith("XLA_FLAGS names a file of flags, /etc/xla.flags; add the flag there: ")
    assert apply(environ, [decision]) == environ


@pytest.mark.parametrize(
    ("value", "action"), [("false", "already set"), ("False", "already set"), ("true", "kept"), ("", "recommend")]
)
def test_the_users_variable_stands(value, action):
    environ = {PREALLOCATE: value}
    decisions = recommended_environment(probe_of("rtx5090"), environ)
    assert decisions[1].action == action
    assert apply(environ, decisions, recommended=True)[PREALLOCATE] == (value or "false")


def test_applying_twice_changes_nothing():
    once = apply({}, recommended_environment(probe_of("rtx5090"), {}), recommended=True)
    again = recommended_environment(probe_of("rtx5090"), once)
    assert {decision.action for decision in again} == {"already set"}
    assert apply(once, again, recommended=True) == once


@pytest.mark.parametrize(
    ("environ", "indices"),
    [
        ({}, [0, 1]),
        ({"CUDA_VISIBLE_DEVICES": ""}, []),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, []),
        ({"CUDA_VISIBLE_DEVICES": "0"}, [0, 1]),
        ({"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, [0]),
        ({"CUDA_VISIBLE_DEVICES": "1,0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, [0, 1]),
        ({"CUDA_VISIBLE_DEVICES": "1,7,0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, [1]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-4090"}, [0]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-5090aaaa-0000-4000-8000-000000000001"}, [1]),
    ],
)
def test_visible_devices(environ, indices):
    assert [gpu.index for gpu in visible_gpus(probe_of("unequal"), environ)] == indices


def test_a_hidden_card_needs_nothing():
    assert actions("unequal", {"CUDA_VISIBLE_DEVICES": "GPU-4090"}) == []
    assert actions("rtx5090", {"CUDA_VISIBLE_DEVICES": ""}) == []


def test_line_to_copy():
    environ = {"XLA_FLAGS": "--xla_dump_to=/a b"}
    line = shell_line(environ, recommended_environment(probe_of("rtx5090"), environ), "chomp train c.yaml")
    assert line == f"env XLA_FLAGS='--xla_dump_to=/a b {FLAG}' {PREALLOCATE}=false chomp train c.yaml"
    assert shell_line({}, [], "chomp train c.yaml") == "chomp train c.yaml"


def test_report_of_what_is_in_force():
    environ = {
        "XLA_FLAGS": "--a",
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "0",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "JAX_COMPILATION_CACHE_DIR": "https://me:pw@host/cache",
        "JAX_API_KEY": "s1",
        "JAX_ACCESS_TOKEN": "s2",
        "HF_TOKEN": "s3",
        "WANDB_API_KEY": "s4",
        "HOME": "/h",
    }
    assert environment_report(environ) == {
        "CUDA_VISIBLE_DEVICES": "0",
        "JAX_COMPILATION_CACHE_DIR": "https://***@host/cache",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--a",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }


def test_every_rule_says_why_and_whence():
    for rule in RULES:
        assert rule.why
        assert "http" in rule.source
        assert rule.at_least < rule.below
    assert len({rule.name for rule in RULES}) == len(RULES)
