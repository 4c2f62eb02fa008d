"""`chomp queue`."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import click

from chomp.cli.options import PATH, PATH_TEXT, TEXT, FiniteFloat, queue_option
from chomp.errors import ConfigError, command_name
from chomp.queue.adding import NewJob, add_job, config_of
from chomp.queue.folder import Listing, QueueFolder, find_job
from chomp.queue.job import Job, QueueError, Wish
from chomp.queue.process import POLL_SECONDS, run_queue, runner_of, start_runner, stop_runner
from chomp.queue.table import RunSummaries, job_lines, row_of, rows_of
from chomp.queue.times import parse_duration, parse_time
from chomp.record.formatting import one_line, sanitize
from chomp.record.manifest import checkpoint_steps
from chomp.record.rundir import RunDir, open_run_around
from chomp.record.speeds import reach_words
from chomp.record.tail import read_tail

LOG_BYTES = 1 << 20

_jobs = click.argument("words", metavar="JOB...", nargs=-1, required=True)
_job = click.argument("word", metavar="JOB")


@click.group("queue")
def command() -> None:
    """Train one run after another: add jobs, then start the runner."""


@command.command("add")
@click.argument("config", required=False, type=PATH)
@click.option("-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE", help="Set one value.")
@click.option("--name", type=TEXT, help="Name of the job and of the run's directory in runs.")
@click.option("--run-dir", type=PATH, help="Run directory; default runs/NAME, or runs/CONFIG-DATE-TIME at the start.")
@click.option("--after", multiple=True, metavar="JOB", help="Start when this job is done; may be repeated.")
@click.option("--at", "at", metavar="TIME", help="Start at 22:00 (tomorrow if it is later now), or 2026-12-01T06:30.")
@click.option("--for", "limit", metavar="DURATION", help="End with a save after 8h, 90m, ...: train.max_seconds.")
@click.option("--gpus", type=click.IntRange(min=0), help="GPUs; 0 trains on the CPU; default: one, or else the CPU.")
@click.option("--urgent", is_flag=True, help="Go first; a running job saves, gives way and continues afterwards.")
@click.option("--resume", type=PATH_TEXT, default="none", metavar="RUN|CHECKPOINT|latest|STEP", help="Continue a run.")
@click.option("--accept", multiple=True, metavar="KEY", help="Resume although this setting differs.")
@click.option(
    "--restarts", default=3, show_default=True, type=click.IntRange(min=0), help="Resume so often after it was killed."
)
@click.option("--note", type=TEXT, default="", help="A note on the run.")
@click.option("--tag", "tags", multiple=True, type=TEXT, metavar="TAG", help="A tag of the run; may be repeated.")
@click.option("--hold", "is_held", is_flag=True, help="Do not start it before it is released.")
@click.option("--anyway", is_flag=True, help="Add it although it could not start now, e.g. if its text appears later.")
@queue_option
def add_command(
    folder: Path,
    config: Path | None,
    overrides: tuple[str, ...],
    name: str | None,
    run_dir: Path | None,
    after: tuple[str, ...],
    at: str | None,
    limit: str | None,
    gpus: int | None,
    urgent: bool,
    resume: str,
    accept: tuple[str, ...],
    restarts: int,
    note: str,
    tags: tuple[str, ...],
    is_held: bool,
    anyway: bool,
) -> None:
    """Add a job that trains CONFIG, or continues a run.

    The job keeps the text of CONFIG: later changes of the file do not change it.
    """
    queue = QueueFolder(folder)
    run_dir, resume = _resumed(run_dir, resume)
    listing = queue.read()
    new = NewJob(
        config=config,
        overrides=overrides,
        name=name,
        run_dir=run_dir,
        resume=resume,
        accept=accept,
        after=tuple(find_job(listing, word) for word in after),
        not_before=parse_time(at, datetime.now().astimezone()) if at is not None else None,
        for_seconds=parse_duration(limit) if limit is not None else None,
        gpus=gpus,
        urgent=urgent,
        restarts=restarts,
        note=note,
        tags=tags,
    )
    reach = _check_start(new, anyway=anyway)
    job = add_job(queue, new)
    if is_held:
        queue.change(job.id, state="held", reason="added with --hold")
    click.echo(f"job {sanitize(job.title)} added")
    if reach:
        click.echo(f"--for {limit}: {reach}")
    if runner_of(queue) is None:
        click.echo(f"no runner works on {folder}; start it with: {command_name()} queue start", err=True)


def _check_start(new: NewJob, *, anyway: bool) -> str:
    """Refuse a job that could not start, and print what is doubtful; returns how far it gets in its time.

    Raises:
        QueueError: it could not, and the user does not add it all the same.
    """
    from chomp.analysis.readiness import check_job

    snapshot = RunDir(new.run_dir).tokenizer if new.run_dir is not None and new.resume != "none" else None
    config, step = config_of(new), _first_step(new)
    ready = check_job(config, gpus=new.gpus, run_dir=new.run_dir, snapshot=snapshot, step=step)
    if ready.problems and not anyway:
        raise QueueError(f"{'; '.join(ready.problems)} (--anyway adds the job all the same)")
    for text in (*ready.problems, *ready.warnings):
        click.echo(f"warning: {sanitize(text)}", err=True)
    if new.for_seconds is None:
        return ""
    found = ready.duration
    speed_seconds = None if found is None else found.step_seconds + found.overhead_seconds
    return reach_words(new.for_seconds, speed_seconds, step, config.train.steps)


def _first_step(new: NewJob) -> int:
    """The step of the checkpoint that a job continues; 0 for a new run."""
    if new.run_dir is None or new.resume == "none":
        return 0
    if new.resume.isdecimal():
        return int(new.resume)
    return max(checkpoint_steps(RunDir(new.run_dir).checkpoints), default=0)


def _resumed(run_dir: Path | None, resume: str) -> tuple[Path | None, str]:
    """The run directory and where to resume: a path in `--resume` names both."""
    if resume in ("none", "latest") or resume.isdecimal():
        return run_dir, resume
    path = Path(resume).expanduser()
    if not path.exists():
        raise ConfigError(f"--resume {resume}: there is no run or checkpoint; pass latest, a step number, or its path")
    run = open_run_around(path).path
    return run, "latest" if run == path else path.name


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@queue_option
def list_command(folder: Path, as_json: bool) -> None:
    """List the jobs: first those that run, then by their order, then those that have ended."""
    queue = QueueFolder(folder)
    listing, runner = queue.read(), runner_of(queue)
    if as_json:
        rows = [row_of(queue, job, listing) for job in listing.jobs]
        bad = [{"id": one.id, "state": "held", "reason": one.problem} for one in listing.unreadable]
        click.echo(json.dumps({"runner": runner.pid if runner else None, "jobs": [*rows, *bad]}, indent=1))
        return
    for line in job_lines(rows_of(queue, listing, RunSummaries())):
        click.echo(line)
    for one in listing.unreadable:
        click.echo(f"{one.id:>4}  held      {one_line(one.problem)}")
    if not listing.jobs and not listing.unreadable:
        click.echo(f"no jobs in {folder}; add one with: {command_name()} queue add configs/quickstart.yaml")
    elif runner is None:
        click.echo(f"no runner works on {folder}; start it with: {command_name()} queue start", err=True)


@command.command("show")
@_job
@queue_option
def show_command(folder: Path, word: str) -> None:
    """Print what the file of JOB says, without the text of its configuration, and what it waits for."""
    queue, listing, job = _found(folder, word)
    for name, value in {**job.model_dump(mode="json", exclude={"config"}), **row_of(queue, job, listing)}.items():
        if value not in (None, "", [], {}):
            click.echo(f"{name:<14}{one_line(value if isinstance(value, str) else json.dumps(value))}")


@command.command("log")
@click.argument("word", metavar="[JOB]", required=False)
@click.option("-n", "lines", default=20, show_default=True, type=click.IntRange(min=1), help="Lines from the end.")
@queue_option
def log_command(folder: Path, word: str | None, lines: int) -> None:
    """Print the end of the runner's log, or of the log of JOB's run."""
    from chomp.queue.endings import run_of

    path = QueueFolder(folder).runner_log
    if word is not None:
        queue, _, job = _found(folder, word)
        if job.run_dir is None:
            raise QueueError(f"job {job.title} has not been started: it has no log")
        path = run_of(queue.resolve(job.run_dir)).log
    try:
        _, data = read_tail(path, LOG_BYTES)
    except OSError as error:
        raise QueueError(f"{path} cannot be read: {error.strerror}") from error
    for line in data.decode("utf-8", "replace").splitlines()[-lines:]:
        click.echo(sanitize(line))


@command.command("hold")
@_jobs
@queue_option
def hold_command(folder: Path, words: tuple[str, ...]) -> None:
    """Keep jobs from starting; one that runs saves and waits until it is released."""
    for queue, _, job in [_found(folder, word) for word in words]:
        if job.state == "running":
            _require_runner(queue, job)
            queue.change(job.id, wish=Wish(then="held", why="held by the user"))
            click.echo(f"job {sanitize(job.title)} saves, then it is held")
        elif job.state == "waiting":
            queue.change(job.id, state="held", reason="held by the user")
            click.echo(f"job {sanitize(job.title)} is held")
        else:
            raise QueueError(f"job {job.title} is {job.state}: only a waiting or running job can be held")


@command.command("release")
@_jobs
@queue_option
def release_command(folder: Path, words: tuple[str, ...]) -> None:
    """Let jobs start that are held, have failed or were stopped; one that had begun continues from its last save."""
    for queue, _, job in [_found(folder, word) for word in words]:
        if job.state in ("running", "waiting", "done"):
            raise QueueError(f"job {job.title} is {job.state}: only a held, failed or stopped job can be released")
        queue.change(job.id, state="waiting", reason="", kills=0)
        click.echo(f"job {sanitize(job.title)} waits to start")


@command.command("move")
@_job
@click.argument("place", type=click.IntRange(min=1))
@queue_option
def move_command(folder: Path, word: str, place: int) -> None:
    """Put JOB at PLACE among the jobs that have not ended; 1 is the first."""
    queue, _, job = _found(folder, word)
    if job.is_ended:
        raise QueueError(f"job {job.title} is {job.state}: only jobs that have not ended have a place")
    queue.move(job.id, place)
    places = [one.id for one in queue.read().jobs if not one.is_ended]
    real = places.index(job.id) + 1
    last = f", the last of {len(places)}" if real < place else ""
    click.echo(f"job {sanitize(job.title)} is at place {real}{last}")


@command.command("remove")
@click.argument("words", metavar="JOB...", nargs=-1)
@click.option("--ended", is_flag=True, help="Remove all jobs that are done, have failed or were stopped.")
@click.option("--stop", "with_engine", is_flag=True, help="Let a running job save first.")
@queue_option
def remove_command(folder: Path, words: tuple[str, ...], ended: bool, with_engine: bool) -> None:
    """Remove jobs from the queue; their runs stay."""
    queue = QueueFolder(folder)
    listing = queue.read()
    numbers = [find_job(listing, word) for word in words]
    numbers += [job.id for job in listing.jobs if ended and job.is_ended and job.id not in numbers]
    if not words and not ended:
        raise click.UsageError("name the jobs to remove, or pass --ended")
    for number in numbers:
        job = listing.find(number)
        if job is not None and job.state == "running":
            if not with_engine:
                raise QueueError(f"job {job.title} is running: pass --stop to let it save and end first")
            _require_runner(queue, job)
            queue.change(number, wish=Wish(then="removed"))
            click.echo(f"job {sanitize(job.title)} saves, then it is removed")
            continue
        queue.remove(number)
        click.echo(f"job {sanitize(job.title) if job else number} is removed" + ("; its run stays" if job else ""))


@command.command("start")
@click.option("--poll-seconds", default=POLL_SECONDS, type=FiniteFloat(min=0.01), hidden=True)
@queue_option
def start_command(folder: Path, poll_seconds: float) -> None:
    """Start the runner in the background; it survives logout. After a reboot, start it again."""
    queue = QueueFolder(folder)
    before = runner_of(queue)
    pid = start_runner(queue, poll_seconds)
    works = "works already" if before else "works"
    click.echo(f"the runner {works} (pid {pid}); {queue.runner_log} tells what it does")


@command.command("stop")
@click.option("--jobs", "with_engines", is_flag=True, help="First let running jobs save and wait.")
@queue_option
def stop_command(folder: Path, with_engines: bool) -> None:
    """End the runner; engines that run go on, and the next runner looks after them."""
    last = ""

    def say(text: str) -> None:
        nonlocal last
        if text != last:
            click.echo(sanitize(text))
        last = text

    if not stop_runner(QueueFolder(folder), say, with_engines=with_engines):
        raise QueueError(f"no runner works on {folder}")
    click.echo("the runner has ended")


@command.command("run")
@click.option("--poll-seconds", default=POLL_SECONDS, type=FiniteFloat(min=0.01), hidden=True)
@queue_option
def run_command(folder: Path, poll_seconds: float) -> None:
    """Run the queue in this process, for example as a service; SIGTERM ends it, and engines go on."""
    from chomp.sweep.service import QueueService

    queue = QueueFolder(folder)
    run_queue(queue, lambda say: QueueService(queue, say), poll_seconds)


def _found(folder: Path, word: str) -> tuple[QueueFolder, Listing, Job]:
    queue = QueueFolder(folder)
    listing = queue.read()
    number = find_job(listing, word)
    job = listing.find(number)
    bad = next((one.problem for one in listing.unreadable if one.id == number), None)
    if job is None:
        raise QueueError(bad or f"there is no job {word}; `{command_name()} queue list` shows them")
    return queue, listing, job


def _require_runner(queue: QueueFolder, job: Job) -> None:
    if runner_of(queue) is None:
        raise QueueError(
            f"job {job.title} runs and no runner works on {queue.path}: start it with `{command_name()} queue start`"
        )
