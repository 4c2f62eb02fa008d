"""Keys take effect in the order in which they were typed, also when many arrive at once.

Needed with Textual 8.2.8: `App.on_event` forwards a key to the focused widget and takes the next one. `Input._on_key`
and `TextArea._on_key` insert a letter at once, while the bindings of other keys (Backspace, Enter, F5) are run by
`App._on_key`, after the key has bubbled through the queue of every widget around the focused one. Of "Backspace 9
Enter 5" that a slow SSH connection delivers in one piece, the 9 would be inserted before anything is deleted, and the 5
before the cursor moved. Needless once Textual waits until a key has taken effect before it forwards the next.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable

from textual import events
from textual.app import App
from textual.message_pump import MessagePump
from textual.widget import Widget

LOOK_SECONDS, HELD_LOOK_SECONDS = 0.001, 0.02
# A widget that never comes to rest must not take the keyboard with it, nor must a first screen that is never ready.
PATIENCE_SECONDS, HELD_SECONDS = 1.0, 5.0
# While the process does not run (a stopped or a busy machine), what is waited for has no chance, so a wait ends only
# after a number of looks too.
PATIENCE_LOOKS, HELD_LOOKS = 200, 10

Typed = events.Key | events.Paste


class KeyQueue:
    """Holds back what is typed until what was typed before has taken effect.

    Args:
        app: whose keys.
        deliver: Textual's own way to handle an event.
    """

    def __init__(self, app: App[None], deliver: Callable[[events.Event], Awaitable[None]]) -> None:
        self._app = app
        self._deliver = deliver
        self._waiting: deque[Typed] = deque()
        self._path: tuple[MessagePump, ...] = ()
        self._text_goes_to: Widget | None = None
        self._until = 0.0
        self._looks = 0
        self._is_ready: Callable[[], bool] | None = None
        self._held_until = 0.0
        self._holds_letters_only = False

    def hold(self, is_ready: Callable[[], bool], *, letters_only: bool = False) -> None:
        """Let nothing but Ctrl+C take effect before `is_ready`, for a few seconds at most.

        Args:
            letters_only: hold only letters, which answer a question, and what was typed after them.
        """
        self._is_ready, self._held_until, self._looks = is_ready, time.monotonic() + HELD_SECONDS, 0
        self._holds_letters_only = letters_only

    def _is_held(self) -> bool:
        is_over = self._looks > HELD_LOOKS and time.monotonic() > self._held_until
        if self._is_ready is not None and (is_over or self._is_ready()):
            self._is_ready = None
        return self._is_ready is not None

    def _is_blocked(self, event: Typed) -> bool:
        return self._is_held() and not (self._holds_letters_only and not _is_letter(event))

    async def take(self, event: Typed) -> None:
        """Let an event take effect, now if nothing before it is under way."""
        if isinstance(event, events.Key) and event.key == "ctrl+c" and self._is_held():
            await self._deliver(event)
            return
        if not self._waiting and not self._is_blocked(event) and (self._goes_on(event) or self._is_settled(self._path)):
            await self._begin(event)
            return
        self._waiting.append(event)
        if len(self._waiting) == 1:
            self._look_soon()

    async def _begin(self, event: Typed) -> None:
        target = self._app.focused or self._app.screen
        self._path = tuple(node for node in target.ancestors_with_self if node is not self._app)
        self._text_goes_to = target if _is_letter(event) and _takes_text(target) else None
        self._until, self._looks = time.monotonic() + PATIENCE_SECONDS, 0
        await self._deliver(event)

    def _goes_on(self, event: Typed) -> bool:
        """Whether it is a letter after a letter: the widget takes them in their order, and may do so in one go."""
        return self._text_goes_to is not None and self._text_goes_to is self._app.focused and _is_letter(event)

    def _is_settled(self, path: tuple[MessagePump, ...]) -> bool:
        """Whether nothing of the last key, and of what that has led to, is still on its way to the app."""
        busy = any(node.message_queue_size for node in path if node.is_running)
        return not busy or (self._looks > PATIENCE_LOOKS and time.monotonic() > self._until)

    def _look_soon(self) -> None:
        self._app.set_timer(LOOK_SECONDS if self._is_ready is None else HELD_LOOK_SECONDS, self._look)

    async def _look(self) -> None:
        self._looks += 1
        first = self._waiting[0]
        if not self._is_blocked(first) and (self._goes_on(first) or self._is_settled((*self._path, self._app))):
            await self._begin(self._waiting.popleft())
        if self._waiting:
            self._look_soon()


def _takes_text(target: MessagePump) -> bool:
    # Modules for which the first frame does not wait.
    from textual.widgets import Input, TextArea

    return isinstance(target, Input | TextArea)


def _is_letter(event: Typed) -> bool:
    return isinstance(event, events.Key) and event.is_printable
