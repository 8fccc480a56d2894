"""The address /healthz: what a monitor or a reverse proxy asks to learn whether the dashboard can do its work."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse

from core.runs import store
from dashboard.server.health import health


def healthz(_: Request) -> JSONResponse:
    """Answer 200, or 503 where runs cannot be kept. Not async: a slow disk then holds up no other answer."""
    found = health(store.runs_folder())
    return JSONResponse(found.as_json(), 503 if found.wrong else 200, {"cache-control": "no-store"})
