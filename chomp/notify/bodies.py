"""The request that each kind of service understands.

Sources: https://docs.ntfy.sh/publish, https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks,
https://discord.com/developers/docs/resources/webhook#execute-webhook.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from chomp.notify.notice import URGENT, Notice

# ntfy makes an attachment of a longer message; Discord refuses one.
NTFY_BYTES = 4000
DISCORD_CHARACTERS = 2000
Request = tuple[dict[str, str], bytes]


def _json(body: Mapping[str, Any]) -> Request:
    return {"Content-Type": "application/json"}, json.dumps(body).encode()


def _plain(notice: Notice) -> Request:
    return _json(notice.as_json())


def _ntfy(notice: Notice) -> Request:
    # The run's name is in the body: a header takes neither every character nor a hostile one.
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "Title": f"chomp: {notice.kind.replace('_', ' ')}",
        "Priority": "high" if notice.kind in URGENT else "default",
        "Tags": "warning" if notice.kind in URGENT else "seedling",
    }
    return headers, f"{notice.title}\n{notice.text}".encode()[:NTFY_BYTES].decode(errors="ignore").encode()


def _slack(notice: Notice) -> Request:
    # Slack reads <…> as a link or a mention, and & as the begin of an escape.
    text = f"{notice.title}\n{notice.text}"
    for letter, escape in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(letter, escape)
    return _json({"text": text})


def _discord(notice: Notice) -> Request:
    text = f"{notice.title}\n{notice.text}"[:DISCORD_CHARACTERS]
    return _json({"content": text, "allowed_mentions": {"parse": []}})


FORMATS: Mapping[str, Callable[[Notice], Request]] = {
    "webhook": _plain,
    "ntfy": _ntfy,
    "slack": _slack,
    "discord": _discord,
}
