"""A request for one continuation, as a line of JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from chomp.config.fields import MAX_NEW_TOKENS, MAX_SEED, MAX_TEMPERATURE
from chomp.config.misfits import first_misfit
from chomp.generate.sampling import SamplingOptions
from chomp.record.json_text import parse_json


def _whole(text: str) -> str:
    """Refuse half of a pair of `\\ud83d\\ude00`, which no file can hold and no tokenizer encodes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"half of a surrogate pair at character {error.start:,}") from None
    return text


Text = Annotated[str, AfterValidator(_whole)]


class Request(BaseModel):
    """The keys of the line; the command's options are the defaults."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: Text = ""
    max_tokens: Annotated[int, Field(ge=1, le=MAX_NEW_TOKENS)]
    temperature: Annotated[float, Field(ge=0, le=MAX_TEMPERATURE, allow_inf_nan=False)]
    top_k: Annotated[int, Field(ge=1)] | None
    top_p: Annotated[float, Field(gt=0, le=1)] | None
    stop: list[Annotated[Text, Field(min_length=1)]]
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)]

    @classmethod
    def defaults(cls, options: SamplingOptions, seed: int) -> Request:
        """What the command line says."""
        return cls(
            max_tokens=options.max_new_tokens,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            stop=list(options.stop),
            seed=seed,
        )

    def read(self, line: str) -> Request:
        """A line, with these values where it has none.

        Raises:
            ValueError: one sentence; it is no JSON object of these fields.
        """
        try:
            given = parse_json(line)
        except ValueError as error:
            raise ValueError(f"a line must be a JSON object: {error}") from None
        if not isinstance(given, dict):
            raise ValueError("a line must be a JSON object")
        try:
            return Request.model_validate({**self.model_dump(), **given})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise ValueError(f"unknown field {place}; known are {', '.join(type(self).model_fields)}") from None
            raise ValueError(first_misfit(error, Request)) from None

    @property
    def options(self) -> SamplingOptions:
        """How tokens are chosen."""
        return SamplingOptions(self.max_tokens, self.temperature, self.top_k, self.top_p, tuple(self.stop))
