"""What pages keep for the next visitor: it is kept, and a changed file is seen."""

from __future__ import annotations

import json
import shutil

import pytest

from core.metrics import verdicts
from core.runs import store
from core.runs.store import Run
from dashboard.localize import opened, pictures
from dashboard.localize.opened import Opened
from dashboard.localize.pictures import Look
from dashboard.widgets import current_run, page_style
from dashboard.widgets.selection import Selection
from tests.dashboard.conftest import MakeRun


def page_of(run: Run) -> Opened:
    table = opened.cells(run)
    assert table is not None
    return Opened(run, table, list(table["name"][:3]), Selection(run.config().region), frozenset())


def map_of(run: Run) -> tuple[str, str]:
    page = page_of(run)
    drawn: tuple[str, str] = pictures._map(opened.version(run), Look(tuple(page.region), page.region[0], dark=False), page)
    return drawn


def test_changed_answers_are_seen(make_run: MakeRun) -> None:
    run = make_run("kept")
    before = current_run.answers(run)
    assert current_run.answers(run) is before
    lines = (run.path / "answers.jsonl").read_bytes().splitlines(keepends=True)
    (run.path / "answers.jsonl").write_bytes(b"".join(lines[1:]))
    assert [row["example"] for row in current_run.answers(run)] == [row["example"] for row in before[1:]]


def test_what_probes_found_is_kept_and_a_new_finding_and_a_new_result_are_seen(make_run: MakeRun) -> None:
    run, (source, *_) = make_run("kept"), store.bundled_runs()
    assert current_run.findings(run) == {}
    shutil.copytree(source.path / "probes", run.path / "probes")
    found = current_run.findings(run)
    assert found
    assert current_run.findings(run) is found
    next((run.path / "probes").glob("*.json")).unlink()
    assert len(current_run.findings(run)) == len(found) - 1
    manifest = json.loads((run.path / "manifest.json").read_text())
    manifest["adapters"]["after"] = "another"
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    assert all(finding["stale"] for finding in current_run.findings(run).values())


def test_changed_answers_are_judged_and_counted_anew(make_run: MakeRun) -> None:
    run = make_run("kept")
    before, said = verdicts.gather(run), page_style.where(run, "localize", "file", "formula")
    assert verdicts.gather(run) is before
    lines = (run.path / "answers.jsonl").read_bytes().splitlines(keepends=True)
    (run.path / "answers.jsonl").write_bytes(b"".join(lines[: len(lines) // 4]))
    assert 0 < len(verdicts.gather(run).rows) < len(before.rows)
    assert page_style.where(run, "localize", "file", "formula") != said


@pytest.mark.parametrize("file", opened.FILES[:2])
def test_a_changed_table_is_scattered_anew(make_run: MakeRun, file: str) -> None:
    run = make_run("kept")

    def scattered() -> str:
        page = page_of(run)
        drawn: str = pictures._scatter(opened.version(run), Look(tuple(page.region), page.region[0], dark=False), None, page)
        return drawn

    before = scattered()
    assert scattered() is before
    other = next(one for one in store.bundled_runs() if one.path.name == "copyright-clean")
    shutil.copyfile(other.path / file, run.path / file)
    assert scattered() is not before


@pytest.mark.parametrize("file", opened.FILES)
def test_a_changed_file_is_drawn_anew(make_run: MakeRun, file: str) -> None:
    run = make_run("kept")
    before, modules = map_of(run), opened.modules(run)
    assert map_of(run) is before
    assert opened.modules(run) is modules
    other = next(one for one in store.bundled_runs() if one.path.name == "copyright-clean")
    shutil.copyfile(other.path / file, run.path / file)
    assert map_of(run) != before
    assert opened.modules(run) is not modules


@pytest.mark.parametrize("dark", [False, True])
def test_a_map_is_kept_for_each_look(make_run: MakeRun, dark: bool) -> None:
    page = page_of(make_run("kept"))
    looks = [
        Look(tuple(page.region), page.region[0], dark),
        Look(tuple(page.region[1:]), page.region[0], dark),
        Look(tuple(page.region), page.region[1], dark),
        Look(tuple(page.region), page.region[0], dark, "forget"),
        Look(tuple(page.region), page.region[0], dark, factors=False),
        Look(tuple(page.region), page.region[0], dark, "forget", linear=True),
        Look(tuple(page.region), page.region[0], dark, "forget", intensity=2.0),
        Look(tuple(page.region), page.region[0], dark, other=(page.table["name"].iloc[9],)),
    ]
    drawn = [pictures._map(opened.version(page.run), look, page)[0] for look in looks]
    assert len(set(drawn)) == len(looks)
    figure = json.loads(drawn[0])["figure"]
    assert {trace["name"] for trace in figure["data"]} >= {"all", "outline", "chosen"}
