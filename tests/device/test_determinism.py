"""The flags of `train.strict_determinism`."""

from __future__ import annotations

from pathlib import Path

import pytest

from chomp.device.determinism import STRICT_FLAGS, not_strict, strict_environment
from chomp.device.environment import xla_flags
from chomp.device.flag_check import check_xla_flags

ALL = " ".join(f"{name}={value}" for name, value in STRICT_FLAGS.items())
ATOMICS, LEVEL, TRITON = ALL.split()


def test_the_installed_xla_knows_the_flags() -> None:
    checked = check_xla_flags(strict_environment({}))
    assert checked.accepted, checked.message


def test_flags_are_added_and_never_overridden() -> None:
    assert strict_environment({}) == {"XLA_FLAGS": ALL}
    given = {"XLA_FLAGS": f"--xla_dump_to=/tmp/d {TRITON}"}
    assert strict_environment(given) == {"XLA_FLAGS": f"--xla_dump_to=/tmp/d {TRITON} {ATOMICS} {LEVEL}"}
    assert not_strict(strict_environment(given)) == []
    assert strict_environment({"XLA_FLAGS": ALL}) == {}
    kept = {"XLA_FLAGS": "--xla_gpu_autotune_level=4"}
    assert strict_environment(kept) == {"XLA_FLAGS": f"--xla_gpu_autotune_level=4 {ATOMICS} {TRITON}"}
    assert not_strict(strict_environment(kept)) == [LEVEL]


def test_a_file_of_flags_is_read_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "flags"
    file.write_text(f"{ATOMICS}\n--xla_gpu_enable_triton_gemm=0\n")
    environ = {"XLA_FLAGS": str(file)}
    assert strict_environment(environ) == {}
    assert not_strict(environ) == [LEVEL]
    assert not_strict({"XLA_FLAGS": str(tmp_path / "none")}) == ALL.split()


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("", {}),
        ("  ", {}),
        ("--a=1  --b --a=2", {"--a": "2", "--b": "true"}),
        ("--a= word", {"--a": ""}),
    ],
)
def test_flags_by_name(text: str, flags: dict[str, str]) -> None:
    assert xla_flags({"XLA_FLAGS": text}) == flags
