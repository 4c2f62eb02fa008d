"""The `data.mixture` section: several sources with weights, which may change at stages."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from chomp.config.fields import MAX_TOKENS, SET, Name, Section, setting, table
from chomp.config.source import TextSource


class MixtureSource(TextSource):
    """One source of a mixture; beside these keys it has those of `data` that name a text."""

    eval_files: list[str] = setting(
        [],
        "Files to evaluate on, as `files`; empty holds out a part of this source. For `files`, `local_text` and "
        "`stdlib`.",
        group="evaluation",
        when={".backend": ["files", "local_text", "stdlib"]},
    )
    weight: float = setting(
        1.0, "Share of the tokens, relative to the weights of the other sources.", group="mixture", ge=0
    )
    max_epochs: int | None = setting(
        None,
        "Passes over this source until it is exhausted; null: 1, or no limit with `exhausted: repeat`.",
        unit="passes",
        group="mixture",
        unset="auto",
        gt=0,
    )


OWN_SETTINGS = (*TextSource.model_fields, "eval_files")
"""What a source has of `data`."""


class MixtureStage(Section):
    """Other weights from some token of the run on."""

    from_tokens: int = setting(
        0, "The stage begins once the run has read this many tokens.", unit="tokens", ge=0, le=MAX_TOKENS
    )
    weights: dict[Name, Annotated[float, Field(ge=0, description="Weight of this source in the stage.")]] = table(
        "The weight of each source in the stage; 0 leaves a source out."
    )


class MixtureConfig(Section):
    """Several sources of text with weights, in place of the one text that `data` names."""

    sources: dict[Name, MixtureSource] = table("Sources by name.")
    stages: dict[Name, MixtureStage] = table(
        "Stages by name; until the first begins, the weights are those of the sources."
    )
    exhausted: Literal["repeat", "stop", "renormalise"] = setting(
        "repeat",
        "What the end of a source means: `repeat` starts it again, `stop` ends the run, `renormalise` leaves its share "
        "to the others.",
        when={"data.mixture.sources": SET},
    )
