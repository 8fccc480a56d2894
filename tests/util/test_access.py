"""Read-only is enforced where something is changed, whatever a page shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.config.run_config import preset
from core.jobs import estimate, lifecycle, queue, sweep
from core.metrics import own_verdicts
from core.runs import archive, labels, saved_regions, store, trash
from core.runs.store import Run
from core.util import access
from core.util.errors import UserError
from dashboard.runs import form_upload

CHANGES: dict[str, Callable[[Run, Path], Any]] = {
    "create a run": lambda run, folder: store.create(preset("this-machine"), folder),
    "submit a run": lambda run, folder: lifecycle.submit(preset("this-machine"), folder),
    "start a worker": lambda run, folder: lifecycle.start("run", run),
    "measure beforehand": lambda run, folder: estimate.start(Run(folder / ".plans" / "x"), run.config()),
    "resume a run": lambda run, folder: lifecycle.resume(run),
    "kill a worker": lambda run, folder: lifecycle.kill(run),
    "cancel a run": lambda run, folder: run.cancel(),
    "make a reference": lambda run, folder: lifecycle.begin("reference", Run(folder / "place"), run.config(), {}),
    "create a sweep": lambda run, folder: sweep.create("sweep", "x", {}, [], folder),
    "change a label": lambda run, folder: labels.change(run, name="x"),
    "save a region": lambda run, folder: saved_regions.save(run, "x", ["a"]),
    "prepare later work": lambda run, folder: store.prepare(Run(folder / "place"), run.config()),
    "give a verdict": lambda run, folder: own_verdicts.give(run, "unlearn/train/0", "leaked"),
    "move in the queue": lambda run, folder: queue.move(run, 1),
    "keep an upload": lambda run, folder: form_upload.save("a.json", b"[]"),
    "delete a run": lambda run, folder: trash.delete(run),
    "empty the trash": lambda run, folder: trash.purge([]),
    "import an archive": lambda run, folder: archive.import_(folder / "nothing.zip", folder),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_nothing_changes_where_it_is_read_only(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = store.create(preset("this-machine"), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setenv(access.READ_ONLY, "1")
    with pytest.raises(UserError, match="read-only"):
        CHANGES[change](run, tmp_path)
    trash.purge_old(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_every_function_that_starts_a_process_asks_first() -> None:
    """The one place that starts workers asks; the answerer, which only answers, does not."""
    text = (Path(lifecycle.__file__)).read_text(encoding="utf-8")
    body = text.split("def start_process")[1].split("def ")[0]
    assert body.index("access.changing()") < body.index("forkserver.start(")
