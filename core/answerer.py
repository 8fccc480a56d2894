"""The process that keeps a model warm and answers, and the client that pages use.

One process serves one model with its adapters, one request after the other; several questions and voices of a request
share a batch. It speaks JSON over a local socket (multiprocessing.connection with a key; never pickles), starts
when somebody asks, and leaves after some idle minutes or when a training worker needs the memory. A client that hangs
up stops its generation. Importing this file costs no heavy library: torch is imported by the server, when it serves.

Requests:  {"op": "ask", "run": path, "questions": [...], "voices": ["before", "after", "never"], "answers": {...}, "seed"}
           {"op": "leave"}
Replies:   {"kind": "loading"} · {"kind": "start", "prompts", "hashes"} · {"kind": "pieces", "pieces": [{"index", "text",
           "logprob", "last"}]} · {"kind": "done", "seconds", "tokens"} · {"kind": "error", "what", "fix"}
An index is question · len(voices) + voice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config import AnswersConfig, ModelConfig, RunConfig
from core.errors import UserError, unknown
from core.store import Run

if TYPE_CHECKING:
    from core.adapters import Adapters
    from core.models import Loaded

IDLE_MINUTES = 10.0
START_SECONDS = 60.0
VOICES = ("before", "after", "never")


def _place() -> Path:
    """Return the folder of socket and key; short, because socket paths may have only about 100 bytes."""
    from core.models import cache_folder

    given = os.environ.get("FORGETSCOPE_ANSWERER")
    folder = Path(given) if given else cache_folder() / "answerer"
    if len(str(folder)) > 80:
        import hashlib

        folder = Path(tempfile.gettempdir()) / f"forgetscope-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


# -- the client ---------------------------------------------------------------------------------------------------------


def ask(
    run: Run,
    questions: Sequence[str],
    voices: Sequence[str] = ("before", "after"),
    answers: AnswersConfig | None = None,
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """Ask a finished run's model; yield the replies (see the module's docstring) as they come.

    Starts the process if none runs. Raises UserError for what the server reports, and when it dies meanwhile.
    Closing the iterator stops the generation.
    """
    connection = _connect()
    try:
        request = {
            "op": "ask", "run": str(run.path), "questions": list(questions), "voices": list(voices),
            "answers": dataclasses.asdict(answers) if answers else None, "seed": seed,
        }  # fmt: skip
        _send(connection, request)
        while True:
            reply = _receive(connection)
            if reply["kind"] == "error":
                raise UserError(reply["what"], reply.get("fix", ""))
            yield reply
            if reply["kind"] == "done":
                return
    except (EOFError, OSError) as error:
        raise UserError("The process that answers has ended.", "Ask again: it starts anew.") from error
    finally:
        connection.close()


def texts(replies: Iterator[dict[str, Any]], count: int) -> list[str]:
    """Collect the answers of a request, in order of index."""
    found = [""] * count
    for reply in replies:
        for piece in reply.get("pieces", ()):
            found[piece["index"]] += piece["text"]
    return [text.strip() for text in found]


def leave(wait: float = 10.0) -> bool:
    """Ask a running answerer to end, wait until its memory is free again; say whether there was one."""
    try:
        connection = _open()
    except OSError:
        return False
    with contextlib.suppress(EOFError, OSError), contextlib.closing(connection):
        _send(connection, {"op": "leave"})
        if connection.poll(wait):
            _receive(connection)
            connection.poll(wait)  # the end of the process closes the line
    return True


def _connect() -> Connection[Any, Any]:
    from filelock import FileLock

    with contextlib.suppress(OSError):
        return _open()
    with FileLock(_place() / "start.lock"):
        with contextlib.suppress(OSError):
            return _open()  # somebody else has started it meanwhile
        log = (_place() / "answerer.log").open("ab")
        from core.jobs import environment

        process = subprocess.Popen(
            [sys.executable, "-m", "core.answerer"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True, env=environment(),
        )  # fmt: skip
        log.close()
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(OSError):
                return _open()
            time.sleep(0.05)
    raise UserError("The process that answers did not start.", f"See {_place() / 'answerer.log'}.")


def _open() -> Connection[Any, Any]:
    place = _place()
    try:
        key = (place / "key").read_bytes()
        return Client(str(place / "socket"), "AF_UNIX", authkey=key)
    except (EOFError, ValueError) as error:
        raise OSError(str(error)) from error


def _send(connection: Connection[Any, Any], value: dict[str, Any]) -> None:
    connection.send_bytes(json.dumps(value).encode())


def _receive(connection: Connection[Any, Any]) -> dict[str, Any]:
    value = json.loads(connection.recv_bytes(2**24))
    return value if isinstance(value, dict) else {}


# -- the server ---------------------------------------------------------------------------------------------------------


class Server:
    """Holds one model with the adapters of one run, and answers."""

    def __init__(self) -> None:
        """Load nothing yet: the first request says what."""
        self.run = ""
        self.stamp: object = None
        self.model: ModelConfig | None = None
        self.loaded: Loaded
        self.adapters: Adapters
        self.config: RunConfig
        self.hashes: dict[str, str] = {}
        self.used = time.monotonic()
        self.busy = False

    def serve(self, idle_minutes: float) -> None:
        """Accept one client after the other until idle for too long or asked to leave."""
        place = _place()
        (place / "socket").unlink(missing_ok=True)
        key = secrets.token_bytes(32)
        with open(os.open(place / "key", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(key)
        with Listener(str(place / "socket"), "AF_UNIX", backlog=64, authkey=key) as listener:
            threading.Thread(target=self._watch, args=(idle_minutes, place / "socket"), daemon=True).start()
            while True:
                try:
                    connection = listener.accept()
                except Exception:  # a client with a wrong key or that hung up: nothing to answer
                    continue
                self.busy = True
                with contextlib.closing(connection):
                    if self._handle(connection) == "leave":
                        (place / "socket").unlink(missing_ok=True)
                        # The kernel frees the memory, then closes the line: whoever asked knows when it is free.
                        os._exit(0)
                self.used, self.busy = time.monotonic(), False

    def _watch(self, minutes: float, socket: Path) -> None:
        while self.busy or time.monotonic() - self.used < 60 * minutes:
            time.sleep(1)
        socket.unlink(missing_ok=True)
        os._exit(0)

    def _handle(self, connection: Connection[Any, Any]) -> str:
        try:
            request = _receive(connection)
            if request.get("op") == "leave":
                _send(connection, {"kind": "done"})
                return "leave"
            for reply in self.answer(request):
                _send(connection, reply)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return "gone"
        except UserError as error:
            _tell(connection, error.what, error.fix)
        except Exception as error:  # a crash costs one sentence on the page; the log has the rest
            sys.stderr.write(traceback.format_exc())
            sys.stderr.flush()
            _tell(connection, f"Answering failed: {type(error).__name__}: {error}", "Ask again, or start a new run.")
        return ""

    def answer(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the replies to one request."""
        yield {"kind": "loading"}
        run, questions = Run(Path(str(request.get("run")))), [str(q) for q in request.get("questions") or []]
        voices = [str(voice) for voice in request.get("voices") or []]
        for voice in voices:
            if voice not in VOICES:
                raise unknown("voice", voice, VOICES)
        self.load(run)
        from core.answers import Request, stream
        from core.batching import prompt_ids, prompt_text

        tokenizer, template = self.loaded.tokenizer, self.config.model.template
        answers = AnswersConfig(**request["answers"]) if request.get("answers") else self.config.answers
        requests = [
            Request(tuple(prompt_ids(tokenizer, template, question)), None if voice == "never" else voice, number)
            for number, question in enumerate(questions)
            for voice in voices
        ]
        yield {
            "kind": "start",
            "prompts": [prompt_text(tokenizer, template, question) for question in questions],
            "hashes": {voice: self.hashes.get(voice, "adapter off") for voice in voices},
        }
        started, count = time.monotonic(), 0
        spoken = [_Text(tokenizer) for _ in requests]
        end, pad = int(tokenizer.eos_token_id), int(tokenizer.pad_token_id)
        for pieces in stream(self.adapters, requests, answers, end=end, pad=pad, seed=int(request.get("seed") or 0)):
            count += len(pieces)
            yield {
                "kind": "pieces",
                "pieces": [
                    {
                        "index": p.request,
                        "text": spoken[p.request].add(None if p.token == end else p.token, p.last),
                        "logprob": p.logprob,
                        "last": p.last,
                    }
                    for p in pieces
                ],
            }
        yield {"kind": "done", "seconds": time.monotonic() - started, "tokens": count}

    def load(self, run: Run) -> None:
        """Bring the model and the run's adapters into memory; keep the base where it is the same."""
        after = run.path / "after" / "region.safetensors"
        if not after.exists() or not (run.path / "before").is_dir():
            raise UserError(f"The run {run.id} has no unlearned model yet.", "Wait until it has finished unlearning.")
        stamp = (str(run.path), after.stat().st_mtime_ns)
        if self.stamp == stamp:
            return
        from core import adapters, models

        self.config, self.stamp = run.config(), None
        base = dataclasses.replace(self.config.model, template="")
        if self.model != base:
            self.loaded = models.load(self.config.model)
            dtype = models.pick_dtype(base.dtype, base.device)
            self.adapters = adapters.load(self.loaded.model, dtype, run.path / "before")
            self.model = base
        else:
            # A run of another rank does not fit the adapters in memory; then the base is wrapped anew.
            self._swap(run)
        self.adapters.copy("before", "after")
        self.adapters.set("after", adapters.read_tensors(after))
        self.hashes = {voice: self.adapters.hash(voice) for voice in ("before", "after")}
        self.stamp = stamp

    def _swap(self, run: Run) -> None:
        from core import adapters

        base = self.adapters.model.unload()
        dtype = self.adapters.dtype
        self.adapters = adapters.load(base, dtype, run.path / "before")


class _Text:
    """Tokens to text as they come; a character that is not complete yet is held back."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.tokens, self.said = tokenizer, list[int](), ""

    def add(self, token: int | None, last: bool) -> str:
        if token is not None:
            self.tokens.append(token)
        text = str(self.tokenizer.decode(self.tokens, skip_special_tokens=True))
        if text.endswith("\ufffd") and not last:
            return ""
        new, self.said = text[len(self.said) :], text
        return new


def _tell(connection: Connection[Any, Any], what: str, fix: str) -> None:
    with contextlib.suppress(OSError):
        _send(connection, {"kind": "error", "what": what, "fix": fix})


if __name__ == "__main__":
    Server().serve(float(os.environ.get("FORGETSCOPE_IDLE_MINUTES") or IDLE_MINUTES))
