"""`chomp config check|show|schema`: check and show a configuration without starting a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from chomp.cli.options import PATH
from chomp.config import Config, Derived, LoadedConfig, derive, derived_section, flatten, load_config, notes
from chomp.config.json_schema import json_schema
from chomp.config.load import read_text
from chomp.config.reference import literal
from chomp.errors import ChompError, ConfigError
from chomp.record.formatting import plural

_overrides = click.option(
    "-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one value; may be repeated."
)
_config_file = click.argument("config_file", metavar="CONFIG", type=PATH)


@click.group("config")
def command() -> None:
    """Check a configuration, show its resolved values, rewrite a predecessor's, print the JSON Schema."""


@command.command("check")
@_config_file
@_overrides
def check_command(config_file: Path, overrides: tuple[str, ...]) -> None:
    """Check CONFIG and print its main figures."""
    _check(config_file, overrides)


def _check(config_file: Path, overrides: tuple[str, ...] = ()) -> None:
    loaded = load_config(config_file, overrides)
    click.echo(f"OK {loaded.source}: {summary(loaded.config, derive(loaded.config))}")
    for note in notes(loaded.config):
        click.echo(f"note: {note}", err=True)


@command.command("show")
@_config_file
@_overrides
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of YAML.")
def show_command(config_file: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print every value of CONFIG with its source: default, preset, file or override."""
    loaded = load_config(config_file, overrides)
    if as_json:
        values = {
            "config": loaded.config.model_dump(),
            "derived": derived_section(derive(loaded.config)),
            "origins": dict(loaded.origins),
        }
        click.echo(json.dumps(values, indent=2, ensure_ascii=False))
    else:
        click.echo(resolved_yaml(loaded), nl=False)


@command.command("migrate")
@click.argument("file", metavar="FILE", type=PATH)
@click.option("-d", "--output", metavar="NEW", type=PATH, help="Default: NAME.migrated.yaml beside FILE.")
def migrate_command(file: Path, output: Path | None) -> None:
    """Write FILE, a configuration of the predecessor (pszemraj/chomp), anew into NEW, and check it.

    Comments and order stay. Each change is printed. Defaults of the predecessor that are others here are written out.
    """
    from chomp.config.migrate import migrated

    if not file.is_file():
        raise ConfigError(f"{file} is no file; name a configuration file")
    text = read_text(file)
    try:
        text, changes = migrated(text)
    except ChompError as error:
        raise ConfigError(f"{file}: {error}") from None
    target = output or file.with_name(f"{file.stem}.migrated.yaml")
    try:
        with target.open("x", encoding="utf-8", newline="") as new:
            new.write(text)
    except FileExistsError:
        raise ConfigError(f"{target} exists; name another file with --output, or delete it") from None
    for change in changes:
        click.echo(change)
    click.echo(f"{plural(len(changes), 'change')}, written to {target}")
    _check(target)


@command.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of configuration files, for editors."""
    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


def summary(values: Config, derived: Derived) -> str:
    """The main figures in one line."""
    train, optim = values.train, values.optim
    batch = f"{derived.grad_accum} x {train.batch_size} x {train.seq_len}"
    schedule = f"{optim.name}, warm-up {optim.warmup_steps:,}, {optim.schedule} decay {derived.decay_steps_effective:,}"
    vocabulary = f"{derived.vocab_size:,}" if derived.vocab_size is not None else "from the tokenizer"
    steps = f"{derived.tokens_per_step:,} tokens ({batch})"
    length = f"{train.steps:,} steps x {steps} = {derived.total_tokens:,} tokens; {schedule}"
    if train.epochs is not None:
        length = f"{train.epochs} x the text in steps of {steps}; {optim.name}, warm-up {optim.warmup_steps:,}"
    text = f"a mixture of {len(values.data.mixture.sources)}" if derived.mixture else values.data.backend
    return f"{values.model.backend} on {text}; {length}; vocabulary {vocabulary}"


def resolved_yaml(loaded: LoadedConfig) -> str:
    """All values as a valid YAML file, each with its source as a comment."""
    lines: list[str] = []
    open_sections: list[str] = []
    for path, value in flatten(loaded.config).items():
        *outer, leaf = path.split(".")
        if outer != open_sections:
            shared = next(
                (i for i, (a, b) in enumerate(zip(outer, open_sections, strict=False)) if a != b),
                min(len(outer), len(open_sections)),
            )
            lines += [f"{'  ' * depth}{name}:" for depth, name in enumerate(outer) if depth >= shared]
            open_sections = outer
        lines.append(f"{'  ' * len(outer)}{leaf}: {_yaml_value(value)}  # {loaded.origins[path]}")
    lines.append("# derived:")
    for section, numbers in derived_section(derive(loaded.config)).items():
        lines += [f"#   {section}.{name}: {_yaml_value(number)}" for name, number in numbers.items()]
    return "\n".join(lines) + "\n"


def _yaml_value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_quoted(item) for item in value)}]"
    return _quoted(value) if isinstance(value, str) else literal(value)


def _quoted(text: str) -> str:
    """A YAML double-quoted scalar; control characters are escaped, so that they do not reach a terminal."""
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
    plain = text.replace("$variables", "$$variables")
    inner = (escapes.get(letter, letter if letter.isprintable() else f"\\U{ord(letter):08X}") for letter in plain)
    return f'"{"".join(inner)}"'
