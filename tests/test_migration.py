"""Runs of every format that ever was: readable as they lie, and brought to a newer one only on request, with a copy kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from core import checkup, config, migration, models, store
from core.errors import UserError
from core.store import Run
from core.summary import summary
from tests.processes import command, last_json

RUNS = Path(__file__).parent / "fixtures" / "runs"
"""format-N-NAME: a tiny model's run as the code of that time wrote it, without log, locks and checkpoints. "first" was made
by the first code that had runs (with its own tests' tiny model), the one named after a version when that was released."""
FIXTURES = sorted(path.name for path in RUNS.iterdir() if path.is_dir())


def test_each_format_is_described_and_has_a_fixture() -> None:
    assert sorted(migration.FORMATS) == list(range(1, config.FORMAT + 1))
    assert {int(name.split("-")[1]) for name in FIXTURES} == set(migration.FORMATS)
    assert [number for number, form in migration.FORMATS.items() if form.onward is None] == [config.FORMAT]


@pytest.mark.parametrize("name", FIXTURES)
def test_run_of_any_format_is_read_whole(name: str) -> None:
    run = Run(RUNS / name)
    assert migration.version(run) == int(name.split("-")[1])
    assert not run.problem()
    assert not list(checkup.of_run(run))
    found = summary(run)
    assert found["state"] == "done"
    assert 0 <= found["after"]["unlearn_success"]["val"] <= 100
    assert found["located"]["count"] > 0
    assert len(run.answers()) == 18
    for table, rows in {"localization": 28, "tokens": 1}.items():
        read = run.table(table)
        assert read is not None
        assert len(read) >= rows
    assert run.events()[-1]["kind"] == "end"


@pytest.mark.parametrize("name", FIXTURES)
def test_run_of_any_format_is_listed_shown_and_left_as_it_is(name: str, tmp_path: Path) -> None:
    shutil.copytree(RUNS / name, tmp_path / name)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = command("show", name, "--json", "--runs", str(tmp_path))
    assert (done.returncode, last_json(done.stdout)["state"]) == (0, "done"), done.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """An old run, where the format after today's calls a state otherwise and has a setting less."""

    def state(values: dict[str, Any]) -> dict[str, Any]:
        return {**values, "condition": values["state"]}

    def settings(values: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in values.items() if key != "preset"}

    newest = config.FORMAT
    onward = {"status.json": state, "config.json": settings, "region.json": dict, "absent.json": dict}
    monkeypatch.setattr(migration, "FORMAT", newest + 1)
    monkeypatch.setattr(config, "FORMAT", newest + 1)
    monkeypatch.setattr(migration, "FORMATS", {**migration.FORMATS, newest: migration.Format("today", onward), newest + 1: migration.Format("next")})
    shutil.copytree(RUNS / FIXTURES[0], tmp_path / "old")
    return Run(tmp_path / "old")


def test_migration_changes_what_it_says_and_keeps_the_old_files(run: Run) -> None:
    names = ("status.json", "region.json", "config.json", "manifest.json")
    before = {name: (run.path / name).read_bytes() for name in names}
    assert [found.id for found in migration.outdated(run.path.parent)] == ["old"]
    assert migration.migrate(run) == ["status.json", "region.json", "config.json"]
    assert run.json("config.json")["format"] == config.FORMAT
    assert "preset" not in run.json("config.json")
    assert run.json("status.json")["condition"] == "done"
    assert not list(checkup.of_run(run)), "the manifest must vouch for the new files"
    kept = run.path.parent / migration.KEPT / "old" / f"format-{config.FORMAT - 1}"
    assert {name: (kept / name).read_bytes() for name in names} == before
    assert migration.outdated(run.path.parent) == []
    assert migration.migrate(run) == []


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_interrupted_migration_is_done_again_from_what_was_kept(run: Run, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    write, count = store.write_json, 0

    def dies(path: Path, value: Any) -> None:
        nonlocal count
        count += 1
        if count == number:
            raise KeyboardInterrupt
        write(path, value)

    monkeypatch.setattr(store, "write_json", dies)
    with pytest.raises(KeyboardInterrupt):
        migration.migrate(run)
    assert migration.version(run) == config.FORMAT - 1
    monkeypatch.setattr(store, "write_json", write)
    migration.migrate(run)
    assert run.json("status.json")["condition"] == "done"
    assert not list(checkup.of_run(run))


def test_damaged_and_living_runs_are_not_migrated(run: Run) -> None:
    text = (run.path / "region.json").read_text()
    (run.path / "region.json").write_text(text.replace("located", "lokated"))
    with pytest.raises(UserError, match="not what its manifest says"):
        migration.migrate(run)
    (run.path / "region.json").write_text(text)
    store.write_json(run.path / "status.json", store.fresh_status())
    with pytest.raises(UserError, match="queued"):
        migration.migrate(run)
    assert migration.version(run) == config.FORMAT - 1


def test_command_has_nothing_to_do_for_runs_of_today(tmp_path: Path) -> None:
    shutil.copytree(RUNS / FIXTURES[-1], tmp_path / "run")
    digest = models.sha256(tmp_path / "run" / "config.json")
    done = command("runs", "--migrate", "--json", "--runs", str(tmp_path))
    assert (done.returncode, last_json(done.stdout)) == (0, {"format": config.FORMAT, "migrated": {}, "failed": []}), done.stderr
    assert models.sha256(tmp_path / "run" / "config.json") == digest
    assert json.loads((tmp_path / "run" / "config.json").read_text())["format"] == config.FORMAT
