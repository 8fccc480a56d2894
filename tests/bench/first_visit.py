"""How long a first visit takes in a Chromium that nothing drives, and the bytes that cross the wire.

What drives a browser slows it: with a debugger attached, each exception that a library catches while it loads makes V8
parse its code again. So the page reports its own times here, through a relay that adds a few lines to it. Each visit has a
new profile, so no cache, in a browser that has come to rest.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

PATIENCE = 90
"""seconds"""
REST = 3000
"""milliseconds until a browser that was started has come to rest"""
WAITING = f"<!doctype html><link rel=icon href=data:,><script>setTimeout(() => location.replace('/'), {REST})</script>"
"""without an icon of its own, which would be asked for over a connection that the page itself comes over next"""
REPORT = """<script>(() => {
  const ready = ".fs-plot[data-drawn] .heatmaplayer image";
  const look = () => {
    if (!document.querySelector(ready)) return;
    watch.disconnect();
    requestAnimationFrame(() => setTimeout(() => {
      const drawn = performance.now();
      const paint = performance.getEntriesByName("first-contentful-paint")[0].startTime;
      setTimeout(() => fetch(`REPORTS/?paint=${paint}&drawn=${drawn}`, { mode: "no-cors" }), 1500);
    }));
  };
  const watch = new MutationObserver(look);
  watch.observe(document, { subtree: true, childList: true, attributes: true });
})()</script>"""
"""tells when the frame with the whole heatmap was made"""


@dataclass
class Relay:
    """What stands between a browser and the server."""

    port: int = 0
    sent: int = 0
    """bytes that the server sent through it"""
    reports: queue.Queue[str] = field(default_factory=queue.Queue)


def visit(url: str) -> tuple[float, float, float]:
    """Open the first page once; return seconds until its first paint, seconds until its whole heatmap, and MB."""
    with relay(url) as through, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [shutil.which("chromium") or "chromium", "--headless=new", "--no-sandbox", "--no-first-run"]
        command += ["--window-size=1280,900", f"--user-data-dir={profile}", f"http://127.0.0.1:{through.port}/relay-wait"]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            found = {name: float(value) for name, value in urllib.parse.parse_qsl(through.reports.get(timeout=PATIENCE))}
        finally:
            os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()
        return found["paint"] / 1000, found["drawn"] / 1000, through.sent / 1e6


@contextlib.contextmanager
def relay(url: str) -> Iterator[Relay]:
    """Put a relay before a server: it counts what that sends, and the first page reports to it when it is drawn."""
    target = int(url.rpartition(":")[2])
    listener, reports = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
    found = Relay(listener.getsockname()[1])
    with urllib.request.urlopen(urllib.request.Request(url, headers={"accept": "text/html"})) as answer:
        added = REPORT.replace("REPORTS", f"http://127.0.0.1:{reports.getsockname()[1]}")
        page = answer.read().decode().replace("<head>", f"<head>{added}", 1).encode()

    def serve(near: socket.socket) -> None:
        asked = near.recv(65536)
        path = asked.split(b" ", 2)[1].decode() if asked.count(b" ") > 1 else ""
        if path in ("/", "/relay-wait"):
            found.sent += len(page) if path == "/" else 0
            reply(near, page if path == "/" else WAITING.encode())
            return
        far = socket.create_connection(("127.0.0.1", target))
        far.sendall(asked)
        threading.Thread(target=pump, args=(near, far, False), daemon=True).start()
        pump(far, near, True)

    def pump(source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                found.sent += len(data) if counted else 0
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def report(near: socket.socket) -> None:
        found.reports.put(near.recv(65536).split(b" ", 2)[1].decode().partition("?")[2])
        reply(near, b"")

    for server, handle in ((listener, serve), (reports, report)):
        threading.Thread(target=accept, args=(server, handle), daemon=True).start()
    try:
        yield found
    finally:
        listener.close()
        reports.close()


def accept(server: socket.socket, handle: Callable[[socket.socket], None]) -> None:
    """Serve each connection in a thread of its own, until the server is closed."""
    with contextlib.suppress(OSError):
        while True:
            threading.Thread(target=handle, args=(server.accept()[0],), daemon=True).start()


def reply(near: socket.socket, page: bytes) -> None:
    """Answer a request with a page, and close."""
    near.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n")
    near.sendall(f"content-length: {len(page)}\r\n\r\n".encode() + page)
    near.close()
