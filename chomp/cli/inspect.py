"""`chomp inspect`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chomp.cli.options import PATH, devices_option
from chomp.device.cards import CARDS, POOL_FRACTION, Card

if TYPE_CHECKING:
    from chomp.analysis.inspection import Inspection
    from chomp.config import Config


# How `MemoryEstimate` compares with what XLA compiles for cards, by model.backend; docs/gpu.md has the table.
ESTIMATE_ERROR = {
    "megalodon": "17 to 48 % above XLA's account for the presets",
    "llama": "with model.attention: flash 8 to 25 % above XLA's account for the presets, and otherwise four to five "
    "times as much: attention's scores are counted",
}


@click.command("inspect")
@click.argument("config", type=PATH)
@click.option("-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE", help="Set one value.")
@click.option("--compile", "compile_program", is_flag=True, help="Compile the step and show XLA's memory analysis.")
@click.option(
    "--continue",
    "origin",
    type=PATH,
    metavar="CHECKPOINT",
    help="Show a run that continues from this checkpoint, or from a run's newest, with the schedule that it keeps.",
)
@click.option(
    "--for",
    "card",
    type=click.Choice(tuple(CARDS)),
    help="Compile the step for this GPU, which need not be in this machine: memory, largest micro-batch, speed limits.",
)
@devices_option
@click.option(
    "--count",
    type=click.IntRange(1, 1 << 16),
    metavar="N",
    help="So many devices, which need not be here: memory on each, with --for compiled as one machine's.",
)
@click.option(
    "--run-dir", type=PATH, help="Where the run would be written: its disk is looked at. Default: as for chomp train."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    config: Path,
    overrides: tuple[str, ...],
    compile_program: bool,
    origin: Path | None,
    card: str | None,
    devices: tuple[str, ...],
    count: int | None,
    run_dir: Path | None,
    as_json: bool,
) -> None:
    """Show parameters, tokens, schedule, FLOPs and memory of CONFIG, and whether a run with it would start here.

    Where it would not, the exit code is the one with which `chomp train` would end.
    """
    from chomp.cli.engine import prepare_environment
    from chomp.config.load import load_config

    loaded = load_config(config, overrides)
    _refuse_both(devices=bool(devices), card=card is not None, count=count is not None, compiles=compile_program)
    if card is not None:
        # The plugin of a GPU that is not here would look for a driver.
        os.environ["JAX_PLATFORMS"] = "cpu"
    prepare_environment(strict_determinism=loaded.config.train.strict_determinism, devices=devices)
    if card is not None:
        import jax

        # In a process that has imported JAX before.
        jax.config.update("jax_platforms", "cpu")
    from chomp.analysis.inspection import inspect
    from chomp.train.compilation import use_compilation_cache

    checkpoint = None
    if origin is not None:
        from chomp.generate.load import find_described

        _, checkpoint = find_described(origin)
    use_compilation_cache()
    chosen = CARDS[card] if card else None
    found = inspect(
        loaded.config,
        compile_program=compile_program,
        origin=checkpoint,
        card=chosen,
        devices=devices,
        count=count,
        run_dir=run_dir,
        say=lambda text: click.echo(text, err=True),
    )
    if as_json:
        click.echo(json.dumps(found.as_dict()))
    else:
        _print(found, loaded.config, chosen)
    if found.start is not None and found.start.exit_code:
        raise click.exceptions.Exit(found.start.exit_code)


def _print(found: Inspection, config: Config, card: Card | None) -> None:
    from chomp.config import notes

    click.echo(describe(found))
    for line in describe_start(found):
        click.echo(line)
    for note in notes(config):
        click.echo(f"note: {note}")
    if config.train.epochs is not None:
        click.echo(f"note: train.epochs: all figures are for {config.train.steps:,} steps", err=True)
    if card is not None:
        click.echo(describe_card(found, card, config.model.backend))


def _refuse_both(*, devices: bool, card: bool, count: bool, compiles: bool) -> None:
    if devices and (card or count):
        raise click.UsageError("--devices chooses devices of this machine; leave out --for and --count.")
    if count and compiles and not card:
        raise click.UsageError("--compile needs the devices; leave out --count, or give --for.")


def describe_card(found: Inspection, card: Card, backend: str) -> str:
    """The step on a card as text; the estimate where it could not be compiled."""
    from chomp.record.formatting import elapsed, size

    pool = f"{size(card.pool_bytes)}, {POOL_FRACTION:.0%} of {card.device_kind}'s {size(card.memory_bytes)}"
    report = found.card
    if report is None:
        verdict = "more than" if found.memory.total > card.pool_bytes else "within"
        return (
            f"on {card.name}, estimated: {size(found.memory.total)}, {verdict} {pool}\n"
            f"  by shapes alone, {ESTIMATE_ERROR.get(backend, 'not compared with XLA')} (docs/gpu.md)"
        )
    structure, memory, cards = report.program.structure, report.program.memory, report.program.blueprint.placement
    named = f"{cards.count} x {card.name}, data {cards.data} x fsdp {cards.fsdp}" if cards.count > 1 else card.name
    lines = [
        f"on {named}, compiled in {elapsed(report.program.seconds)} and not run",
        f"  memory            {size(memory['total'])}, {'within' if report.fits else 'MORE THAN'} {pool}",
        "                    (scratch space of cuBLAS and cuDNN is not included)",
    ]
    if report.largest is not None:
        best = report.largest
        lines.append(
            f"  largest fit       batch_size {best.batch_size} x grad_accum {best.grad_accum}: {size(best.memory or 0)}"
        )
    else:
        lines.append("  largest fit       none: set model.remat, a smaller loss_chunk_size or seq_len")
    products = ", ".join(f"{kind} {flops:.3g}" for kind, flops in structure.products.items())
    seconds = report.seconds
    lines += [
        f"  kernel launches   {structure.launches:,} a step, {structure.host_syncs} waits for the host",
        f"  products          {products} FLOPs: {elapsed(seconds['products'])} at the card's rates",
        f"  bytes             {size(structure.bytes)} at most: {elapsed(seconds['bytes'])}",
        f"  launches          {elapsed(seconds['launches'])} outside CUDA graphs",
    ]
    for kind, traffic in structure.collectives.items():
        lines.append(f"  {kind:<18}{size(traffic.bytes)} sent by each card a step, in {traffic.calls:,} calls")
    if "collectives" in seconds:
        lines.append(f"  exchange          {elapsed(seconds['collectives'])} at {size(card.link)}/s each way")
    lines.append(f"  MFU               {report.program.mfu_bound:.0%} at most")
    if report.program.flags:
        flags = " ".join(f"--{name}={str(on).lower()}" for name, on in report.program.flags.items())
        lines.append(f"  flags needed      XLA_FLAGS={flags}")
    return "\n".join(lines)


def _recomputed(found: Inspection) -> list[str]:
    more = found.recomputed_flops_per_token
    if not more:
        return []
    return [f"FLOPs recomputed  {more:.3g}  (per token, {more / found.flops_per_token:.0%} more, by model.remat)"]


def describe(found: Inspection) -> str:
    """The figures as text."""
    from chomp.record.formatting import count, elapsed, size

    lines = [f"parameters        {found.parameters:,}"]
    lines += [f"  {name:<22}{number:>14,}" for name, number in found.breakdown.items() if name != "total"]
    lines += [
        f"tokens per step   {found.tokens_per_step:,}",
        f"tokens in total   {count(found.total_tokens)}  ({found.tokens_per_parameter:.2f} per parameter)",
        f"FLOPs per token   {found.flops_per_token:.3g}  (forward and backward, analytic)",
        *_recomputed(found),
        f"FLOPs in total    {found.total_flops:.3g}",
        f"device            {found.device['name']}"
        + (f", {size(found.device['memory_limit'])}" if found.device["memory_limit"] else ""),
        "memory, estimated" + (", on each device" if found.start is not None and found.start.mesh else ""),
    ]
    lines += [f"  {name:<16}{size(number):>10}" for name, number in found.memory.as_dict().items()]
    if found.compiled_memory is not None:
        lines.append(f"memory, compiled (XLA, in {elapsed(found.compile_seconds or 0)})")
        lines += [f"  {name:<16}{size(number):>10}" for name, number in found.compiled_memory.items()]
    if found.path_check is not None:
        lines.append(f"self-check        {found.path_check.sentence}")
    lines.append("learning rate" + (f", on from step {found.continues_from:,}" if found.continues_from else ""))
    shown = found.schedule[:: max(1, len(found.schedule) // 8)]
    lines += [f"  step {step:>8}  {rate:.3e}" for step, rate in shown]
    lines += [f"note: {note}" for note in found.notes]
    lines += ["optimizer", *(f"  {line}" for line in found.optimizer.splitlines())]
    return "\n".join(lines)


def describe_start(found: Inspection) -> list[str]:
    """Whether a run would start, and what it needs, as lines of text."""
    from chomp.record.formatting import age, count, duration, elapsed, plural, size

    start = found.start
    if start is None:
        return []
    lines = []
    if (mesh := start.mesh) is not None:
        lines.append(
            f"mesh              {plural(mesh.devices, 'device')}, data {mesh.data} x fsdp {mesh.fsdp}: each computes "
            f"{plural(mesh.rows, 'row')} of a step at once, "
            f"{'once' if mesh.grad_accum == 1 else f'{mesh.grad_accum} times'}"
        )
    if (text := start.text) is not None:
        parts = [plural(text.files, "file")] if text.files is not None else []
        parts += [size(text.bytes)] if text.bytes is not None else []
        about = "about " * text.is_estimate
        parts += [f"{about}{count(text.tokens)} tokens"] if text.tokens is not None else [text.unknown]
        parts += [f"{start.epochs:.3g} epochs"] if start.epochs is not None else []
        lines.append(f"text              {text.what}: {', '.join(part for part in parts if part)}")
    for source in start.sources:
        has = source.text
        parts = [f"{'about ' * has.is_estimate}{count(has.tokens)} tokens" if has.tokens is not None else has.unknown]
        parts += [f"{source.epochs:.3g} epochs"] if source.epochs is not None else []
        lines.append(
            f"{'source ' + source.name:<18}{source.share:.1%}, {count(source.tokens)} tokens of {has.what}: "
            f"{', '.join(parts)}"
        )
    if (room := start.checkpoints) is not None:
        lines.append(
            f"checkpoints       at most {room.count}, {size(room.each)} each; {size(room.free)} free in {room.folder}"
        )
    if (time := start.duration) is not None:
        lines.append(
            f"time              about {duration(time.seconds)}, at {elapsed(time.step_seconds)} a step as measured in "
            f"{time.run} {age(time.measured_at)}"
        )
    lines += [f"warning: {warning}" for warning in start.warnings]
    lines += [f"cannot start: {problem}" for problem in start.problems]
    return lines
