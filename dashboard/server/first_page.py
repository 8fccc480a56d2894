"""Names in the first page what every visit is going to load, so that the browser need not find it out step by step.

Streamlit asks for the code of an element once the first of its kind has come over the websocket, and our charts asked for
plotly.js after that: each waited for a server that was busy with the page's script. Here they come with the rest.
The page also mends the browser's history (dashboard/browser/history.js) before anything is written there.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers, MutableHeaders

from dashboard.server import whole_answer

PLOTLY = "/vendor/plotly-cartesian-4.1.1.min.js"
KINDS = ("BidiComponent", "Selectbox", "Html", "PageLink", "ButtonGroup")
"""elements that stand above the map, by Streamlit's names of their code; the first is what draws the map"""
FONT = re.compile(r'<link\s+rel="preload"[^>]*as="font"[^>]*>')
"""Streamlit's own font, 170 kB: ours are others"""
CODE = "static/js/"
HISTORY = Path(__file__).resolve().parent.parent / "browser" / "history.js"
DROPPED = ("accept-encoding", "if-none-match", "if-modified-since")
"""headers of a request for a page that Streamlit is not to see"""


def static() -> Path:
    """Return the folder of Streamlit's first page and its code."""
    spec = importlib.util.find_spec("streamlit")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("streamlit")
    return Path(spec.origin).parent / "static"


def needed(page: str, folder: Path) -> list[str]:
    """Return the files of KINDS and all that they import, but for those that a page names itself. folder: theirs."""
    wanted = [file.name for kind in KINDS for file in sorted(folder.glob(f"{kind}.*.js"))]
    named, found = set(re.findall(rf"{CODE}([\w.-]+\.js)", page)), dict[str, None]()
    while wanted:
        name = wanted.pop(0)
        if name not in named | found.keys():
            found[name] = None
            source = (folder / name).read_text(encoding="utf-8")
            wanted += re.findall(r'(?:from|import)"\./([\w.-]+\.js)"', source)
    return list(found)


def prepared(page: str, folder: Path) -> str:
    """Return a page that names what it is going to need. folder: of the code that it names."""
    # Last and least urgent, so that nothing of the first paint waits for it: it is run while the page's script is.
    ahead = f'<script async fetchpriority="low" src="{PLOTLY}"></script>'
    links = "".join(f'<link rel="modulepreload" crossorigin href="./{CODE}{name}">' for name in needed(page, folder))
    history = f"<script>{HISTORY.read_text(encoding='utf-8')}</script>"
    return FONT.sub("", page).replace("</head>", f"{history}{links}{ahead}</head>", 1)


def inline(page: str) -> list[str]:
    """Return the scripts that stand in a page itself."""
    return re.findall(r"<script>(.*?)</script>", page, re.DOTALL)


class FirstPage:
    """Sends the prepared page in place of Streamlit's own."""

    def __init__(self, app: Any) -> None:
        """Wrap an ASGI application."""
        self.app = app
        self.own = (static() / "index.html").read_bytes()
        self.page = prepared(self.own.decode(), static() / CODE).encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["method"] != "GET" or "text/html" not in Headers(scope=scope).get("accept", ""):
            await self.app(scope, receive, send)
            return
        # Streamlit would compress some pages itself; an answer that nothing has changed is about its own file.
        await whole_answer.sent(self.app, scope, receive, send, is_page, self._prepared, DROPPED)

    async def _prepared(self, headers: MutableHeaders, body: bytes) -> bytes:
        for name in ("etag", "last-modified"):  # of Streamlit's file: this one changes with us, too
            del headers[name]
        return self.page if body == self.own else body


def is_page(status: int, headers: Headers) -> bool:
    """Say whether an answer is a page."""
    return status == 200 and headers.get("content-type", "").startswith("text/html")
