"""The person's choice over the advised variables."""

from __future__ import annotations

import pytest

from chomp.device import RULES, apply, recommended_environment
from chomp_tui.engine.flags import (
    chosen_environment,
    defaults,
    is_open,
    line_to_copy,
    opposite,
    switched_on,
    toggled,
)
from tests.device.fake_nvml import probe_of

FLAG = "--xla_gpu_enable_triton_gemm=false"
UNFLAG = "--xla_gpu_enable_triton_gemm=true"
PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"
TRITON, MEMORY = "blackwell-triton-gemm", "desktop-preallocate"
# The last version with which runs get the Triton flag by themselves, and the first with which they do not.
BEFORE, AFTER = (0, 9), (0, 10)


def decisions(environ: dict[str, str], name: str = "rtx5090", jax_version: tuple[int, int] = BEFORE):
    return recommended_environment(probe_of(name), environ, jax_version=jax_version)


def test_what_an_engine_applies_by_itself_is_on_and_the_rest_is_off() -> None:
    assert defaults(decisions({})) == {TRITON}
    assert switched_on(decisions({}), {}) == {TRITON}
    assert chosen_environment({}, decisions({}), frozenset({TRITON})) == {"XLA_FLAGS": FLAG}


@pytest.mark.parametrize("on", [set(), {TRITON}, {MEMORY}, {TRITON, MEMORY}], ids=["none", "triton", "memory", "both"])
def test_the_variables_hold_the_whole_choice(on: set[str]) -> None:
    for environ in ({}, {"XLA_FLAGS": "--xla_dump_to=/x"}):
        chosen = chosen_environment(environ, decisions(environ), frozenset(on))
        assert switched_on(decisions(environ), chosen) == on
        # An engine started with them finds nothing left to do, and so cannot undo what was refused.
        after = {**environ, **chosen}
        assert apply(after, decisions(after)) == after
        assert after["XLA_FLAGS"].split()[-1] == (FLAG if TRITON in on else UNFLAG)
        assert after.get(PREALLOCATE) == ("false" if MEMORY in on else None)


@pytest.mark.parametrize("on", [set(), {TRITON}, {MEMORY}, {TRITON, MEMORY}], ids=["none", "triton", "memory", "both"])
def test_what_is_only_recommended_is_off_until_it_is_chosen(on: set[str]) -> None:
    found = decisions({}, jax_version=AFTER)
    assert defaults(found) == frozenset()
    assert all(is_open(decision) for decision in found)
    chosen = chosen_environment({}, found, frozenset(on))
    assert switched_on(found, chosen) == on
    assert chosen == ({"XLA_FLAGS": FLAG} if TRITON in on else {}) | ({PREALLOCATE: "false"} if MEMORY in on else {})


def test_the_user_s_flags_come_first_and_once() -> None:
    environ = {"XLA_FLAGS": "--xla_dump_to=/x"}
    assert chosen_environment(environ, decisions(environ), frozenset({TRITON})) == {
        "XLA_FLAGS": f"--xla_dump_to=/x {FLAG}"
    }


@pytest.mark.parametrize(
    "environ", [{"XLA_FLAGS": FLAG}, {"XLA_FLAGS": UNFLAG}, {"XLA_FLAGS": "/etc/xla.flags"}], ids=str
)
def test_what_the_user_has_decided_is_not_to_choose(environ: dict[str, str]) -> None:
    triton, memory = decisions(environ)
    assert not is_open(triton)
    assert is_open(memory)
    for on in (frozenset(), frozenset({TRITON})):
        assert chosen_environment(environ, [triton, memory], on) == {}


def test_a_switch_goes_over_and_back() -> None:
    assert toggled(frozenset({TRITON}), MEMORY) == {TRITON, MEMORY}
    assert toggled(toggled(frozenset({TRITON}), MEMORY), MEMORY) == {TRITON}


@pytest.mark.parametrize(
    ("flag", "other"),
    [(FLAG, UNFLAG), ("--a=TRUE", "--a=false"), ("--a=1", "--a=0"), ("--a=7", None), ("--a", None), ("false", None)],
)
def test_opposites(flag: str, other: str | None) -> None:
    assert opposite(flag) == other


def test_every_automatic_rule_can_be_refused() -> None:
    for rule in RULES:
        if rule.automatic_below is not None:
            assert opposite(rule.value), f"{rule.name}: its switch could not be turned off"


def test_the_line_does_in_a_shell_what_the_choice_does_here() -> None:
    environ = {"XLA_FLAGS": "--xla_dump_to=/a b"}
    both = frozenset({TRITON, MEMORY})
    assert line_to_copy(environ, decisions(environ), both, "chomp train c.yaml") == (
        f"env XLA_FLAGS='--xla_dump_to=/a b {FLAG}' {PREALLOCATE}=false chomp train c.yaml"
    )
    assert line_to_copy({}, decisions({}), frozenset(), "chomp train c.yaml") == (
        f"env XLA_FLAGS={UNFLAG} chomp train c.yaml"
    )
    assert line_to_copy({}, decisions({}, "no_driver"), frozenset(), "chomp train c.yaml") == "chomp train c.yaml"
