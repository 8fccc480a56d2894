"""Redirects the addresses of earlier versions to where their content is now, so that old links go on working."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Route

from dashboard import pages


async def redirect(request: Request) -> RedirectResponse:
    """Lead to the new address; relative, so that it holds behind a proxy's prefix too."""
    return RedirectResponse(pages.moved(request.url.path.strip("/").rpartition("/")[2], request.url.query), 307)


def routes() -> list[Route]:
    """Return a route for every old address."""
    return [Route(f"/{address}", redirect) for address in dict.fromkeys(line.address for line in pages.MOVED)]
