"""Rules of `data.mixture`."""

from __future__ import annotations

from collections.abc import Iterator

from chomp.config.mixture import MixtureConfig
from chomp.config.problems import Problem
from chomp.config.rules.arithmetic import grad_accum
from chomp.config.rules.data import forgotten_backend, source_problems, unread_evaluation
from chomp.config.schema import Config
from chomp.config.source import TextSource

# Each has three numbers in a metrics row and a line in charts.
MOST_SOURCES = 32
_SOURCES = "data.mixture.sources"


def _sources(config: Config) -> Iterator[Problem]:
    mixture = config.data.mixture
    for name, source in mixture.sources.items():
        path = f"{_SOURCES}.{name}"
        yield from source_problems(path, source)
        if "backend" not in source.model_fields_set:
            yield from forgotten_backend(path, source)
        if source.eval_files:
            yield from unread_evaluation(path, "eval_files", source.backend)
        if source.max_epochs is not None and mixture.exhausted == "repeat":
            yield Problem(
                f"{path}.max_epochs",
                "data.mixture.exhausted: repeat starts a source again without end; write stop or renormalise there, or "
                "leave this out",
                also=("data.mixture.exhausted",),
            )
    if len(mixture.sources) > MOST_SOURCES:
        yield Problem(_SOURCES, f"has {len(mixture.sources)} sources; at most {MOST_SOURCES} are allowed")
    if mixture.sources and not any(source.weight for source in mixture.sources.values()):
        yield Problem(_SOURCES, "every weight is 0, so that there is nothing to read; raise at least one")


def _stages(config: Config) -> Iterator[Problem]:
    mixture = config.data.mixture
    begun: dict[int, str] = {}
    for name, stage in mixture.stages.items():
        path = f"data.mixture.stages.{name}"
        yield from _weights(path, stage.weights, mixture)
        if stage.from_tokens == 0:
            yield Problem(
                f"{path}.from_tokens",
                "a stage begins after the first token; write a number above 0, or change the weights of the sources",
            )
        elif stage.from_tokens in begun:
            yield Problem(
                f"{path}.from_tokens", f"the stage {begun[stage.from_tokens]} begins there too; write another number"
            )
        begun.setdefault(stage.from_tokens, name)


def _weights(path: str, weights: dict[str, float], mixture: MixtureConfig) -> Iterator[Problem]:
    missing = [name for name in mixture.sources if name not in weights]
    unknown = [name for name in weights if name not in mixture.sources]
    if unknown:
        known = ", ".join(mixture.sources) or "none"
        yield Problem(f"{path}.weights.{unknown[0]}", f"there is no such source in {_SOURCES}; known are {known}")
    elif missing:
        yield Problem(
            f"{path}.weights",
            f"names every source but {', '.join(missing)}; write {missing[0]}: 0 to leave it out of the stage",
        )
    elif not any(weights.values()):
        yield Problem(f"{path}.weights", "every weight is 0, so that there is nothing to read; raise at least one")


def _rivals(config: Config) -> Iterator[Problem]:
    """Settings that a mixture takes the place of."""
    data = config.data
    if not data.mixture.sources:
        return
    default = TextSource()
    for name in TextSource.model_fields:
        if getattr(data, name) != getattr(default, name):
            yield Problem(
                f"data.{name}",
                f"data.mixture is set, whose sources name the text; write it in {_SOURCES}.NAME, or leave one out",
                also=(_SOURCES,),
            )
    if not data.repeat:
        yield Problem(
            "data.repeat",
            "data.mixture is set; write data.mixture.exhausted: stop or renormalise in place of false",
            also=(_SOURCES,),
        )
    if config.train.epochs is not None:
        yield Problem(
            "train.epochs",
            "passes are those of one text, and data.mixture has several; write train.steps",
            also=(_SOURCES,),
        )


def _late_stage(config: Config) -> Iterator[str]:
    total = config.train.steps * grad_accum(config) * config.train.batch_size * config.train.seq_len
    for name, stage in config.data.mixture.stages.items():
        if stage.from_tokens >= total:
            yield (
                f"the stage {name} of data.mixture begins after {stage.from_tokens:,} tokens, and the run reads "
                f"{total:,}: it is never reached"
            )


def _unread(config: Config) -> Iterator[str]:
    mixture = config.data.mixture
    for name, source in mixture.sources.items():
        if not source.weight and not any(stage.weights.get(name) for stage in mixture.stages.values()):
            yield f"the source {name} of data.mixture has weight 0 in every stage: it is never read"


RULES = (_sources, _stages, _rivals)
NOTES = (_late_stage, _unread)
