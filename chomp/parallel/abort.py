"""Keeps a process alive that JAX aborts because process 0 is gone, until it has said so.

JAX's coordination service lives in process 0. When its connection breaks, a thread of JAX in each other process logs a
stack trace and calls `abort`, some milliseconds after process 0 was killed: no Python code runs, and no message names
what happened. The callback that JAX has for this cannot be set from Python (jaxlib 0.10.2 fails to convert its
argument). The C library calls the handler of SIGABRT in the thread that aborts, and the handler may keep that thread.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Callable

_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int)


class Aborts:
    """Handles SIGABRT.

    Args:
        is_store_gone: whether the abort comes from a lost connection; called in the thread that aborts.
    """

    def __init__(self, is_store_gone: Callable[[], bool]):
        self._is_store_gone = is_store_gone
        self._gone = threading.Event()
        self._for_ever = threading.Event()
        # Kept, because C code calls it.
        self._handler = _HANDLER(self._on_abort)

    @property
    def is_lost(self) -> bool:
        """Whether a thread is kept that wanted to abort the process."""
        return self._gone.is_set()

    def catch(self) -> None:
        """Handle SIGABRT from now on."""
        library = ctypes.CDLL(None)
        library.signal.argtypes = [ctypes.c_int, _HANDLER]
        library.signal.restype = ctypes.c_void_p
        library.signal(int(signal.SIGABRT), self._handler)

    def _on_abort(self, number: int) -> None:
        # An abort for another reason goes on when the handler returns.
        if self._is_store_gone():
            self._gone.set()
            self._for_ever.wait()
