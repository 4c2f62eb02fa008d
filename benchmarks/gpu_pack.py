"""Collect in a folder what `benchmarks/gpu.sh` needs on a GPU machine without network, besides Python and JAX.

    benchmarks/gpu.sh --pack DIR [--python-version 3.12]

The folder gets `wheels/`, and those parts of the code that the benchmark uses. JAX, jaxlib, the CUDA packages and NumPy
are not packed: they are large, and the machine has those that fit its driver. Needs a network and pip.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from chomp.record.formatting import size

ROOT = Path(__file__).resolve().parent.parent
CODE = ("chomp", "benchmarks", "configs")
# What these need is packed too. The others would also draw in JAX and NumPy, so all that they need is listed.
WITH_DEPENDENCIES = ("pydantic", "pyyaml")
ALONE = ("absl-py", "equinox", "jaxtyping", "megalodon-jax", "optax", "safetensors", "wadler-lindig")


def requirements(names: tuple[str, ...]) -> list[str]:
    """The packages with the versions that `pyproject.toml` allows, where it names them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    allowed = {re.split(r"[<>=!~ \[]", line)[0]: line for line in project["dependencies"]}
    return [allowed.get(name, name) for name in names]


def download(wheels: Path, python_version: str) -> int:
    """Let pip fetch the wheels; returns its exit code."""
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--dest", str(wheels),
        "--only-binary", ":all:", "--implementation", "cp", "--python-version", python_version,
        "--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_28_x86_64",
    ]  # fmt: skip
    for options in (requirements(WITH_DEPENDENCIES), ["--no-deps", *requirements(ALONE)]):
        if code := subprocess.run([*command, *options], check=False).returncode:
            return code
    return 0


def main() -> int:
    """Pack, and say how much it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--python-version", default="3.12", help="of the machine that will run it")
    asked = parser.parse_args()
    folder: Path = asked.folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        print(f"error: {folder} is in the way; name a new or an empty folder", file=sys.stderr)
        return 2
    if code := download(folder / "wheels", asked.python_version):
        print(f"error: pip could not get the wheels for Python {asked.python_version}; see above", file=sys.stderr)
        return code
    for name in CODE:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    total = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(
        f"{size(total).strip()} in {folder}, for Python {asked.python_version}: copy it, and run its benchmarks/gpu.sh"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
