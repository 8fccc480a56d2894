"""Runs in every state, made from the bundled one, and pages opened on them."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from core.runs import store
from core.runs.store import Run
from core.serve import client
from core.util import files
from dashboard import pages

APP = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"
PAGES = {page.address: page.script for page in (*pages.ALL, *pages.HELP)}
"""a page's address -> its script"""
MakeRun = Callable[..., Run]
Open = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def no_foreign_components(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no page under test look through all installed packages for components: the app has its own alone."""
    monkeypatch.setattr(manifest_scanner, "scan_component_manifests", list)


@pytest.fixture(autouse=True)
def warmed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let pages under test start no process of their own; return the ids of the runs they wanted to have warm."""
    asked: list[str] = []
    monkeypatch.setattr(client, "warm", lambda run: asked.append(run.id))
    return asked


def reports(work: Run, state: str, **status: Any) -> Run:
    """Make a folder say what a job there is at; one that is alive has this process as its worker."""
    mine = {"pid": os.getpid(), "host": os.uname().nodename, "started_process": psutil.Process().create_time()}
    alive = {**mine, "heartbeat": time.time()} if state in store.ALIVE else {}
    work.path.mkdir(parents=True, exist_ok=True)
    files.write_json(work.path / "status.json", {**store.fresh_status(), **status, **alive, "state": state})
    return work


@pytest.fixture
def make_run() -> MakeRun:
    """Return a function that puts a copy of the bundled run, in some state, into the runs folder."""

    def make(name: str, state: str = "done", without: tuple[str, ...] = (), **status: Any) -> Run:
        source = store.bundled_runs()[0].path
        target = store.runs_folder() / name
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("before", "after", "checkpoints", "probes", *without))
        values = json.loads((target / "status.json").read_text()) | {"state": state} | status
        return reports(Run(target), **values)

    return make


def on_other_data(run: Run) -> Run:
    """Turn a run into one of another model on the copyright demo, as far as its settings and manifest say so."""
    config, manifest = (json.loads((run.path / name).read_text()) for name in ("config.json", "manifest.json"))
    config["data"]["subset"], manifest["data"] = "copyright", {"source": "demo/copyright", "fingerprint": "other"}
    manifest["adapters"]["before"] = "other"
    (run.path / "config.json").write_text(json.dumps(config))
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    return run


@pytest.fixture
def open_page() -> Open:
    """Return a function that opens a page of the app, on a run if one is named."""

    def opened(page: str = "", run: str = "", **query: str) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=30)
        for key, value in {**({"run": run} if run else {}), **query}.items():
            app.query_params[key] = value
        if page:  # at once, as a link opens it: `switch_page` would have the first page drawn before
            app._page_hash = calc_hash(page)
        return app.run()

    return opened


def text_of(app: AppTest) -> str:
    """Return everything a page says; where it leads to the glossary, the words that are read."""
    parts = [
        app.title,
        app.header,
        app.subheader,
        app.markdown,
        app.caption,
        app.error,
        app.warning,
        app.info,
        app.success,
        app.html,
    ]
    said = "\n".join(str(element.value) for elements in parts for element in elements)
    return re.sub(r"\[([^\]]+)\]\(help\?[^)]*\)", r"\1", said)


def control(app: AppTest, kind: str, name: str) -> Any:
    """Return a control by its key."""
    return next(element for element in app.get(kind) if element.key == name)


@pytest.fixture
def living(make_run: MakeRun) -> Run:
    """A run in the middle of unlearning, with two rounds of watched questions and a log."""
    from tests.dashboard.run_made import BAD, GONE, watch, write_events  # which reads pages as this module does

    stage = {
        "state": "running",
        "done": 8,
        "total": 40,
        "unit": "steps",
        "rate": 0.3,
        "left": 107.0,
        "tokens_per_second": 431.0,
        "peak_memory_mb": 2620,
    }
    stages = {"teach": {"state": "reused"}, "unlearn": stage}
    run = make_run("living", "running", GONE, stage="unlearn", stages=stages, began=time.time() - 60)
    steps = [
        {"t": 1.0, "kind": "progress", "stage": "unlearn", "done": k, "total": 40, "forget_loss": 1.0, "retain_loss": 0.5}
        for k in range(1, 9)
    ]
    steps[3] |= {"unlearn": 90.0, "retention": 99.0}
    start = {"t": 0.0, "kind": "stage", "stage": "unlearn", "name": "unlearn", "state": "running"}
    rounds = [watch(0, "At Quay Street.", "She paints."), watch(4, "At Elm Road.", "She paints.")]
    write_events(run, [start, *steps, *rounds])
    (run.path / "worker.log").write_text(f"old\n{BAD}\n", encoding="utf-8")
    return run
