"""Rules of `notify`: known kinds, and no secret in the configuration.

A URL of a webhook contains its password. The run directory keeps the configuration twice (`config_original.yaml` byte
for byte), every checkpoint keeps it, and trackers receive it. A secret could not be redacted in all of these places, so
that it is refused before anything is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from chomp.config.notify import NOTICE_KINDS
from chomp.config.problems import Problem
from chomp.config.schema import Config
from chomp.config.spec import settings
from chomp.config.suggest import nearest

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _kinds(config: Config) -> Iterator[Problem]:
    for kind in config.notify.kinds:
        if kind not in NOTICE_KINDS:
            near = nearest(kind, NOTICE_KINDS)
            hint = f"did you mean {near}?" if near else f"use some of {', '.join(NOTICE_KINDS)}"
            yield Problem("notify.kinds", f"{kind!r} is no kind of notice; {hint}")


def _secrets(config: Config) -> Iterator[Problem]:
    """The sentences do not repeat the values."""
    for path in (path for path in settings() if path.startswith("notify.") and path.endswith(("_env", "_file"))):
        _, service, name = path.split(".")
        section = getattr(config.notify, service)
        value, secret = getattr(section, name), name.partition("_")[0]
        if value is None:
            continue
        if name.endswith("_env") and not _VARIABLE.fullmatch(value):
            yield Problem(
                path,
                f"expected the name of an environment variable, such as CHOMP_{service.upper()}_{secret.upper()}, that "
                "holds the secret; the secret itself would be stored with the run",
            )
        if name.endswith("_file") and "://" in value:
            yield Problem(
                path,
                "expected the path of a file that holds the secret; the secret itself would be stored with the run",
            )
        if name.endswith("_file") and getattr(section, f"{secret}_env") is not None:
            also = f"notify.{service}.{secret}_env"
            yield Problem(path, f"is set and so is {also}; remove one", also=(also,))


def _command(config: Config) -> Iterator[Problem]:
    if any("://" in word for word in config.notify.command):
        yield Problem(
            "notify.command",
            "contains a URL, which would be stored with the run although it may be a secret; have the command read it "
            "from an environment variable or a file, or use notify.webhook",
        )
    if config.notify.command[:1] == [""]:
        yield Problem("notify.command", "begins with an empty program; name a program, or write [] for none")


RULES = (_kinds, _secrets, _command)
