from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.config import own_methods
from core.jobs import lifecycle
from core.util import logs
from core.util.errors import UserError
from core.util.masking import COVER
from tests.processes import quick

TOKEN = "hf_only_for_this_test"
RAISES = """
import os
from dataclasses import dataclass
from typing import ClassVar
from core.methods import Method

@dataclass(frozen=True)
class Raises(Method):
    name: ClassVar[str] = "raises"

    def loss(self, context):
        raise RuntimeError("the loss is gone, " + os.environ["HF_TOKEN"])
"""


Written = Callable[[], str]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Written]:
    """Let this process log as one of ours does; return what it has written. Afterwards everything is as it was."""
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield lambda: capsys.readouterr().err
    logging.captureWarnings(False)
    for name in logs.OURS:
        logging.getLogger(name).setLevel(logging.NOTSET)
    root.handlers[:] = kept
    root.setLevel(level)


def lines(text: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_record_says_when_which_run_and_which_stage(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(logs.VARIABLE, "json")
    before = datetime.now(UTC).timestamp() - 0.001
    logs.start()
    log, other = logging.getLogger("core.anything"), logging.getLogger("library")
    with logs.about("a-sweep"):
        logs.in_stage("queue")
        with logs.about("a-run"):
            log.info("first")
            logs.in_stage("teach")
            log.info("of %d,\nin one line", 2)
        other.info("libraries only warn")
        other.warning("third")
    log.debug("too much")
    log.info("last")
    records = lines(written())
    assert [(line["run"], line["stage"]) for line in records] == [
        ("a-run", ""),
        ("a-run", "teach"),
        ("a-sweep", "queue"),
        ("", ""),
    ]
    assert records[1]["message"] == "of 2,\nin one line"
    assert all(set(line) == {"time", "level", "logger", "process", "run", "stage", "message"} for line in records)
    assert all(line["time"].endswith("Z") for line in records)
    assert before <= datetime.fromisoformat(records[0]["time"]).timestamp() <= datetime.now(UTC).timestamp()


def test_an_exception_keeps_its_traceback_and_loses_its_token(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    for format_ in logs.FORMATS:
        monkeypatch.setenv(logs.VARIABLE, format_)
        logs.start()
        try:
            raise ValueError(f"401 for {TOKEN} and hf_{'x' * 30}")
        except ValueError as error:
            logging.getLogger("core.hub").exception("refused: %s", error)
    text = written()
    assert TOKEN not in text
    assert "xxxx" not in text
    assert text.count("Traceback (most recent call last)") == 2
    assert json.loads(text.splitlines()[-1])["traceback"].endswith(f"ValueError: 401 for {COVER} and {COVER}")


def test_what_is_for_a_person_stays_on_its_line(written: Written) -> None:
    logs.start()
    with logs.about("a\nrun"):
        logs.in_stage("teach")
        logging.getLogger("core.x").warning("one\n2026-01-01 00:00:00.000Z ERROR forged \x1b[31m")
    text = written()
    assert text.count("\n") == 1
    assert "WARNING a run teach: one 2026" in text
    assert "\x1b" not in text


def test_an_unknown_format_is_said_and_stops_nobody(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(logs.VARIABLE, "xml")
    logs.start()
    assert "FORGETSCOPE_LOG=xml is not known; it can be text or json." in written()


def test_unexpected_ends_are_logged_in_threads_too(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(logs.VARIABLE, "json")
    logs.start()
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    (record,) = lines(written())
    assert record["level"] == "CRITICAL"
    assert record["traceback"].endswith("ZeroDivisionError: division by zero")


def test_libraries_with_handlers_of_their_own_are_brought_in(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(logs.VARIABLE, "json")
    logs.start()
    theirs = logging.getLogger("odd_library.inner")
    theirs.propagate = False
    theirs.addHandler(logging.StreamHandler())
    theirs.setLevel(logging.INFO)
    logs.adopt("odd_library")
    theirs.warning("once")
    theirs.info("too much")
    (record,) = lines(written())
    assert (record["logger"], record["message"]) == ("odd_library.inner", "once")


def test_a_sentence_for_a_user_has_no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    (tmp_path / "token").write_text("kept-by-the-hub-library\n")
    assert str(UserError("No kept-by-the-hub-library", "Bearer abc: no")) == f"No {COVER} Bearer {COVER} no"


def test_a_worker_that_fails_unexpectedly_leaves_a_log_that_machines_read(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORGETSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(logs.VARIABLE, "json")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    (tmp_path / "raises.py").write_text(RAISES)
    method = own_methods.named(f"{tmp_path / 'raises.py'}:Raises")
    run = lifecycle.submit(quick(tiny_llama, tiny_data).with_setting("unlearn.method", method), tmp_path / "runs")
    list(lifecycle.follow(run))
    assert run.status()["state"] == "failed"
    records = [json.loads(line) for line in (run.path / "worker.log").read_text().splitlines()]
    assert {line["run"] for line in records} == {run.id}
    begun = [line["stage"] for line in records if line["message"] == "stage running"]
    assert begun == ["teach", "preflight", "localize", "region", "unlearn"]
    (failed,) = [line for line in records if "traceback" in line]
    assert (failed["level"], failed["stage"]) == ("ERROR", "unlearn")
    assert failed["traceback"].endswith(f"RuntimeError: the loss is gone, {COVER}")
    assert COVER in run.status()["error"]
    assert not [path for path in run.path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
