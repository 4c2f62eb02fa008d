"""Bytes that make a terminal call its user: the bell, and a desktop notification where the terminal has them."""

from __future__ import annotations

from collections.abc import Mapping

from chomp.record.formatting import one_line

BELL = "\x07"
LONGEST = 200


def attention(text: str, environ: Mapping[str, str]) -> str:
    """What to write for a message.

    OSC 9 is a notification in iTerm2, kitty, WezTerm, Ghostty, foot and Windows Terminal, and ignored in xterm and its
    kin. tmux passes it on with `allow-passthrough` and drops it without. GNU screen and the Linux console get the bell
    alone: what they do with an unknown sequence differs by version.
    """
    message = f"\x1b]9;chomp: {one_line(text)[:LONGEST]}\x07"
    if environ.get("TMUX"):
        doubled = message.replace("\x1b", "\x1b\x1b")
        return f"{BELL}\x1bPtmux;{doubled}\x1b\\"
    if environ.get("STY") or environ.get("TERM", "").startswith(("screen", "linux", "vt")):
        return BELL
    return BELL + message
