"""A hub of models on this machine that serves one folder, and whose network can go in the middle of a file."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NAME = "somebody/tiny"


class Hub(ThreadingHTTPServer):
    """Serves a folder as the repository NAME. After `ends_after` bytes of weights the network is gone."""

    daemon_threads = True

    def __init__(self, folder: Path, ends_after: int, silent: bool) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.folder, self.ends_after, self.silent = folder, ends_after, silent
        self.gone = 0.0
        """when the network went, in seconds since 1970; 0 while it is there"""
        self.ranges: list[str] = []
        """what parts of the weights were asked for"""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        if self.server.gone:
            self.fall()
            return
        path = self.server.folder / Path(self.path).name
        if not self.path.startswith(f"/{NAME}/resolve/") or not path.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content, first = path.read_bytes(), 0
        if asked := self.headers.get("Range"):
            first = int(asked.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if first else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(content) - first))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if not body:
            return
        ends = self.server.ends_after if path.suffix == ".safetensors" else 0
        if path.suffix == ".safetensors":
            self.server.ranges.append(asked or "")
        self.wfile.write(content[first : ends or None])
        if ends:
            self.wfile.flush()
            self.server.gone = time.time()
            self.fall()

    def fall(self) -> None:
        """Say nothing more: at once, or by never coming back."""
        while self.server.silent and self.server.gone:
            time.sleep(0.1)
        self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


@contextmanager
def serving(folder: Path, ends_after: int, silent: bool) -> Iterator[Hub]:
    """Serve while this context lasts."""
    hub = Hub(folder, ends_after, silent)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        hub.gone = 0.0
        hub.shutdown()
        hub.server_close()
