"""The `notify` section: who is told what about a run."""

from __future__ import annotations

from chomp.config.fields import Section, section, setting

NOTICE_KINDS = (
    "finished",
    "stopped",
    "crashed",
    "killed",
    "nonfinite",
    "spike",
    "stalled",
    "disk",
    "queue_empty",
)


class WebhookConfig(Section):
    """A service that takes notices by HTTP POST; its URL is a secret, which a configuration only refers to."""

    url_env: str | None = setting(None, "Environment variable that holds the URL.", min_length=1)
    url_file: str | None = setting(None, "File that holds the URL.", min_length=1)


class TokenWebhookConfig(WebhookConfig):
    """The same with an access token, sent as `Authorization: Bearer`."""

    token_env: str | None = setting(None, "Environment variable that holds an access token.", min_length=1)
    token_file: str | None = setting(None, "File that holds an access token.", min_length=1)


class NotifyConfig(Section):
    """Notices about a run, to a command and to webhooks."""

    kinds: list[str] = setting(list(NOTICE_KINDS), f"Kinds of notices to send: {', '.join(NOTICE_KINDS)}.")
    command: list[str] = setting(
        [], "Program and arguments to run for each notice, which it reads as JSON from standard input; empty: none."
    )
    min_interval_seconds: float = setting(
        600.0, "Least time between two notices of one kind; the ends of runs are always sent.", unit="seconds", ge=0
    )
    timeout_seconds: float = setting(10.0, "Time limit of one attempt to send a notice.", unit="seconds", gt=0, le=300)
    retries: int = setting(3, "Further attempts, after 1, 4, 16, … seconds, if sending fails.", ge=0, le=6)
    stalled_factor: float = setting(
        20.0, "A run is stalled if no step completes for this many times the usual step time, and for a minute.", gt=1
    )
    disk_checkpoints: int = setting(
        2, "Warn if the disk has room for fewer checkpoints than this; 0 never.", unit="checkpoints", ge=0
    )
    webhook: TokenWebhookConfig = section(TokenWebhookConfig, "A service of your own: the notice as JSON.")
    ntfy: TokenWebhookConfig = section(TokenWebhookConfig, "ntfy: the URL of a topic.")
    slack: WebhookConfig = section(WebhookConfig, "Slack: an incoming webhook.")
    discord: WebhookConfig = section(WebhookConfig, "Discord: a channel's webhook.")
