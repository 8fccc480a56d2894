"""No name that somebody else wrote leads out of the folder it is meant for, wherever such a name comes in."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.config import own_methods
from core.jobs import sweep
from core.methods import own
from core.report import verify_run
from core.runs import repair, store, voices
from core.runs.store import Run
from core.util import paths
from core.util.errors import UserError
from dashboard.runs import form_upload
from tests.hostile.harness import Around

NAMES: dict[str, str] = {
    "nothing": "",
    "the folder itself": ".",
    "the folder above": "..",
    "a file above": "../secret.json",
    "by way of a folder": "inner/../../secret.json",
    "by way of a folder that is not there": "nowhere/../../secret.json",
    "a place": "{outside}/secret.json",
    "a place with two strokes": "/{outside}/secret.json",
    "a link to a file": "link.json",
    "a link to a folder": "linked/secret.json",
    "a link to a link": "second/secret.json",
    "links in a circle": "circle/x",
    "a NUL": "a\0b",
    "5,000 characters": "n" * 5000,
    "5,000 folders": "a/" * 2500 + "x",
}
"""name -> a name that lies outside of a folder, or is none; {outside} stands for a folder of somebody else"""


@pytest.fixture
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Around:
    made = Around.make(tmp_path)
    monkeypatch.setenv("FORGETSCOPE_RUNS", str(made.folder))
    monkeypatch.setenv("FORGETSCOPE_CACHE", str(made.folder / "cache"))
    linked(made.folder, made.outside)
    return made


def linked(folder: Path, outside: Path) -> None:
    """Put links into a folder that lead out of it."""
    (folder / "inner").mkdir(exist_ok=True)
    (folder / "link.json").symlink_to(outside / "secret.json")
    (folder / "linked").symlink_to(outside)
    (folder / "second").symlink_to(folder / "linked")
    (folder / "circle").symlink_to(folder / "circle")


def run_in(around: Around) -> Run:
    """Return a finished run with links in it."""
    run = Run(around.folder / "mine")
    run.path.mkdir()
    for name in ("config.json", "status.json", "region.json", "manifest.json"):
        shutil.copy(store.bundled_runs()[0].path / name, run.path)
    linked(run.path, around.outside)
    return run


def changed(run: Run, name: str, **values: Any) -> None:
    (run.path / name).write_text(json.dumps((run.json(name) or {}) | values))


@pytest.fixture(params=list(NAMES))
def name(request: pytest.FixtureRequest, around: Around) -> str:
    return NAMES[request.param].format(outside=around.outside)


@pytest.fixture
def untouched(around: Around) -> Any:
    """Compare what lies outside before and after."""
    before = around.snapshot()
    yield
    assert around.snapshot() == before


Lead = Callable[[Around, str], object]


def by_helper(around: Around, name: str) -> object:
    with pytest.raises(UserError, match="outside"):
        paths.contained(around.folder, name)
    assert paths.inside(around.folder, name) is None
    return None


def by_run(around: Around, name: str) -> object:
    (around.folder / "mine").mkdir()
    with pytest.raises(UserError, match="no run"):
        store.by_id(name, around.folder)
    return None


def by_sweep(around: Around, name: str) -> object:
    (around.folder / ".sweeps" / "s").mkdir(parents=True)
    with pytest.raises(UserError, match="no sweep"):
        sweep.find("" if name == "" else name, around.folder)
    return None


def by_member(around: Around, name: str) -> object:
    """The list of a sweep's runs names one elsewhere."""
    place = around.folder / ".sweeps" / "s"
    place.mkdir(parents=True)
    rows = [{"run": name}, {"run": 5}, {"run": "mine"}]
    (place / "sweep.json").write_text(json.dumps({"format": 1, "kind": "sweep", "runs": rows}))
    assert [run.id for run in sweep.members(sweep.Sweep(place))] == ["mine"]
    return None


def by_status(around: Around, name: str) -> object:
    """A run's status names a sweep elsewhere, whose manager would be believed to be alive."""
    run = run_in(around)
    alive = {"state": "running", "host": os.uname().nodename, "pid": os.getpid()}
    (around.outside / "status.json").write_text(json.dumps(alive))
    (around.folder / "status.json").write_text(json.dumps(alive))
    changed(run, "status.json", state="running", pid=2**22 + 1, ray={"cpus": 1}, sweep=name)
    assert run.status()["state"] == "failed"
    (around.outside / "status.json").unlink()
    return None


def by_manifest(around: Around, name: str) -> object:
    """A manifest names a file elsewhere, with a hash that a damaged one could be mended from."""
    run = run_in(around)
    stages = {name or "x": {"key": name, "state": "done"}, "teach": {"key": name}}
    changed(run, "manifest.json", files={name: "0" * 64, "region.json": "0" * 64}, stages=stages)
    problems = [problem for problem in repair.examine(around.folder) if problem.where == run.id]
    assert any("outside of the run" in problem.says for problem in problems)
    repair.repair(problems)
    (said,) = [check for check in verify_run.check_files(run, run.json("manifest.json")) if "missing" in check.says]
    assert said.state == verify_run.MISMATCH
    return None


def by_upload(around: Around, name: str) -> object:
    place = form_upload.save(f"{name}.json", b"[]")
    assert place.resolve().is_relative_to(around.folder / ".uploads")
    return None


def by_method(around: Around, name: str) -> object:
    method = own.OwnMethod(file="m.py", kind="M", sha256=name)
    with pytest.raises(UserError, match="never named"):
        own_methods.source_of(method)
    return None


def by_voice(around: Around, name: str) -> object:
    """Inside and outside of the folder alike, a voice names a run by its id and nothing else."""
    if "/" in name or not name.strip(".") or "\0" in name or len(name) > 200:
        with pytest.raises(UserError, match="voice"):
            voices.parse(f"run:{name}/after")
    else:
        with pytest.raises(UserError, match="no run"):
            store.by_id(voices.parse(f"run:{name}/after").run, around.folder / "inner")
    return None


WAYS = [by_helper, by_run, by_sweep, by_member, by_status, by_manifest, by_upload, by_method, by_voice]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.removeprefix("by_"))
def test_a_name_leads_nowhere(way: Lead, name: str, around: Around, untouched: None) -> None:
    way(around, name)


def test_names_inside_lead_there(around: Around) -> None:
    """Whoever refuses everything is safe, and useless."""
    for inside in ("inner", "new.json", "inner/new/deep.json", "a..b", "...", "inner/../new.json"):
        assert paths.contained(around.folder, inside) == around.folder / inside
    (around.folder / "within").symlink_to(around.folder / "inner")
    assert paths.contained(around.folder, "within/x.json") == around.folder / "within" / "x.json"


def test_a_folder_may_itself_be_a_link(around: Around) -> None:
    """Runs on another disk are reached by one."""
    (around.outside / "door").symlink_to(around.folder)
    assert paths.contained(around.outside / "door", "inner/x") == around.outside / "door" / "inner" / "x"
    with pytest.raises(UserError, match="outside"):
        paths.contained(around.outside / "door", "../x")
