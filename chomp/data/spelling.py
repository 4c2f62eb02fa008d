"""Text of token ids that come one by one."""

from collections.abc import Sequence

from chomp.data.tokenizer import Tokenizer

# Ids before the current ones that a tokenizer needs to decode them as in the whole text.
CONTEXT_IDS = 6


class Spelling:
    """Text of ids that come one by one; a character whose bytes are not all there yet is waited for.

    Args:
        before: ids of the text before the first one.
    """

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int] = ()) -> None:
        self._decode = tokenizer.decode
        self._ids = [int(token) for token in before[-CONTEXT_IDS:]]
        # Ids up to here have been given out as text.
        self._given = len(self._ids)

    def add(self, token: int) -> str:
        """The text that is complete with this id."""
        self._ids.append(token)
        return self._next(waits=True)

    def rest(self) -> str:
        """The text of ids that were waited for."""
        return self._next(waits=False)

    def _next(self, *, waits: bool) -> str:
        before, now = self._decode(self._ids[: self._given]), self._decode(self._ids)
        if waits and now.endswith("\N{REPLACEMENT CHARACTER}") and len(self._ids) - self._given < CONTEXT_IDS:
            return ""
        self._ids = self._ids[-CONTEXT_IDS:]
        self._given = len(self._ids)
        return now[len(before) :]
