"""Compresses what the server sends, and a file that all visitors load only once for all of them.

Streamlit sends its own scripts as they are: 2.8 MB for a first visit instead of 1.1. To compress them again for every
visitor takes a tenth of a second each, when all arrive at once. A file that never changes is answered from memory: of a
visit's hundred files the rest of the server takes 2 ms each, before anything can be seen.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import GZipMiddleware

from dashboard.server import whole_answer

LEVEL, FILE_LEVEL = 4, 9
"""zlib's; the second of what is compressed once"""
FILES = ("/static/", "/vendor/")
"""where files are that change with the installed version only"""
TEXT = ("text/", "application/json", "application/javascript", "image/svg")
"""types that become smaller"""
MOST = 256
"""files that are kept, 3 MB of those that there are"""
Key = tuple[str, str]
"""a file's name and version; not its path, of which a stranger can write as many as he likes"""
IN_PART = ("if-none-match", "if-modified-since", "range")
"""headers of a request that does not want the whole file"""
PLAIN = re.compile(r"/static/\w+/[\w.-]+")
"""the one path of a file whose name has a hash of what is in it; Streamlit says of these that they never change"""


class Compressed:
    """Compresses the answers of an ASGI application."""

    def __init__(self, app: Any) -> None:
        """Wrap an ASGI application."""
        self.app = app
        self.rest = GZipMiddleware(app, compresslevel=LEVEL)
        self.kept: dict[Key, bytes] = {}
        self.answers: dict[str, tuple[list[tuple[bytes, bytes]], bytes]] = {}
        """path of a file that never changes -> headers and body of its answer"""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith(FILES):
            await self.rest(scope, receive, send)
            return
        asked = Headers(scope=scope)
        if "gzip" not in asked.get("accept-encoding", ""):
            await self.app(scope, receive, send)
        elif scope["path"] in self.answers and not any(name in asked for name in IN_PART):
            headers, body = self.answers[scope["path"]]
            await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
            await send({"type": "http.response.body", "body": body})
        else:
            await self._file(scope, receive, send)

    async def _file(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]

        def begun(status: int, headers: MutableHeaders) -> bool:
            if "accept-encoding" not in headers.get("vary", "").lower():
                headers.add_vary_header("Accept-Encoding")
            return status == 200 and "etag" in headers and (smaller(headers) or constant(path, headers))

        async def changed(headers: MutableHeaders, body: bytes) -> bytes:
            if smaller(headers):
                body = await self._small((path.rpartition("/")[2], headers["etag"]), body)
                headers["content-encoding"], headers["content-length"] = "gzip", str(len(body))
            if constant(path, headers):
                if len(self.answers) >= MOST:
                    self.answers.clear()
                self.answers[path] = list(headers.raw), body
            return body

        # Streamlit would compress some of them itself, for each visitor.
        await whole_answer.sent(self.app, scope, receive, send, begun, changed, ("accept-encoding",))

    async def _small(self, key: Key, body: bytes) -> bytes:
        if key not in self.kept:
            if len(self.kept) >= MOST:
                self.kept.clear()
            self.kept[key] = await asyncio.to_thread(zlib.compress, body, FILE_LEVEL, 31)  # 31: as gzip
        return self.kept[key]


def smaller(headers: Headers) -> bool:
    """Say whether an answer becomes smaller when it is compressed."""
    return headers.get("content-type", "").startswith(TEXT)


def constant(path: str, headers: Headers) -> bool:
    """Say whether an answer is the same for as long as the server runs."""
    return "immutable" in headers.get("cache-control", "") and PLAIN.fullmatch(path) is not None
