"""Several texts as one: opens each source of `data.mixture`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from chomp.config.data import DataConfig
from chomp.config.mixture import OWN_SETTINGS, MixtureConfig
from chomp.data.retry import RetryPolicy
from chomp.data.sources.base import Document
from chomp.data.sources.build import Text, open_source
from chomp.data.tokenizer import Tokenizer
from chomp.errors import ConfigError, DataError

_OWN = re.compile(rf"\bdata\.({'|'.join(OWN_SETTINGS)})\b")


def build(data: DataConfig, tokenizer: Tokenizer, vocab_size: int, retry: RetryPolicy) -> Text:
    """Open all sources; each holds out documents of its own."""
    parts: dict[str, Text] = {}
    for name in data.mixture.sources:
        with errors_of(name):
            part = open_source(of_source(data, name), tokenizer, vocab_size, retry)
        parts[name] = replace(part, name=placed(part.name, name), description=placed(part.description, name))
    whole = sum(source.weight for source in data.mixture.sources.values())
    weights = {name: source.weight / whole for name, source in data.mixture.sources.items()}
    heldout: list[Document] = [
        part.evaluation[index] for part in parts.values() for index in range(len(part.evaluation))
    ]
    return Text(
        name="the mixture",
        description="; ".join(f"{name} ({weights[name]:.3g}): {part.description}" for name, part in parts.items()),
        fingerprint={name: part.fingerprint for name, part in parts.items()},
        heldout_rule={"rule": "by source", **{name: part.heldout_rule for name, part in parts.items()}},
        evaluation=heldout,
        parts=parts,
    )


def of_source(data: DataConfig, name: str) -> DataConfig:
    """The section as if the source were its only text."""
    mixture = data.mixture
    own = {field: getattr(mixture.sources[name], field) for field in OWN_SETTINGS}
    share = -(-data.max_eval_samples // len(mixture.sources))
    return data.model_copy(update={**own, "max_eval_samples": share, "mixture": MixtureConfig()})


@contextmanager
def errors_of(name: str) -> Iterator[None]:
    """Errors about a text as errors about a source."""
    try:
        yield
    except (ConfigError, DataError) as error:
        raise type(error)(_placed_error(str(error), name)) from error


def placed(text: str, name: str) -> str:
    """Words about a text with the names of the source's own settings."""
    return _OWN.sub(rf"data.mixture.sources.{name}.\1", text)


def _placed_error(message: str, name: str) -> str:
    """An error about a text with the names of the source's own settings, or else of the source."""
    found = placed(message, name)
    return found if found != message else f"the source {name} of data.mixture: {message}"
