"""Changes an answer of an application as a whole: it is held back until all of it is there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from starlette.datastructures import MutableHeaders

Begun = Callable[[int, MutableHeaders], bool]
"""(status, headers, which it may change) -> whether the answer is held back"""
Changed = Callable[[MutableHeaders, bytes], Awaitable[bytes]]
"""(headers, which it may change, body) -> the body that is sent instead"""


async def sent(
    app: Any, scope: Any, receive: Any, send: Any, begun: Begun, changed: Changed, without: Collection[str]
) -> None:
    """Answer a request by an application. without: headers of the request that it is not to see, in lower case."""
    start: Any = None
    body: list[bytes] = []

    async def take(message: Any) -> None:
        nonlocal start
        if message["type"] == "http.response.start" and begun(message["status"], MutableHeaders(raw=message["headers"])):
            start = message  # held back until its length is known
        elif start is None:
            await send(message)
        else:
            body.append(message.get("body", b""))
            if not message.get("more_body", False):
                headers = MutableHeaders(raw=start["headers"])
                whole = await changed(headers, b"".join(body))
                headers["content-length"] = str(len(whole))
                await send(start)
                await send({"type": "http.response.body", "body": whole})

    plain = [(name, value) for name, value in scope["headers"] if name.decode("latin-1") not in without]
    await app({**scope, "headers": plain}, receive, take)
