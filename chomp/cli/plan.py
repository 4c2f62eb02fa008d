"""`chomp plan`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chomp.analysis.scaling import TOKENS_PER_PARAMETER
from chomp.cli.options import PATH, SECONDS, FiniteFloat, devices_option
from chomp.config.fields import MAX_SECONDS

if TYPE_CHECKING:
    from chomp.analysis.plan import Goal, Planning, Proposal
    from chomp.analysis.text_size import TextSize
    from chomp.config import Config

HOUR = 3600.0
MOST_HOURS = MAX_SECONDS / HOUR
# Text for a plan without a configuration: on every machine, of bytes.
BASE = """
data: {backend: stdlib, isolate_documents: true, packing_mode: bin, max_eval_samples: 3, tokenizer: {kind: byte}}
train: {allow_cpu: true}
"""
# More passes than this over one text teach less than new text (Muennighoff et al. 2023, arXiv:2305.16264).
GOOD_EPOCHS = 4
# Sections of which a plan keeps what the given configuration says.
KEPT = ("data", "objective", "parallel", "logging", "notify", "debug")


@click.command("plan")
@click.argument("config", type=PATH, required=False)
@click.option("-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE", help="Set one value of CONFIG.")
@click.option(
    "--hours", required=True, type=FiniteFloat(min=0, min_open=True, max=MOST_HOURS), help="Time for the whole run."
)
@click.option("--tokens", type=FiniteFloat(min=1), help="Train on so many tokens; default: as many as the time allows.")
@click.option(
    "--ratio",
    default=TOKENS_PER_PARAMETER,
    show_default=True,
    type=FiniteFloat(min=0, min_open=True),
    help="Tokens per parameter.",
)
@click.option("--model", "backend", default="llama", show_default=True, type=click.Choice(("llama", "megalodon")))
@click.option("--optimizer", "rule", default="muon", show_default=True, type=click.Choice(("muon", "adamw")))
@click.option("--seq-len", type=click.IntRange(16, 1 << 20), help="Tokens of a row; default: 2048, on a CPU 256.")
@click.option("--seconds", default=300.0, show_default=True, type=SECONDS, help="Time limit for measurements.")
@devices_option
@click.option("--output", type=PATH, default="plan.yaml", show_default=True, help="The configuration to write.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def command(
    config: Path | None,
    overrides: tuple[str, ...],
    hours: float,
    seconds: float,
    devices: tuple[str, ...],
    output: Path,
    as_json: bool,
    **wanted: Any,
) -> None:
    """Propose a run for the time that there is: size, tokens, batch, rates and schedule.

    Measures steps of several sizes on this machine, each for a few seconds. Text and tokenizer are those of CONFIG,
    or bytes of Python's standard library.
    """
    from chomp.analysis.plan import Planning
    from chomp.cli.engine import prepare_environment
    from chomp.config.load import load_config, parse_config

    loaded = (
        parse_config(BASE, source="plan", overrides=overrides) if config is None else load_config(config, overrides)
    )
    _require_new_model(loaded.config)
    if output.exists():
        raise click.UsageError(f"{output} exists already; choose another --output")
    if not output.absolute().parent.is_dir():
        raise click.UsageError(f"{output} cannot be written: there is no folder {output.parent}")
    prepare_environment(imports_jax=False, devices=devices)
    text = _text_of(loaded.config)
    planning = Planning(loaded.config, _goal(hours, text, wanted), seconds, devices)
    with contextlib.closing(planning.run()) as sizes:
        for number, size in enumerate(sizes):
            if not as_json:
                click.echo("\n".join([HEAD] * (number == 0) + [line(planning, size)]))
    proposal = planning.propose()
    written = describe(planning, proposal, text, hours=hours, name=output.name)
    checked = parse_config(written, source=str(output)).config
    _write(output, written)
    planning.keep_speed(proposal, checked)
    if as_json:
        click.echo(json.dumps(as_dict(planning, proposal, output)))
    else:
        click.echo("\n".join([*(f"note: {one}" for one in notes(planning, proposal, text)), summary(proposal, output)]))


def _require_new_model(config: Config) -> None:
    """Refuse weights to start from, which bring a shape, and a tokenizer that nothing else names.

    Raises:
        ConfigError: there are some.
    """
    if config.model.init_from is not None:
        from chomp.errors import ConfigError

        raise ConfigError(
            f"model.init_from: a plan chooses the shape of a new model, and {config.model.init_from} brings that of "
            "its weights; plan without them, with -o model.init_from=null, and name the tokenizer in data.tokenizer"
        )


def _text_of(config: Config) -> TextSize:
    from chomp.analysis.text_size import measure_text
    from chomp.data.tokenizers import build_tokenizer

    return measure_text(config.data, build_tokenizer(config.data.tokenizer))


def _goal(hours: float, text: TextSize, wanted: Mapping[str, Any]) -> Goal:
    from chomp.analysis.plan import Goal

    return Goal(hours * HOUR, eval_tokens=text.eval_tokens, **wanted)


HEAD = (
    f"{'width':>6}  {'layers':>6}  {'parameters':>10}  {'micro-batch':>11}  {'tokens/s':>9}  {'memory':>9}  "
    f"{'in the time':>11}  {'per parameter':>13}"
)


def line(planning: Planning, size: Any) -> str:
    """A measured size as a row: what it reaches in the time."""
    from chomp.analysis.scaling import shape
    from chomp.record.formatting import count, one_line
    from chomp.record.formatting import size as in_bytes

    layers = shape(planning.goal.backend, size.dim, planning.seq_len)["num_layers"]
    cells = f"{size.dim:>6}  {layers:>6}  {count(size.parameters):>10}  {size.rows:>11}"
    if size.tokens_per_second is None:
        return f"{cells}  {'-':>9}  {one_line(size.why)}"
    tokens = planning.training_seconds() * size.tokens_per_second
    memory = in_bytes(size.memory_bytes) if size.memory_bytes else "-"
    ratio = f"{tokens / size.parameters:.3g}"
    return f"{cells}  {count(size.tokens_per_second):>9}  {memory:>9}  {count(tokens):>11}  {ratio:>13}"


def notes(planning: Planning, proposal: Proposal, text: TextSize) -> list[str]:
    """What the user should know of the plan before the run."""
    from chomp.record.formatting import count, device_name, duration

    goal, found = planning.goal, []
    reached = proposal.tokens / proposal.size.parameters
    if planning.platform == "cpu":
        found.append(f"measured on {device_name(planning.device)}: no GPU is used")
    if goal.tokens is None and reached < 0.9 * goal.ratio:
        found.append(f"this size reaches {reached:.3g} tokens per parameter in the time, not {goal.ratio:g}")
    if goal.tokens is not None and proposal.tokens < 0.9 * goal.tokens:
        found.append(f"the time allows {count(proposal.tokens)} tokens, not {count(goal.tokens)}")
    if text.tokens and proposal.tokens > GOOD_EPOCHS * text.tokens:
        found.append(
            f"{proposal.tokens / text.tokens:.3g} passes over the text of {count(text.tokens)} tokens; beyond "
            f"{GOOD_EPOCHS} they teach less than new text (arXiv:2305.16264)"
        )
    if dropped := not_taken_over(planning.base, proposal):
        found.append(f"not taken over from the given configuration: {', '.join(dropped)}")
    left = goal.seconds - proposal.steps * proposal.step_seconds
    if goal.tokens is not None and left > goal.seconds / 2:
        found.append(f"{duration(left)} of the time are left: a larger model was not measured or does not fit")
    return found


def not_taken_over(base: Config, proposal: Proposal) -> list[str]:
    """Settings of the given configuration, other than their defaults, that the plan neither keeps nor chooses itself.

    A section of which the plan sets nothing is one name: `evaluation.sets`, `optim.ema`.
    """
    from chomp.config import Config, flatten

    given = flatten(base)
    default = flatten(Config.model_validate({"model": {"backend": base.model.backend}}))
    planned = _dotted(proposal.settings)
    found = []
    for key, value in given.items():
        section, name, *_ = key.split(".")
        if section in KEPT or key in planned or value == default.get(key):
            continue
        whole = f"{section}.{name}"
        found.append(key if any(one.startswith(f"{whole}.") for one in planned) else whole)
    return list(dict.fromkeys(found))


def _dotted(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    return [
        dotted
        for key, value in values.items()
        for dotted in (_dotted(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [f"{prefix}{key}"])
    ]


def summary(proposal: Proposal, output: Path) -> str:
    """The proposal in two lines."""
    from chomp.errors import command_name
    from chomp.record.formatting import count, duration

    model = proposal.settings["model"]
    return (
        f"width {model['model_dim']}, {model['num_layers']} layers, {count(proposal.size.parameters)} parameters, "
        f"{proposal.steps:,} steps of {proposal.tokens_per_step:,} tokens, about "
        f"{duration(proposal.steps * proposal.step_seconds)}\n"
        f"written to {output}: `{command_name()} inspect {output}` checks it, `{command_name()} fit {output} --write` "
        "looks for a faster micro-batch"
    )


def as_dict(planning: Planning, proposal: Proposal, output: Path) -> dict[str, Any]:
    """All results, JSON-able."""
    return {
        "device": planning.device,
        "goal": asdict(planning.goal),
        "sizes": [asdict(size) for size in planning.sizes],
        "proposal": asdict(proposal),
        "not_taken_over": not_taken_over(planning.base, proposal),
        "written": str(output),
    }


def describe(planning: Planning, proposal: Proposal, text: TextSize, *, hours: float, name: str) -> str:
    """The configuration file, with the reason for each choice."""
    settings = dict(proposal.settings)
    kept = {key: value for key, value in _kept(planning.base).items() if value}
    parts = [_header(planning, proposal, text, hours=hours, name=name)]
    reasons = _reasons(planning, proposal)
    for section in ("model", *kept, "train", "optim", "checkpoint"):
        values = {**kept.get(section, {}), **settings.get(section, {})}
        parts.append(f"{section}:\n" + _lines(values, reasons, f"{section}.", "  "))
    return "\n".join(parts)


def _kept(base: Config) -> dict[str, Any]:
    kept = {section: _without_empty(getattr(base, section).model_dump(exclude_defaults=True)) for section in KEPT}
    # The sources of a mixture name their own.
    backend = {} if base.data.mixture.sources else {"backend": base.data.backend}
    return {**kept, "data": {**backend, **kept["data"]}}


def _without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    cleaned = {key: _without_empty(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    return {key: value for key, value in cleaned.items() if not isinstance(value, Mapping) or value}


def _lines(values: Mapping[str, Any], reasons: Mapping[str, str], prefix: str, indent: str) -> str:
    lines = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines.append(f"{indent}{key}:\n" + _lines(value, reasons, f"{prefix}{key}.", f"{indent}  "))
            continue
        reason = reasons.get(f"{prefix}{key}")
        # A text in JSON is one in YAML.
        lines.append(f"{indent}{key}: {json.dumps(value)}" + (f" # {reason}" if reason else "") + "\n")
    return "".join(lines)


def _header(planning: Planning, proposal: Proposal, text: TextSize, *, hours: float, name: str) -> str:
    from chomp.analysis.plan import RESERVE
    from chomp.errors import command_name
    from chomp.record.formatting import count, device_name, duration, one_line

    size, goal, train = proposal.size, planning.goal, proposal.settings["train"]
    device = one_line(device_name(planning.device))
    table = [f"#   {row}" for row in (HEAD, *(line(planning, one) for one in planning.sizes))]
    said = [f"# Note           {one_line(note)}." for note in notes(planning, proposal, text)]
    ratio = proposal.tokens / size.parameters
    return "\n".join(
        [
            f"# Purpose        A {goal.backend.capitalize()} of {count(size.parameters)} parameters, without the input "
            f"embedding, in {hours:g} hours.",
            f"# Hardware       {device}, which computed {count(size.tokens_per_second or 0)} tokens/s of this size.",
            f"# Wall time      About {duration(proposal.steps * proposal.step_seconds)} of steps. {RESERVE:.0%} of the "
            "time is for evaluation, saves and delays;",
            "#                train.max_seconds ends the run, saved, when the time is over.",
            "# Expected loss  Not known.",
            f"# Command        {command_name()} train {one_line(name)}",
            "#",
            f"# Size           {ratio:.3g} tokens per parameter; {goal.ratio:g} are wanted (Hoffmann et al. 2022, "
            "arXiv:2203.15556, found",
            "#                about 20). One number, the width, sizes the model, as in nanochat. Measured:",
            *table,
            f"# Batch          grad_accum {train['grad_accum']} x batch_size {train['batch_size']} x seq_len "
            f"{train['seq_len']} = {proposal.tokens_per_step:,} tokens per step; {proposal.steps:,} steps read "
            f"{count(proposal.tokens)}.",
            *said,
            "",
            "",
        ]
    )


def _reasons(planning: Planning, proposal: Proposal) -> dict[str, str]:
    """Why a setting has its value, in a line."""
    muon = planning.goal.rule == "muon"
    return {
        "model.compute_dtype": "bfloat16 is no faster on most CPUs" if planning.platform == "cpu" else "",
        "model.loss_chunk_size": "bounds the memory of the logits",
        "train.max_seconds": "the process ends in this time, saved",
        "train.grad_accum": "tokens of a step by 0.58 D^0.571 (Li et al. 2025, arXiv:2503.04715), as a power of two",
        "train.eval_every": f"{proposal.evaluations} evaluations",
        "optim.lr": "embedding, norms: falls with the root of the width"
        if muon
        else "1.79 N^-0.713 D^0.307 (Li et al. 2025), at most 0.004; below 60 M parameters 0.001 (docs/plan.md)",
        "optim.muon.lr_scale": "matrices: 0.03 at any width, less below 2,048 tokens a step (Yang et al. 2023, "
        "arXiv:2310.17813; docs/plan.md)",
        "optim.warmup_steps": "a fiftieth of the run, at most 1,000",
        "optim.min_lr_ratio": "nearly to zero (Bergsma et al. 2025, arXiv:2502.15938)",
    }


def _write(output: Path, text: str) -> None:
    from chomp.errors import ConfigError
    from chomp.record.rundir import write_whole

    try:
        write_whole(output, text.encode())
    except OSError as error:
        raise ConfigError(f"{output} cannot be written: {error.strerror}") from error
