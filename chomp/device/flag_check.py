"""Tests whether the installed XLA accepts flags, in a child process, because XLA aborts on an unknown flag."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from chomp.errors import DeviceError

# Building compile options makes XLA read XLA_FLAGS; no backend starts and no GPU is touched (about 0.2 s).
_CHILD = "from jaxlib import xla_client; xla_client.CompileOptions()"
_UNKNOWN = re.compile(r"Unknown flags? in XLA_FLAGS: (.*)")
_BAD_VALUE = re.compile(r"Couldn't interpret value (\S*) for flag (\S+?)\.?$", re.MULTILINE)
_LOG_PREFIX = re.compile(r"^[IWEF]\d{4} \S+\s+\d+ \S+\] ")


@dataclass(frozen=True)
class FlagCheck:
    """Whether XLA starts with the flags.

    Attributes:
        rejected: the flags it does not accept; empty when accepted, or when it failed otherwise.
        message: one sentence; empty when accepted.
    """

    accepted: bool
    rejected: tuple[str, ...] = ()
    message: str = ""


def check_xla_flags(environ: Mapping[str, str], *, timeout_seconds: int | float = 60) -> FlagCheck:
    """Let a short child process read `XLA_FLAGS` of `environ`."""
    flags = environ.get("XLA_FLAGS", "")
    if not flags.strip():
        return FlagCheck(True)
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-c", _CHILD],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return FlagCheck(False, message=f"XLA did not answer within {timeout_seconds:g} s with XLA_FLAGS={flags!r}")
    return FlagCheck(True) if child.returncode == 0 else _explain(child.stderr.decode("utf-8", "replace"), flags)


def require_xla_flags(environ: Mapping[str, str]) -> None:
    """Raise `DeviceError` naming the flag when the installed XLA does not accept `XLA_FLAGS`."""
    result = check_xla_flags(environ)
    if not result.accepted:
        raise DeviceError(result.message)


def _explain(output: str, flags: str) -> FlagCheck:
    unknown = _UNKNOWN.search(output)
    if unknown:
        names = tuple(unknown[1].split())
        many = len(names) > 1
        message = f"the installed XLA does not know the flag{'s' if many else ''} {' '.join(names)} in XLA_FLAGS"
        return FlagCheck(False, names, f"{message}; remove {'them' if many else 'it'}")
    bad = _BAD_VALUE.search(output)
    if bad:
        flag = f"--{bad[2]}={bad[1]}"
        return FlagCheck(False, (flag,), f"the installed XLA cannot read the value of {flag} in XLA_FLAGS; correct it")
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "it said nothing")
    last = _LOG_PREFIX.sub("", last).strip()
    return FlagCheck(False, message=f"XLA does not start with XLA_FLAGS={flags!r}: {last[:200]}")
