"""Shared by the Llama formats."""

from __future__ import annotations

from chomp.config import Config


def unsupported_reason(config: Config, name: str) -> str | None:
    """Say why a format of plain Llamas cannot express a model, or None."""
    model = config.model
    if model.backend != "llama":
        return f"{name} writes Llama models, and this one is a {model.backend}"
    if model.attention_window is not None:
        return (
            f"{name} cannot express model.attention_window ({model.attention_window}): Llama attends to the whole text"
        )
    if model.residual_streams > 1:
        return (
            f"{name} cannot express model.residual_streams ({model.residual_streams}): Llama has one residual stream; "
            "--to mhc writes this model"
        )
    return None
