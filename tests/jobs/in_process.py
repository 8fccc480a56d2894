"""Jobs done in the test's own process, which has imported everything: for tests of what a job does, not of its process."""

from __future__ import annotations

import contextlib

import pytest

from core.jobs import __main__ as entry
from core.jobs import lifecycle
from core.runs.store import Run


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do each job where it is started, at once; what it prints goes into the log of its folder, as a worker's does."""

    def start(job_folder: Run, module: str, *arguments: str) -> None:
        with (job_folder.path / "worker.log").open("a") as log, contextlib.redirect_stdout(log):
            entry.main(arguments)

    monkeypatch.setattr(lifecycle, "start_process", start)
