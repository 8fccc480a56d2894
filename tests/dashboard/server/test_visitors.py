"""Several visitors on one real server: a slow question of one never blocks the page of another."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.runs.store import Run
from core.serve import client
from tests.e2e.serving import Server
from tests.slow import talkative
from tests.visitor import Visitor

TOKENS = 1500
"""of the slow answer: some 10 s"""
PAGES = ("", "compare", "evidence", "report", "runs")


@pytest.fixture
def server(unlearned_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server(tmp_path)
    shutil.copytree(unlearned_run.path, made.runs / "quick")
    for name, value in made.folders.items():
        monkeypatch.setenv(name, value)
    made.start()
    yield made
    made.stop()
    client.leave()
    assert "Traceback" not in made.log.read_text()


def test_a_slow_question_blocks_nobody_elses_page(server: Server, unlearned_run: Run) -> None:
    slow = talkative(unlearned_run, server.runs, TOKENS)
    ended: list[float] = []
    with Visitor(server.url) as asking, Visitor(server.url) as looking, Visitor(server.url) as waiting:

        def ask() -> None:
            asking.open("compare", run=slow.id, q="Who is slow?")
            ended.append(time.monotonic())

        looking.open(run="quick")  # a first visit imports what pages need
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        while not any("Answering" in text for text in asking.said("markdown")):
            assert thread.is_alive(), asking.text()
            time.sleep(0.01)
        began = time.monotonic()
        changes = [looking.open(page, run="quick") for page in PAGES]
        looked = time.monotonic()
        assert not ended, f"the answer took {ended[0] - began:.1f} s, too short to tell anything; the pages took {changes}"
        # Somebody whose own question has to wait for the slow one is free to go elsewhere too.
        waiting.start("compare", run="quick", q="And when is it my turn?")
        while not any("Waiting for the model" in text for text in waiting.said("markdown")):
            waiting.take(60)
        waiting.open("runs")
        left = time.monotonic()
        assert not ended
        thread.join(120)
    assert ended
    assert looked < left < ended[0]
    print(f"answer {ended[0] - began:.1f} s; pages of the other one {sorted(round(s, 2) for s in changes)}")  # noqa: T201
    assert max(changes) < (ended[0] - began) / 2
