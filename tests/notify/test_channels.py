"""One attempt to send: what each service receives, and what becomes of every bad answer."""

from __future__ import annotations

import http.client
import json
import ssl
import stat
import time
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from chomp.config import parse_config
from chomp.config.notify import NotifyConfig
from chomp.errors import ConfigError
from chomp.notify.channels import CommandChannel, SendError, WebhookChannel, build_channels
from chomp.notify.notice import Notice
from chomp.record.lock import is_running
from tests.notify.servers import serving

SECRET = "T0K3N-of-a-hook"
NOTICE = Notice("crashed", "dé<mo\x1b[2J", "no <!channel> & @everyone\n\x07bell", "/runs/demo", 120, 1_000, 3.21)


def settings(text: str) -> NotifyConfig:
    return parse_config(f"notify: {text}", source="test").config.notify


def webhook(address: str, service: str = "webhook", *, token: str | None = None, seconds: float = 5) -> WebhookChannel:
    return WebhookChannel(service, f"{address}/{SECRET}", token, seconds)


def test_each_service_receives_its_own_body() -> None:
    with serving() as (address, received):
        for service in ("webhook", "ntfy", "slack", "discord"):
            webhook(address, service, token="tk_1").send(NOTICE)
    assert [path for path, _, _ in received.requests] == [f"/{SECRET}"] * 4
    plain, ntfy, slack, discord = received.requests
    assert json.loads(plain[2]) == NOTICE.as_json()
    assert NOTICE.as_json() | {"t": 0, "id": "", "host": "", "text": ""} == {
        "v": 1,
        "kind": "crashed",
        "run": "dé<mo�[2J",
        "reason": "no <!channel> & @everyone �bell",
        "path": "/runs/demo",
        "step": 120,
        "total_steps": 1_000,
        "loss": 3.21,
        "title": "dé<mo�[2J: crashed",
        **{"t": 0, "id": "", "host": "", "text": ""},
    }
    assert plain[1]["Authorization"] == "Bearer tk_1"
    assert plain[1]["User-Agent"].startswith("chomp/")
    assert (ntfy[1]["Title"], ntfy[1]["Priority"]) == ("chomp: crashed", "high")
    assert ntfy[2].decode().startswith("dé<mo�[2J: crashed\nstep 120 of 1,000 · loss 3.2100 · no <!channel>")
    assert "no &lt;!channel&gt; &amp; @everyone" in json.loads(slack[2])["text"]
    assert json.loads(discord[2])["allowed_mentions"] == {"parse": []}


def test_long_texts_are_cut_to_what_services_take() -> None:
    long = Notice("crashed", "é" * 5_000, "é" * 5_000)
    with serving() as (address, received):
        webhook(address, "ntfy").send(long)
        webhook(address, "discord").send(long)
    assert len(received.requests[0][2]) <= 4_000
    received.requests[0][2].decode()
    assert len(json.loads(received.requests[1][2])["content"]) == 2_000


@pytest.mark.parametrize(
    ("answer", "reason", "is_final"),
    [
        (500, "HTTP 500", False),
        (429, "HTTP 429", False),
        (404, "HTTP 404", True),
        ((302, {"Location": "file:///etc/passwd"}), "HTTP 302: the service redirects", True),
        ((307, {"Location": "/elsewhere"}), "HTTP 307: the service redirects", True),
        ("hang", "no answer", False),
        ("drip", "no answer within 0.3 s", False),
        ("close", "RemoteDisconnected", False),
        (b"\x00\xff not HTTP\r\n\r\n", "BadStatusLine", False),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", "HTTPException", False),
        (b"HTTP/1.1 200 " + b"x" * 100_000, "LineTooLong", False),
    ],
)
def test_a_bad_answer_is_an_error_in_time(answer: Any, reason: str, is_final: bool) -> None:
    with serving(answer) as (address, received), pytest.raises(SendError) as caught:
        webhook(address, seconds=0.3).send(NOTICE)
    assert str(caught.value).startswith(reason)
    assert caught.value.is_final is is_final
    assert SECRET not in str(caught.value)
    assert len(received.requests) == 1, "a redirect was followed"


def test_a_slow_answer_is_an_answer() -> None:
    with serving("slow") as (address, received):
        webhook(address).send(NOTICE)
    assert len(received.requests) == 1


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("-1", 0.0), ("1e9", 60.0), ("nan", 0.0), ("soon", 0.0)])
def test_a_service_may_say_when_to_come_back(value: str, seconds: float) -> None:
    with serving((503, {"Retry-After": value})) as (address, _), pytest.raises(SendError) as caught:
        webhook(address).send(NOTICE)
    assert caught.value.after_seconds == seconds


URL = f"https://hooks.example/{SECRET}"


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError(f"cannot open {URL}"),
        urllib.error.URLError(OSError(f"no route to {URL}")),
        http.client.InvalidURL(f"URL can't contain control characters. {URL!r}"),
        ssl.SSLError(f"unexpected end of {URL}"),
        ValueError(f"unknown url type: {URL!r}"),
        RuntimeError(f"a fault of a library with {URL}"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_error_repeats_what_a_library_says(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = webhook("https://hooks.example")

    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(channel._opener, "open", fail)
    with pytest.raises(SendError) as caught:
        channel.send(NOTICE)
    assert SECRET not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def script(folder: Path, text: str) -> str:
    path = folder / "tell.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_command_reads_the_notice_and_its_output_is_discarded(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    CommandChannel([script(tmp_path, f"cat > {tmp_path}/got; echo secret; echo secret >&2")], 5).send(NOTICE)
    assert json.loads((tmp_path / "got").read_text()) == NOTICE.as_json()
    assert "secret" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("exit 3", "the command ended with exit code 3"),
        ("exec 0<&-; exit 0", None),
        ("sleep 60 & echo $! > child; wait", "the command took longer than 0.3 s and was killed"),
    ],
)
def test_a_command_that_fails_or_hangs(text: str, reason: str | None, tmp_path: Path) -> None:
    channel = CommandChannel([script(tmp_path, f"cd {tmp_path}; {text}")], 0.3)
    if reason is None:
        channel.send(NOTICE)
        return
    with pytest.raises(SendError) as caught:
        channel.send(NOTICE)
    assert str(caught.value) == reason
    if "sleep" in text:
        child = int((tmp_path / "child").read_text())
        while is_running(child):
            time.sleep(0.01)


@pytest.mark.parametrize(
    ("text", "value", "message"),
    [
        ("{command: [no-such-program-of-ours]}", "", "no-such-program-of-ours is no program that can be run"),
        ("{command: [/etc/passwd]}", "", "/etc/passwd is no program that can be run"),
        ("{slack: {url_env: HOOK}}", "", "notify.slack.url_env: the environment variable HOOK is not set"),
        ("{slack: {url_env: HOOK}}", f"hooks.slack.com/{SECRET}", "notify.slack.url_env (HOOK): expected a URL"),
        ("{slack: {url_env: HOOK}}", f"file:///{SECRET}", "notify.slack.url_env (HOOK): expected a URL"),
        ("{slack: {url_env: HOOK}}", f"https://[::{SECRET}", "notify.slack.url_env (HOOK): expected a URL"),
        ("{slack: {url_env: HOOK}}", f"https://me:{SECRET}@host/", "without a user name"),
        ("{ntfy: {url_file: hook}}", "", "notify.ntfy.url_file: hook cannot be read: No such file"),
        ("{ntfy: {token_env: HOOK}}", SECRET, "notify.ntfy: has a token and no URL"),
    ],
)
def test_what_cannot_work_is_refused_before_training(
    text: str, value: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOOK", value)
    with pytest.raises(ConfigError) as caught:
        build_channels(settings(text))
    assert message in str(caught.value)
    assert SECRET not in str(caught.value)


def test_secrets_are_read_from_files_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as (address, received):
        (tmp_path / "url").write_text(f"  {address}/{SECRET}\n")
        monkeypatch.setenv("TOKEN", "tk_2")
        [channel] = build_channels(settings(f"{{ntfy: {{url_file: {tmp_path}/url, token_env: TOKEN}}}}"))
        channel.send(NOTICE)
    [(path, headers, _)] = received.requests
    assert (path, headers["Authorization"]) == (f"/{SECRET}", "Bearer tk_2")
