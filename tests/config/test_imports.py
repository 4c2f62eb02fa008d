"""The configuration and the probe are read without JAX or Textual."""

import subprocess
import sys

import pytest

HEAVY = ("jax", "equinox", "optax", "orbax", "grain", "datasets", "transformers", "megalodon_jax", "numpy", "textual")


def imported(code: str) -> set[str]:
    """Which heavy packages a fresh interpreter has loaded after running the code."""
    probe = f"{code}\nimport sys; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.splitlines()[-1].split()) if done.stdout.splitlines() else set()


@pytest.mark.parametrize(
    "code",
    [
        "import chomp.config, chomp.config.reference, chomp.config.json_schema",
        "import chomp.device",
        "from chomp.config import load_config; load_config('configs/quickstart.yaml')",
        "from chomp.cli.config import command; command(['schema'], standalone_mode=False)",
        "from chomp.cli.config import command; command(['check', 'configs/quickstart.yaml'], standalone_mode=False)",
        "from chomp.cli.probe import command; command([], standalone_mode=False)",
    ],
)
def test_light(code, monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    assert imported(code) == set()


def test_the_check_can_fail():
    assert imported("import numpy") == {"numpy"}
