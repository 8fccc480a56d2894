"""What the processes log, on stderr: one line a record, for a person, or for a machine where FORGETSCOPE_LOG is json.

A record says when (UTC), how grave, about which run and in which stage, and, for an exception, its traceback. Workers write
into the run's worker.log, the answering process into answerer.log beside its socket, the dashboard to its own stderr. What a
user asks and what a model answers is not logged.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from core.util.errors import plain
from core.util.masking import masked

VARIABLE = "FORGETSCOPE_LOG"
"""environment variable: text (also where it is empty) or json"""
FORMATS = ("text", "json")
OURS = ("core", "dashboard")
"""loggers of which every record from INFO on is written; of other libraries only warnings and errors are"""
LONGEST = 4000
"""characters of a message"""

_run: ContextVar[str] = ContextVar("run", default="")
_stage: ContextVar[str] = ContextVar("stage", default="")


@contextlib.contextmanager
def about(run: str) -> Iterator[None]:
    """Let what is logged meanwhile name a run."""
    kept, stage = _run.set(run), _stage.set("")
    try:
        yield
    finally:
        _run.reset(kept)
        _stage.reset(stage)


def name(run: str) -> None:
    """Let what is logged from now on, in this thread, name a run."""
    _run.set(run)


def in_stage(stage: str) -> None:
    """Let what is logged from now on, in this thread, name a stage."""
    _stage.set(stage)


class Text(logging.Formatter):
    """One readable line; a traceback follows it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return when, how grave, which run, which stage, and what."""
        where = " ".join(part for part in (plain(_run.get()), _stage.get()) if part)
        when = _when(record).replace("T", " ")
        line = f"{when} {record.levelname:<7} {where + ': ' if where else ''}{plain(record.getMessage(), LONGEST)}"
        return masked("\n".join([line, *self._traceback(record)]))

    def _traceback(self, record: logging.LogRecord) -> list[str]:
        return [self.formatException(record.exc_info)] if record.exc_info and record.exc_info[0] else []


class Json(Text):
    """One JSON object, on one line; the keys are the same in every record, without the traceback where there is none."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        values: dict[str, Any] = {
            "time": _when(record),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "run": _run.get(),
            "stage": _stage.get(),
            "message": masked(record.getMessage()),
        }
        if traceback := self._traceback(record):
            values["traceback"] = masked(traceback[0])
        return json.dumps(values, ensure_ascii=False)


def _when(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def start() -> None:
    """Let this process log to stderr, in the format that the environment asks for; warnings and unexpected ends included."""
    wanted = os.environ.get(VARIABLE) or FORMATS[0]
    handler = logging.StreamHandler()
    handler.setFormatter(Json() if wanted == "json" else Text())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for ours in OURS:
        logging.getLogger(ours).setLevel(logging.INFO)
    logging.captureWarnings(True)
    sys.excepthook = _unexpected
    threading.excepthook = lambda arguments: _unexpected(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
    if wanted not in FORMATS:
        # Nobody's run has to wait for a better word.
        logging.getLogger(__name__).warning("%s=%s is not known; it can be %s.", VARIABLE, wanted, " or ".join(FORMATS))


def _unexpected(kind: type[BaseException], error: BaseException | None, traceback: Any) -> None:
    if issubclass(kind, Exception):
        logging.getLogger(__name__).critical("Unexpected end", exc_info=(kind, error or kind(), traceback))
    elif error and kind is not SystemExit:
        sys.__excepthook__(kind, error, traceback)  # Ctrl-C and the like, as everywhere


def adopt(*libraries: str) -> None:
    """Let libraries that bring handlers of their own log as everything else does: warnings and errors.

    Requests, which a server would log below that level, are not: their addresses hold what people ask.
    """
    for logger_name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and logger_name.partition(".")[0] in libraries:
            logger.setLevel(max(logger.getEffectiveLevel(), logging.WARNING))
            logger.handlers.clear()
            logger.propagate = True
