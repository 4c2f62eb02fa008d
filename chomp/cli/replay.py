"""`chomp replay`."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chomp.cli.options import PATH, devices_option
from chomp.config.fields import MAX_STEPS
from chomp.errors import CheckpointError, ReplayDifferenceError
from chomp.record.formatting import plural, progress_line, sanitize, size

if TYPE_CHECKING:
    from chomp.analysis.replay import Outcome
    from chomp.record.rundir import RunDir

MOST_SEED = 2**32 - 1
# What is named of what differs; the receipt has all of it.
NAMED = 6


@click.command("replay")
@click.argument("run", type=PATH)
@click.option(
    "--steps",
    default=1,
    type=click.IntRange(1, MAX_STEPS),
    metavar="N",
    help="Compute at least N steps again, whole stretches between checkpoints; default: one stretch.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, MOST_SEED),
    metavar="S",
    help="Draws the stretches; default: another one each time.",
)
@devices_option
@click.option("--json", "as_json", is_flag=True, help="Print the receipt as one JSON object.")
def command(run: Path, steps: int, seed: int | None, devices: tuple[str, ...], as_json: bool) -> None:
    """Compute random stretches of RUN again and compare them bit for bit with its checkpoints and metrics.

    If all agree, they are certified, and the exit code is 0. Otherwise the first difference is named, with what is not
    as it was in the run, and the exit code is 8. At a damaged checkpoint nothing is certified, and where it or a
    missing metrics row is found the exit code is 5. All is appended to receipts.jsonl in the run's directory.
    """
    from chomp.record.rundir import open_run

    opened = open_run(run)
    prepare_as_run(opened, devices)
    from chomp.analysis.receipt import receipt_of, write_receipt
    from chomp.analysis.replay import Replayer, choose
    from chomp.data.progress import listening
    from chomp.train.compilation import use_compilation_cache

    use_compilation_cache()
    say = (lambda text: None) if as_json else click.echo
    seed = secrets.randbelow(MOST_SEED) if seed is None else seed
    replayer = Replayer(opened, devices, lambda text: click.echo(f"note: {sanitize(text)}", err=True))
    outcomes = []
    with contextlib.closing(replayer), listening(lambda event: click.echo(progress_line(event), err=True)):
        chosen = choose(replayer.plan.stretches, steps, seed)
        for sentence in replayer.plan.left_out:
            click.echo(f"note: {sanitize(sentence)}", err=True)
        for outcome in replayer.replay(chosen):
            outcomes.append(outcome)
            say(_line(outcome))
        differing = replayer.what_differs([stretch.last for stretch in chosen])
        device = replayer.device_facts()
    rows = [
        {**asdict(one), "certified": one.is_certified, "difference": sanitize(one.difference())} for one in outcomes
    ]
    receipt = receipt_of(opened, seed, rows, differing, device, replayer.damaged)
    if as_json:
        click.echo(json.dumps(receipt))
    write_receipt(opened, receipt)
    _conclude(opened, receipt, say)


def prepare_as_run(run: RunDir, devices: tuple[str, ...]) -> None:
    """Set the environment as the run's engine does, and import JAX.

    Raises:
        CheckpointError: the run is an average, which has no steps; or it has no checkpoint that says which settings it
            has: names those that cannot be read.
        DeviceError: JAX cannot start.
    """
    from chomp.cli.engine import prepare_environment
    from chomp.record.manifest import list_checkpoints, verify
    from chomp.record.origin import read_origin

    origin = read_origin(run)
    if origin is not None and origin.averaged:
        raise CheckpointError(f"{run.path} is an {origin.words}, and has no steps of its own: name the run of a step")
    listed = list_checkpoints(run.checkpoints)
    infos = [info for info in listed if "identity" in info.meta]
    if not infos:
        problems = {info.path: "; ".join(verify(info.path)) for info in listed}
        damaged = ", ".join(f"{path.name}: {problem}" for path, problem in problems.items() if problem)
        if damaged:
            raise CheckpointError(f"no checkpoint of {run.path} can be read: {damaged}")
        raise CheckpointError(f"{run.path} has no checkpoint yet, from which its steps could be computed again")
    strict = bool(infos[-1].meta["identity"].get("train", {}).get("strict_determinism"))
    prepare_environment(strict_determinism=strict, devices=devices)


def _line(outcome: Outcome) -> str:
    steps = f"steps {outcome.begin + 1:,} to {outcome.end:,}"
    if not outcome.is_certified:
        return f"{steps}: different: {sanitize(outcome.difference())}"
    missing = f"; {_missing(outcome.missing_rows)}" if outcome.missing_rows else ""
    return (
        f"{steps}: the same, {plural(outcome.rows, 'metrics row')}, {plural(outcome.arrays, 'array')} "
        f"({size(outcome.bytes)}) and the position in the text{missing}"
    )


def _missing(steps: Sequence[int]) -> str:
    """`3 metrics rows are missing: of steps 1, 2, 3`."""
    is_one = len(steps) == 1
    named = f"of step{'' if is_one else 's'} {_shortened([f'{step:,}' for step in steps])}"
    return f"{plural(len(steps), 'metrics row')} {'is' if is_one else 'are'} missing: {named}"


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f", and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _conclude(run: RunDir, receipt: Mapping[str, Any], say: Any) -> None:
    """Print the verdict.

    Raises:
        ReplayDifferenceError: there is a difference.
        CheckpointError: a checkpoint is damaged, or metrics rows are missing.
    """
    from chomp.analysis.replay import words_of_damage

    differs = receipt["differs"]
    listed = _shortened(differs)
    damage = [words_of_damage(run, one["step"], one["reason"]) for one in receipt["damaged"]]
    missing = [step for stretch in receipt["stretches"] for step in stretch["missing_rows"]]
    if missing:
        damage.append(f"{run.metrics}: {_missing(missing)}")
    first = next((stretch for stretch in receipt["stretches"] if not stretch["certified"]), None)
    if first is not None:
        why = listed or "versions, device and flags are those of the run"
        raise ReplayDifferenceError("; ".join([first["difference"], why, *damage]))
    also = f", although {sanitize(listed)}" if differs else ""
    steps = f"{receipt['steps']:,} of {receipt['of_steps']:,} steps"
    again = (
        f"computed again bit for bit (seed {receipt['seed']}){also}; the receipt is in {sanitize(str(run.receipts))}"
    )
    if not damage:
        say(f"certified: {steps} {again}")
        return
    but = " but for the missing rows" if missing else ""
    verdict = f"certified{but}: {steps} {again}" if receipt["steps"] else "nothing is certified"
    raise CheckpointError("; ".join([*damage, verdict]))
