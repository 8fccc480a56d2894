"""The process that keeps a model warm and answers: accepts clients, and serves them one after the other.

What it serves is core.serve.service, which imports torch, and is itself imported with the first request: the socket is
open at once. The protocol is written down in core.serve.client.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import secrets
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.serve.client import receive, send, socket_folder
from core.util import failure_sentences, logs, process
from core.util.errors import UserError, plain

if TYPE_CHECKING:
    from core.serve.service import Service

LOG = logging.getLogger("core.serve.server")
IDLE_MINUTES = 10.0


class Server:
    """Accepts clients at any time, and serves them one after the other."""

    def __init__(self) -> None:
        """Import nothing heavy yet: the socket is open at once."""
        self.service: Service | None = None
        self.waiting: queue.Queue[Connection[Any, Any]] = queue.Queue()
        self.used = time.monotonic()
        self.busy = True

    def serve(self, idle_minutes: float, first: Mapping[str, Any] | None = None) -> None:
        """Serve until idle for too long or asked to leave; `first` is a request without a client."""
        folder = socket_folder()
        (folder / "socket").unlink(missing_ok=True)  # of one that was killed: process.lock says that no other lives
        key = secrets.token_bytes(32)
        # Private from its first moment: a chmod afterwards would leave one in which others could read it.
        with open(os.open(folder / "key", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(key)
        with Listener(str(folder / "socket"), "AF_UNIX", backlog=64, authkey=key) as listener:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
            threading.Thread(target=self._watch, args=(idle_minutes, folder / "socket"), daemon=True).start()
            if first:
                self._serve(first, None)
            while True:
                self.used, self.busy = time.monotonic(), False
                connection = self.waiting.get()
                self.busy = True
                with contextlib.closing(connection):
                    if self._handle(connection) == "leave":
                        (folder / "socket").unlink(missing_ok=True)
                        # The kernel frees the memory, then closes the line: whoever asked knows when it is free.
                        os._exit(0)

    def _accept(self, listener: Listener) -> None:
        """Take in clients while another one is served, so that none hangs before it can be told to wait."""
        while True:
            try:
                self.waiting.put(listener.accept())
            except Exception:  # a client with a wrong key or that hung up: nothing to answer
                continue

    def _watch(self, minutes: float, socket: Path) -> None:
        while self.busy or time.monotonic() - self.used < 60 * minutes:
            time.sleep(1)
        socket.unlink(missing_ok=True)  # first, so that nobody comes to a process that is leaving
        os._exit(0)

    def _handle(self, connection: Connection[Any, Any]) -> str:
        try:
            request = receive(connection)
            if request.get("op") == "leave":
                # Whoever asked may have given up waiting: the memory is wanted all the same.
                with contextlib.suppress(OSError):
                    send(connection, {"kind": "done"})
                return "leave"
            with logs.about(Path(str(request.get("run") or "")).name):
                self._serve(request, connection)
        except (EOFError, OSError):
            return "gone"
        return ""

    def _serve(self, request: Mapping[str, Any], connection: Connection[Any, Any] | None) -> None:
        """Send the replies to a request. Raises OSError when the client has hung up."""
        began = time.monotonic()
        try:
            if self.service is None:
                self.service = process.resolved("core.serve.service:Service")()
            with contextlib.closing(self.service.serve(request)) as replies:
                for reply in replies:
                    if connection is not None:
                        send(connection, reply)
            LOG.info("%s: done in %.2f s", request.get("op"), time.monotonic() - began)
        except UserError as error:
            LOG.info("%s: refused, and the client told why", request.get("op"))
            _tell(connection, error.what, error.fix)
        except (BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:  # a crash costs one sentence on the page; the log has the rest
            if explanation := failure_sentences.explained(error, socket_folder()):
                LOG.error("%s", explanation)
                _tell(connection, explanation.what, explanation.fix)
                return
            LOG.exception("unexpected error")
            _tell(connection, plain(f"Answering failed: {type(error).__name__}: {error}"), "Ask again, or start a new run.")


def _tell(connection: Connection[Any, Any] | None, what: str, fix: str) -> None:
    if connection is not None:
        with contextlib.suppress(OSError):
            send(connection, {"kind": "error", "what": what, "fix": fix})


def main(arguments: Sequence[str]) -> int:
    """Serve, unless another process does; the argument, if any, is a first request."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(socket_folder() / "process.lock", timeout=5):  # one that is just leaving still holds it for a moment
            minutes = float(os.environ.get("FORGETSCOPE_IDLE_MINUTES") or IDLE_MINUTES)
            Server().serve(minutes, json.loads(arguments[0]) if arguments else None)
    except Timeout:
        return 0
    return 0


if __name__ == "__main__":
    logs.start()
    sys.exit(main(sys.argv[1:]))
