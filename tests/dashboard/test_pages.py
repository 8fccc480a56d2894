from __future__ import annotations

import json
import re

import pytest
from streamlit.testing.v1 import AppTest

from core.config.presets import DEFAULT
from core.config.run_config import preset
from core.data.corpus import SCOPES
from core.jobs import lifecycle
from core.runs import asked, store
from core.runs.scores import Scores
from tests.dashboard.conftest import MakeRun, Open, text_of

FORM = ("runs", {"view": "New run"})
OF_A_RUN = (
    ("localize", {}),
    ("compare", {}),
    ("evidence", {}),
    ("evidence", {"part": "Scores"}),
    ("report", {}),
    ("runs", {"view": "This run"}),
)
"""what is opened: a page's address, and what its own address says"""
PAGES = (*OF_A_RUN, FORM)


def count(app: AppTest) -> int:
    match = re.search(r"(\d+) of \d+ tensors", "\n".join(m.value for m in app.markdown if m.value.startswith("###")))
    assert match
    return int(match[1])


@pytest.mark.parametrize(("page", "query"), PAGES)
def test_first_visit_opens_on_the_bundled_run(page: str, query: dict[str, str], open_page: Open) -> None:
    app = open_page(page, **query)
    assert not app.exception
    assert not app.error
    assert app.query_params["run"] == store.bundled_runs()[0].id


@pytest.mark.parametrize(("page", "query"), PAGES)
def test_without_any_run_the_page_says_what_to_do(
    page: str, query: dict[str, str], open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "bundled_runs", list)
    app = open_page(page, **query)
    assert not app.exception
    assert app.title[0].value in ("No run yet", "Teach, map, forget")


@pytest.mark.parametrize(("page", "query"), OF_A_RUN)
@pytest.mark.parametrize(
    ("state", "without"),
    [
        (
            "queued",
            ("*.parquet", "*.npz", "answers*", "metrics*", "region*", "unlearn*", "preflight*", "events*", "manifest*"),
        ),
        ("running", ("*.parquet", "*.npz", "answers*", "metrics*", "region*", "manifest*")),
        ("cancelled", ("answers*", "metrics*", "tokens*", "manifest*")),
        ("failed", ("answers*", "metrics*", "tokens*", "detail*", "contributions*", "manifest*")),
    ],
)
def test_unfinished_runs_have_a_page_too(
    page: str, query: dict[str, str], state: str, without: tuple[str, ...], make_run: MakeRun, open_page: Open
) -> None:
    run = make_run("mine", state, without, error="The disk is full." if state == "failed" else "")
    app = open_page(page, run.id, **query)
    assert not app.exception
    assert app.query_params["run"] == "mine"
    assert state in text_of(app)


@pytest.mark.parametrize(("page", "query"), OF_A_RUN)
def test_an_unreadable_run_says_so_and_hurts_no_other(
    page: str, query: dict[str, str], make_run: MakeRun, open_page: Open
) -> None:
    run = make_run("broken")
    (run.path / "config.json").write_text("{")
    app = open_page(page, "broken", **query)
    assert not app.exception
    assert "no readable config" in app.error[0].value
    app.selectbox(key="picked").select(store.bundled_runs()[0].id).run()
    assert not app.error
    assert not app.exception


def test_a_run_of_a_future_format_is_refused_in_words(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("future")
    values = json.loads((run.path / "config.json").read_text()) | {"format": 99}
    (run.path / "config.json").write_text(json.dumps(values))
    assert "newer than this" in open_page("", "future").error[0].value


def test_a_run_that_is_gone_is_named(open_page: Open) -> None:
    app = open_page("", "gone")
    assert "gone" in app.warning[0].value
    assert not app.exception


def test_a_missing_metric_shows_its_reason(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("untaught")
    values = json.loads((run.path / "metrics.json").read_text())
    values["metrics"]["never_knew_example"] = {
        "values": {},
        "reasons": {"after": "it was never taught"},
        "unit": "%",
        "examples": {},
    }
    (run.path / "metrics.json").write_text(json.dumps(values))
    app = open_page("evidence", "untaught", part="Scores")
    assert "it was never taught" in text_of(app)


def test_hostile_text_stays_text(make_run: MakeRun, open_page: Open) -> None:
    bad = "<img src=x onerror=alert(1)> **b** :red[r] <style>body{display:none}</style>"
    run = make_run("hostile", "failed", error=bad)
    lines = [json.loads(line) for line in (run.path / "answers.jsonl").read_text().splitlines()]
    for row in lines:
        row.update({"question": bad, "truth": bad, "before": bad, "after": f"{bad} more"})
    (run.path / "answers.jsonl").write_text("\n".join(json.dumps(row) for row in lines))
    config = json.loads((run.path / "config.json").read_text()) | {"name": bad}
    (run.path / "config.json").write_text(json.dumps(config))
    for page, query in PAGES:
        app = open_page(page, "hostile", **query)
        assert not app.exception
        said = text_of(app)
        for tag in ("<img", "<style>body"):  # the app has a style of its own
            assert not re.search(rf"(?<!\\){tag}", said), page
        assert not any(":red[r]" in element.value for element in [*app.markdown, *app.caption, *app.error, *app.title])


def test_run_page_shows_error_stage_and_resume(make_run: MakeRun, open_page: Open) -> None:
    make_run("mine", "failed", error="The disk is full.", fix="Free space.", stage="unlearn")
    app = open_page("runs", "mine", view="This run")
    assert "The disk is full" in app.error[0].value.replace("\\", "")
    assert "Free space" in app.error[0].value.replace("\\", "")
    assert any(b.label == "Resume" for b in app.button)


def test_a_dead_worker_is_shown_as_failed(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("dead", "running")
    values = json.loads((run.path / "status.json").read_text()) | {"pid": 2**22 - 1}
    (run.path / "status.json").write_text(json.dumps(values))
    assert "worker is gone" in open_page("runs", "dead", view="This run").error[0].value


def test_cancel_leaves_the_file_the_worker_looks_for(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("mine", "running", ("metrics*", "answers*"))
    app = open_page("runs", "mine", view="This run")
    next(b for b in app.button if b.label == "Cancel").click().run()
    assert (run.path / "cancel").exists()
    assert any(b.label == "Stopping …" and b.disabled for b in app.button)


def test_form_follows_the_preset_and_reports_what_is_missing(open_page: Open) -> None:
    app = open_page("runs", view="New run")
    assert app.number_input(key=f"{DEFAULT}.unlearn.steps").value == preset(DEFAULT).unlearn.steps
    app.segmented_control(key="new.preset").set_value("recommended").run()
    assert app.number_input(key="recommended.unlearn.steps").value == preset("recommended").unlearn.steps
    app.segmented_control(key="new.model").set_value("other").run()
    assert "No model is chosen" in text_of(app)
    assert next(b for b in app.button if b.label == "Start").disabled


def test_start_submits_what_the_form_says(open_page: Open, monkeypatch: pytest.MonkeyPatch, make_run: MakeRun) -> None:
    made, asked = make_run("new", "running"), []
    monkeypatch.setattr(lifecycle, "submit", lambda config, folder, ray: asked.append(config) or made)
    app = open_page("runs", view="New run")
    app.number_input(key=f"{DEFAULT}.unlearn.steps").set_value(7).run()
    app.number_input(key=f"{DEFAULT}.processes").set_value(2).run()
    app.selectbox(key=f"{DEFAULT}.rule.region rule").select("layers").run()
    app.number_input(key=f"{DEFAULT}.rule.layers.region.last").set_value(3).run()
    app.text_input(key="new.name").set_value("try").run()
    next(b for b in app.button if b.label == "Start").click().run()
    config = asked[0]
    assert (config.unlearn.steps, config.region.name, config.region.last, config.name) == (7, "layers", 3, "try")
    assert config.processes == 2
    assert app.query_params["run"] == "new"


def test_a_wrong_amount_is_said_and_the_rest_of_the_form_stays(open_page: Open) -> None:
    app = open_page("runs", view="New run")
    app.selectbox(key=f"{DEFAULT}.rule.region rule").select("late").run()
    amount = app.text_input(key=f"{DEFAULT}.rule.late.region.amount")
    assert amount.value == "33%"
    amount.set_value("nine").run()
    assert "no amount of layers" in text_of(app)
    assert app.number_input(key=f"{DEFAULT}.unlearn.steps").value
    assert next(b for b in app.button if b.label == "Start").disabled


def test_upload_is_checked_row_by_row(open_page: Open) -> None:
    app = open_page("runs", view="New run")
    app.segmented_control(key="new.data").set_value("upload").run()
    app.file_uploader[0].upload("mine.jsonl", b'{"question": "q", "answer": "", "scope": "unlearn"}\n').run()
    assert "row 1 has no answer" in app.error[0].value.replace("\\", "")
    rows = [
        {"question": f"Where does Ann Lee sleep {i}?", "answer": "a", "scope": s}
        for s in ("unlearn", "retention")
        for i in range(6)
    ]
    app.file_uploader[0].upload("mine.json", json.dumps(rows).encode()).run()
    assert not app.exception


def test_the_scores_say_where_they_are_from(open_page: Open, make_run: MakeRun) -> None:
    scores = Scores.read(make_run("mine"))
    text = text_of(open_page("runs", "mine", view="This run"))
    assert "metrics" in text
    said = [asked.outcomes(scores, "after", scope, asked.kind_asked(scores)) for scope in SCOPES]
    unlearn, retention = (each.n for each in said if each)
    assert f"{unlearn} unlearn and {retention} retention questions" in text
