"""`chomp watch`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from chomp.cli.endings import complain
from chomp.cli.options import PATH, FiniteFloat
from chomp.config.notify import NotifyConfig
from chomp.notify.channels import SendError, build_channels
from chomp.notify.notice import Notice, test_notice
from chomp.notify.once import OnceNotifier
from chomp.notify.watch import RunWatch
from chomp.record.formatting import one_line, short_name
from chomp.record.rundir import RunDir, open_run


@click.command("watch")
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each change.")
@click.option(
    "--every",
    "every_seconds",
    default=5.0,
    show_default=True,
    type=FiniteFloat(min=0.1),
    help="Seconds between two looks.",
)
@click.option("--config", type=PATH, help="Take the notify section of this file, not of the runs.")
@click.option("--test", "is_test", is_flag=True, help="Send a test notice and end; RUN may be a configuration file.")
def command(runs: tuple[Path, ...], as_json: bool, every_seconds: float, config: Path | None, is_test: bool) -> int:
    """Watch live runs until the last one ends, and send notices that a killed engine cannot send.

    These are: killed, and stalled where the engine itself does nothing. The engine sends all others.
    Exit code 1: a run crashed or was killed.
    """
    if is_test:
        return _test([config] if config is not None else list(runs))
    watched = [_Watched(path, config) for path in runs]
    try:
        while True:
            for one in watched:
                one.look(as_json=as_json)
            if not any(one.is_live for one in watched):
                break
            time.sleep(every_seconds)
    finally:
        for one in watched:
            one.notifier.close()
            for failure in one.notifier.take_failures():
                complain(failure)
    return int(any(one.has_failed for one in watched))


class _Watched:
    """One run with its notifier; it prints each change of its status.

    Raises:
        ChompError: there is no run at `path`, or its notices cannot be sent.
    """

    def __init__(self, path: Path, config: Path | None):
        open_run(path)
        self._once = OnceNotifier(_settings(config or path))
        self.notifier = self._once.notifier
        self._run = RunDir(path)
        self._watch = RunWatch(path)
        self._printed = ""

    @property
    def is_live(self) -> bool:
        return self._watch.summary is not None and self._watch.summary.status.is_live

    @property
    def has_failed(self) -> bool:
        return self._watch.summary is None or self._watch.summary.status.tone == "bad"

    def look(self, *, as_json: bool) -> None:
        """Look at the run; print and send what has changed."""
        notice = self._watch.look()
        is_sent = notice is not None and self._once.send(self._run, notice)
        self._once.take_over(self._run)
        for failure in self.notifier.take_failures():
            complain(failure)
        found = self._watch.summary
        if found is None:
            return
        # Evaluations and saves come and go: they are no change.
        state = "live" if found.status.tone == "live" else found.status.word
        if state == self._printed:
            return
        self._printed = state
        self._print(notice if is_sent else None, as_json=as_json)

    def _print(self, sent: Notice | None, *, as_json: bool) -> None:
        found = self._watch.summary
        assert found is not None
        if as_json:
            record = {
                "t": round(time.time(), 3),
                "path": str(found.path),
                "state": found.status.state,
                "status": found.status.word,
                "reason": found.status.reason or None,
                "step": found.step,
                "total_steps": found.total_steps,
                "notice": sent.kind if sent is not None else None,
            }
            click.echo(json.dumps(record))
            return
        reason = f": {one_line(found.status.reason)}" if found.status.reason else ""
        told = f"  (notice sent: {sent.kind})" if sent is not None else ""
        clock = time.strftime("%H:%M:%S")
        click.echo(f"{clock}  {short_name(found.name)}  step {found.step}  {found.status.word}{reason}{told}")


def _settings(source: Path) -> NotifyConfig:
    """The notify section of a configuration file or of a run."""
    from chomp.cli.loading import load_for_training

    path = source.expanduser()
    loaded = load_for_training(None, (), path) if path.is_dir() else load_for_training(path, (), None)
    return loaded.config.notify


def _test(sources: list[Path]) -> int:
    """Send a test notice once by every channel of each configuration; 1 if one did not take it."""
    failed = False
    for source in sources:
        channels = build_channels(_settings(source), shows_output=True)
        if not channels:
            complain(f"{source}: the notify section names no receiver; set notify.command or a webhook")
            failed = True
        for channel in channels:
            try:
                channel.send(test_notice())
            except SendError as error:
                complain(f"{channel.name}: {error}")
                failed = True
            else:
                click.echo(f"{channel.name}: sent")
    return int(failed)
