"""The page Runs: its rows, and what people do with them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.jobs import lifecycle
from core.runs import archive, asked, labels, store, trash
from core.runs import overview as overview_
from core.runs.overview import Overview
from core.runs.scores import Scores
from core.runs.store import Run
from dashboard import pages
from dashboard.charts.palette import LIGHT, shade
from dashboard.runs import archive as runs_archive
from dashboard.runs import chosen_runs, queue, runs_table
from dashboard.widgets import current_run, headline_scores, setting_differences
from dashboard.widgets.current_run import label as picker_label
from tests.dashboard.conftest import MakeRun, Open, text_of


def rows(app: AppTest) -> list[str]:
    return [str(name) for name in app.dataframe[0].value["Name"]]


def edit(run: Run, file: str, **values: object) -> None:
    (run.path / file).write_text(json.dumps(run.json(file) | values))


# -- without Streamlit ------------------------------------------------------------------------------------------------


def made(name: str, **more: object) -> Overview:
    return Overview(**{"id": f"2026-{name}", "bundled": False, "name": name, "state": "done", **more})  # type: ignore[arg-type]


def test_search_and_filters_narrow_together() -> None:
    overviews = [
        made("Alpha", method="memflex", label=labels.Label(tags=("stage",), note="for Monday")),
        made("Beta", method="gradient-ascent", data="demo privacy"),
        made("Gamma", state="failed", method="memflex"),
    ]

    def names(
        words: str = "", states: tuple[str, ...] = (), methods: tuple[str, ...] = (), data: tuple[str, ...] = ()
    ) -> list[str]:
        return [run.name for run in runs_table.matching(overviews, words, states, methods, data)]

    assert names() == ["Alpha", "Beta", "Gamma"]
    assert names("MONDAY stage") == ["Alpha"]
    assert names(states=("done",), methods=("memflex",)) == ["Alpha"]
    assert names(data=("demo privacy",)) == ["Beta"]
    assert names("nothing like it") == []


def test_pinned_runs_stand_first_and_missing_numbers_last() -> None:
    overviews = [
        made("a", seconds=1.0),
        made("b"),
        made("c", seconds=9.0),
        made("d", seconds=2.0, label=labels.Label(pinned=True)),
        made("z", bundled=True),
    ]
    assert [run.name for run in runs_table.ordered(overviews, "Newest first")] == ["d", "c", "b", "a", "z"]
    assert [run.name for run in runs_table.ordered(overviews, "Name")] == ["d", "a", "b", "c", "z"]
    assert [run.name for run in runs_table.ordered(overviews, "Longest")] == ["d", "c", "a", "b", "z"]


def test_darker_is_better_and_overshooting_is_not() -> None:
    def good(column: str, **cells: float) -> float:
        value = runs_table.goodness(cells, column.replace("_", " "))
        assert value is not None
        return value

    near, low, above = (good("U val", **{"U val": u, "U never taught": 60.0}) for u in (58.0, 20.0, 98.0))
    assert near > low
    assert near > above
    assert runs_table.goodness({"U val": 60.0}, "U val") is None  # no control, no verdict
    assert good("R val", **{"R val": 95.0}) > good("R val", **{"R val": 70.0}) > good("R val", **{"R val": 40.0}) == 0.0
    assert runs_table.goodness({"Seconds": 3.0}, "Seconds") is None
    alpha = [float(shade(g, LIGHT).rpartition(",")[2].rstrip(") ")) for g in (0.0, 0.5, 1.0)]
    assert alpha == sorted(alpha)
    assert alpha[-1] < 0.5  # black text on it stays readable
    assert shade(None, LIGHT) == ""


def test_equal_names_are_told_apart() -> None:
    overviews = [made("x"), Overview("other", False, "x", "done"), made("y")]
    assert current_run.distinct_names(overviews) == {"2026-x": "x (2026-x)", "other": "x (other)", "2026-y": "y"}


def test_scores_stand_beside_their_controls() -> None:
    values = Scores.read(store.bundled_runs()[0])
    rows = chosen_runs.score_rows({"a": values, "b": Scores({})})
    success = "Unlearn Success, val (next-word accuracy)"
    said = f"To forget, still said ({asked.KIND_NAMES[asked.kind_asked(values)]})"
    for cell in (rows[success]["a"], rows[said]["a"]):
        assert "never taught" in cell
        assert "before" in cell
    assert rows[success]["b"] == rows[said]["b"] == headline_scores.MISSING
    assert next(iter(rows)) == said


@pytest.mark.parametrize(
    "values", [[], {"after": []}, {"after": {"unlearn/val": math.nan}}, {"after": {"unlearn/val": 10**400}}]
)
def test_scores_that_are_none_are_missing(values: object) -> None:
    foreign = Scores({"accuracy": {"values": values}, "degenerate": "?", "general": {"unit": 3}})
    assert headline_scores.before_after(foreign) == []


def test_the_name_is_no_setting() -> None:
    one = store.bundled_runs()[0].config()
    other = one.with_setting("name", "x").with_setting("unlearn.steps", 7).with_setting("data.subjects", "a,b")
    differing = setting_differences.setting_rows({"a": one.to_json(), "b": other.to_json()})
    assert differing == {
        "unlearn.steps": {"a": str(one.unlearn.steps), "b": "7"},
        "data.subjects": {"a": "all", "b": "a, b"},
    }


def test_words_of_a_living_run() -> None:
    assert queue.words({"state": "queued", "position": 3}) == "number 3 in the queue"
    stage = {"done": 3, "total": 9, "unit": "steps", "left": 61}
    said = queue.words({"state": "running", "stage": "unlearn", "stages": {"unlearn": stage}})
    assert "3 of 9 steps" in said
    assert "1 min 1 s" in said


# -- the page ---------------------------------------------------------------------------------------------------------


def test_a_first_visit_says_what_will_stand_here(open_page: Open) -> None:
    app = open_page("runs")
    assert not app.exception
    assert len(rows(app)) == len(store.bundled_runs())
    assert "will stand here too" in text_of(app)
    assert app.query_params["run"] == store.bundled_runs()[0].id


def test_without_any_run_the_page_says_what_to_do(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "bundled_runs", list)
    app = open_page("runs")
    assert not app.exception
    assert app.title[0].value == "No run yet"
    assert app.file_uploader


@pytest.mark.parametrize("state", ["queued", "running", "cancelled", "failed", "done"])
def test_every_state_has_a_row_and_a_panel(state: str, make_run: MakeRun, open_page: Open) -> None:
    make_run("mine", state, () if state == "done" else ("metrics*", "manifest*", "region*"))
    app = open_page("runs", chosen="mine")
    assert not app.exception
    assert app.dataframe[0].value["State"].tolist()[0] == [state]
    disabled = [b.label for b in app.button if b.disabled]
    assert ("Delete" in disabled) == (state in store.ALIVE)
    queue_ = open_page("runs", view="Queue and sweeps")
    assert not queue_.exception
    assert any(b.label == "Cancel" for b in queue_.button) == (state in store.ALIVE)
    assert ("nothing waits" in text_of(queue_)) != (state in store.ALIVE)


def test_unreadable_and_future_runs_are_listed_with_the_reason(make_run: MakeRun, open_page: Open) -> None:
    (make_run("broken").path / "config.json").write_text("{")
    edit(make_run("future"), "config.json", format=99)
    make_run("sound")
    app = open_page("runs")
    assert not app.exception
    assert len(rows(app)) == 3 + len(store.bundled_runs())
    said = text_of(app).replace("\\", "")
    assert "no readable config.json" in said
    assert "newer than this" in said


def test_search_order_and_columns_are_in_the_address(make_run: MakeRun, open_page: Open) -> None:
    for i, name in enumerate(("Alpha", "Beta")):
        edit(make_run(name.lower()), "config.json", name=name, seed=i)
    app = open_page("runs", q="alpha", columns="Cost", order="Largest")
    assert rows(app) == ["Alpha"]
    assert app.selectbox(key="order").value == "Largest"
    assert "Peak memory" in app.dataframe[0].value
    app.text_input(key="q").set_value("").run()
    app.selectbox(key="order").select("Name").run()
    assert rows(app)[:2] == ["Alpha", "Beta"]
    app.text_input(key="q").set_value("no such run").run()
    assert not app.dataframe
    assert "Take a word" in text_of(app)


def test_runs_are_chosen_by_name_and_by_address_and_compared(make_run: MakeRun, open_page: Open) -> None:
    edit(make_run("one"), "config.json", seed=1, name="One <b>")
    edit(make_run("two"), "config.json", seed=2, name="Two")
    app = open_page("runs", chosen="one,two,gone")
    assert app.multiselect(key="runs.chosen").value == ["one", "two"]
    settings = app.table[1].value
    assert settings.iloc[:, 0].tolist() == ["seed"]
    assert settings.iloc[0, 1:].tolist() == ["1", "2"]
    assert "One \\<b\\>" in settings.columns
    assert "Unlearn Success, val (next-word accuracy)" in app.table[0].value.iloc[:, 0].tolist()
    app.multiselect(key="runs.chosen").set_value(["two"]).run()
    assert app.query_params["chosen"] in ("two", ["two"])
    assert not app.exception


def test_a_run_is_named_pinned_tagged_and_noted(make_run: MakeRun, open_page: Open) -> None:
    make_run("a")
    run = make_run("b")
    app = open_page("runs", chosen="a")
    next(t for t in app.text_input if t.label == "Name").set_value("For the stage")
    next(t for t in app.text_area if t.label == "Note").set_value("Monday <script>")
    next(c for c in app.checkbox if c.label.startswith("Pinned")).check()
    labels.change(Run(run.path.parent / "a"), tags=("elsewhere",))  # another browser, meanwhile
    next(b for b in app.button if b.label == "Save").click().run()
    assert not app.exception
    found = labels.read(Run(run.path.parent / "a"))
    assert found == labels.Label("For the stage", True, ("elsewhere",), "Monday <script>")
    assert rows(app)[0] == "★ For the stage"
    assert "Monday \\<script\\>" in text_of(app)
    label = picker_label(Run(run.path.parent / "a"))
    assert label.startswith("For the stage · ")
    assert "done" not in label  # what is nearly always so is not said


def test_deleting_asks_and_can_be_undone_also_after_a_reload(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("mine")
    app = open_page("runs", chosen="mine")
    assert run.path.exists()
    app.button(key="delete.sure").click().run()
    assert not app.exception
    assert not run.path.exists()
    again = open_page("runs")  # another browser, or this one after a reload
    assert "One deleted run" in text_of(again)
    next(b for b in again.button if b.label == "Undo").click().run()
    assert run.path.exists()
    assert "deleted run" not in text_of(again)


def test_leaving_the_page_empties_what_this_browser_deleted(make_run: MakeRun, open_page: Open) -> None:
    make_run("mine")
    theirs = trash.delete(make_run("theirs"))
    app = open_page("runs", chosen="mine")
    app.button(key="delete.sure").click().run()
    app.run()
    assert len(trash.content(store.runs_folder())) == 2
    app.switch_page(pages.COMPARE.script).run()
    assert trash.content(store.runs_folder()) == [theirs]
    assert not app.exception


def test_the_bundled_run_stays(open_page: Open) -> None:
    app = open_page("runs", chosen=store.bundled_runs()[0].id)
    assert not any(b.label == "Delete" for b in app.button)
    assert not any(b.key == "delete.sure" for b in app.button)
    assert "stays as it is" in text_of(app)


def test_an_audit_has_nothing_to_change(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("mine")
    run.config().with_setting("audit.before", "a").with_setting("audit.after", "b").save(run.path / "config.json")
    app = open_page("runs", chosen="mine")
    assert "changed" not in app.menu_button(key="again.menu").options
    app = open_page("runs", view="New run", again="mine")
    assert not any("These are the settings of" in box.value for box in app.info)
    assert any("audit" in box.value for box in app.warning)


def test_a_run_starts_again_with_its_own_settings(
    make_run: MakeRun, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, asked = make_run("mine", "failed"), []
    new = make_run("new")
    monkeypatch.setattr(lifecycle, "submit", lambda config, folder: asked.append(config) or new)
    app = open_page("runs", chosen="mine")
    app.menu_button(key="again.menu").click("same").run()
    assert asked == [run.config()]
    assert app.query_params["run"] in ("new", ["new"])
    assert not app.exception


def test_an_archive_comes_in_and_opens_on_the_other_pages(open_page: Open) -> None:
    packed = runs_archive.packed([store.bundled_runs()[0]]).getvalue()
    app = open_page("runs")
    app.file_uploader[0].upload("from-a-friend.zip", packed).run()
    assert not app.exception
    assert not app.error
    name = f"{store.bundled_runs()[0].id}-2"
    assert app.query_params["chosen"] in (name, [name])
    assert "from-a-friend.zip" in text_of(app).replace("\\", "")
    for page in ("localize", "compare"):
        other = open_page(page, name)
        assert not other.exception
        assert not other.error
        assert other.query_params["run"] in (name, [name])


def test_a_hostile_archive_costs_one_sentence(open_page: Open) -> None:
    app = open_page("runs")
    app.file_uploader[0].upload("bad.zip", b"PK\x03\x04 <script>").run()
    assert not app.exception
    assert "not a complete zip" in app.error[0].value
    assert store.list_runs(store.runs_folder()) == []


def test_hostile_names_stay_text(make_run: MakeRun, open_page: Open) -> None:
    bad = "<img src=x onerror=alert(1)> **b** :red[r] [l](javascript:1)"
    for name in ("one", "two"):
        run = make_run(name)
        edit(run, "config.json", name=f"{bad} {name}")
        edit(run, "status.json", error=bad)
        labels.change(run, tags=(bad[:30],), note=bad)
    trash.delete(make_run("three"))
    for chosen in ("one", "one,two"):
        app = open_page("runs", chosen=chosen)
        assert not app.exception
        said = "\n".join(e.value for e in [*app.markdown, *app.caption, *app.subheader, *app.error])
        heads = " ".join(str(c) for table in app.table for c in table.value.columns)
        assert ":red[r]" not in said + heads
        assert "[l](" not in said + heads


def test_runs_that_did_not_change_are_not_read_again(make_run: MakeRun, open_page: Open) -> None:
    for i in range(60):
        make_run(f"r{i:03}", "done", ("*.parquet", "*.npz", "answers*", "tokens*"))
    app = open_page("runs")
    read = overview_._read.cache_info().misses
    app.run()
    assert len(rows(app)) == 60 + len(store.bundled_runs())
    assert overview_._read.cache_info().misses == read  # what did not change is not read again


def test_what_is_exported_is_an_archive(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(runs_archive.packed([store.bundled_runs()[0]]).getvalue())
    assert archive.import_(tmp_path / "x.zip", tmp_path / "runs")[0].config() == store.bundled_runs()[0].config()
