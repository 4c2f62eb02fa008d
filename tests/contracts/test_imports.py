"""Who imports whom: the contracts in pyproject.toml, and what fresh interpreters really load."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
JAX_WORLD = ("jax", "jaxlib", "equinox", "optax", "orbax", "grain", "megalodon_jax", "datasets", "transformers")
FORBIDDEN_LIGHT = (*JAX_WORLD, "textual")

# Runs as `python -c`: the statement to judge, and the names it must not load, come as arguments. It reports at exit,
# because commands leave by SystemExit or os._exit and lazy imports happen until then.
WATCHER = """
import os, sys
statement, report, *names = sys.argv[1:]
def tell(code=None):
    with open(report, "w") as file:
        print(*(name for name in names if name in sys.modules), file=file)
    if code is not None:
        leave(code)
leave = os._exit
os._exit = tell
try:
    exec(statement)
finally:
    tell()
"""


def loaded(
    statement: str, names: tuple[str, ...], report: Path, *, folder: Path = ROOT, path: Path | None = None
) -> set[str]:
    """Which of `names` a fresh interpreter has loaded when `statement` is done; fails if the statement fails.

    Args:
        statement: Python code.
        names: top-level packages.
        report: a file to write to.
        folder: working folder.
        path: put before the import path.
    """
    env = dict(os.environ)
    if path is not None:
        env["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, "-c", WATCHER, statement, str(report), *names],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return set(report.read_text().split())


def command(*args: str) -> str:
    """Python code that runs `chomp ARGS` as the installed script does."""
    return f"import sys; sys.argv = ['chomp', *{list(args)!r}]; from chomp.__main__ import main; main()"


@pytest.mark.parametrize(
    "package",
    ["config", "config.compat", "record.run_view", "device", "record.summary", "errors", "cli.main", "queue.runner"],
)
def test_the_shared_layer_loads_neither_jax_nor_textual(package: str, tmp_path: Path) -> None:
    assert loaded(f"import chomp.{package}", FORBIDDEN_LIGHT, tmp_path / "report") == set()


@pytest.mark.parametrize(
    "args",
    [
        ("--help",),
        ("config", "check", "configs/debug_smoke.yaml"),
        ("config", "show", "configs/quickstart.yaml"),
        ("config", "schema"),
        ("runs",),
        ("probe",),
        ("train", "--help"),
        ("ctl", "--help"),
        # What it tries runs in child processes.
        ("fit", "configs/debug_smoke.yaml", "-o", "train.batch_size=1", "-o", "train.grad_accum=1"),
    ],
    ids=" ".join,
)
def test_commands_that_compute_nothing_here_load_neither_jax_nor_textual(args: tuple[str, ...], tmp_path: Path) -> None:
    assert loaded(command(*args), FORBIDDEN_LIGHT, tmp_path / "report") == set()


def test_listing_runs_and_checkpoints_loads_no_jax(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "one"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config_resolved.json").write_text("{}")
    for args in (
        ("report", "runs/one"),
        ("watch", "runs/one"),
        ("runs", "runs"),
        ("checkpoints", "runs/one"),
        ("checkpoints", "runs/one", "--verify", "--json"),
    ):
        assert loaded(command(*args), FORBIDDEN_LIGHT, tmp_path / "report", folder=tmp_path) == set()


@pytest.mark.parametrize(
    "statement",
    [
        "import chomp_tui, chomp_tui.__main__",
        "from chomp_tui.__main__ import cli; cli(['--help'], standalone_mode=False)",
    ],
)
def test_the_console_loads_no_jax(statement: str, tmp_path: Path) -> None:
    assert loaded(statement, JAX_WORLD, tmp_path / "report") == set()


def test_the_first_frame_waits_for_no_probe_and_no_configuration(tmp_path: Path) -> None:
    later = ("chomp.device", "chomp.config", "chomp.record.events", "importlib.metadata", "numpy", "yaml", *JAX_WORLD)
    assert loaded("import chomp_tui.__main__, chomp_tui.show, chomp_tui.settings", later, tmp_path / "report") == set()


def test_the_check_itself_can_fail(tmp_path: Path) -> None:
    """A package that breaks the rule at import, and one that breaks it late, are both caught."""
    package = tmp_path / "guilty"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import textual_stub\n\ndef late():\n    import jax_stub\n    import os\n    os._exit(0)\n"
    )
    for name in ("textual_stub", "jax_stub"):
        (tmp_path / f"{name}.py").write_text("")
    names = ("textual_stub", "jax_stub", "not_there")
    assert loaded("import guilty", names, tmp_path / "report", path=tmp_path) == {"textual_stub"}
    assert loaded("import guilty; guilty.late()", names, tmp_path / "report", path=tmp_path) == {
        "textual_stub",
        "jax_stub",
    }


def lint_imports(folder: Path, *args: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the contracts of `folder`."""
    env = dict(os.environ)
    if path is not None:
        env["PYTHONPATH"] = str(path)
    script = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [script, "--no-cache", "--no-logo", *args],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_import_contracts_are_kept() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


def test_a_broken_contract_is_noticed(tmp_path: Path) -> None:
    """The same command on a package whose lower layer imports the upper one."""
    for name, text in (("", ""), ("upper", ""), ("lower", "from layered import upper\n")):
        module = tmp_path / "layered" / (f"{name}.py" if name else "__init__.py")
        module.parent.mkdir(exist_ok=True)
        module.write_text(text)
    (tmp_path / "contracts.toml").write_text(
        '[tool.importlinter]\nroot_packages = ["layered"]\n\n'
        '[[tool.importlinter.contracts]]\nname = "layers"\ntype = "layers"\n'
        'layers = ["layered.upper", "layered.lower"]\n'
    )
    done = lint_imports(tmp_path, "--config", "contracts.toml", path=tmp_path)
    assert done.returncode == 1
    assert "layered.lower -> layered.upper" in done.stdout
