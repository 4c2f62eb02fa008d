"""Reads the secrets that a configuration refers to."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from chomp.errors import ConfigError

MOST_BYTES = 8192


def read_secret(variable: str | None, file: str | None, key: str) -> str | None:
    """The text of an environment variable or of a file, without spaces around it; None where the setting names neither.

    Args:
        key: the settings `key_env` and `key_file` name them.

    Raises:
        ConfigError: it is not there, or it is empty.
    """
    if variable is not None:
        found = os.environ.get(variable, "").strip()
        if not found:
            raise ConfigError(f"{key}_env: the environment variable {variable} is not set; export it before the start")
        return found
    if file is not None:
        return _read_file(Path(file).expanduser(), f"{key}_file")
    return None


def _read_file(path: Path, key: str) -> str:
    try:
        with path.open("rb") as opened:
            found = opened.read(MOST_BYTES).decode().strip()
    except OSError as error:
        raise ConfigError(f"{key}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{key}: {path} is not a text file in UTF-8") from None
    if not found:
        raise ConfigError(f"{key}: {path} is empty; write the secret into it")
    return found


def read_url(variable: str | None, file: str | None, key: str) -> str | None:
    """The same for a URL; no message repeats it.

    Raises:
        ConfigError: it is no URL that a request can be sent to.
    """
    url = read_secret(variable, file, key)
    if url is None:
        return None
    name = f"{key}_env ({variable})" if variable is not None else f"{key}_file ({file})"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = None, None
    if parts is None or parts.scheme not in ("http", "https") or not host or not url.isascii() or not url.isprintable():
        raise ConfigError(f"{name}: expected a URL that begins with https:// or http://; it is not shown here")
    if parts.username is not None or " " in url:
        raise ConfigError(
            f"{name}: expected a URL without spaces and without a user name; for a password use a token, or a command"
        )
    return url
