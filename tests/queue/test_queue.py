"""Jobs as files, what starts when and where, and what becomes of a job whose engine has ended; without engines."""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from click.testing import CliRunner

from chomp.cli.queue import command as queue_command
from chomp.device import Gpu, Probe, Process
from chomp.errors import ChompError
from chomp.queue import folder as folder_module
from chomp.queue import runner as runner_module
from chomp.queue.adding import NewJob, add_job
from chomp.queue.devices import CPU, Slot, engine_environment, held_by_runs, slots
from chomp.queue.folder import QueueFolder, find_job
from chomp.queue.job import Job, QueueError, Wish
from chomp.queue.launch import LaunchError, LaunchRequest, RunInUseError
from chomp.queue.runner import Runner
from chomp.queue.schedule import make_plan, waits_for
from chomp.queue.table import RunSummaries, job_lines, rows_of
from chomp.queue.times import parse_duration, parse_time
from chomp.record.events import Event, RunEnded, RunStarted
from chomp.record.rundir import RunDir
from tests.fakeruns import TEXT, append, hold, make_checkpoint, make_run, started

pytestmark = pytest.mark.pure
NOON = datetime(2026, 11, 29, 12, 0).astimezone()


@pytest.fixture
def queue(tmp_path: Path) -> QueueFolder:
    (tmp_path / "a.yaml").write_text(TEXT)
    return QueueFolder(tmp_path / "queue")


def add(queue: QueueFolder, **options: Any) -> Job:
    around = queue.around
    return add_job(queue, NewJob(**{"config": around / "a.yaml", "runs": around / "runs", "folder": around, **options}))


def the(queue: QueueFolder, number: int = 1) -> Job:
    found = queue.read().find(number)
    assert found is not None
    return found


# Files --------------------------------------------------------------------------------------


def test_a_job_is_one_file_that_people_can_read_and_edit(queue: QueueFolder) -> None:
    at = NOON + timedelta(days=1)
    made = add(queue, name="base", overrides=("train.steps=5",), not_before=at, for_seconds=60.0, urgent=True)
    assert queue.path.stat().st_mode & 0o777 == 0o700
    text = (queue.path / "0001.yaml").read_text()
    assert TEXT.splitlines()[0] in text
    assert "run_dir: runs/base" in text
    assert QueueFolder(queue.path).read().jobs == (made,)
    # A time as a person writes it, without a zone, is local.
    text = re.sub("not_before: .*", "not_before: 2026-12-01 06:30:00", text.replace("urgent: true\n", ""))
    (queue.path / "0001.yaml").write_text(text)
    edited = the(queue)
    assert (edited.urgent, edited.not_before) == (False, datetime(2026, 12, 1, 6, 30).astimezone())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected the settings of a job"),
        ("name: [", "line 2: "),
        ("\x00", "0001.yaml: "),
        ("[" * 5000, "0001.yaml: "),
        (
            "name: x\norder: 1\nadded: 2026-11-29 12:00:00\nfolder: .\nruns: r\ngpus: many\n",
            "gpus: expected a whole number",
        ),
        (
            "name: x\norder: 1\nadded: 2026-11-29 12:00:00\nfolder: .\nruns: r\nstate: asleep\n",
            "state: expected waiting, held,",
        ),
        ("name: x\norder: 1\nadded: 2026-11-29 12:00:00\nfolder: .\nruns: r\nprice: 3\n", "price: unknown key"),
        ("x: " + "y" * (5 << 20), "bytes are more"),
    ],
)
def test_nonsense_in_one_file_is_named_and_keeps_the_others(queue: QueueFolder, text: str, problem: str) -> None:
    add(queue)
    other = add(queue)
    queue.job_file(1).write_text(text)
    listing = queue.read()
    assert [job.id for job in listing.jobs] == [other.id]
    assert problem in listing.unreadable[0].problem
    with pytest.raises(QueueError):
        queue.change(1, state="held")
    assert queue.job_file(1).read_text() == text
    assert add(queue).id == 3


def test_numbers_are_never_used_again_and_both_folders_may_move(queue: QueueFolder, tmp_path: Path) -> None:
    add(queue)
    last = add(queue, name="base")
    queue.remove(last.id)
    assert add(queue).id == 3
    moved = QueueFolder(tmp_path / "elsewhere" / "queue")
    moved.path.parent.mkdir()
    queue.path.rename(moved.path)
    assert moved.resolve(the(moved).runs) == tmp_path / "elsewhere" / "runs"


def test_move_says_the_place_that_the_job_has(queue: QueueFolder) -> None:
    for name in ("one", "two", "three"):
        add(queue, name=name)

    def move(*words: str) -> Any:
        return CliRunner().invoke(queue_command, ["move", "--queue", str(queue.path), *words])

    assert move("one", "99").output == "job 1 (one) is at place 3, the last of 3\n"
    assert move("three", "1").output == "job 3 (three) is at place 1\n"
    queue.change(1, state="done")
    assert move("two", "2").output == "job 2 (two) is at place 2\n"
    assert "is done: only jobs that have not ended" in str(move("one", "1").exception)


def test_jobs_are_found_by_number_or_name_and_moved(queue: QueueFolder) -> None:
    for name in ("one", "two", "three"):
        add(queue, name=name)
    queue.move(3, 1)
    queue.move(1, 2)
    queue.move(1, 99)
    assert [job.name for job in queue.read().jobs] == ["three", "two", "one"]
    assert find_job(queue.read(), "two") == 2
    with pytest.raises(QueueError, match="there is no job four"):
        find_job(queue.read(), "four")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"overrides": ("train.stepz=1",)}, "train.stepz"),
        ({"config": None}, "no configuration given"),
        ({"name": "../x"}, "a name has letters"),
        ({"name": "there"}, "already holds a run"),
        ({"name": "taken"}, "is the run directory of job 1"),
        ({"overrides": ("logging.run_dir=taken-by-config",)}, "is the run directory of job 2"),
        ({"after": (7,)}, "--after 7: there is no such job"),
        ({"tags": ("a b",)}, "tag"),
        ({"accept": ("optim.lrr",)}, "did you mean optim.lr"),
        ({"config": None, "resume": "latest", "run_dir": Path("nowhere")}, "there is no run directory"),
    ],
)
def test_a_job_that_cannot_train_is_refused_when_it_is_added(
    queue: QueueFolder, options: dict[str, Any], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(queue, name="taken")
    # The directory that a configuration names is that of its run, as for `chomp train`.
    add(queue, overrides=(f"logging.run_dir={queue.around / 'taken-by-config'}",))
    assert the(queue, 2).run_dir == "taken-by-config"
    monkeypatch.chdir(queue.around)
    (queue.around / "runs" / "there" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ChompError, match=problem):
        add(queue, **options)
    assert len(queue.read().jobs) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ("-o", "data.backend=files", "-o", "data.files=[no/*.txt]", "-o", "data.local_text=null"),
            "no file matches no/*",
        ),
        (("-o", "train.allow_cpu=false"), "no GPU was found and train.allow_cpu is false"),
        (("-o", "notify.command=[no-such-program]"), "no-such-program is no program"),
    ],
)
def test_a_job_that_could_not_start_is_refused_or_added_anyway(
    queue: QueueFolder, options: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(queue.around)
    monkeypatch.setattr("chomp.analysis.readiness.probe_gpus", lambda: Probe())
    command = ["add", str(Path(__file__).parents[2] / "configs" / "debug_smoke.yaml"), *options]
    refused = CliRunner().invoke(queue_command, command)
    assert isinstance(refused.exception, QueueError)
    assert words in str(refused.exception)
    assert "--anyway" in str(refused.exception)
    assert queue.read().jobs == ()
    added = CliRunner().invoke(queue_command, [*command, "--anyway", "-o", "optim.lr=5"])
    assert added.exit_code == 0, added.output
    assert f"warning: {words}" in added.output.replace("the command", "").replace("notify.command: ", "")
    assert "warning: optim.lr" in added.output
    assert len(queue.read().jobs) == 1


def test_a_job_for_gpus_that_are_missing_is_refused_or_waits(
    queue: QueueFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(queue.around)
    monkeypatch.setattr("chomp.analysis.readiness.probe_gpus", lambda: Probe())
    command = ["add", str(Path(__file__).parents[2] / "configs" / "debug_smoke.yaml")]
    for number, needs in (("1", "a GPU"), ("2", "2 GPUs")):
        refused = CliRunner().invoke(queue_command, [*command, "--gpus", number])
        assert isinstance(refused.exception, QueueError)
        assert str(refused.exception) == (
            f"--gpus {number}: the job would wait: it requires {needs}, and this machine has no GPU; gpus 0 trains on "
            "the CPU (--anyway adds the job all the same)"
        )
    one = Probe((Gpu(0, name="card", uuid="GPU-0"),))
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr("chomp.analysis.readiness.probe_gpus", lambda: one)
    refused = CliRunner().invoke(queue_command, [*command, "--gpus", "2"])
    assert "it requires 2 GPUs, and this machine has 1;" in str(refused.exception)
    monkeypatch.setattr("chomp.analysis.readiness.probe_gpus", lambda: Probe())
    for options in (["--gpus", "1", "--anyway"], ["--gpus", "0"], []):
        added = CliRunner().invoke(queue_command, [*command, *options])
        assert added.exit_code == 0, added.output
        assert ("the job would wait" in added.stderr) == (len(options) == 3)
    jobs = queue.read().jobs
    assert [(one.gpus, one.requires_gpus) for one in jobs] == [(1, True), (0, False), (1, False)]
    plan = make_plan(jobs, (Slot(CPU, "CPU"),), (), NOON)
    assert [one.id for one, _ in plan.start] == [2]


def test_other_users_may_not_write_commands(queue: QueueFolder) -> None:
    add(queue)
    queue.path.chmod(0o775)
    with pytest.raises(QueueError, match="writable by it alone"):
        queue.make()


# Times --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"), [("8h", 28800), ("90m", 5400), ("1h30m", 5400), ("45", 45), ("1.5d", 129600), ("10 S", 10)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "h", "8x", "-3h", "1e3", "nan", "9" * 30])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(QueueError, match="is no duration"):
        parse_duration(text)


def test_a_time_of_day_that_has_passed_is_tomorrows(monkeypatch: pytest.MonkeyPatch) -> None:
    # Central Europe's rules, for machines without a database of zones.
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        # The clock goes forward in this night, which has 23 hours.
        now = datetime(2026, 3, 28, 23, 0).astimezone()
        assert parse_time("23:30", now).isoformat() == "2026-03-28T23:30:00+01:00"
        assert parse_time("22:00", now).isoformat() == "2026-03-29T22:00:00+02:00"
        assert parse_time("2026-12-01 06:30", now).isoformat() == "2026-12-01T06:30:00+01:00"
        for text, problem in {"25:00": "is no time", "soon": "is no time", "2026-03-01": "is past"}.items():
            with pytest.raises(QueueError, match=problem):
                parse_time(text, now)
    finally:
        monkeypatch.undo()
        time.tzset()


# What starts --------------------------------------------------------------------------------


def job(number: int, **values: Any) -> Job:
    values = {"name": f"j{number}", "order": float(number), "added": NOON, "folder": ".", "runs": "runs", **values}
    return Job.model_validate({"id": number, **values})


def running(number: int, *devices: str, **values: Any) -> Job:
    return job(number, state="running", attempts=[{"began": NOON, "devices": list(devices)}], **values)


def gpus(*busy: str) -> list[Slot]:
    return [*(Slot(f"GPU-{place}", f"GPU {place}", what) for place, what in enumerate(busy)), Slot(CPU, "CPU")]


@pytest.mark.parametrize(
    ("jobs", "devices", "start", "give_way"),
    [
        ([job(1), job(2), job(3)], gpus("", ""), {1: ["GPU-0"], 2: ["GPU-1"]}, []),
        ([job(1, order=9.0), job(2)], gpus(""), {2: ["GPU-0"]}, []),
        ([job(1, gpus=2), job(2)], gpus("", "pid 7"), {}, []),
        ([job(1, gpus=2), job(2, gpus=0)], gpus("", "pid 7"), {2: ["cpu"]}, []),
        ([job(1, gpus=3), job(2)], gpus("", ""), {2: ["GPU-0"]}, []),
        ([job(1), job(2)], [Slot(CPU, "CPU")], {1: ["cpu"]}, []),
        # What requires GPUs never trains on the CPU, and keeps nothing waiting there.
        ([job(1, gpus=2, urgent=True), job(2)], [Slot(CPU, "CPU")], {2: ["cpu"]}, []),
        ([job(1, gpu_only=True), job(2, gpus=0)], [Slot(CPU, "CPU")], {2: ["cpu"]}, []),
        ([job(1, state="held"), job(2, after=[1]), job(3, not_before=NOON + timedelta(seconds=1)), job(4)], gpus(""),
         {4: ["GPU-0"]}, []),
        ([job(1, state="failed"), job(2, after=[1]), job(3, state="done"), job(4, after=[3])], gpus(""),
         {4: ["GPU-0"]}, []),
        ([job(1), job(2, urgent=True)], gpus(""), {2: ["GPU-0"]}, []),
        ([running(1, "GPU-0"), running(2, "GPU-1"), job(3, urgent=True)], gpus("job 1", "job 2"), {}, [2]),
        ([running(1, "GPU-0"), running(2, "GPU-1"), job(3, urgent=True, gpus=2)], gpus("job 1", "job 2"), {}, [2, 1]),
        ([running(1, "GPU-0"), job(3, urgent=True)], gpus("job 1", ""), {3: ["GPU-1"]}, []),
        ([job(1), job(2, attempts=[{"began": NOON, "devices": ["GPU-0"]}], order=0.5)], gpus("", ""),
         {2: ["GPU-0"], 1: ["GPU-1"]}, []),
        ([job(2, attempts=[{"began": NOON, "devices": ["GPU-1"]}])], gpus("", ""), {2: ["GPU-1"]}, []),
        # One is giving way already, an urgent one gives way to none, and what others hold is not the queue's.
        ([running(1, "GPU-0", wish={"then": "waiting"}), running(2, "GPU-1"), job(3, urgent=True)],
         gpus("job 1", "job 2"), {}, []),
        ([running(1, "GPU-0", urgent=True), job(3, urgent=True)], gpus("job 1"), {}, []),
        ([running(1, "GPU-0"), job(3, urgent=True, gpus=2)], gpus("job 1", "pid 7"), {}, []),
    ],
)  # fmt: skip
def test_the_plan(jobs: list[Job], devices: list[Slot], start: dict[int, list[str]], give_way: list[int]) -> None:
    plan = make_plan(jobs, devices, {one.id for one in jobs if one.state == "running"}, NOON)
    assert {one.id: [slot.device for slot in given] for one, given in plan.start} == start
    assert [one.id for one in plan.give_way] == give_way


@pytest.mark.parametrize(
    ("jobs", "words"),
    [
        ([job(1, after=[2]), job(2)], "after 2"),
        ([job(1, after=[2]), job(2, state="failed")], "after 2, which failed"),
        ([job(1, after=[2])], "after 2, which was removed"),
        ([job(1, not_before=NOON + timedelta(hours=1))], "at 13:00"),
        ([job(1, not_before=NOON + timedelta(days=1))], "at 2026-11-30 12:00"),
        ([job(1, gpus=2)], "for 2 GPUs, and this machine has 1 GPU"),
        ([job(1)], "for a device (GPU 0: pid 7 (python))"),
    ],
)
def test_what_a_job_waits_for(jobs: list[Job], words: str) -> None:
    assert waits_for(jobs[0], jobs, gpus("pid 7 (python)"), NOON) == words


def test_a_job_that_requires_gpus_waits_where_there_are_none() -> None:
    cpu = (Slot(CPU, "CPU"),)
    for one, words in ((job(1, gpus=2), "for 2 GPUs"), (job(1, gpu_only=True), "for 1 GPU")):
        assert waits_for(one, [one], cpu, NOON) == f"{words}, and this machine has 0 GPUs"
        assert waits_for(one, [one], (), NOON) == words


# Devices ------------------------------------------------------------------------------------


def test_processes_jobs_and_runs_make_a_device_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawing = Process(11, name="/usr/lib/xorg/Xorg", draws=True)
    server = Process(12, name="/usr/bin/nvidia-cuda-mps-server")
    probe = Probe(
        tuple(
            Gpu(number, name="card", uuid=f"GPU-{number}", processes=processes)
            for number, processes in enumerate(
                [(drawing, server), (drawing, Process(13, name="/usr/bin/python3")), None]
            )
        )
    )
    found = slots(probe, {}, {"GPU-2": 4}, {})
    assert [(slot.name, slot.busy) for slot in found] == [
        ("GPU 0", ""), ("GPU 1", "pid 13 (python3)"), ("GPU 2", "job 4"), ("CPU", "")
    ]  # fmt: skip
    assert [slot.name for slot in slots(probe, {"CUDA_VISIBLE_DEVICES": "1"}, {}, {})] == ["GPU 1", "CPU"]
    assert [slot.name for slot in slots(probe, {"JAX_PLATFORMS": "cpu"}, {}, {})] == ["CPU"]
    assert engine_environment(["GPU-0", "GPU-2"]) == {"CUDA_VISIBLE_DEVICES": "GPU-0,GPU-2"}
    # A run that was started by hand, by its environment on one GPU, or on the CPU.
    (tmp_path / "by-hand").mkdir()
    append(RunDir(tmp_path / "by-hand"), started())
    hold(RunDir(tmp_path / "by-hand"))
    words = f"the run by-hand (pid {os.getpid()})"
    for environ, device in (({"CUDA_VISIBLE_DEVICES": "2"}, "GPU-2"), ({"JAX_PLATFORMS": "cpu"}, CPU)):
        monkeypatch.setattr(psutil.Process, "environ", lambda self, environ=environ: environ)
        assert held_by_runs([tmp_path], set(), probe, {}) == {device: words}
    assert held_by_runs([tmp_path], {(tmp_path / "by-hand").resolve()}, probe, {}) == {}


# The runner ---------------------------------------------------------------------------------


@dataclass
class Child:
    """An engine that ends at once."""

    pid: int = 4711
    code: int = 0

    def wait(self) -> int:
        return self.code


@dataclass
class Scene:
    """A runner whose engines do what the test says."""

    queue: QueueFolder
    runner: Runner
    said: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    requests: list[LaunchRequest] = field(default_factory=list)
    engine: Callable[[LaunchRequest], Child] = lambda request: Child()

    def start(self, request: LaunchRequest, environ: Any, inherited: Any) -> Child:
        self.requests.append(request)
        return self.engine(request)

    def writes(self, *events: Event, code: int = 0) -> None:
        """From now on, an engine writes these events and ends."""

        def engine(request: LaunchRequest) -> Child:
            request.run_dir.mkdir(parents=True, exist_ok=True)
            append(RunDir(request.run_dir), *events, t=time.time())
            return Child(code=code)

        self.engine = engine

    def says(self, text: str, code: int) -> None:
        """From now on, an engine prints a text and ends."""

        def engine(request: LaunchRequest) -> Child:
            request.run_dir.mkdir(parents=True, exist_ok=True)
            with (request.run_dir / "train.log").open("a") as log:
                log.write(text)
            return Child(code=code)

        self.engine = engine


@pytest.fixture
def scene(queue: QueueFolder, monkeypatch: pytest.MonkeyPatch) -> Scene:
    said: list[str] = []
    told: list[str] = []
    runner = Runner(queue, said.append, tell=lambda kind, *_: told.append(kind), environ={}, probe=lambda: Probe())
    made = Scene(queue, runner, said, told)
    monkeypatch.setattr(runner_module, "start", made.start)
    return made


def ended(status: Any, reason: str = "why", code: int = 0) -> RunEnded:
    return RunEnded(status, reason, 5, code)


@pytest.mark.parametrize(
    ("events", "code", "state", "reason"),
    [
        ([started(), ended("completed", "all 5 steps done")], 0, "done", "all 5 steps done"),
        ([started(), ended("data_exhausted")], 0, "done", "why"),
        (
            [started(), ended("stopped", "time limit reached (train.max_seconds: 9); step 5 is saved")],
            0,
            "done",
            "time ",
        ),
        # The limit came before the first step: there is nothing to go on from.
        (
            [started(), RunEnded("stopped", "time limit reached (train.max_seconds: 1)", 0)],
            0,
            "failed",
            "time limit reached (train.max_seconds: 1), and the first step was not reached: allow more time",
        ),
        ([started(5), ended("stopped", "time limit reached")], 0, "failed", "time limit reached, and the first step"),
        ([started(4), ended("stopped", "time limit reached")], 0, "done", "time limit reached"),
        ([RunEnded("stopped", "time limit reached", 0)], 0, "failed", "time limit reached, and the first step"),
        ([started(), ended("stopped", "stop requested; step 5 is saved")], 0, "stopped", "stop requested"),
        ([started(), ended("crashed", "out of memory", 4)], 4, "failed", "out of memory"),
        # The machine goes down, or the kernel runs out of memory.
        ([started(), ended("stopped", "SIGTERM received", 143)], 143, "waiting", "SIGTERM received; restart 1 of 1"),
        ([started()], -9, "waiting", "killed by signal 9; restart 1 of 1"),
        ([], 1, "failed", "the engine ended with code 1 and said nothing"),
    ],
)
def test_what_becomes_of_a_job(scene: Scene, events: list[Event], code: int, state: str, reason: str) -> None:
    add(scene.queue, restarts=1)
    scene.writes(*events, code=code)
    scene.runner.look()
    assert the(scene.queue).state == "running"
    scene.engine = lambda request: Child()
    scene.queue.drain.touch()
    scene.runner.look()
    found = the(scene.queue)
    assert (found.state, found.reason[: len(reason)]) == (state, reason)
    assert found.has_begun == any(isinstance(event, RunStarted) for event in events)


def test_a_killed_job_is_resumed_so_often_and_no_more(scene: Scene) -> None:
    add(scene.queue, restarts=2, tags=("night",))
    scene.writes(started(), code=-9)
    for _ in range(8):
        scene.runner.look()
    found = the(scene.queue)
    assert (found.state, found.kills, len(found.attempts)) == ("failed", 3, 3)
    assert "2 restarts are allowed" in found.reason
    assert [request.resume for request in scene.requests] == ["none", "latest", "latest"]
    assert [request.tags for request in scene.requests] == [("night",), (), ()]
    assert scene.told == ["killed", "killed", "killed", "queue_empty"]
    # The user gives it another try.
    scene.queue.change(1, state="waiting", kills=0)
    scene.writes(started(5), ended("completed"))
    scene.runner.look()
    scene.runner.look()
    assert the(scene.queue).state == "done"


def test_an_engine_that_could_not_start_fails_and_the_next_one_starts(scene: Scene) -> None:
    add(scene.queue)
    add(scene.queue)
    scene.says("error: no GPU was found\n", code=4)
    for _ in range(3):
        scene.runner.look()
    assert [(one.state, one.reason) for one in scene.queue.read().jobs] == [("failed", "no GPU was found")] * 2

    def refuse(request: LaunchRequest) -> Child:
        raise LaunchError("no engine was started")

    scene.engine = refuse
    add(scene.queue)
    scene.runner.look()
    assert (the(scene.queue, 3).state, the(scene.queue, 3).attempts) == ("failed", [])


def test_a_run_that_another_engine_holds_keeps_its_job_waiting(scene: Scene) -> None:
    def refuse(request: LaunchRequest) -> Child:
        raise RunInUseError("in use by pid 7")

    add(scene.queue)
    scene.engine = refuse
    scene.runner.look()
    assert (the(scene.queue).state, the(scene.queue).reason) == ("waiting", "in use by pid 7")
    assert the(scene.queue).attempts == []


def test_a_lost_run_directory_holds_its_job_and_a_renamed_one_is_followed(scene: Scene) -> None:
    add(scene.queue, name="base")
    scene.writes(started(), code=-9)
    scene.runner.look()
    runs = scene.queue.around / "runs"
    (runs / "base").rename(runs / "renamed")
    scene.queue.drain.touch()
    scene.runner.look()
    assert (the(scene.queue).state, the(scene.queue).run_dir) == ("waiting", "runs/renamed")
    (runs / "renamed").rename(scene.queue.around / "far-away")
    scene.queue.drain.unlink()
    scene.runner.look()
    assert the(scene.queue).state == "held"
    assert "is gone: move it back, or correct run_dir in" in the(scene.queue).reason


def test_the_time_of_a_job_is_that_of_all_its_attempts(scene: Scene) -> None:
    add(scene.queue, for_seconds=100.0)
    scene.writes(started(), code=-9)
    scene.runner.look()
    scene.queue.change(1, used_seconds=40.0)
    scene.runner.look()
    assert scene.requests[0].overrides == ("train.max_seconds=100.0",)
    limit = scene.requests[1].overrides[0].removeprefix("train.max_seconds=")
    assert 30 < float(limit) <= 60
    scene.queue.change(1, used_seconds=99.9)
    scene.runner.look()
    scene.runner.look()
    words = "its time is used up, and the first step was not reached: allow more time"
    assert (the(scene.queue).state, the(scene.queue).reason) == ("failed", words)
    # With a checkpoint there is something that the next job may go on from.
    run = RunDir(scene.requests[0].run_dir)
    run.config_resolved.write_text(make_run(scene.queue.around / "other").config_resolved.read_text())
    make_checkpoint(run, 5)
    scene.queue.change(1, state="waiting")
    scene.runner.look()
    assert (the(scene.queue).state, the(scene.queue).reason) == ("done", "its time is used up")


def test_a_job_after_one_whose_time_was_too_short_does_not_start(scene: Scene) -> None:
    first = add(scene.queue, for_seconds=1.0)
    add(scene.queue, after=(first.id,))
    scene.writes(started(), RunEnded("stopped", "time limit reached (train.max_seconds: 1)", 0))
    for _ in range(3):
        scene.runner.look()
    assert [one.state for one in scene.queue.read().jobs] == ["failed", "waiting"]
    assert len(scene.requests) == 1


def test_a_full_disk_starts_nothing_and_loses_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    add(scene.queue)

    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(folder_module, "write_whole", full)
        with pytest.raises(QueueError, match="No space left"):
            scene.runner.look()
    assert (the(scene.queue).state, scene.requests) == ("waiting", [])
    with monkeypatch.context() as patched:
        patched.setattr(runner_module, "LEAST_FREE_BYTES", 1 << 62)
        scene.runner.look()
        scene.runner.look()
    assert [text for text in scene.said if "only" in text and "free" in text] == scene.said
    assert len(scene.said) == 1
    # An engine ends while its job's file cannot be written: what became of it is written later.
    scene.writes(started(), ended("completed"))
    scene.runner.look()
    with monkeypatch.context() as patched:
        patched.setattr(folder_module, "write_whole", full)
        with pytest.raises(QueueError):
            scene.runner.look()
    scene.runner.look()
    assert the(scene.queue).state == "done"


def test_files_of_nonsense_are_named_once_and_other_jobs_start(scene: Scene) -> None:
    add(scene.queue)
    add(scene.queue)
    scene.queue.job_file(1).write_text("state: \x1b[2J\n")
    scene.writes(started(), ended("completed"))
    for _ in range(3):
        scene.runner.look()
    assert the(scene.queue, 2).state == "done"
    assert len([text for text in scene.said if text.startswith("held: ")]) == 1


def test_a_file_that_says_running_by_hand_or_waits_while_its_engine_lives(scene: Scene) -> None:
    add(scene.queue)
    scene.queue.change(1, state="running")
    scene.runner.look()
    assert the(scene.queue).state == "held"
    scene.queue.change(1, state="waiting")
    lock = scene.queue.lock_for_engine(1, {"devices": [CPU], "run_dir": "x"})
    assert lock is not None
    assert scene.queue.lock_for_engine(1, {}) is None
    scene.runner.look()
    assert scene.requests == []
    assert scene.queue.engines() == {1: {"devices": [CPU], "run_dir": "x"}}
    # Its file is deleted by hand: its device stays taken.
    scene.queue.job_file(1).unlink()
    add(scene.queue)
    scene.runner.look()
    assert scene.requests == []
    os.close(lock)
    scene.runner.look()
    assert len(scene.requests) == 1


def test_each_gpu_trains_one_job(scene: Scene) -> None:
    cards = tuple(Gpu(number, name="card", uuid=f"GPU-{number}", processes=()) for number in range(2))
    runner = Runner(scene.queue, scene.said.append, tell=lambda *told: None, environ={}, probe=lambda: Probe(cards))
    locks = {}

    def train(request: LaunchRequest) -> Child:
        request.run_dir.mkdir(parents=True)
        return Child()

    scene.engine = train
    for options in ({}, {}, {}, {"gpus": 0}):
        add(scene.queue, **options)
    # The engines live: they hold their locks, as if inherited.
    start = scene.start

    def keep(request: LaunchRequest, environ: Any, inherited: tuple[int, ...]) -> Child:
        locks[request.run_dir] = os.dup(inherited[0])
        return start(request, environ, inherited)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(runner_module, "start", keep)
        runner.look()
        runner.look()
        given = [request.environment for request in scene.requests]
        assert given == [{"CUDA_VISIBLE_DEVICES": "GPU-0"}, {"CUDA_VISIBLE_DEVICES": "GPU-1"}, {"JAX_PLATFORMS": "cpu"}]
        assert [one.state for one in scene.queue.read().jobs] == ["running", "running", "waiting", "running"]
        os.close(locks.pop(scene.requests[1].run_dir))
        scene.queue.change(2, wish=Wish(then="held"))
        runner.look()
    assert scene.requests[-1].environment == {"CUDA_VISIBLE_DEVICES": "GPU-1"}
    assert the(scene.queue, 3).attempts[0].place == "GPU 1"
    for lock in locks.values():
        os.close(lock)


@pytest.mark.parametrize(
    ("then", "state"), [("held", "held"), ("waiting", "waiting"), ("done", "done"), ("removed", None)]
)
def test_a_wish_is_sent_as_a_stop_and_decides_what_follows(scene: Scene, then: Any, state: str | None) -> None:
    add(scene.queue, name="base")
    scene.writes(started())
    lock = None

    def keep(request: LaunchRequest) -> Child:
        nonlocal lock
        request.run_dir.mkdir(parents=True)
        hold(RunDir(request.run_dir))
        return Child()

    scene.engine = keep
    scene.runner.look()
    run = RunDir(scene.queue.around / "runs" / "base")
    lock = scene.queue.lock_for_engine(1, {})
    assert lock is not None
    scene.queue.change(1, wish=Wish(then=then, why="because"))
    scene.runner.look()
    scene.runner.look()
    sent = [json.loads(line)["command"] for line in run.commands.read_text().splitlines()]
    assert sent == ["stop"]
    assert rows_of(scene.queue, scene.queue.read(), RunSummaries())[0].state == "saving"
    append(run, started(), ended("stopped", "stop requested"), t=time.time())
    run.lock.write_text("")
    os.close(lock)
    scene.queue.drain.touch()
    scene.runner.look()
    found = scene.queue.read().find(1)
    assert (found.state if found else None) == state
    assert found is None or (found.reason, found.wish, found.kills) == ("because", None, 0)
    assert run.path.is_dir()


def test_hostile_names_stay_inert_and_a_removed_job_frees_those_behind_it(queue: QueueFolder) -> None:
    add(queue)
    add(queue, after=(1,))
    values = yaml.safe_load(queue.job_file(1).read_text())
    queue.job_file(1).write_text(
        yaml.safe_dump({**values, "name": "\x1b]0;x\x07", "state": "done", "reason": "\x1b[2J"})
    )
    assert "\x1b" not in "".join(job_lines(rows_of(queue, queue.read(), RunSummaries())))
    queue.remove(1)
    assert the(queue, 2).after == []


def test_time_zones_do_not_matter(queue: QueueFolder) -> None:
    add(queue, not_before=NOON.astimezone(timezone(timedelta(hours=9))))
    assert the(queue).not_before == NOON
