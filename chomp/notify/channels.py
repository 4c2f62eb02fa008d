"""Where notices go: a command, and webhooks. Each sends one notice once, within a time limit.

No sentence here repeats a URL, a token, a reply or the text of a library's exception, which may contain them.
"""

from __future__ import annotations

import abc
import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import chomp
from chomp.config.notify import NotifyConfig, TokenWebhookConfig
from chomp.errors import ConfigError
from chomp.notify.bodies import FORMATS
from chomp.notify.notice import Notice
from chomp.notify.secret import read_secret, read_url

LONGEST_RETRY_AFTER_SECONDS = 60.0
# Replies after which the same request may succeed later.
TEMPORARY = frozenset({408, 425, 429})


class SendError(Exception):
    """A notice was not sent; the text says why, without a secret.

    Attributes:
        is_final: whether another attempt would fail in the same way.
        after_seconds: how long the service wants to be left alone.
    """

    def __init__(self, reason: str, *, is_final: bool = False, after_seconds: float = 0.0):
        super().__init__(reason)
        self.is_final = is_final
        self.after_seconds = after_seconds


class Channel(abc.ABC):
    """One receiver of notices."""

    name: str

    @abc.abstractmethod
    def send(self, notice: Notice) -> None:
        """Send a notice.

        Raises:
            SendError: it was not sent.
        """


class CommandChannel(Channel):
    """Runs a program with the notice as JSON on its standard input.

    Args:
        shows_output: whether its output is shown; it is discarded otherwise, since it may contain secrets.
    """

    name = "notify.command"

    def __init__(self, argv: Sequence[str], timeout_seconds: float, *, shows_output: bool = False):
        self._argv = list(argv)
        self._timeout_seconds = timeout_seconds
        self._output = None if shows_output else subprocess.DEVNULL

    def send(self, notice: Notice) -> None:
        try:
            process = subprocess.Popen(
                self._argv,
                stdin=subprocess.PIPE,
                stdout=self._output,
                stderr=self._output,
                # A group of its own: a time-out kills its children, too, and Ctrl+C does not reach it.
                start_new_session=True,
            )
        except OSError as error:
            raise SendError(f"the command cannot be started: {error.strerror}") from None
        try:
            process.communicate(json.dumps(notice.as_json()).encode() + b"\n", self._timeout_seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise SendError(f"the command took longer than {self._timeout_seconds:g} s and was killed") from None
        if process.returncode:
            raise SendError(f"the command ended with exit code {process.returncode}")


class _RefuseRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would repeat the request, or its URL, at an address that the user has not named."""

    def redirect_request(self, *args: Any) -> None:
        """Follow none; urllib then reports the redirect as an error."""
        return


class WebhookChannel(Channel):
    """Sends notices to a service by HTTP POST."""

    def __init__(self, service: str, url: str, token: str | None, timeout_seconds: float):
        self.name = f"notify.{service}"
        self._format = FORMATS[service]
        self._url = url
        self._token = token
        self._timeout_seconds = timeout_seconds
        self._opener = urllib.request.build_opener(_RefuseRedirects)

    def send(self, notice: Notice) -> None:
        failure = _within(self._timeout_seconds, lambda: self._post(notice))
        if failure is not None:
            raise failure

    def _post(self, notice: Notice) -> SendError | None:
        headers, body = self._format(notice)
        # Services refuse the name of Python's library.
        headers = {**headers, "User-Agent": f"chomp/{chomp.__version__}"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(self._url, data=body, headers=headers, method="POST")
        try:
            # The reply's body is of no use, and is not read.
            self._opener.open(request, timeout=self._timeout_seconds).close()
        except urllib.error.HTTPError as error:
            with error:
                return _refusal(error)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return SendError(_in_words(error))
        return None


def _within(seconds: float, work: Callable[[], SendError | None]) -> SendError | None:
    """Do `work` in a thread, and leave it behind after so many seconds.

    A socket's time limit is for each single wait: a server that sends a byte at a time, or a resolver that hangs, would
    hold the sender for hours.
    """
    results: list[SendError | None] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:  # noqa: BLE001 - its text and traceback may hold a secret: only its type is told
            results.append(SendError(type(error).__name__, is_final=True))

    thread = threading.Thread(target=run, daemon=True, name="notify-request")
    thread.start()
    thread.join(seconds)
    return results[0] if results else SendError(f"no answer within {seconds:g} s")


def _refusal(error: urllib.error.HTTPError) -> SendError:
    if 300 <= error.code < 400:
        reason = f"HTTP {error.code}: the service redirects, which is not followed; give its new URL"
        return SendError(reason, is_final=True)
    is_temporary = error.code in TEMPORARY or error.code >= 500
    try:
        after = float(error.headers.get("Retry-After", 0))
    except ValueError:
        after = 0.0
    after = min(after, LONGEST_RETRY_AFTER_SECONDS) if after > 0 else 0.0
    return SendError(f"HTTP {error.code}", is_final=not is_temporary, after_seconds=after)


def _in_words(error: Exception) -> str:
    """An exception by its kind and the operating system's words, never by its own text, which may contain the URL."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    if isinstance(cause, OSError) and cause.errno is not None and cause.strerror:
        return f"{type(cause).__name__}: {cause.strerror}"
    return type(cause if isinstance(cause, Exception) else error).__name__


def build_channels(notify: NotifyConfig, *, shows_output: bool = False) -> list[Channel]:
    """The channels of a configuration, each checked as far as it can be without sending anything.

    Raises:
        ConfigError: a program, a variable or a file is missing, or holds no URL.
    """
    channels: list[Channel] = []
    if notify.command:
        program, *arguments = notify.command
        # Not for every program: a path loses its leading "./".
        program = str(Path(program).expanduser()) if program.startswith("~") else program
        if shutil.which(program) is None:
            raise ConfigError(
                f"notify.command: {program} is no program that can be run; name one in PATH, or its path, and make it "
                "executable (chmod +x)"
            )
        argv = [program, *arguments]
        channels.append(CommandChannel(argv, notify.timeout_seconds, shows_output=shows_output))
    for service in FORMATS:
        section = getattr(notify, service)
        key = f"notify.{service}"
        url = read_url(section.url_env, section.url_file, f"{key}.url")
        token = None
        if isinstance(section, TokenWebhookConfig):
            token = read_secret(section.token_env, section.token_file, f"{key}.token")
            if token is not None and url is None:
                raise ConfigError(f"{key}: has a token and no URL; set {key}.url_env or {key}.url_file")
            if token is not None and not (token.isascii() and token.isprintable()):
                raise ConfigError(f"{key}: the token has characters that a header cannot hold")
        if url is not None:
            channels.append(WebhookChannel(service, url, token, notify.timeout_seconds))
    return channels
