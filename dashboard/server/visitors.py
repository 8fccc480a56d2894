"""A cookie that tells one browser from another, over reloads and tabs: for turns in the queue, and for what a visitor asked.

It is random, says nothing about anybody, cannot be read by a script, and is never shown: pages show a hash of it.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

COOKIE = "forgetscope_browser"
OURS = re.compile("[0-9a-f]{32}")
"""what we give"""
SECONDS = 365 * 24 * 3600


class Known:
    """Gives a cookie to every browser that asks for a page without having one."""

    def __init__(self, app: Any) -> None:
        """Wrap an ASGI application."""
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Add the cookie to HTML pages."""
        new = scope["type"] == "http" and not any(k == b"cookie" and f"{COOKIE}=".encode() in v for k, v in scope["headers"])

        async def with_cookie(message: Any) -> None:
            headers = list(message.get("headers", []))
            if message["type"] == "http.response.start" and any(
                k == b"content-type" and v.startswith(b"text/html") for k, v in headers
            ):
                # Lax, so that a link from elsewhere finds the same visitor; not Secure, for here pages come over plain HTTP.
                value = f"{COOKIE}={secrets.token_hex(16)}; Path=/; Max-Age={SECONDS}; HttpOnly; SameSite=Lax"
                message = {**message, "headers": [*headers, (b"set-cookie", value.encode())]}
            await send(message)

        await self.app(scope, receive, with_cookie if new else send)
