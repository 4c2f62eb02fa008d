"""A secret of a notice is in no file of a run, in no output and in no error, whatever goes wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from chomp.config import parse_config
from chomp.config.problems import InvalidConfig
from chomp.record.event_log import read_events
from chomp.record.events import Warned
from tests import in_process
from tests.engine import dummy_config, write_corpus
from tests.notify.servers import serving
from tests.notify.test_channels import SECRET

URL = f"https://hooks.example/{SECRET}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{slack: {url: %s}}", "notify.slack.url: unknown key; did you mean notify.slack.url_env?"),
        ("{slack: %s}", "notify.slack: expected a section"),
        (
            "{slack: {url_env: %s}}",
            "notify.slack.url_env: expected the name of an environment variable, such as CHOMP_SLACK_URL",
        ),
        ("{slack: {url_file: %s}}", "notify.slack.url_file: expected the path of a file"),
        ("{ntfy: {token_env: -%s}}", "notify.ntfy.token_env: expected the name of an environment variable"),
        ("{command: [curl, '%s']}", "notify.command: contains a URL"),
        ("{command: '%s'}", "notify.command: expected a list of texts"),
        ("{kinds: [spik]}", "notify.kinds: 'spik' is no kind of notice; did you mean spike?"),
        ("{ntfy: {url_env: A, url_file: b}}", "notify.ntfy.url_file: is set and so is notify.ntfy.url_env"),
    ],
)
def test_a_secret_in_the_configuration_is_refused_and_not_repeated(text: str, message: str) -> None:
    written = text.replace("%s", URL)
    with pytest.raises(InvalidConfig) as caught:
        parse_config(f"notify: {written}", source="c.yaml")
    assert message in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("key", ["notify.slack.url_env", "notify.slack.url", "notify.command", "notify.retries"])
def test_a_secret_in_an_override_is_not_repeated(key: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse_config("{}", source="c.yaml", overrides=[f"{key}={URL}"])
    assert f"-o {key}=…" in str(caught.value)
    assert SECRET not in str(caught.value)


def files_with(text: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


@pytest.mark.compile
def test_no_file_of_a_run_has_the_secret_although_every_request_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run that skips bad steps and crashes; its ntfy server refuses, and its Slack server is not there."""
    config = dummy_config(
        write_corpus(tmp_path / "corpus"),
        optim={"lr": 1e30},
        debug={"nonfinite": "skip", "max_consecutive_nonfinite": 3},
        logging={"level": "DEBUG"},
        notify={
            "retries": 0,
            "min_interval_seconds": 0,
            "ntfy": {"url_env": "NTFY", "token_env": "TOKEN"},
            "slack": {"url_env": "SLACK"},
            "command": ["tee", "-a", "told.jsonl"],
        },
    )
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with serving(403) as (address, received):
        monkeypatch.setenv("NTFY", f"{address}/{SECRET}")
        monkeypatch.setenv("TOKEN", f"tk_{SECRET}")
        monkeypatch.setenv("SLACK", f"http://127.0.0.1:9/{SECRET}")
        done = in_process.run("train", "config.yaml", "--run-dir", "run", cwd=tmp_path)
    assert done.returncode == 6
    assert len(received.requests) >= 2
    assert SECRET not in done.stdout + done.stderr
    assert files_with("token_env", tmp_path / "run"), "the search finds what is there"
    assert files_with(SECRET, tmp_path / "run") == []
    told = [json.loads(line) for line in (tmp_path / "told.jsonl").read_text().splitlines()]
    assert [notice["kind"] for notice in told][-1] == "crashed"
    assert {notice["kind"] for notice in told} == {"nonfinite", "crashed"}
    assert told[-1]["path"] == str(tmp_path / "run")
    warnings = [event.message for event in read_events(tmp_path / "run" / "events.jsonl") if isinstance(event, Warned)]
    log = (tmp_path / "run" / "train.log").read_text()
    for sentence in (
        "the notice 'crashed' could not be sent by notify.ntfy: HTTP 403",
        "the notice 'crashed' could not be sent by notify.slack: ConnectionRefusedError: Connection refused",
    ):
        assert sentence in log or sentence in warnings


def test_a_receiver_that_is_missing_ends_the_start_without_a_trace(tmp_path: Path) -> None:
    config = dummy_config(write_corpus(tmp_path / "corpus"), notify={"slack": {"url_env": "NOT_SET"}})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    for option in ("--dry-run", f"--run-dir={tmp_path}/run"):
        done = in_process.run("train", "config.yaml", option, cwd=tmp_path)
        assert done.returncode == 2
        assert "notify.slack.url_env: the environment variable NOT_SET is not set" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_test_notice_says_what_each_receiver_answered(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "notify: {webhook: {url_env: HOOK}, slack: {url_env: HOOK}, command: [sh, -c, 'cat; exit 3']}"
    )
    with serving(200, 404) as (address, received):
        os.environ["HOOK"] = f"{address}/{SECRET}"
        done = in_process.run("watch", "config.yaml", "--test", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == "notify.webhook: sent\n"
    assert "notify.slack: HTTP 404" in done.stderr
    assert "notify.command: the command ended with exit code 3" in done.stderr
    assert json.loads(received.requests[0][2])["kind"] == "test"
    assert SECRET not in done.stdout + done.stderr
