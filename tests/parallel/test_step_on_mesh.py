"""The step on meshes of eight virtual devices: what it computes, and what its program sends."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.engine import optimized

ASKED = (
    "curves:50:llama:adamw:dp:fsdp:both",
    "muon:float32",
    "collectives:llama:fsdp",
    "collectives:llama:dp",
    "weights:one",
    "weights:both",
)
# All that the documentation promises, compiled as users have it.
EVERY = (
    *(
        f"curves:50:{backend}:{optimizer}:dp:fsdp:both"
        for backend in ("llama", "megalodon")
        for optimizer in ("adamw", "lion", "muon")
    ),
    "muon:float32",
    "muon:bfloat16",
    "collectives:llama:fsdp",
    "collectives:llama:dp",
    "collectives:megalodon:fsdp",
    "policies:llama",
    "policies:megalodon",
)


def found_by(asked: tuple[str, ...], environment: dict[str, str]) -> dict[str, Any]:
    """What a process with eight devices prints."""
    eight = {**environment, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    command = [sys.executable, "-m", "tests.parallel.virtual", *asked]
    done = subprocess.run(command, env=eight, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=1800)
    return {name: value for line in done.stdout.splitlines() for name, value in json.loads(line).items()}


def test_the_same_run_on_every_mesh():
    """One test, as one process trains them all."""
    found = found_by(ASKED, dict(os.environ))
    check_weights(found.pop("weights:one"), found.pop("weights:both"))
    for name, one in found.items():
        check(name, one)


@pytest.mark.soak
@pytest.mark.parametrize("asked", EVERY)
def test_every_model_and_optimizer_on_every_mesh(asked: str):
    """Compiled as users have it, which takes minutes: a process for each."""
    ((name, found),) = found_by((asked,), optimized()).items()
    check(name, found)


def check(name: str, found: dict[str, Any]) -> None:
    """What an experiment found is what is promised."""
    kind, *arguments = name.split(":")
    {"curves": check_curves, "collectives": check_collectives, "muon": check_muon, "policies": check_policies}[kind](
        found, *arguments
    )


def check_curves(found: dict[str, Any], steps: str, backend: str, optimizer: str, *meshes: str) -> None:
    """One device's run is that of every mesh, but for the last digits of the losses."""
    one = found["one"]
    assert len(one["losses"]) == int(steps)
    for mesh in meshes:
        other = found[mesh]
        assert other["first"] == one["first"], "initial weights are the same bits"
        assert other["tokens"] == one["tokens"]
        pairs = zip(other["losses"], one["losses"], strict=True)
        most = 1e-3 if optimizer == "muon" else 1e-4
        assert max(abs(loss - expected) / expected for loss, expected in pairs) <= most
    assert found["again"] == found[meshes[-1]], "the same mesh repeats every bit"


def check_weights(one: dict[str, Any], mesh: dict[str, Any]) -> None:
    """A run that starts from weights starts with the same bits, and each device reads its part of them, once."""
    assert one["in place"]
    assert mesh["in place"]
    assert mesh["digest"] == one["digest"]
    assert mesh["read"] == one["read"]
    # The largest matrix is shared by four devices.
    assert mesh["most at once"] == one["most at once"] / 4


def check_collectives(found: dict[str, Any], backend: str, mesh: str) -> None:
    """Parameters are gathered and gradients scattered in the loop; copies are summed once behind it."""
    assert found["arguments"] - found["batch"] <= found["state"] / (1 if mesh == "dp" else 8) + found["state"] / 100
    if mesh == "dp":
        # All gradients in one reduction, and the number of tokens, a whole number, in another.
        assert (found["inside"], found["outside"]) == ({}, {"all-reduce": 2})
    else:
        assert set(found["inside"]) == {"all-gather", "reduce-scatter"}
        assert set(found["outside"]) == {"all-reduce"}
        assert found["scattered"] == found["cut"] / 8


def check_policies(found: dict[str, Any], _: str) -> None:
    """What is computed again changes nothing but the last digits."""
    assert set(found) == {"none", "attention", "dots", "full"}
    for losses in found.values():
        assert losses == pytest.approx(found["none"], rel=1e-5)


def check_muon(found: dict[str, Any], dtype: str) -> None:
    """In fp32 one device's bits; in bf16 one rounding of the norm is many of the iterations.

    Then meshes differ from one device, and not from each other.
    """
    assert found["same momentum"]
    assert found["same bits on all meshes"]
    assert found["apart"] <= (0.0 if dtype == "float32" else 0.1) * found["largest"]
