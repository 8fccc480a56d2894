"""What every answer of the server tells the browser: load nothing from another host, be framed by nobody, say little.

A run's questions and answers are hostile text. Should one ever get into a page as markup, the browser still asks nobody
else.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from dashboard.server import first_page

POLICY = {
    "default-src": "'self'",
    # Streamlit makes its components' scripts out of text (blob:). Inline scripts of the first page are added by hash, below.
    "script-src": "'self' blob:",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self'",
    "worker-src": "'self' blob:",
    "media-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
    "frame-src": "'self' blob: data:",
    "frame-ancestors": "'none'",
}
"""Content-Security-Policy, directive by directive"""

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
"""name -> value; where Streamlit sets one itself, ours replaces it"""


def policy() -> str:
    """Return the policy with the hashes of the inline scripts of the first page: no other one may run."""
    folder = first_page.static()
    page = first_page.prepared((folder / "index.html").read_text(encoding="utf-8"), folder / first_page.CODE)
    scripts = [hashlib.sha256(text.encode()).digest() for text in first_page.inline(page)]
    # By hash, for 'unsafe-inline' would let hostile text run that ever got into a page as markup.
    hashes = "".join(f" 'sha256-{base64.b64encode(script).decode()}'" for script in scripts)
    return "; ".join(f"{name} {value}{hashes if name == 'script-src' else ''}" for name, value in POLICY.items())


class SecurityHeaders:
    """Adds the headers to every answer over HTTP."""

    def __init__(self, app: Any) -> None:
        """Wrap an ASGI application."""
        self.app = app
        self.headers = [(k.encode(), v.encode()) for k, v in {**HEADERS, "content-security-policy": policy()}.items()]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Add the headers, in place of those of the same names."""

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                names = {key for key, _ in self.headers}
                kept = [(key, value) for key, value in message.get("headers", []) if key.lower() not in names]
                message = {**message, "headers": [*kept, *self.headers]}
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)
