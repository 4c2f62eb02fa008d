"""HTTP servers of the test process that answer as webhooks do, well or badly."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SLOW_SECONDS = 0.15


@dataclass
class Received:
    """What a server was sent, and how it answers: the n-th request by the n-th answer, the last one from then on."""

    answers: tuple[Any, ...] = (200,)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)

    def next_answer(self) -> Any:
        return self.answers[min(len(self.requests), len(self.answers)) - 1]


@contextlib.contextmanager
def serving(*answers: Any) -> Iterator[tuple[str, Received]]:
    """The address of a server without a path, and what it receives.

    An answer is a status, a status with headers, `slow`, `hang` (no reply), `drip` (a byte at a time, without end),
    `close`, or the bytes of a reply.
    """
    received = Received(answers or (200,))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.requests.append((self.path, dict(self.headers), body))
            with contextlib.suppress(OSError):
                self.answer(received.next_answer())

        do_GET = do_POST

        def answer(self, answer: Any) -> None:
            if answer == "hang":
                received.gone.wait(30)
            elif answer == "drip":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
                while not received.gone.wait(0.02):
                    self.wfile.write(b"x")
            elif answer == "close":
                self.connection.shutdown(socket.SHUT_RDWR)
            elif isinstance(answer, bytes):
                self.wfile.write(answer)
            else:
                if answer == "slow":
                    time.sleep(SLOW_SECONDS)
                status, headers = answer if isinstance(answer, tuple) else (200 if answer == "slow" else answer, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        received.gone.set()
        server.shutdown()
        server.server_close()
