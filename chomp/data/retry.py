"""Retries of a source that fails for a while."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from chomp.errors import DataError

log = logging.getLogger("chomp.data")

Result = TypeVar("Result")


@dataclass(frozen=True)
class RetryPolicy:
    """How often a failing source is tried again, and after which delays.

    Attributes:
        max_retries: attempts after the first failure.
        delay_seconds: wait before the first of them; doubles each time.
        stop: set when the run ends, which cancels the wait for a retry.
    """

    max_retries: int
    delay_seconds: float
    stop: threading.Event = field(default_factory=threading.Event)

    def call(self, name: str, retriable: tuple[type[Exception], ...], action: Callable[[], Result]) -> Result:
        """The action's result, trying again after errors that may pass.

        Args:
            name: the source, for messages.
            retriable: errors worth another attempt; all others pass through.
            action: what to do; called again from its beginning.

        Raises:
            DataError: attempts are used up, or the run has ended meanwhile.
        """
        failures = 0
        while True:
            if self.stop.is_set():
                raise DataError(f"{name}: the run has ended, no more data is read")
            try:
                return action()
            except retriable as error:
                failures += 1
                self._wait_after(error, failures, name)

    def _wait_after(self, error: Exception, failures: int, name: str) -> None:
        reason = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
        if failures > self.max_retries:
            times = "once" if failures == 1 else f"{failures} times in a row"
            raise DataError(
                f"{name} cannot be reached: reading failed {times}, the last time with {reason}; check the network, or "
                f"raise data.max_retries and data.retry_delay_seconds"
            ) from error
        wait = self.delay_seconds * 2 ** (failures - 1)
        log.warning(
            "%s: reading failed (%s); retry %d of %d at the same place in %.1f s",
            name, reason, failures, self.max_retries, wait,
        )  # fmt: skip
        if self.stop.wait(wait):
            raise DataError(f"{name}: stopped while waiting to retry after {reason}") from error
