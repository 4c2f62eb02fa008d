"""The documentation is true: its commands run, its configurations load, its lists are complete.

Conventions of README.md and docs/*.md:

- In a ```console block a command is a line that starts with `$ `; a line that ends in a backslash goes on in the next.
  The other lines are what it printed once, and are not compared. A ```bash block is one script.
- The commands of a page run in order in one temporary folder that holds a copy of configs/.
- ```yaml blocks are configurations, whole or in part, and must load.
- A block that cannot run in a test is one of SET_UP, or has `<!-- not run: REASON -->` on the line before it. NOT_RUN
  lists all of them.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tomllib
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pytest

from chomp.cli.main import COMMANDS
from chomp.config import parse_config
from chomp.config.compat import RULES
from chomp.errors import ChompError
from chomp.record.codec import decode
from chomp.record.commands import COMMANDS as CTL_COMMANDS
from chomp.record.events import KINDS, Step
from tests.engine import write_forking_command

ROOT = Path(__file__).parents[2]
PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if path.exists()]
COMMAND_TIMEOUT_SECONDS = 180
# A page's folder may hold commands of its own here.
FORKING = ".bin"

# Every block that is not run: (page, reason, first command). A new one is added here by hand, or the test fails.
NOT_RUN = {
    ("README.md", "installs packages", "make run"),
    ("README.md", "installs packages", "make test"),
    ("README.md", "needs a terminal", "chomp-tui"),
    ("docs/data.md", "needs the hub", "chomp train configs/megalodon_100m_zyda2.yaml --dry-run"),
    ("docs/gpu.md", "needs a GPU", "benchmarks/gpu.sh --budget 600 --results gpu-step.jsonl"),
    ("docs/gpu.md", "installs packages", "make CUDA=cuda12 run"),
    (
        "docs/gpu.md",
        "needs the wheels",
        "chomp inspect configs/quickstart_llama.yaml --for h100 --count 8 -o parallel.fsdp=8 -o train.grad_accum=16",
    ),
    ("docs/gpu.md", "installs 4 GB", "pip install 'chomp[gpu-aot]'"),
    ("docs/scale.md", "needs GPUs", "chomp train configs/megalodon_200m_zyda2.yaml"),
    ("docs/scale.md", "needs GPUs", "benchmarks/gpu.sh --mesh --results gpu-mesh"),
    (
        "docs/scale.md",
        "needs two hosts",
        "chomp train run.yaml --run-dir /shared/runs/run-1 --coordinator host0:4123 --processes 2 --process 0",
    ),
    ("docs/training.md", "needs a GPU", "chomp inspect configs/megalodon_100m_zyda2.yaml --compile"),
    ("docs/console.md", "needs a terminal", "chomp-tui"),
    ("docs/report.md", "installs packages", "pip install 'chomp[report]'"),
    ("docs/queue.md", "leaves a runner behind", "chomp queue start"),
    ("docs/notify.md", "needs a live run", "chomp watch runs/night-1 runs/night-2"),
    ("docs/evaluation.md", "installs packages", "pip install 'chomp[evals]'"),
    (
        "docs/evaluation.md",
        "needs the hub",
        "chomp lm-eval runs/scored --tasks arc_easy,lambada_openai --limit 100 --output_path results",
    ),
    ("docs/events.md", "never ends", "tail -F runs/demo/events.jsonl"),
}

# Set-up commands of the README: each would install the project anew. `.ci/run` runs the second one for real.
SET_UP = {"make run": "installs packages", "make test": "installs packages"}

FENCE = re.compile(r"^```(?P<kind>[a-z]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN_MARK = re.compile(r"<!-- not run: (?P<reason>.+?) -->\n\Z")
PICTURE = re.compile(r"!\[[^\]]*\]\((?P<target>[^)\s]+)\)")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")


class Block(NamedTuple):
    """A fenced block; `line` is that of its first line of text."""

    kind: str
    body: str
    line: int
    not_run: str | None


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(text: str) -> list[Block]:
    """All fenced blocks of a page."""
    found = []
    for match in FENCE.finditer(text):
        mark = NOT_RUN_MARK.search(text[: match.start()])
        reason = mark["reason"] if mark else SET_UP.get(match["body"].strip())
        found.append(Block(match["kind"], match["body"], text.count("\n", 0, match.start()) + 2, reason))
    return found


def commands(block: Block) -> list[str]:
    """The commands of a console block, or the script of a bash block."""
    if block.kind == "bash":
        return [block.body.strip()]
    joined = block.body.replace("\\\n", " ")
    return [line[2:].strip() for line in joined.splitlines() if line.startswith("$ ")]


def runnable(text: str) -> list[Block]:
    return [block for block in blocks(text) if block.kind in ("console", "bash")]


def section(text: str, title: str) -> str:
    """The text below a heading of any level, up to the next of the same or a higher one."""
    found = re.search(rf"^(#+) {re.escape(title)}\n", text, re.MULTILINE)
    assert found, f"there is no heading {title!r}"
    rest = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def documented(text: str) -> set[str]:
    """The names in backticks that stand first in a table row."""
    return set(re.findall(r"^\| `([^`]+)` ", text, re.MULTILINE))


def run_page(text: str, folder: Path) -> list[str]:
    """Run a page's commands in `folder`; returns them, and raises with the output of the first that fails."""
    places = (folder / FORKING, Path(sys.executable).parent, os.environ["PATH"])
    env = {**os.environ, "PATH": os.pathsep.join(map(str, places)), "JAX_PLATFORMS": "cpu"}
    done, groups = [], []
    try:
        for block in runnable(text):
            for command in commands(block) if block.not_run is None else []:
                log = folder / ".output"
                with log.open("wb") as output:
                    # A file and not a pipe: a command left in the background would keep a pipe open.
                    child = subprocess.Popen(
                        ["bash", "-eo", "pipefail", "-c", command],
                        cwd=folder,
                        env=env,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                groups.append(child.pid)
                code = child.wait(COMMAND_TIMEOUT_SECONDS)
                assert code == 0, (
                    f"line {block.line}: $ {command}\nexit code {code}\n{log.read_text(errors='replace')[-4000:]}"
                )
                done.append(command)
    finally:
        for group in groups:
            kill_group(group)
    return done


def kill_group(group: int) -> None:
    """End what a page left running in the background."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def working_folder(folder: Path) -> Path:
    shutil.copytree(ROOT / "configs", folder / "configs")
    return folder


@pytest.mark.process
@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page.read_text())], ids=name)
def test_commands_run(page: Path, tmp_path: Path) -> None:
    text, folder = page.read_text(), working_folder(tmp_path)
    # The README's commands are the installed ones; those of other pages do the same without the seconds of imports.
    if page.name != "README.md":
        (folder / FORKING).mkdir()
        write_forking_command(folder / FORKING / "chomp")
    ran = run_page(text, folder)
    assert ran or all(block.not_run for block in runnable(text)), "the page has blocks without a `$ ` command"


@pytest.mark.parametrize("broken", ["$ chomp config check configs/nothing.yaml", "$ false | true"])
def test_a_failing_command_fails_its_page(broken: str, tmp_path: Path) -> None:
    page = f"```console\n$ true\n{broken}\n```\n"
    with pytest.raises(AssertionError, match="exit code"):
        run_page(page, working_folder(tmp_path))


def test_blocks_that_are_not_run_are_listed() -> None:
    marked = {
        (name(page), block.not_run, commands(block)[0])
        for page in PAGES
        for block in runnable(page.read_text())
        if block.not_run is not None
    }
    assert marked <= NOT_RUN, f"not in NOT_RUN: {sorted(marked - NOT_RUN)}"
    assert marked >= NOT_RUN, f"no longer in the pages: {sorted(NOT_RUN - marked)}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_configurations_load(page: Path) -> None:
    for block in blocks(page.read_text()):
        if block.kind == "yaml":
            try:
                parse_config(block.body, source=f"{name(page)} block at line {block.line}")
            except ChompError as error:
                pytest.fail(str(error))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_resolve(page: Path) -> None:
    text = page.read_text()
    for match in LINK.finditer(text):
        target, _, anchor = match["target"].partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{name(page)} links to {match['target']}, which does not exist"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path.read_text()), (
                f"{name(page)} links to {match['target']}, which has no such heading"
            )


def test_every_picture_is_made_by_the_script_and_shown_on_a_page() -> None:
    made = re.findall(r"""keep(?:\(app, |_page\()"(\w+)"\)""", (ROOT / "docs" / "screenshots.py").read_text())
    assert len(made) >= 4
    files = {ROOT / "docs" / "images" / f"{one}.png" for one in made}
    assert set((ROOT / "docs" / "images").iterdir()) == files
    assert {(page.parent / target).resolve() for page in PAGES for target in PICTURE.findall(page.read_text())} == files
    for path in files:
        content = path.read_bytes()
        width, height = struct.unpack(">II", content[16:24])
        assert content.startswith(b"\x89PNG\r\n"), path
        assert width >= 1_500, path
        assert 400 <= height <= width, path


def test_the_script_takes_every_picture_that_it_knows() -> None:
    tree = ast.parse((ROOT / "docs" / "screenshots.py").read_text())
    known = {
        node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef) if node.name.startswith("picture_")
    }
    main = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main")
    assert known == {
        node.id for node in ast.walk(main) if isinstance(node, ast.Name) and node.id.startswith("picture_")
    }


def anchors(text: str) -> set[str]:
    """The fragment names GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def map_entries(text: str) -> list[str]:
    """Paths in the tree of the architecture page: indented by two spaces a level, folders end in `/`."""
    tree = next(block.body for block in blocks(section(text, "Map")) if block.kind == "text")
    entries: list[str] = []
    open_folders: list[str] = []
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        entry = line.split()[0]
        open_folders = open_folders[:depth]
        entries.append("/".join([*open_folders, entry.rstrip("/")]))
        if entry.endswith("/"):
            open_folders.append(entry.rstrip("/"))
    return entries


def test_the_map_is_complete() -> None:
    entries = map_entries((ROOT / "docs" / "architecture.md").read_text())
    missing = [entry for entry in entries if not (ROOT / entry).exists()]
    assert not missing, f"in the map and not there: {missing}"
    modules = [path for package in ("chomp", "chomp_tui") for path in (ROOT / package).rglob("*.py")]
    wanted = {path.parent for path in modules} | {
        path for path in modules if path.name not in ("__init__.py", "__main__.py")
    }
    unlisted = {path.relative_to(ROOT).as_posix() for path in wanted} - set(entries)
    assert not unlisted, f"there and not in the map: {sorted(unlisted)}"
    assert len(entries) == len(set(entries))


def test_run_directory_is_documented() -> None:
    from chomp.record.rundir import RunDir

    files = {
        value.name
        for prop, value in (
            (prop, getattr(RunDir(Path("run")), prop))
            for prop in vars(RunDir)
            if isinstance(getattr(RunDir, prop), property)
        )
        if isinstance(value, Path)
    }
    text = section((ROOT / "docs" / "architecture.md").read_text(), "Run directory")
    assert {entry.rstrip("/").split("/")[0] for entry in documented(text)} >= files


def test_every_event_and_field_is_documented() -> None:
    text = (ROOT / "docs" / "events.md").read_text()
    for kind, cls in KINDS.items():
        part = section(text, f"`{kind}`")
        lines = [block.body for block in blocks(part) if block.kind == "json"]
        assert lines, f"{kind} has no example line"
        for line in lines:
            event = decode(line)
            assert type(event) is cls, f"the example of {kind} is not one: {line}"
            if cls is not Step:
                fields = {field.name for field in dataclasses.fields(cls)} - {"t"}
                assert documented(part) == fields
                assert set(json.loads(line)) == fields | {"v", "t", "kind"}


def test_every_field_of_a_metrics_row_is_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    import jax

    from chomp.data.pipeline import SourceProgress
    from chomp.model.base import ModelInputs
    from chomp.parallel.beacon import Slowest
    from chomp.step.objective import build_objective
    from chomp.step.train_step import StepMetrics
    from chomp.train.clock import TimeBudget
    from chomp.train.metrics import MetricsAggregator, by_source
    from chomp.train.progress import Pending
    from tests.model.tiny import parts, tiny_config

    class Gpu:
        def memory_stats(self) -> dict[str, int]:
            return {"bytes_in_use": 1, "peak_bytes_in_use": 2, "bytes_limit": 3}

    monkeypatch.setattr(jax, "local_devices", lambda: [Gpu(), Gpu()])
    config = parse_config("optim: {name: muon}", source="test").config
    maker = MetricsAggregator(config, TimeBudget(), tokens_per_step=64, flops_per_token=1.0, peak_flops=1.0)
    maker.compiled(1.0)
    every = {"label_smoothing": 0.1, "z_loss": 1e-4, "token_filter_keep": 0.5, "mtp_heads": 1}
    objective = tiny_config("dummy", objective=every)
    inputs = ModelInputs(*(jax.numpy.ones((1, 2, 8), int) for _ in ModelInputs._fields))
    counts = build_objective(objective.objective, parts(objective)[0]).counts(inputs)
    metrics = StepMetrics(
        loss=1.0,
        grad_norm=1.0,
        lr=1.0,
        group_lrs={"lr_muon": 1.0},
        tokens=64,
        finite=True,
        skipped=0,
        skipped_in_a_row=0,
        terms={name: 1.0 for name in counts if name != "loss"},
    )
    maker.completed(Pending(1, metrics, {}, 64, 1.0), 64)
    # As with heads, the page lists the first of several devices.
    processes = Slowest(index=0, seconds=0.1, median_seconds=0.1).row()
    fields = {*maker.make(1, metrics, 64), *processes, "eval_loss", "eval_bpb", "t"} - {"device_1_memory_gb"}
    fields |= set(by_source({"NAME": 1.0}, {"NAME": SourceProgress(1, 1.0)}))
    assert documented(section((ROOT / "docs" / "training.md").read_text(), "Metrics rows")) == fields
    example = decode(
        next(b.body for b in blocks(section((ROOT / "docs" / "events.md").read_text(), "`step`")) if b.kind == "json")
    )
    assert isinstance(example, Step)
    assert set(example.row) <= fields


def test_every_command_is_documented() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    for command in COMMANDS:
        assert re.search(rf"chomp {command}\b", text), f"`chomp {command}` is in no page"
    training = (ROOT / "docs" / "training.md").read_text()
    assert documented(section(training, "Steering a live run")) == set(CTL_COMMANDS)


def test_exit_codes_are_those_of_the_errors() -> None:
    from chomp import errors

    codes = {cls.exit_code for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, ChompError)}
    rows = documented(section((ROOT / "docs" / "architecture.md").read_text(), "Exit codes"))
    assert {str(code) for code in codes} | {"0", "130", "143"} <= rows


def rules_table() -> list[str]:
    """The rows of the table of resume rules, neighbours of one verdict and reason together."""
    rows = []
    for (severity, why), group in groupby(RULES, key=lambda rule: (rule.severity, rule.why)):
        rows.append(f"| {', '.join(f'`{rule.pattern}`' for rule in group)} | {severity} | {why} |")
    return rows


def test_resume_rules_are_those_of_the_engine() -> None:
    part = section((ROOT / "docs" / "resume.md").read_text(), "Rules")
    written = [line for line in part.splitlines() if line.startswith("| `")]
    assert written == rules_table(), "the table should be:\n" + "\n".join(rules_table())


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {requirement_name(text) for text in project["dependencies"]}
    wanted |= {requirement_name(text) for group in project["optional-dependencies"].values() for text in group} - {
        "jax"
    }
    text = (ROOT / "docs" / "dependencies.md").read_text()
    assert documented(text) == wanted | set(project["optional-dependencies"])


def requirement_name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found
    return found[0]
