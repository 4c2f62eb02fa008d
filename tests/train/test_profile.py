"""Profiling: the window of the trace, the table of its operations, and a profiler that fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import pytest
from jax._src import profiler
from jax.profiler import ProfileData

from chomp.config.load import parse_config
from chomp.errors import ConfigError
from chomp.record.commands import Command
from chomp.record.events import Profiled, Warned
from chomp.record.fold import fold
from chomp.record.operations import HEAD, profile_lines
from chomp.record.run_view import RunView
from chomp.train.clock import TimeBudget
from chomp.train.hooks import profile
from chomp.train.hooks.profile import ProfileHook
from chomp.train.operations import COSTLIEST, costliest
from tests.engine import events_of, rows
from tests.in_process import run as run_here
from tests.references import References


def test_a_profiled_run_has_a_trace_and_a_table_and_the_same_numbers(references: References, tmp_path: Path) -> None:
    plain, run_dir = references.run(run_here, references.config), tmp_path / "traced"
    window = ("-o", "train.profile.start=1", "-o", "train.profile.steps=2")
    done = run_here("train", plain.parent / "config.yaml", "--run-dir", run_dir, *window)
    assert done.returncode == 0, done.stderr
    assert [row["loss"] for row in rows(run_dir)] == [row["loss"] for row in rows(plain)]
    (event,) = events_of(run_dir, Profiled)
    assert (event.step, event.steps, event.path, event.devices) == (2, 2, "profile/step-1", 1)
    written = [path.name.partition(".")[2] for path in (run_dir / event.path).rglob("*") if path.is_file()]
    assert sorted(written) == ["json.gz", "trace.json.gz", "xplane.pb"]
    assert 0 < len(event.operations) <= COSTLIEST
    spent = [one["seconds"] for one in event.operations]
    assert spent == sorted(spent, reverse=True)
    assert 0 < sum(spent) <= event.busy_seconds * 1.001
    assert any(one["name"].startswith("dot_general float32[") for one in event.operations)
    assert {one["name"].rpartition(" ")[2] for one in event.operations} & {"forward", "backward", "optimizer"}
    shown = run_here("profile", run_dir)
    assert shown.stdout.splitlines() == profile_lines(event)
    assert json.loads(run_here("profile", run_dir, "--step", 1, "--json").stdout)["operations"] == event.operations
    other = run_here("profile", run_dir, "--step", 3)
    assert (other.returncode, other.stderr) == (
        5,
        f"error: {run_dir} has no profile of step 3; there are profiles of steps 1 to 2\n",
    )
    assert "has no profile; record one with" in run_here("profile", plain).stderr


def test_files_that_cannot_be_written_are_named_by_the_path_that_users_know(
    references: References, tmp_path: Path
) -> None:
    run_dir = references.copy(tmp_path / "demo", run_here, references.config)
    for name in ("profile", "tensorboard"):
        (run_dir / name).write_text("in the way")
    options = ("train.steps=25", "train.profile.start=22", "train.profile.steps=1", "logging.tensorboard=true")
    words = [word for option in options for word in ("-o", option)]
    try:
        done = run_here("train", "--run-dir", run_dir, "--resume", "latest", *words)
    finally:
        # This process keeps the trace that could not be written.
        profiler._profile_state.reset()
    assert done.returncode == 0, done.stderr
    told = {event.topic: event.message for event in events_of(run_dir, Warned) if event.topic in ("profile", "sink")}
    assert told.keys() == {"profile", "sink"}
    assert f"{run_dir}/profile" in told["profile"]
    assert f"{run_dir}/tensorboard" in told["sink"]
    assert "/proc/" not in "".join(told.values())


# The hook without an engine ----------------------------------------------------------------


class FakeTrainer:
    """Steps that take no time."""

    def __init__(self, session: Any, steps: int):
        self.session = session
        self.config = session.config.model_copy(
            update={"train": session.config.train.model_copy(update={"steps": steps})}
        )
        self.dispatched = 0
        self.progress = SimpleNamespace(step=0)
        self.program = SimpleNamespace(step=None)

    def advance(self, hook: ProfileHook) -> None:
        """A step, and what the loop does after it."""
        self.dispatched += 1
        if hook.is_due(self.dispatched, self.config.train.steps):
            self.progress.step = self.dispatched
            hook.on_step(self)  # type: ignore[arg-type]
        hook.poll(self)  # type: ignore[arg-type]


Made = tuple[ProfileHook, FakeTrainer, list[str], list[Any]]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Made]:
    """A hook of a run of 20 steps, with what it asked of the profiler and what it published."""

    def made(*, leader: bool = True, stop: Callable[[], None] = lambda: None, **window: int) -> Made:
        calls: list[str] = []
        events: list[Any] = []

        def stop_trace() -> None:
            calls.append("stop")
            stop()

        monkeypatch.setattr(jax.profiler, "start_trace", lambda folder, **_: calls.append(f"start {Path(folder).name}"))
        monkeypatch.setattr(jax.profiler, "stop_trace", stop_trace)
        monkeypatch.setattr(profile, "names_of", lambda program: {})
        monkeypatch.setattr(
            profile, "read_trace", lambda folder, names: SimpleNamespace(bytes=1, busy_seconds=None, operations=[])
        )
        session: Any = SimpleNamespace(
            config=parse_config(json.dumps({"train": {"profile": window}}), source="test").config,
            request=SimpleNamespace(dry_run=False),
            world=SimpleNamespace(is_leader=leader, count=1),
            blueprint=SimpleNamespace(placement=SimpleNamespace(count=1)),
            claim=SimpleNamespace(
                files=SimpleNamespace(path=tmp_path, profile=tmp_path / "profile"), run=SimpleNamespace(path=tmp_path)
            ),
            reporter=SimpleNamespace(publish=events.append),
            budget=TimeBudget(now=lambda: 0.0),
        )
        return ProfileHook(session), FakeTrainer(session, 20), calls, events

    return made


def ask(hook: ProfileHook, trainer: FakeTrainer, **args: Any) -> str:
    return hook.on_command(trainer, Command("profile", args=args))  # type: ignore[arg-type]


@pytest.mark.pure
@pytest.mark.parametrize(("start", "steps", "traced"), [(1, 1, [(1, 1)]), (4, 3, [(6, 3)]), (18, 9, [(20, 3)])])
def test_the_window_is_that_of_the_setting(
    make: Callable[..., Made], start: int, steps: int, traced: list[tuple[int, int]]
) -> None:
    hook, trainer, calls, events = make(start=start, steps=steps)
    hook.on_start(trainer)  # type: ignore[arg-type]
    for _ in range(20):
        trainer.advance(hook)
    assert [(event.step, event.steps) for event in events] == traced
    assert calls == [f"start step-{start}", "stop"]


@pytest.mark.pure
def test_a_command_profiles_the_steps_after_the_next(make: Callable[..., Made]) -> None:
    hook, trainer, calls, events = make()
    trainer.advance(hook)
    assert ask(hook, trainer, steps=2) == "profiles 2 steps from step 3 on"
    trainer.advance(hook)
    with pytest.raises(ConfigError, match="a trace up to step 4 is being recorded; wait for its end"):
        ask(hook, trainer)
    for _ in range(3):
        trainer.advance(hook)
    assert [(event.step, event.steps) for event in events] == [(4, 2)]
    assert fold(RunView(), events).profile is events[0]
    for wrong in (0, 101, True, "3", None):
        with pytest.raises(ConfigError, match="a trace has 1 to 100 steps, got"):
            ask(hook, trainer, steps=wrong)
    trainer.dispatched = 19
    with pytest.raises(ConfigError, match="the run ends at step 20: no step is left to profile"):
        ask(hook, trainer)
    assert calls == ["start step-3", "stop"]


@pytest.mark.pure
def test_a_run_that_ends_or_goes_back_within_the_trace(make: Callable[..., Made]) -> None:
    hook, trainer, calls, events = make(start=1, steps=9)
    hook.on_start(trainer)  # type: ignore[arg-type]
    trainer.advance(hook)
    trainer.progress.step = 1
    hook.close()
    hook.close()
    assert [(event.step, event.steps) for event in events] == [(1, 1)]
    back, trainer, calls, events = make(start=1, steps=9)
    back.on_start(trainer)  # type: ignore[arg-type]
    back.on_rollback(trainer)  # type: ignore[arg-type]
    back.close()
    assert (calls, events) == (["start step-1", "stop"], [])


@pytest.mark.pure
def test_a_profiler_that_fails_is_a_warning_and_is_tried_again(make: Callable[..., Made]) -> None:
    problems = ["disk full", "still full", None]

    def stop() -> None:
        if (problem := problems.pop(0)) is not None:
            raise RuntimeError(problem)

    hook, trainer, calls, events = make(start=1, steps=1, stop=stop)
    hook.on_start(trainer)  # type: ignore[arg-type]
    trainer.advance(hook)
    for _ in range(2):
        ask(hook, trainer, steps=1)
        for _ in range(3):
            trainer.advance(hook)
    assert [(type(event), event.step) for event in events] == [(Warned, 1), (Warned, 3), (Warned, 6)]
    assert [event.message for event in events][:2] == [
        "there is no profile from step 1 on: disk full",
        "there is no profile from step 3 on: still full",
    ]
    # The trace that could not be written is given up first.
    assert calls == ["start step-1", "stop", "stop", "stop", "start step-6", "stop"]


@pytest.mark.pure
def test_of_several_processes_the_leader_records_and_all_wait_for_the_same_steps(make: Callable[..., Made]) -> None:
    first, _, _, recorded = make(start=2, steps=2)
    second, trainer, calls, events = make(start=2, steps=2, leader=False)
    leader = FakeTrainer(trainer.session, 20)
    for _ in range(6):
        assert first.is_due(leader.dispatched + 1, 20) == second.is_due(trainer.dispatched + 1, 20)
        leader.advance(first)
        trainer.advance(second)
    assert (calls, [event.step for event in recorded], events) == (["start step-2", "stop"], [3], [])


# Traces ------------------------------------------------------------------------------------


def plane(name: str, lines: dict[str, list[tuple[str, str, int, int]]]) -> str:
    """A plane as text: for each line its events, as name, instruction, start and duration in nanoseconds."""
    names = sorted({event[0] for events in lines.values() for event in events})
    text = [f'planes {{ name: "{name}"']
    for line, events in lines.items():
        text.append(f'lines {{ name: "{line}"')
        for event, instruction, begin, length in events:
            stats = (
                f'stats {{ metadata_id: 1 str_value: "{instruction}" }} stats {{ metadata_id: 2 str_value: "step" }}'
            )
            text.append(
                f"events {{ metadata_id: {names.index(event) + 1} offset_ps: {begin * 1000} "
                f"duration_ps: {length * 1000} {stats if instruction else ''} }}"
            )
        text.append("}")
    for number, event in enumerate(names, 1):
        text.append(f'event_metadata {{ key: {number} value {{ id: {number} name: "{event}" }} }}')
    for number, stat in enumerate(("hlo_op", "hlo_module"), 1):
        text.append(f'stat_metadata {{ key: {number} value {{ id: {number} name: "{stat}" }} }}')
    return "\n".join([*text, "}"])


@pytest.mark.pure
def test_an_operation_has_its_own_time_and_others_of_its_name() -> None:
    loop = [
        ("while.1", "while.1", 0, 100),
        ("dot.2", "dot.2", 10, 30),
        ("dot.2", "dot.2", 50, 40),
        ("other", "", 0, 900),
    ]
    host = plane("/host:CPU", {"thread": loop, "pool": [("dot.3", "dot.3", 0, 5)]})
    names = {("step", "dot.2"): "dot_general float32[8] forward", ("step", "dot.3"): "dot_general float32[8] forward"}
    busy, found = costliest(ProfileData.from_text_proto(host + plane("/host:metadata", {"a": loop})), names)
    assert busy == pytest.approx(105e-9)
    assert [(one["name"], one["instruction"], one["calls"], one["seconds"]) for one in found] == [
        ("dot_general float32[8] forward", "dot.2", 3, 75e-9),
        ("while", "while.1", 1, 30e-9),
    ]


@pytest.mark.pure
def test_a_gpu_counts_its_streams_and_names_kernels_without_an_instruction() -> None:
    kernels = [(f"kernel_{number}", "", number * 100, number + 1) for number in range(14)]
    gpu = plane("/device:GPU:0", {"Stream #7(Compute)": kernels, "XLA Modules": [("step", "", 0, 10_000)]})
    busy, found = costliest(ProfileData.from_text_proto(gpu), {})
    assert busy == pytest.approx(105e-9)
    assert [one["name"] for one in found] == [f"kernel_{number}" for number in range(13, 3, -1)]
    assert costliest(ProfileData.from_text_proto(plane("/host:CPU", {})), {}) == (None, [])


@pytest.mark.pure
def test_a_table_of_a_hostile_or_damaged_event_is_harmless() -> None:
    rows: list[dict[str, Any]] = [{"name": "a\x1b[31m\nb", "calls": "many", "seconds": "x"}, {}]
    lines = profile_lines(Profiled(step=5, steps=5, seconds=0.0, path="p\x07", operations=rows))
    assert lines == [
        "profile of steps 1 to 5: p� (0 B), 0 ms a step, no operation of a device was traced",
        HEAD,
        "     -          -       -  a�[31m b",
        "     -          -       -  ",
    ]
