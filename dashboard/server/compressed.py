"""Compresses what the server sends, and a file that all visitors load only once for all of them.

Streamlit sends its own scripts as they are: 2.8 MB for a first visit instead of 1.1. To compress them again for every
visitor takes a tenth of a second each, when all arrive at once.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import GZipMiddleware

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


class Compressed:
    """Compresses the answers of an ASGI application."""

    def __init__(self, app: Any) -> None:
        """Wrap an ASGI application."""
        self.app = app
        self.rest = GZipMiddleware(app, compresslevel=LEVEL)
        self.kept: dict[Key, bytes] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith(FILES):
            await self.rest(scope, receive, send)
        elif "gzip" not in Headers(scope=scope).get("accept-encoding", ""):
            await self.app(scope, receive, send)
        else:
            await self._file(scope, receive, send)

    async def _file(self, scope: Any, receive: Any, send: Any) -> None:
        start: Any = None
        body: list[bytes] = []

        async def take(message: Any) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                if "accept-encoding" not in headers.get("vary", "").lower():
                    headers.add_vary_header("Accept-Encoding")
                if message["status"] == 200 and "etag" in headers and headers.get("content-type", "").startswith(TEXT):
                    start = message  # held back until its length is known
                    return
            if start is None:
                await send(message)
                return
            body.append(message.get("body", b""))
            if not message.get("more_body", False):
                headers = MutableHeaders(raw=start["headers"])
                small = await self._small((scope["path"].rpartition("/")[2], headers["etag"]), b"".join(body))
                headers["content-encoding"], headers["content-length"] = "gzip", str(len(small))
                await send(start)
                await send({"type": "http.response.body", "body": small})

        # Streamlit would compress some of them itself, for each visitor.
        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        await self.app({**scope, "headers": plain}, receive, take)

    async def _small(self, key: Key, body: bytes) -> bytes:
        if key not in self.kept:
            if len(self.kept) >= MOST:
                self.kept.clear()
            self.kept[key] = await asyncio.to_thread(zlib.compress, body, FILE_LEVEL, 31)  # 31: as gzip
        return self.kept[key]
