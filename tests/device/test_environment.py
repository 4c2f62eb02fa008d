"""From GPUs and the user's environment to decisions."""

import pytest
from jaxlib import xla_client

from chomp.device import (
    RULES,
    apply,
    changes,
    environment_report,
    probe_gpus,
    recommended_environment,
    shell_line,
    unset_memory_variables,
    visible_gpus,
)
from tests.device.fake_nvml import FakeNvml, probe_of
from tests.device.machines import MACHINES, MODELS, readings

FLAG = "--xla_gpu_enable_triton_gemm=false"
PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"
FRACTION = "XLA_CLIENT_MEM_FRACTION"
OLD_FRACTION = "XLA_PYTHON_CLIENT_MEM_FRACTION"
# The last version with which runs get the Triton flag by themselves, and the first with which they do not.
BEFORE, AFTER = (0, 9), (0, 10)


def decide(name, environ, jax_version=None):
    return recommended_environment(probe_of(name), environ, jax_version=jax_version)


def actions(name, environ, jax_version=None):
    return [(decision.variable, decision.action) for decision in decide(name, environ, jax_version)]


@pytest.mark.parametrize(("jax_version", "action"), [(BEFORE, "apply"), (AFTER, "recommend"), ((1, 0), "recommend")])
def test_blackwell_desktop_cards(jax_version, action):
    decisions = decide("rtx5090", {}, jax_version)
    assert [(d.variable, d.value, d.action) for d in decisions] == [
        ("XLA_FLAGS", FLAG, action),
        (PREALLOCATE, "false", "recommend"),
    ]
    assert apply({}, decisions) == ({"XLA_FLAGS": FLAG} if action == "apply" else {})
    assert apply({}, decisions, recommended=True) == {"XLA_FLAGS": FLAG, PREALLOCATE: "false"}


def test_the_installed_jax_applies_nothing_by_itself():
    assert apply({}, decide("rtx5090", {})) == {}


@pytest.mark.parametrize("name", ["no_permission", "mig", "wsl", "no_driver", "no_gpu"])
def test_silent_where_the_driver_does_not_tell(name):
    assert decide(name, {}, BEFORE) == []


@pytest.mark.parametrize("name", ["rtx4090", "h100", "h200", "b200"])
def test_without_a_desktop_jax_may_take_more_memory(name):
    [decision] = decide(name, {}, BEFORE)
    assert (decision.variable, decision.value, decision.action) == (FRACTION, ".9", "recommend")


@pytest.mark.parametrize(("driver", "model"), MACHINES)
@pytest.mark.parametrize("desktop", [True, False])
@pytest.mark.parametrize("jax_version", [BEFORE, AFTER])
def test_every_driver_and_card(driver, model, desktop, jax_version):
    probe = probe_gpus(lambda: FakeNvml(readings(driver, [model], desktop=desktop)))
    found = [(d.variable, d.action) for d in recommended_environment(probe, {}, jax_version=jax_version)]
    triton = [("XLA_FLAGS", "apply" if jax_version == BEFORE else "recommend")] if model.capability >= (12, 0) else []
    assert found == [*triton, (PREALLOCATE if desktop else FRACTION, "recommend")]


@pytest.mark.parametrize(
    ("name", "environ", "warns"),
    [
        ("rtx5090", {}, True),
        ("rtx5090", {PREALLOCATE: "false"}, False),
        ("rtx5090", {PREALLOCATE: "true"}, False),
        ("rtx5090", {"JAX_PLATFORMS": "cpu"}, False),
        ("h100", {}, False),
        ("no_gpu", {}, False),
    ],
)
def test_a_run_warns_about_what_the_probe_recommends_for_a_desktop(name, environ, warns):
    why = [d.why for d in decide(name, environ) if (d.variable, d.action) == (PREALLOCATE, "recommend")]
    expected = [f"{PREALLOCATE} is not set, and false is recommended: {why[0]}"] if warns else []
    assert unset_memory_variables(probe_of(name), environ) == expected


def test_a_desktop_on_one_of_two_cards_counts():
    machine = readings("580.95.05", MODELS[4:6])
    assert memory_rules(machine) == [FRACTION]
    machine["gpus"][1]["display_active"] = 1
    assert memory_rules(machine) == [PREALLOCATE]
    machine["gpus"][1]["display_active"] = {"error": 3}
    assert memory_rules(machine) == [], "what is not told is no answer"
    assert memory_rules(machine, {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}) == [FRACTION]


def test_a_gpu_that_shares_the_machine_s_memory_is_left_alone():
    machine = readings("580.95.05", MODELS[4:5])
    machine["gpus"][0]["memory"] = {"error": 3}
    assert memory_rules(machine) == []


def memory_rules(machine, environ=None):
    decisions = recommended_environment(probe_gpus(lambda: FakeNvml(machine)), environ or {})
    return [decision.variable for decision in decisions if decision.variable != "XLA_FLAGS"]


@pytest.mark.parametrize(("value", "action"), [(".9", "already set"), ("0.90", "already set"), (".8", "kept")])
@pytest.mark.parametrize("name", [FRACTION, OLD_FRACTION])
def test_the_users_fraction_stands_under_either_name(name, value, action):
    environ = {name: value}
    [decision] = decide("h100", environ)
    assert (decision.variable, decision.action, decision.current) == (name, action, value)
    assert ("JAX refuses the new name, XLA_CLIENT_MEM_FRACTION, beside this old one" in decision.why) == (
        name == OLD_FRACTION
    )
    assert apply(environ, [decision], recommended=True) == environ
    assert shell_line(environ, [decision], "chomp train c.yaml") == "chomp train c.yaml"


def test_the_old_name_of_the_fraction_is_one_that_jax_refuses_beside_the_new_one(monkeypatch):
    monkeypatch.setenv(FRACTION, ".9")
    assert xla_client.generate_pjrt_gpu_plugin_options()["memory_fraction"] == 0.9
    monkeypatch.setenv(OLD_FRACTION, ".9")
    with pytest.raises(ValueError, match=FRACTION):
        xla_client.generate_pjrt_gpu_plugin_options()


def test_one_of_two_cards_is_enough():
    assert actions("unequal", {}, BEFORE) == [("XLA_FLAGS", "apply"), (PREALLOCATE, "recommend")]


def test_flags_are_appended_to_the_users():
    environ = {"XLA_FLAGS": "--xla_dump_to=/tmp/x", "HOME": "/h"}
    decisions = decide("rtx5090", environ, BEFORE)
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
    decisions = decide("rtx5090", environ, BEFORE)
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
    assert actions("unequal", {"CUDA_VISIBLE_DEVICES": "GPU-4090"}) == [(FRACTION, "recommend")]
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
        assert (rule.at_least or (0, 0)) < (rule.below or (99, 0))
    assert len({rule.name for rule in RULES}) == len(RULES)
