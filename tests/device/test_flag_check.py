"""A child asks the installed XLA; the flag that fails is named."""

import os

import pytest

from chomp.device import RULES, check_xla_flags, require_xla_flags
from chomp.errors import DeviceError


def flags(text):
    return {**os.environ, "XLA_FLAGS": text}


def test_our_own_flags_are_accepted():
    ours = " ".join(rule.value for rule in RULES if rule.variable == "XLA_FLAGS")
    assert ours
    require_xla_flags(flags(ours))


def test_unknown_flag_is_named():
    result = check_xla_flags(flags("--xla_gpu_enable_triton_gemm=false --xla_no_such_flag=1"))
    assert (result.accepted, result.rejected) == (False, ("--xla_no_such_flag=1",))
    assert result.message == "the installed XLA does not know the flag --xla_no_such_flag=1 in XLA_FLAGS; remove it"


def test_several_unknown_flags():
    assert check_xla_flags(flags("--xla_a=1 --xla_b")).message == (
        "the installed XLA does not know the flags --xla_a=1 --xla_b in XLA_FLAGS; remove them"
    )


def test_bad_value_is_named():
    with pytest.raises(DeviceError) as caught:
        require_xla_flags(flags("--xla_gpu_enable_triton_gemm=maybe"))
    assert caught.value.exit_code == 4
    assert str(caught.value) == (
        "the installed XLA cannot read the value of --xla_gpu_enable_triton_gemm=maybe in XLA_FLAGS; correct it"
    )


def test_a_missing_file_of_flags():
    message = check_xla_flags(flags("/no/such/file")).message
    assert message.startswith(
        "XLA does not start with XLA_FLAGS='/no/such/file': Could not open file \"/no/such/file\""
    )


def test_no_flags_need_no_child():
    assert check_xla_flags({}, timeout_seconds=0).accepted


def test_a_child_that_hangs():
    result = check_xla_flags(flags("--xla_a=1"), timeout_seconds=0.001)
    assert result.message == "XLA did not answer within 0.001 s with XLA_FLAGS='--xla_a=1'"
