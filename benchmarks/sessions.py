"""A real training in a temporary run directory, for measuring parts of it."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from chomp.cli.engine import prepare_environment

prepare_environment()

from chomp.config.load import load_config
from chomp.record.commands import CommandReader
from chomp.record.event_log import EventWriter
from chomp.record.held_folder import HeldFolder
from chomp.record.rundir import RunDir
from chomp.sinks import Reporter, RowFiles, TerminalSink
from chomp.train.clock import TimeBudget
from chomp.train.compilation import use_compilation_cache
from chomp.train.control import CommandQueue, StopSwitch
from chomp.train.processes import RunProcesses
from chomp.train.request import Claim, RunRequest
from chomp.train.session import open_session
from chomp.train.trainer import Trainer

QUICKSTART = Path(__file__).parent.parent / "configs" / "quickstart.yaml"


@contextmanager
def open_trainer(*overrides: str, config: Path = QUICKSTART) -> Iterator[Trainer]:
    """A compiled trainer with the sinks that a headless run has; its files are removed afterwards."""
    use_compilation_cache()
    with TemporaryDirectory() as folder, HeldFolder(Path(folder)) as held:
        run = RunDir(Path(folder))
        reporter = Reporter(EventWriter(run.events), [RowFiles(run), TerminalSink(io.StringIO())])
        request = RunRequest(loaded=load_config(config, overrides), run_dir=run.path)
        processes = RunProcesses(request.world, request.loaded.config.parallel)
        queue = CommandQueue(CommandReader(run.commands, since=0), reporter, StopSwitch())
        try:
            with open_session(request, Claim(run, held), reporter, TimeBudget(), queue, processes) as session:
                trainer = Trainer(session)
                trainer.compile()
                yield trainer
                trainer.close()
        finally:
            reporter.close()


def line(name: str, seconds: Sequence[float]) -> str:
    """Median, lowest and highest of some durations, in milliseconds."""
    ordered = sorted(1e3 * value for value in seconds)
    return f"{name:<44} median {ordered[len(ordered) // 2]:8.1f} ms   [{ordered[0]:.1f} .. {ordered[-1]:.1f}]"
