"""An endpoint for programs in OpenAI's form, on which the voices of one run are models: before, after, never, retrained.

It loads no model. What it is asked goes to the answering process that pages ask too (core/serve/client.py), in batches
(core/serve/batching.py). On this machine alone it needs no key; anywhere else nobody gets past it without one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from core.runs import askable, audit
from core.runs.store import Run
from core.runs.voices import SPOKEN, VOICE, VOICE_NAMES
from core.serve.api_replies import Choice, Form
from core.serve.api_requests import Refused, Wanted, read
from core.serve.batching import Batching, Job
from core.util.errors import UserError

LARGEST_BODY = 2**21
SHORTEST_KEY = 16
"""characters; a shorter one can be guessed"""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
HERE = ["127.0.0.1", "localhost", "[::1]", "::1"]
"""names by which a machine calls itself: a page in a browser that was led here by another name is not answered"""


def check_host(host: str, key: str) -> None:
    """Raise UserError for an address that others reach where there is no key, and for a key that is too short."""
    if not key and host not in LOOPBACK:
        raise UserError(
            f"Others can reach {host}, so the endpoint needs a key there.",
            "Set FORGETSCOPE_KEY, or leave --host out: then only this machine reaches it.",
        )
    if key and len(key) < SHORTEST_KEY:
        raise UserError(f"The key has {len(key)} characters, fewer than {SHORTEST_KEY}.", "Take a longer one.")


def voices(run: Run) -> list[str]:
    """Return the voices of a run that can be asked. Raises UserError where it has no model yet."""
    askable.askable(run)
    if audit.whole(run):
        return [voice for voice in SPOKEN if voice in (audit.read(run) or {}).get("sides", {})]
    missing = {"never": askable.no_never(run), VOICE: askable.no_retrained(run)}
    return [voice for voice in SPOKEN if not missing.get(voice)]


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one. Raises UserError where that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise UserError(f"{host}:{port} cannot be listened on ({error.strerror}).", "Choose another --port.") from error


def serve(run: Run, key: str, listening: socket.socket) -> None:
    """Serve until interrupted."""
    config = uvicorn.Config(
        app(run, key), log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=2
    )
    uvicorn.Server(config).run(sockets=[listening])


def app(run: Run, key: str) -> Starlette:
    """Return the application. key: empty where none is needed."""
    endpoint = Endpoint(run)
    middleware = [Middleware(Keyed, key=key)] if key else [Middleware(TrustedHostMiddleware, allowed_hosts=HERE)]
    return Starlette(
        routes=[
            Route("/v1/models", endpoint.models),
            Route("/v1/models/{name:path}", endpoint.model),
            Route("/v1/chat/completions", endpoint.chat, methods=["POST"]),
            Route("/v1/completions", endpoint.completions, methods=["POST"]),
        ],
        middleware=middleware,
        exception_handlers={Refused: _refused, HTTPException: _not_there, UserError: _user_error},
    )


class Keyed:
    """Lets requests through that bring the key."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        """Stand before an application."""
        self.app, self.expected = app, f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 where the key is missing or wrong."""
        given = dict(scope.get("headers") or ()).get(b"authorization", b"")
        # In constant time: how long a comparison takes would tell how much of a key is right.
        if scope["type"] == "http" and not secrets.compare_digest(given, self.expected):
            problem = Refused(401, "The key is missing or wrong. Send it as a bearer token.", "invalid_api_key")
            await JSONResponse(problem.form(), 401, {"WWW-Authenticate": "Bearer"})(scope, receive, send)
            return
        await self.app(scope, receive, send)


class Endpoint:
    """Answers about one run."""

    def __init__(self, run: Run) -> None:
        """Start what answers in batches."""
        self.run, self.config, self.voices = run, run.config(), voices(run)
        self.batching = Batching(run, self.config.answers.batch_size)

    async def models(self, request: Request) -> Response:
        """List the voices."""
        return JSONResponse({"object": "list", "data": [self._described(voice) for voice in self.voices]})

    async def model(self, request: Request) -> Response:
        """Describe one voice."""
        name = request.path_params["name"]
        if name not in self.voices:
            raise Refused(404, f"There is no model “{name[:80]}”. See /v1/models.", "model_not_found", "model")
        return JSONResponse(self._described(name))

    def _described(self, voice: str) -> dict[str, Any]:
        made = int((self.run.path / "config.json").stat().st_mtime)
        words = {"name": VOICE_NAMES[voice], "run": self.run.id}
        return {"id": voice, "object": "model", "created": made, "owned_by": "forgetscope", **words}

    async def chat(self, request: Request) -> Response:
        """Answer a conversation."""
        return await self._answer(request, read(await _body(request), self.run, self.config, chat=True))

    async def completions(self, request: Request) -> Response:
        """Go on from a text."""
        return await self._answer(request, read(await _body(request), self.run, self.config, chat=False))

    async def _answer(self, request: Request, wanted: Wanted) -> Response:
        asking = Asking(wanted)
        if not self.batching.submit(asking.jobs):
            raise Refused(429, "Too many wait already. Ask again in a moment.", "rate_limit_exceeded")
        try:
            await asking.begun(request.is_disconnected)
            if wanted.stream:
                unkept = {"Cache-Control": "no-store"}
                return StreamingResponse(asking.events(), media_type="text/event-stream", headers=unkept)
            return JSONResponse(await asking.whole(request.is_disconnected))
        except BaseException:  # cancelled included: nobody waits for it any more
            asking.close()
            raise


class Asking:
    """A request on its way: its jobs, and what has come of them."""

    def __init__(self, wanted: Wanted) -> None:
        """Make a job of each choice."""
        self.wanted, self.form = wanted, Form(wanted)
        self.inbox: asyncio.Queue[tuple[int, dict[str, Any]]] = asyncio.Queue()
        self.choices = [Choice(wanted, index) for index in range(len(wanted.prompts))]
        self.jobs = [
            Job(prompt, wanted.settings, wanted.seed, wanted.top, index, self.inbox)
            for index, prompt in enumerate(wanted.prompts)
        ]

    def close(self) -> None:
        """Let nothing more be computed for it."""
        for job in self.jobs:
            job.over = True

    async def begun(self, gone: Callable[[], Any]) -> None:
        """Wait until the first choice is under way. Raises Refused where it cannot be answered."""
        self._take(*await self._next(gone))

    async def whole(self, gone: Callable[[], Any]) -> dict[str, Any]:
        """Return the whole reply. Raises Refused where a choice cannot be answered."""
        while not all(choice.finish for choice in self.choices):
            self._take(*await self._next(gone))
        return self.form.whole(self.choices)

    async def events(self) -> AsyncGenerator[str]:
        """Yield the reply as server-sent events; an error on the way is the last one."""
        try:
            for choice in self.choices:
                if first := self.form.begin(choice):
                    yield _event(first)
            while not all(choice.finish for choice in self.choices):
                index, reply = await self.inbox.get()
                if said := self._take(index, reply):
                    chunk = self.form.chunk(self.choices[index], *said)
                    if chunk:
                        yield _event(chunk)
            if last := self.form.last(self.choices):
                yield _event(last)
            yield "data: [DONE]\n\n"
        except Refused as problem:
            yield _event(problem.form())
        finally:
            self.close()

    async def _next(self, gone: Callable[[], Any]) -> tuple[int, dict[str, Any]]:
        """Return the next reply. Raises Refused where whoever asked has hung up."""
        while True:
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(self.inbox.get(), 1.0)
            if await gone():
                raise Refused(499, "The client has hung up.")

    def _take(self, index: int, reply: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]]] | None:
        """Take a reply in; return what a piece adds. Raises Refused for an error."""
        choice = self.choices[index]
        if reply["kind"] == "start":
            choice.asked = reply["tokens"]
        elif reply["kind"] == "piece":
            if not choice.finish:  # after a stop text the rest of its batch may still run
                said = choice.add(dict(reply))
                self.jobs[index].over = bool(choice.finish)
                return said
        else:
            raise _problem(reply)
        return None


def _problem(reply: Mapping[str, Any]) -> Refused:
    message = f"{reply['what']} {reply['fix']}".strip()
    if reply.get("where") == "voice":
        return Refused(404, message, "model_not_found", "model")
    if reply.get("where") == "prompt":
        return Refused(400, message, "invalid_prompt")
    return Refused(500, message)


async def _body(request: Request) -> dict[str, Any]:
    """Return the JSON object that was sent. Raises Refused where it is none, or too large.

    Only what calls itself JSON is read: a page of another host can send anything else from a reader's browser unasked.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refused(415, "Send JSON, and say so: Content-Type: application/json.")
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > LARGEST_BODY:
            raise Refused(413, f"The request has more than {LARGEST_BODY // 2**20} MB.")
    try:
        values = json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise Refused(400, "The request is not JSON.") from error
    if not isinstance(values, dict):
        raise Refused(400, "The request must be a JSON object.")
    return values


def _event(value: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return JSONResponse(error.form(), error.status)


async def _not_there(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse(Refused(error.status_code, f"{error.detail}.").form(), error.status_code)


async def _user_error(request: Request, error: Exception) -> Response:
    return JSONResponse(Refused(500, str(error)).form(), 500)
