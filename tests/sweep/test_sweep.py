"""Sweeps: the file, pruning at equal tokens, exact continuation, ranking; jobs are settled by the test."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from chomp.cli.sweep import command as sweep_command
from chomp.errors import ChompError
from chomp.queue.folder import QueueFolder
from chomp.queue.job import Job
from chomp.record.events import Evaluated, RolledBack
from chomp.record.rundir import RunDir
from chomp.sweep import driver as driver_module
from chomp.sweep import sampler as sampler_module
from chomp.sweep.curves import Curve, CurveReader, Point, loss_at, score_of, why_prune
from chomp.sweep.driver import SweepDriver
from chomp.sweep.folder import SweepFolder, Trial, find_sweep, open_sweep, trained_prefix
from chomp.sweep.report import as_dict, read_report, report_lines
from chomp.sweep.spec import Axis, Pruning, parse_sweep
from tests.fakeruns import append, make_checkpoint, make_run, started

pytestmark = pytest.mark.pure
BASE = """\
model: {backend: dummy, model_dim: 16}
train: {steps: 200, seq_len: 32, eval_every: 10}
optim: {lr: 3e-3, warmup_steps: 2}
"""
GRID = "config: base.yaml\nspace:\n  optim.lr: {choice: [1e-3, 3e-3]}\n  optim.warmup_steps: {choice: [1, 2, 3]}\n"


# The file -----------------------------------------------------------------------------------


def test_the_values_of_a_grid() -> None:
    space = (
        "  optim.lr: {log: [1e-4, 1e-2], points: 3}\n  optim.weight_decay: {range: [0, 0.3], points: 4}\n"
        "  optim.warmup_steps: {int: [1, 6], step: 2}\n  optim.schedule: {choice: [cosine, wsd]}\n"
    )
    spec = parse_sweep(f"config: b.yaml\nspace:\n{space}", "s.yaml")
    assert spec.count == 3 * 4 * 3 * 2
    grids = [axis.grid() for axis in spec.space.values()]
    assert grids == [[0.0001, 0.001, 0.01], [0.0, 0.1, 0.2, 0.3], [1, 3, 5], ["cosine", "wsd"]]
    points = [tuple(spec.grid_point(number).values()) for number in range(spec.count)]
    assert len(set(points)) == spec.count
    assert points[1] == (0.0001, 0.0, 1, "wsd")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("space: {optim.lr: {choice: [1e-3]}}", "needs either config (a file to train) or prefix"),
        ("config: b\nprefix: {run: r}\nspace: {optim.lr: {choice: [1e-3]}}", "needs either config"),
        ("config: b\nspace: {}", "s.yaml: space: has no setting to vary; write such as optim.lr: {choice: ["),
        ("", "s.yaml: the file is empty; write at least one key, such as `space:`"),
        ("- a", "expected keys such as `space:` at the top, got a list"),
        ("config: b\nname: my rates\nspace: {optim.lr: {choice: [1]}}", "s.yaml: name: a name begins with a letter"),
        ("config: b", "s.yaml: space: is missing"),
        ("config: b\nspace: {optim.lr: {choice: []}}", "space.optim.lr.choice: has no entries; at least 1 needed"),
        ("config: b\nspace: {optim.lr: 3}", "space.optim.lr: expected keys with a value each, got 3"),
        ("config: b\nparallel: 0\nspace: {optim.lr: {choice: [1]}}", "parallel: must be at least 1, got 0"),
        ("config: b\nparallel: x\nspace: {optim.lr: {choice: [1]}}", "parallel: expected a whole number, got the text"),
        ("config: b\ntrails: 3\nspace: {optim.lr: {choice: [1]}}", "trails: unknown key; did you mean trials?"),
        (
            "config: b\nspace: {optim.lrr: {choice: [1]}}",
            "s.yaml: space.optim.lrr: unknown key; did you mean optim.lr?",
        ),
        ("config: b\nspace: {optim.lr: {choice: [fast]}}", "s.yaml: space.optim.lr: "),
        ("config: b\nspace: {optim.lr: {log: [0, 1], points: 2}}", "the limits of log must be above 0"),
        ("config: b\nspace: {optim.lr: {range: [2, 1], points: 2}}", "must be below the second"),
        ("config: b\nspace: {optim.lr: {range: [1, 2], choice: [1]}}", "exactly one of choice, range, log and int"),
        ("config: b\nspace: {optim.lr: {range: [1, 2]}}", "needs points"),
        ("config: b\nmethod: tpe\nspace: {optim.lr: {range: [1, 2]}}", "needs a number of trials"),
        ("config: b\ntrials: 4\nspace: {optim.lr: {choice: [1]}}", "a grid has as many trials as points"),
        (
            "config: b\nmethod: lucky\nspace: {optim.lr: {choice: [1]}}",
            "method: expected grid, random or tpe, got the text 'lucky'",
        ),
        ("config: b\nfor: long\nspace: {optim.lr: {choice: [1]}}", "is no duration"),
        ("config: b\nprice: 3\nspace: {optim.lr: {choice: [1]}}", "price: "),
        ("config: b\nspace: {train.seed: {int: [0, 99999]}}", "are more than 10,000"),
        ("config: [", "s.yaml:"),
    ],
)
def test_what_is_wrong_in_a_file(text: str, problem: str) -> None:
    with pytest.raises(ChompError) as caught:
        parse_sweep(text, "s.yaml")
    assert problem in str(caught.value)
    # Nothing of pydantic's own words.
    assert not re.search("should|Input|validation|Value error", str(caught.value))


# Curves -------------------------------------------------------------------------------------


def curve(*losses: float, tokens: int = 100) -> Curve:
    return tuple(Point(place, place * tokens, loss, loss / 2) for place, loss in enumerate(losses, 1))


def test_losses_are_compared_at_equal_tokens() -> None:
    # Half the tokens a step: two of its evaluations for one of the others.
    small = curve(6.0, 5.0, 4.0, 3.0, tokens=50)
    assert [loss_at(small, tokens) for tokens in (50, 75, 100, 200, 201)] == [6.0, 5.5, 5.0, 3.0, None]
    assert loss_at(small, 10) == 6.0
    assert loss_at((), 10) is None


RULE = Pruning(keep=0.5, after=0.2, at_least=4)
OTHERS = [curve(5.0, 4.0, 3.0), curve(5.1, 4.1, 3.1), curve(5.2, 4.2, 3.2)]


@pytest.mark.parametrize(
    ("own", "others", "place"),
    [
        (curve(5.3), OTHERS, 4),
        (curve(5.15), OTHERS, 3),
        (curve(5.05), OTHERS, None),
        (curve(5.3), OTHERS[:2], None),
        (curve(5.3), [*OTHERS[:2], ()], None),
        (curve(4.0, 4.3), [*OTHERS[:2], curve(5.2)], None),
        (curve(math.inf), OTHERS, 4),
        ((), OTHERS, None),
        # Too early, and at its end.
        (curve(9.0, tokens=50), OTHERS, None),
        (curve(9.0, 9.0, 9.0, 9.0, 9.0), [curve(1.0, 1.0, 1.0, 1.0, 1.0)] * 3, None),
    ],
)
def test_who_is_pruned(own: Curve, others: list[Curve], place: int | None) -> None:
    why = why_prune(own, others, 500, RULE)
    assert (why is None) == (place is None)
    assert why is None or f"place {place} of 4 at 100 tokens, and the best 2 go on" in why


def test_scores() -> None:
    made = curve(5.0, 3.0, 4.0)
    assert [score_of(made, metric) for metric in ("eval_loss", "best_eval_loss", "eval_bpb")] == [4.0, 3.0, 2.0]
    assert score_of(curve(3.0, math.inf), "eval_loss") is None
    assert score_of(curve(3.0, math.inf), "best_eval_loss") == 3.0
    assert score_of((), "eval_loss") is None


def evaluated(step: int, loss: float) -> Evaluated:
    return Evaluated(step, loss, 1.0, loss / 2, 10, 0.1)


def test_a_resumed_run_repeats_evaluations_and_a_rollback_forgets_some(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    append(run, started(), evaluated(10, 5.0), evaluated(20, 4.0))
    reader = CurveReader(tmp_path)
    assert [(point.step, point.tokens) for point in reader.read()] == [(10, 2560), (20, 5120)]
    append(run, started(10), evaluated(20, 4.5), evaluated(30, float("nan")))
    assert [point.loss for point in reader.read()] == [5.0, 4.5, math.inf]
    append(run, RolledBack(20, 30, 0.5, 40, 1, 1, "back"))
    assert [point.step for point in reader.read()] == [10, 20]


# The driver ---------------------------------------------------------------------------------


class Stage:
    """A project with a queue, in which the test plays the engines."""

    def __init__(self, path: Path):
        self.path = path
        self.queue = QueueFolder(path / "queue")
        self.said: list[str] = []
        (path / "base.yaml").write_text(BASE)
        self.driver = SweepDriver(self.queue, self.said.append)

    def open(self, text: str, name: str = "lr.yaml") -> SweepFolder:
        (self.path / name).write_text(text)
        return open_sweep(self.queue, self.path / name)[0]

    def look(self) -> None:
        self.driver.look()

    def interrupted(self) -> None:
        """The runner was killed: a new one knows only what is on disk."""
        self.driver = SweepDriver(self.queue, self.said.append)

    def jobs(self, state: str = "waiting") -> list[Job]:
        return [job for job in self.queue.read().jobs if job.state == state]

    def ends(self, job: Job, *losses: float, state: str = "done", reason: str = "all done") -> None:
        """The engine of a job evaluates every ten steps and ends."""
        self.evaluates(job, *losses)
        self.queue.change(job.id, state=state, reason=reason)

    def evaluates(self, job: Job, *losses: float) -> None:
        run = RunDir(self.queue.resolve(job.run_dir or ""))
        is_new = not run.events.exists()
        run.path.mkdir(parents=True, exist_ok=True)
        points = [evaluated(10 * place, loss) for place, loss in enumerate(losses, 1)]
        append(run, *([started(total_steps=200)] if is_new else []), *points, t=time.time())
        self.queue.change(job.id, state="running")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def values(job: Job) -> list[str]:
    return [text.partition("=")[2] for text in job.overrides]


def test_a_grid_is_added_few_at_a_time_and_ranked(stage: Stage) -> None:
    sweep = stage.open(GRID + "parallel: 2\n")
    stage.look()
    assert [(job.name, values(job)) for job in stage.jobs()] == [("lr-0", ["0.001", "1"]), ("lr-1", ["0.001", "2"])]
    stage.ends(stage.jobs()[0], 5.0, 4.0)
    stage.look()
    stage.ends(stage.jobs()[0], 5.0, state="failed", reason="out of memory")
    stage.look()
    stage.ends(stage.jobs()[0], 3.0)
    stage.queue.remove(stage.jobs()[0].id)
    stage.look()
    stage.interrupted()
    while stage.jobs():
        stage.ends(stage.jobs()[0], 4.5)
        stage.look()
    report = read_report(sweep)
    assert [(trial.number, trial.state, trial.score) for trial in report.ranking] == [
        (2, "complete", 3.0), (0, "complete", 4.0), (4, "complete", 4.5), (5, "complete", 4.5),
        (1, "failed", 5.0), (3, "failed", None),
    ]  # fmt: skip
    assert report.headline == "done: 4 complete, 2 failed of 6"
    assert [(group.label, group.best) for group in report.groups["optim.lr"]] == [("0.001", 3.0), ("0.003", 4.5)]
    said = as_dict(report, stage.queue)
    assert said["ranking"][0]["run"] == str(stage.path / "runs" / "lr-2")
    assert json.loads(json.dumps(said))["importance_note"] == (
        "not computed: it needs 10 complete trials, and there are 4"
    )
    assert any("lr  done: 4 complete" in line for line in report_lines(report))
    assert stage.said[-1] == "sweep lr: all 6 trials have ended"
    before = (sweep.path / "trials.json").stat().st_mtime_ns
    stage.look()
    assert (sweep.path / "trials.json").stat().st_mtime_ns == before


def test_the_worst_at_equal_tokens_is_asked_to_stop(stage: Stage) -> None:
    sweep = stage.open(GRID + "parallel: 6\nprune: {keep: 0.5, after: 0.1, at_least: 4}\n")
    stage.look()
    for job, loss in zip(stage.jobs(), (5.0, 4.0, 4.1, 4.2, 4.3, 4.4), strict=True):
        stage.evaluates(job, 6.0, loss)
    stage.look()
    wished = {job.trial: job.wish.why for job in stage.jobs("running") if job.wish}
    assert sorted(wished) == [0, 4, 5]
    assert wished[0].startswith("pruned at step 20: loss 5.0000 is place 6 of 6 at 5,120 tokens")
    for job in stage.jobs("running"):
        reason = job.wish.why if job.wish else "all done"
        stage.queue.change(job.id, state="done", reason=reason, wish=None)
    stage.look()
    assert [trial.state for trial in sweep.read()] == ["pruned", *["complete"] * 3, "pruned", "pruned"]
    assert [trial.number for trial in read_report(sweep).ranking] == [1, 2, 3, 4, 5, 0]


@pytest.mark.parametrize("method", ["grid", "tpe"])
@pytest.mark.parametrize("at", ["before the job", "after the job", "after the values"])
def test_a_runner_killed_anywhere_adds_no_trial_twice(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, method: str, at: str
) -> None:
    text = GRID if method == "grid" else f"{GRID}method: tpe\ntrials: 6\n"
    sweep = stage.open(text)

    class Killed(BaseException):
        pass

    def die(*args: Any, **options: Any) -> Any:
        raise Killed

    def then_die(work: Callable[..., Any]) -> Callable[..., Any]:
        def both(*args: Any, **options: Any) -> Any:
            work(*args, **options)
            raise Killed

        return both

    with monkeypatch.context() as patched:
        if at == "before the job":
            patched.setattr(driver_module, "add_job", die)
        elif at == "after the job":
            patched.setattr(driver_module, "add_job", then_die(driver_module.add_job))
        else:
            patched.setattr(sampler_module.Sampler, "suggest", then_die(sampler_module.Sampler.suggest))
        with pytest.raises(Killed):
            stage.look()
    stage.interrupted()
    for _ in range(3):
        stage.look()
    assert [(job.trial, job.id) for job in stage.jobs()] == [(0, 1)]
    assert [(trial.number, trial.job, trial.optuna) for trial in sweep.read()] == [
        (0, 1, 0 if method == "tpe" else None)
    ]
    while stage.jobs():
        stage.ends(stage.jobs()[0], 4.0)
        stage.look()
    assert [trial.state for trial in sweep.read()] == ["complete"] * 6


def tpe(path: Path, *, interrupts: bool) -> list[dict[str, Any]]:
    path.mkdir()
    stage = Stage(path)
    space = "  optim.lr: {log: [1e-4, 1e-1]}\n  optim.warmup_steps: {int: [1, 9]}\n"
    sweep = stage.open(f"config: base.yaml\nmethod: tpe\ntrials: 14\nseed: 3\nspace:\n{space}")
    stage.look()
    while stage.jobs():
        job = stage.jobs()[0]
        lr, warmup = map(float, values(job))
        reason = "pruned at step 10: x" if job.trial == 4 else "all done"
        stage.ends(job, abs(math.log10(lr) + 2) + warmup / 1000, reason=reason)
        if interrupts:
            stage.interrupted()
        stage.look()
    report = read_report(sweep)
    assert report.importance["optim.lr"] > report.importance["optim.warmup_steps"]
    assert report.importance_note == (
        "PED-ANOVA: how much each setting decides whether a trial is among the best 38% of 13 complete trials"
    )
    return [trial.model_dump(exclude={"run_dir"}) for trial in sweep.read()]


def test_an_interrupted_sweep_suggests_what_it_would_have_suggested(tmp_path: Path) -> None:
    whole = tpe(tmp_path / "a", interrupts=False)
    assert whole == tpe(tmp_path / "b", interrupts=True)
    assert len({trial["values"]["optim.lr"] for trial in whole}) == 14


def test_a_grid_needs_no_optuna_and_the_others_say_how_to_install_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    stage.open(GRID)
    stage.open(f"{GRID}method: random\ntrials: 2\n", "random.yaml")
    stage.look()
    assert [job.sweep for job in stage.jobs()] == ["lr"]
    assert stage.said[-1].startswith("sweep random: the method needs Optuna; install Optuna with: pip install")


def test_trials_fork_one_checkpoint_and_accept_what_they_change(stage: Stage) -> None:
    run = make_run(stage.path / "runs" / "stable")
    make_checkpoint(run, 10)
    make_checkpoint(run, 20)
    text = "prefix: {run: runs/stable}\noverrides: [train.eval_every=5]\nspace:\n  optim.lr: {choice: [1e-3, 1e-2]}\n"
    stage.open(text, "decay.yaml")
    stage.look()
    (job,) = stage.jobs()
    assert (job.resume, job.accept, job.config) == ("20", ["optim.lr"], None)
    fork = RunDir(stage.path / "runs" / "decay-0")
    assert (fork.checkpoints / "20" / "manifest.json").exists()
    assert not (fork.checkpoints / "10").exists()
    for bad, problem in {
        text.replace("optim.lr", "model.num_layers").replace("1e-3, 1e-2", "1, 2"): "cannot change after a prefix",
        text.replace("optim.lr", "train.seq_len").replace("1e-3, 1e-2", "16, 64"): "cannot change after a prefix",
    }.items():
        name = f"bad-{len(stage.said)}.yaml"
        stage.open(bad, name)
        stage.look()
        assert problem in find_sweep(stage.queue, name.removesuffix(".yaml")).read()[0].reason


WSD = f"{BASE}checkpoint: {{keep_every: 7}}\n".replace(
    "warmup_steps: 2", "warmup_steps: 2, schedule: wsd, decay_steps: 20"
)
DECAYS = "config: wsd.yaml\nprefix: {steps: 100}\nspace:\n  optim.decay_steps: {choice: [20, 50]}\n"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("steps: 100", "steps: 100, tokens: 5"), "exactly one of run, steps and tokens"),
        (("steps: 100", "steps: 100, step: 5"), "step is that of a checkpoint of run"),
        (("config: wsd.yaml\n", ""), "needs either config"),
        (
            ("steps: 100", "steps: 170"),
            "trial 1: the prefix ends at step 170, and the learning rate decays from 150 on",
        ),
        (("space", "overrides: [optim.schedule=cosine, train.steps=100]\nspace"), "leaves none of train.steps"),
        (("optim.decay_steps: {choice: [20, 50", "model.model_dim: {choice: [8, 32"), "cannot change after a prefix"),
        (("space", "overrides: [checkpoint.enabled=false]\nspace"), "checkpoint.enabled must be true"),
    ],
)
def test_a_prefix_that_no_trial_could_continue_is_refused_before_it_trains(
    stage: Stage, change: tuple[str, str], problem: str
) -> None:
    (stage.path / "wsd.yaml").write_text(WSD)
    with pytest.raises(ChompError, match=re.escape(problem)):
        stage.open(DECAYS.replace(*change), "d.yaml")


def test_a_sweep_trains_its_prefix_once_and_its_trials_fork_it(stage: Stage) -> None:
    (stage.path / "wsd.yaml").write_text(WSD)
    sweep = stage.open(DECAYS.replace("steps: 100", "tokens: 3000"), "d.yaml")
    steps = trained_prefix(sweep)
    assert steps is not None
    for _ in range(2):
        stage.look()
        stage.interrupted()
    (job,) = stage.jobs()
    assert (job.name, job.trial, job.resume, job.overrides) == (
        "d-prefix",
        None,
        "none",
        [f"checkpoint.keep_every={steps}"],
    )
    assert "prefix waiting at step 0; no trial yet of 2" in read_report(sweep).headline
    # It fails, and the user lets it go on.
    stage.queue.change(job.id, state="failed", reason="no text")
    stage.look()
    stage.look()
    assert sum("prefix failed at step 0" in line for line in stage.said) == 1
    assert "prefix failed at step 0 · job 1 · no text" in report_lines(read_report(sweep))
    assert read_report(sweep).state == "failed"
    run = make_run(stage.path / "runs" / "d-prefix")
    stage.queue.change(job.id, state="running", reason="")
    stage.look()
    assert stage.jobs() == []
    make_checkpoint(run, steps)
    stage.look()
    (prefix,) = stage.jobs("running")
    assert prefix.wish is not None
    assert prefix.wish.then == "done"
    (trial,) = stage.jobs()
    assert (trial.name, trial.trial, trial.resume) == ("d-0", 0, str(steps))
    assert trial.overrides == ["checkpoint.keep_every=7", "optim.decay_steps=20"]
    assert (stage.path / "runs" / "d-0" / "checkpoints" / str(steps) / "manifest.json").exists()
    # It gave way to an urgent job before it could end: it does not go on beyond what the trials need.
    stage.queue.change(prefix.id, state="waiting", wish=None)
    stage.look()
    assert [job.name for job in stage.jobs("done")] == ["d-prefix"]
    assert as_dict(read_report(sweep), stage.queue)["prefix"]["state"] == "complete"


def test_a_sweep_that_changed_is_not_continued(stage: Stage) -> None:
    stage.open(GRID + "parallel: 1\n")
    stage.look()
    assert not open_sweep(stage.queue, stage.path / "lr.yaml")[1]
    stage.open(GRID + "parallel: 3\n")
    with pytest.raises(ChompError, match="is a sweep with another seed"):
        stage.open(GRID + "seed: 1\n")
    (stage.path / "base.yaml").write_text(BASE.replace("200", "300"))
    with pytest.raises(ChompError, match=r"another the text of base\.yaml"):
        stage.open(GRID)
    (stage.path / "base.yaml").write_text(BASE.replace("eval_every: 10", "eval_every: 0"))
    with pytest.raises(ChompError, match="must be above 0: trials are ranked by their evaluations"):
        stage.open(GRID, "other.yaml")
    (stage.path / "base.yaml").write_text(BASE)
    with pytest.raises(ChompError, match="its name 'my rates' cannot be that of runs"):
        stage.open(GRID, "my rates.yaml")
    (stage.path / "runs" / "taken-1").mkdir(parents=True)
    with pytest.raises(ChompError, match="is there already"):
        stage.open(GRID, "taken.yaml")


def test_a_damaged_sweep_is_named_once_and_the_others_go_on(stage: Stage) -> None:
    damaged = stage.open(GRID)
    stage.open(GRID, "zz.yaml")
    (damaged.path / "trials.json").write_text('[{"number": "x"}]')
    journal = stage.open(f"{GRID}method: tpe\ntrials: 2\n", "journal.yaml").journal
    journal.write_text('{"op_code": "x"}\n{"worker')
    stage.look()
    stage.look()
    assert len([text for text in stage.said if text.startswith("sweep journal: ") and "may be damaged" in text]) == 1
    assert [job.sweep for job in stage.jobs()] == ["zz"]
    assert len([text for text in stage.said if "trials.json cannot be read" in text]) == 1


def test_a_stopped_sweep_adds_no_trials(stage: Stage) -> None:
    sweep = stage.open(GRID)
    sweep.stopped.touch()
    stage.look()
    assert stage.jobs() == []
    assert read_report(sweep).headline == "stopped: no trial yet of 6"
    stage.open(GRID)
    stage.look()
    assert len(stage.jobs()) == 1


def test_a_sweep_without_a_runner_says_so(stage: Stage) -> None:
    stage.open(GRID)
    for words in (["list"], ["show", "lr"]):
        said = CliRunner().invoke(sweep_command, [*words, "--queue", str(stage.queue.path)])
        assert said.stdout.splitlines()[0] == "lr  running: no trial yet of 6  (no runner works on it)"
        assert re.fullmatch(rf"no runner works on {stage.queue.path}; start it with: .* queue start\n", said.stderr)
    (row,) = json.loads(CliRunner().invoke(sweep_command, ["list", "--queue", str(stage.queue.path), "--json"]).stdout)
    assert row == {"name": "lr", "state": "running", "trials": 6, "runner": None}
    # A sweep that adds nothing needs none.
    stage.queue.around.joinpath("sweeps", "lr", "stopped").touch()
    said = CliRunner().invoke(sweep_command, ["list", "--queue", str(stage.queue.path)])
    assert (said.stdout, said.stderr) == ("lr  stopped: no trial yet of 6\n", "")


def test_many_numbers_are_put_into_groups(stage: Stage) -> None:
    sweep = stage.open("config: base.yaml\nmethod: random\ntrials: 20\nspace:\n  optim.lr: {range: [0, 1]}\n")
    sweep.write([Trial(number=n, values={"optim.lr": n / 20}, state="complete", score=float(n)) for n in range(20)])
    groups = read_report(sweep).groups["optim.lr"]
    assert [(group.label, group.trials, group.best, group.middle) for group in groups] == [
        ("0 to 0.2", 5, 0.0, 2.0), ("0.25 to 0.45", 5, 5.0, 7.0), ("0.5 to 0.7", 5, 10.0, 12.0),
        ("0.75 to 0.95", 5, 15.0, 17.0),
    ]  # fmt: skip
    assert Axis(choice=(True, False, None, "x")).grid() == [True, False, None, "x"]
