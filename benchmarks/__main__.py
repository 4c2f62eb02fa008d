"""All figures of this machine, one page after another, each in a process of its own."""

import platform
import subprocess
import sys
from importlib.metadata import version

PAGES = (
    "start", "loop", "saves", "step", "mesh", "parts", "llama", "pytorch", "data", "prepare", "decode", "export",
    "console_start", "console_home", "console_tick", "chart", "console_open", "console_bytes", "console_live",
)  # fmt: skip


def main() -> int:
    """Run every page; the exit code is that of the worst."""
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("jax", "equinox", "optax", "orbax-checkpoint", "grain", "megalodon-jax")
    )
    print(f"python {platform.python_version()}, {packages}", flush=True)
    worst = 0
    for page in PAGES:
        print(f"\n== {page}", flush=True)
        worst = max(worst, subprocess.run([sys.executable, "-m", f"benchmarks.{page}"], check=False).returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main())
