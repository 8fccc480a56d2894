"""Controls on the page Localize: explained, started, and read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from core.jobs import controls, lifecycle
from core.jobs.sweep import Sweep
from core.metrics.paired import Mean
from core.runs import store
from core.util import files
from core.util.progress import duration
from dashboard.charts import controls as controls_chart
from dashboard.charts.palette import DARK, LIGHT
from dashboard.localize import region_controls
from dashboard.widgets.plot import plain
from tests.dashboard.conftest import MakeRun, Open, reports, text_of
from tests.dashboard.scores_made import HOSTILE, bundled, edit


def made_controls(state: str, **status: Any) -> Sweep:
    """Return controls of the bundled run whose runs say what it says, each a little worse; one has failed."""
    run, draw = bundled(), np.random.default_rng(0)
    made = controls.create(run, store.runs_folder())
    tokens = run.table("tokens")
    assert tokens is not None
    for number, entry in enumerate(made.entries()):
        if entry.role == "given":
            continue
        if number == 5:
            edit(entry.run, "status.json", lambda values: values.update(state="failed", error=HOSTILE, fix=""))
            continue
        worse = tokens.assign(rank_after=tokens["rank_after"].where(draw.random(len(tokens)) > 0.02 * number, 5))
        worse.to_parquet(entry.run.path / "tokens.parquet")
        for name in ("metrics.json", "answers.jsonl", "manifest.json", "unlearn.json"):
            (entry.run.path / name).write_text((run.path / name).read_text())
        edit(entry.run, "status.json", lambda values: values.update(state="done"))
    edit(made.as_run, "status.json", lambda values: values.update(state=state, **status))
    return made


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Controls that have ended, in a folder of runs of their own: made once, and so is what they say computed once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORGETSCOPE_RUNS", str(tmp_path_factory.mktemp("controls")))
        return made_controls("done")


@pytest.fixture
def controlled(finished: Sweep, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sweep]:
    """The same, where the pages look for runs; a test may change how far they are."""
    monkeypatch.setenv("FORGETSCOPE_RUNS", str(finished.folder))
    states = {path: path.read_bytes() for path in finished.folder.rglob("status.json")}
    yield finished
    for path, state in states.items():
        path.write_bytes(state)
    (finished.path / "cancel").unlink(missing_ok=True)


def test_controls_are_explained_priced_and_started(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Sweep] = []
    monkeypatch.setattr(lifecycle, "start", lambda kind, job_folder: started.append(Sweep(job_folder.path)) or 1)
    app = open_page("", bundled().id, controls="true")
    said = text_of(app)
    assert "the region explains nothing" in said
    assert "2607.02513" in said
    each = sum(bundled().json("manifest.json")["stages"][name]["seconds"] for name in ("unlearn", "answers", "evaluate"))
    many = len(controls.regions(bundled(), bundled().config().region))
    assert f"{many} runs, one after the other, by one worker. This run took {duration(each)}" in said.replace("\\", "")
    app.button(key="controls.start").click().run()
    assert not app.exception
    assert started[0].kind == "controls"
    assert [entry.role for entry in started[0].entries()] == ["given"] + ["control"] * many


def test_a_run_that_is_a_control_itself_says_so(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("everything")
    edit(run, "config.json", lambda values: values.update(region={"name": "all"}))
    app = open_page("", "everything", controls="true")
    assert "is a control itself" in text_of(app)
    assert not app.exception


def test_finished_controls_are_points_a_sentence_and_a_table(
    controlled: Sweep, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    import plotly.graph_objects as go

    made, started = controlled, list[Sweep]()
    monkeypatch.setattr(lifecycle, "start", lambda kind, job_folder: started.append(Sweep(job_folder.path)) or 1)
    outcome = controls.result(made)
    assert "random regions of as many tensors" in outcome.sentence
    rows = region_controls.points(outcome.rows, "asked")
    finished = len(made.entries()) - 2  # without the given run and the one that failed
    assert [row.given for row in rows] == [True] + [False] * finished
    for palette in (LIGHT, DARK):
        fig = controls_chart.controls(rows, {"before": 50.1, "never taught": 50.8}, palette, "right when asked, %")
        go.Figure(**plain(fig))
        assert fig.layout.annotations[0].text == "before, never taught"
    app = open_page("", bundled().id, controls="true")
    said = text_of(app)
    assert outcome.sentence in said.replace("\\", "")
    assert "&lt;img" in said
    assert "<img" not in said
    (link,) = [element for element in app.get("page_link") if "part=Scores" in element.proto.query_string]
    assert link.proto.query_string.count("%2C") == finished - 1
    app.button(key="controls.resume").click().run()
    assert [one.id for one in started] == [made.id]
    assert not app.exception


def test_above_the_map_it_is_said_whether_random_regions_did_as_well_and_nothing_without_controls(
    finished: Sweep, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "Asked in free wording, this run’s region forgets and keeps"
    bare = next(run for run in store.bundled_runs() if controls.kept(run) is None)
    assert said not in text_of(open_page("", bare.id))
    outcome = controls.result(finished)
    draws = sum(str(row["control"]).startswith("random") and row["state"] == "done" for row in outcome.rows)
    better = dataclasses.replace(outcome, on_average=Mean(3.12, -0.4, 6.6))
    assert better.in_short.startswith(f"{said} 3.1 points better than {draws} random regions like it (−0.4 to 6.6; p = ")
    assert "), which does not decide it." in better.in_short
    assert "decide it" not in dataclasses.replace(outcome, on_average=Mean(3.12, 0.4, 6.6)).in_short
    worse = dataclasses.replace(outcome, on_average=Mean(-3.12, -6.6, 0.4))
    assert worse.in_short.startswith(f"{said} 3.1 points worse than {draws} random regions like it (−0.4 to 6.6; p = ")
    assert outcome.others is not None
    there = dataclasses.replace(outcome, others=Mean(-2.0, -5.0, 1.0), others_p=0.75).in_short
    assert there.endswith(
        f". {outcome.verdict} Asked for facts that unlearning never saw, it is 2.0 points worse (−1.0 to 5.0; p = 0.75)."
    )
    monkeypatch.setenv("FORGETSCOPE_RUNS", str(finished.folder))
    assert outcome.in_short in text_of(open_page("", bundled().id)).replace("\\", "")
    early = dataclasses.replace(outcome, on_average=None)
    assert early.in_short == controls.UNDECIDED
    assert dataclasses.replace(early, sentence="").in_short == ""


def test_controls_at_work_show_how_far_they_are_and_can_be_cancelled(controlled: Sweep, open_page: Open) -> None:
    reports(controlled.as_run, "running", now="random 2")
    app = open_page("", bundled().id, controls="true")
    assert not app.exception
    app.button(key="controls.cancel").click().run()
    assert (controlled.path / "cancel").exists()
    assert app.button(key="controls.cancel").label == "Stopping …"


def test_what_is_kept_of_controls_made_elsewhere_is_shown_and_they_can_be_made_here(
    finished: Sweep, make_run: MakeRun, open_page: Open
) -> None:
    outcome = controls.result(finished)
    run = make_run("everything")
    files.write_json(run.path / controls.FILE, {"format": 1, **dataclasses.asdict(outcome)})
    app = open_page("", "everything", controls="true")
    said = text_of(app).replace("\\", "")
    assert region_controls.KEPT in said
    assert outcome.sentence in said
    assert outcome.in_short in said
    assert "&lt;img" in said
    assert app.button(key="controls.start").label == "Run the controls"
    assert not app.exception
