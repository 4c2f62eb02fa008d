"""`chomp probe --compare` in a child process."""

from __future__ import annotations

from collections.abc import Mapping

from chomp.config import LoadedConfig
from chomp.device.comparison import Comparison, comparison_of
from chomp.errors import COMMAND_VARIABLE, command_name
from chomp.queue.launch import engine_command
from chomp_tui.engine.process import UNREADABLE, EngineError, ask_engine, configuration_file


async def compare_flags(loaded: LoadedConfig, environ: Mapping[str, str], variables: Mapping[str, str]) -> Comparison:
    """Measure a configuration's step without and with `variables`; cancelling this ends the child.

    Args:
        environ: the user's own environment.

    Raises:
        EngineError: nothing could be measured.
    """
    with configuration_file(loaded.text) as path:
        command = engine_command("probe", "--compare", str(path), "--json")
        for override in loaded.overrides:
            command += ["-o", override]
        for name, value in variables.items():
            command += ["--set", f"{name}={value}"]
        answer = await ask_engine(command, {**environ, COMMAND_VARIABLE: command_name()})
    found = comparison_of(answer)
    if found is None:
        raise EngineError(UNREADABLE)
    return found
