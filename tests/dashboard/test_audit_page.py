"""Audits on the pages: no heatmap and why, the models that were compared, and the form that starts one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from core.config import run_config
from core.config.run_config import RunConfig
from core.config.stages import AuditConfig
from core.jobs import lifecycle
from core.pipeline.audit_run import Auditing
from core.runs import audit, store
from core.runs.store import Run
from core.util import files
from core.util.progress import Reporter
from dashboard.charts import weight_changes
from dashboard.charts.palette import LIGHT
from tests.dashboard.conftest import MakeRun, Open
from tests.tiny import make_tiny


@pytest.fixture
def audited(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> Run:
    """Return a finished audit of two whole tiny models, in the runs folder."""
    made = run_config.preset("this-machine").with_setting("data.source", str(tiny_data))
    for path, value in {"answers.max_new_tokens": 3, "model.dtype": "float32", "evaluate.extras": False}.items():
        made = made.with_setting(path, value)
    made = audit.configured(made, AuditConfig(str(tiny_llama), str(make_tiny(tmp_path / "<b>other", seed=4))))
    run = store.create(made, store.runs_folder())
    Auditing(run, made, Reporter()).go()
    files.write_json(run.path / "status.json", store.fresh_status() | {"state": "done"})
    return run


def texts(app: Any) -> str:
    """Return all plain text of a page."""
    return "\n".join(
        str(e.value) for kind in ("markdown", "info", "caption", "error", "warning", "title") for e in getattr(app, kind)
    )


def test_localize_says_why_there_is_no_heatmap(open_page: Open, audited: Run) -> None:
    """One sentence, and how far the weights lie apart instead."""
    app = open_page("localize", audited.id)
    assert not app.exception
    said = texts(app)
    assert audit.NO_HEATMAP in said
    assert "14 of 14 weight matrices differ" in said


@pytest.mark.parametrize(
    ("page", "query"),
    [("compare", {}), ("evidence", {"part": "Scores"}), ("runs", {"view": "This run"}), ("runs", {})],
)
def test_the_other_pages_show_an_audit(open_page: Open, audited: Run, page: str, query: dict[str, str]) -> None:
    """Each opens without an error, and none speaks of stages that an audit does not have."""
    app = open_page(page, audited.id, **query)
    assert not app.exception
    assert "Make it forget" not in texts(app)


def test_a_list_of_runs_calls_it_an_audit(audited: Run) -> None:
    """Instead of naming a method that was never run."""
    from core.runs.overview import overview

    entry = overview(audited)
    assert (entry.method, entry.region) == ("audit", "")


def test_the_form_says_what_is_wrong_and_starts_what_is_right(
    open_page: Open, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, tiny_llama: Path, tiny_data: Path, tmp_path: Path
) -> None:
    """Nothing is started with a folder that holds no model."""
    made, asked = make_run("new"), list[RunConfig]()
    monkeypatch.setattr(lifecycle, "submit", lambda config, folder: asked.append(config) or made)
    app = open_page("runs", view="New run")
    app.button(key="audit.start").click().run()
    assert "needs two models" in texts(app)
    app.text_input(key="audit.before").set_value(str(tiny_llama))
    app.text_input(key="audit.after").set_value(str(tmp_path))
    app.button(key="audit.start").click().run()
    assert "holds no model" in texts(app)
    assert not asked
    app.text_input(key="audit.after").set_value(str(tiny_llama))
    app.text_input(key="audit.data").set_value(str(tiny_data))
    app.button(key="audit.start").click().run()
    assert asked[0].audit == AuditConfig(str(tiny_llama), str(tiny_llama))


def test_a_cell_that_did_not_move_has_no_colour() -> None:
    """And the share of ‖θ‖ is not asked of a cell that was 0."""
    table = pd.DataFrame(
        {
            "name": ["a", "b"],
            "layer": [0, 1],
            "module": ["q", "q"],
            "factor": ["W", "W"],
            "norm_before": [2.0, 0.0],
            "norm_change": [0.2, 0.0],
        }
    )
    for relative, expected in ((False, 0.2), (True, 0.1)):
        z = weight_changes.moved(table, LIGHT, relative=relative).data[0].z[0]
        assert 10 ** z[0] == pytest.approx(expected)
        assert z[1] != z[1]
    assert weight_changes.summary(table.assign(norm_change=0.0)).startswith("None of 2")
