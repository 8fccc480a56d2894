"""Asking the process that keeps a model warm: the client that pages and the command line use.

One process (core.serve.server) serves one model with its adapters, one request after the other. It speaks JSON over a local
socket (multiprocessing.connection with a key; never pickles), starts when somebody asks, and leaves after some idle minutes
or when a training worker needs the memory. A client that hangs up stops its work. Importing this file costs no heavy
library.

Requests:  {"op", "run": path, "folder": where other runs lie, …} with op and fields (checked in core.serve.messages):
           load · ask: questions, voices, answers, seed, top · score and lens: questions, truth, voices
           hold: questions, truth, groups [{"name", "cells"}] · dial: strengths, sample, questions, truth · leave
           complete: prompts [{"voice", "turns": [[role, text]] or "text", "draw"}], answers, seed, top
           Voices are written in the grammar of core.runs.voices.
Replies:   {"kind": "waiting", "seconds"}, from the client itself, while nothing comes: whoever consumes can stop there
           {"kind": "loading"} · {"kind": "start", "prompts", "hashes"} · {"kind": "voice_error", "voice", "what", "fix"}
           {"kind": "pieces", "pieces": [{"index", "text", "word", "logprob", "top", "last", "ended"}], "seconds"}, a piece a
           token: index = question · voices + voice, text is what it completes, word the token alone, logprob what the model
           gave it whatever the temperature, top [[word, logprob]] the likeliest in its place, ended whether it is the end
           of complete: {"kind": "start", "tokens": [of each prompt]}, index of a piece: the prompt's place
           {"kind": "prompt_error", "index", "where", "what", "fix"}
           {"kind": "score", "voice", "total", "tokens": [{"text", "logprob", "rank", "top"}]}
           {"kind": "lens", "voice", "tokens": [text], "logprob", "rank"}, the last two layers × tokens
           {"kind": "row", "done", "total", …} · {"kind": "done", "seconds"} · {"kind": "error", "what", "fix"}
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

from core.config.stages import AnswersConfig
from core.runs import store
from core.runs.store import Run
from core.serve import one_at_a_time
from core.util import access, forkserver
from core.util.errors import UserError
from core.util.paths import cache_folder
from core.util.process import environment

START_SECONDS = 60.0
TURN_SECONDS = 120.0
"""how long a person's second question waits for the first"""
HEARTBEAT = 0.2
"""seconds without a reply after which the client lets its consumer have a look"""
STRENGTHS = tuple(range(0, 151, 25))


def socket_folder() -> Path:
    """Return the folder of socket and key; short, because socket paths may have only about 100 bytes."""
    given = os.environ.get("FORGETSCOPE_ANSWERER")
    folder = Path(given) if given else cache_folder() / "answerer" / os.uname().nodename
    if len(str(folder)) > 80:
        folder = Path(tempfile.gettempdir()) / f"forgetscope-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        _ours(folder)
    else:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _ours(folder: Path) -> None:
    """Raise UserError where somebody else made a folder, or could write into it: in a place that all share, its name can be
    guessed.
    """
    info = folder.lstat()  # not stat: a link that somebody put there is not followed
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
        raise UserError(
            f"The folder {folder} is not yours alone, so no model is asked through it.",
            "Set FORGETSCOPE_ANSWERER to a folder of your own with a path of at most 80 characters.",
        )


# -- the client ---------------------------------------------------------------------------------------------------------


def ask(
    run: Run,
    questions: Sequence[str],
    voices: Sequence[str] = ("before", "after"),
    answers: AnswersConfig | None = None,
    seed: int | None = None,
    top: int = 0,
) -> Generator[dict[str, Any]]:
    """Ask a finished run's model; yield the replies (see the module's docstring) as they come.

    Sampled with the run's own seed where none is given. top: likeliest tokens that are told at each place. Starts the
    process if none runs. Raises UserError for what the server reports, and when it dies meanwhile. Closing the iterator
    stops the generation; so it is with all requests.
    """
    settings = dataclasses.asdict(answers) if answers else None
    return call("ask", run, questions=list(questions), voices=list(voices), answers=settings, seed=seed, top=top)


def score(run: Run, question: str, truth: str, voices: Sequence[str]) -> Generator[dict[str, Any]]:
    """Ask what each voice thinks of the true answer, token by token."""
    return call("score", run, questions=[question], truth=truth, voices=list(voices))


def lens(run: Run, question: str, truth: str, voices: Sequence[str] = ("before", "after")) -> Generator[dict[str, Any]]:
    """Ask what each layer would say of the true answer, were it the last one (logit lens, core/probes/logit_lens.py)."""
    return call("lens", run, questions=[question], truth=truth, voices=list(voices))


def hold(run: Run, question: str, truth: str, groups: Mapping[str, Sequence[str]]) -> Generator[dict[str, Any]]:
    """Put each group of cells (name -> parts) back to before, alone, and score the true answer: one row a group."""
    wanted = [{"name": name, "cells": list(cells)} for name, cells in groups.items()]
    return call("hold", run, questions=[question], truth=truth, groups=wanted)


def dial(
    run: Run, question: str = "", truth: str = "", strengths: Sequence[float] = STRENGTHS, sample: int = 12
) -> Generator[dict[str, Any]]:
    """Measure both scopes' success along the blend from before to after, and the true answer's log-probability."""
    example = {"questions": [question], "truth": truth} if question and truth else {}
    return call("dial", run, strengths=list(strengths), sample=sample, **example)


def warm(run: Run) -> None:
    """Let the process start and load a run's model, without waiting for either."""
    request = _request("load", run, {})
    with contextlib.suppress(OSError):
        with contextlib.closing(_open()) as connection:
            send(connection, request)
        return
    with contextlib.suppress(TimeoutError):
        with _starting(0):
            _spawn(request)


def call(op: str, run: Run, **values: Any) -> Generator[dict[str, Any]]:
    """Send one request; yield its replies. Raises UserError for a reply that is an error.

    A person's requests are served one by one: the second one waits until the first is done or its iterator is closed.
    """
    began, owner = time.monotonic(), access.owner()
    for _ in one_at_a_time.waiting(HEARTBEAT, TURN_SECONDS):
        yield {"kind": "waiting", "seconds": time.monotonic() - began}
    try:
        with contextlib.closing(_served(_request(op, run, values))) as replies:
            for reply in replies:
                yield reply or {"kind": "waiting", "seconds": time.monotonic() - began}
                if reply and reply["kind"] == "done":
                    return
    except (EOFError, OSError) as error:
        raise UserError("The process that answers has ended.", "Ask again: it starts anew.") from error
    finally:
        one_at_a_time.done(owner)


def _served(request: Mapping[str, Any]) -> Generator[dict[str, Any] | None]:
    """Yield the replies to a request, and None while nothing comes. Raises UserError for an error, EOFError or OSError at an
    end.
    """
    for last in (False, True):
        heard = False
        try:
            for connection in _connect():
                if connection is None:
                    yield None
                    continue
                with contextlib.closing(connection):
                    send(connection, request)
                    while True:
                        while not connection.poll(HEARTBEAT):
                            yield None
                        reply, heard = receive(connection), True
                        if reply["kind"] == "error":
                            raise UserError(reply["what"], reply.get("fix", ""))
                        yield reply
        except (EOFError, OSError):
            if heard or last:  # before the first word it was about to leave, and another one can be asked
                raise


def texts(replies: Iterable[dict[str, Any]], count: int) -> list[str]:
    """Collect the answers of a request, in order of index. Raises UserError for a voice that cannot speak."""
    answers = [""] * count
    for reply in replies:
        if reply["kind"] == "voice_error":
            raise UserError(reply["what"], reply["fix"])
        for piece in reply.get("pieces", ()):
            answers[piece["index"]] += piece["text"]
    return [text.strip() for text in answers]


def leave(wait: float = 120.0) -> bool:
    """Ask a running answerer to end, wait until its memory is free again; say whether there was one.

    It serves one request after the other, so it reads this one when the answers before it are there.
    """
    try:
        connection = _open()
    except (OSError, UserError):  # none, or none that is ours
        return False
    with contextlib.suppress(EOFError, OSError), contextlib.closing(connection):
        send(connection, {"op": "leave"})
        if connection.poll(wait):
            receive(connection)
            connection.poll(wait)  # the end of the process closes the line
    return True


def _request(op: str, run: Run, values: Mapping[str, Any]) -> dict[str, Any]:
    return {"op": op, "run": str(run.path.absolute()), "folder": str(store.runs_folder()), **values}


def _connect() -> Iterator[Connection[Any, Any] | None]:
    """Yield None while the process is on its way, then the line to it. Raises UserError where it does not start."""
    until, process = time.monotonic() + START_SECONDS, None
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            yield _open()
            return
        if process is None:
            with contextlib.suppress(TimeoutError), _starting(HEARTBEAT):
                process = _spawn()
        elif (ended := process.poll()) == 0:
            process = None  # another one was there, which may have been about to leave
        elif ended is not None:
            break
        yield None
        time.sleep(0.05)
    raise UserError("The process that answers did not start.", f"See {socket_folder() / 'answerer.log'}.")


@contextlib.contextmanager
def _starting(wait: float) -> Iterator[None]:
    """Hold the right to start the process. Raises TimeoutError where somebody else has it."""
    from filelock import FileLock

    with FileLock(socket_folder() / "start.lock", timeout=wait):
        yield


def _spawn(first: Mapping[str, Any] | None = None) -> forkserver.Process:
    """Start the process, with a request that it serves before all others."""
    arguments = (json.dumps(first),) if first else ()
    command = forkserver.Command("core.serve.server", arguments, socket_folder() / "answerer.log", environment())
    return forkserver.start(command)


def _open() -> Connection[Any, Any]:
    try:
        key = (socket_folder() / "key").read_bytes()
        return Client(str(socket_folder() / "socket"), "AF_UNIX", authkey=key)
    except (EOFError, ValueError) as error:  # the other side broke off: it is about to leave, so it counts as gone
        raise OSError(str(error)) from error


def send(connection: Connection[Any, Any], message: Mapping[str, Any]) -> None:
    """Send one JSON value. Raises OSError where the other side has hung up."""
    connection.send_bytes(json.dumps(message).encode())


def receive(connection: Connection[Any, Any]) -> dict[str, Any]:
    """Wait for one JSON object; any other value is an empty one. Raises EOFError or OSError where the line is cut."""
    message = json.loads(connection.recv_bytes(2**24))
    return message if isinstance(message, dict) else {}
