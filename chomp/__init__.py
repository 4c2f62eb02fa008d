"""chomp pretrains language models on one machine."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chomp.notebook import Run

__all__ = ["Run"]
__version__ = "0.3.0.dev0"


def __getattr__(name: str) -> Any:
    """`chomp.Run`, imported when it is first used: commands and the console do not wait for it."""
    if name == "Run":
        return import_module("chomp.notebook").Run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
