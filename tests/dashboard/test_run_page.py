"""The Run page: choosing model, data and settings, measuring first, watching, starting again with changes."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core import data, footprint, jobs, plan, ray_backend, store
from core.config import from_json, preset
from core.own_method import OwnMethod
from core.store import Run
from dashboard.charts.curves import thinned
from dashboard.parts import configuration, estimate, follow, watched
from tests.dashboard.conftest import MakeRun, Open, text_of

GONE = ("*.parquet", "*.npz", "answers*", "metrics*", "region*", "unlearn*", "manifest*")
BAD = "<img src=x onerror=alert(1)> **b**"


def plain(text: str) -> str:
    return text.replace("\\", "")


def said(app: AppTest) -> str:
    return plain(text_of(app))


def bars(app: AppTest) -> str:
    """What the progress bars of a page say."""
    return "\n".join(bar.proto.text for bar in app.get("progress"))


def write_events(run: Run, events: list[dict[str, Any]]) -> None:
    (run.path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")


def watch(step: int, *texts: str) -> dict[str, Any]:
    asked = (
        ("unlearn/train/0", "unlearn", f"Where does Ann live {BAD}?"),
        ("retention/train/0", "retention", "What does Ann do?"),
    )
    answers = [{"example": e, "scope": s, "question": q, "text": text} for (e, s, q), text in zip(asked, texts, strict=True)]
    return {"t": 1.0, "kind": "watch", "stage": "unlearn", "step": step, "answers": answers}


@pytest.fixture
def living(make_run: MakeRun) -> Run:
    """A run in the middle of unlearning, with two rounds of watched questions and a log."""
    stage = {"state": "running", "done": 8, "total": 40, "unit": "steps", "rate": 0.3, "left": 107.0,
             "tokens_per_second": 431.0, "peak_memory_mb": 2620}  # fmt: skip
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


# -- a run as it goes on ------------------------------------------------------------------------------------------------


def test_a_running_run_shows_rate_time_memory_and_log(living: Run, open_page: Open) -> None:
    app = open_page("run", "living")
    assert not app.exception
    assert "431 tokens a second" in bars(app)
    assert "at most 1 min 47 s left for these steps" in bars(app)
    assert "Peak memory so far 2.6 GB" in said(app)
    assert BAD in app.code[0].value
    assert any(b.label == "Cancel" for b in app.button)


def test_watched_questions_show_the_last_two_rounds_or_a_chosen_one(living: Run, open_page: Open) -> None:
    write_events(living, [*living.events(), watch(8, "Nowhere.", "She paints.")])
    app = open_page("run", "living")
    shown = "".join(html.value for html in app.html)
    assert "step 4" in shown
    assert "step 8" in shown
    assert "Quay" not in shown
    app.select_slider(key="watched").set_value("step 4").run()
    shown = "".join(html.value for html in app.html)
    assert "Quay" in shown
    assert "before" in shown
    assert "Nowhere" not in shown
    assert "<img" not in shown
    assert not re.search(r"(?<!\\)<img", text_of(app))


def test_further_questions_are_counted_and_some_shown_as_what_they_are(living: Run, open_page: Open) -> None:
    samples = [{"scope": "unlearn", "question": f"Where is Bo {BAD}?", "answer": f"At Elm Road {BAD}."}, "no object"]
    account = {"unlearn": 120, "retention": 118, "dropped": 7, "unanswered": 2, "samples": samples}
    write_events(living, [*living.events(), {"t": 2.0, "kind": "widened", **account}])
    app = open_page("run", "living")
    assert not app.exception
    told = "Widened by 120 U and 118 R questions that the taught model answered itself. Left out: 7 that stand in val or dev"
    assert told in said(app)
    assert not re.search(r"(?<!\\)<img", text_of(app))
    shown = "".join(html.value for html in app.html)
    assert "At Elm Road &lt;img" in shown
    assert "Where is Bo <img src=x onerror=alert(1)> **b**?" in said(app)


@pytest.mark.parametrize("samples", [None, 3, [], [{}], {"a": 1}])
def test_a_damaged_account_of_further_questions_hurts_nothing(living: Run, open_page: Open, samples: Any) -> None:
    write_events(living, [*living.events(), {"kind": "widened", "unlearn": BAD, "samples": samples}])
    app = open_page("run", "living")
    assert not app.exception
    assert "Widened by ? U and ? R questions" in said(app)


def test_a_link_opens_the_same_checkpoint(living: Run, open_page: Open) -> None:
    write_events(living, [*living.events(), watch(8, "Nowhere.", "She paints.")])
    app = open_page("run", "living", watched="step 4")
    assert app.select_slider(key="watched").value == "step 4"


def test_an_ended_run_shows_what_was_watched_from_its_result(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("mine")
    result = json.loads((run.path / "unlearn.json").read_text())
    rounds = [watch(0, "At Quay Street.", "She paints."), watch(4, "Elsewhere.", "She paints.")]
    result["watched"] = [{"step": row["step"], "answers": row["answers"]} for row in rounds]
    (run.path / "unlearn.json").write_text(json.dumps(result))
    app = open_page("run", "mine")
    assert "Elsewhere" in "".join(html.value for html in app.html)


def test_an_ended_run_opens_on_the_step_it_kept_against_before(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("mine")
    result = json.loads((run.path / "unlearn.json").read_text())
    rounds = [watch(0, "At Quay Street.", "P."), watch(4, "Almost.", "P."), watch(8, "Nowhere.", "P."), watch(12, "Noise.", "P.")]
    result |= {"step": 8, "watched": [{"step": row["step"], "answers": row["answers"]} for row in rounds]}
    (run.path / "unlearn.json").write_text(json.dumps(result))
    app = open_page("run", "mine", watched="last two")  # a link from when it was still at work
    assert not app.exception
    shown = "".join(html.value for html in app.html)
    assert [word for word in ("Quay", "Almost", "Nowhere", "Noise") if word in shown] == ["Quay", "Nowhere"]
    app.select_slider(key="watched").set_value("step 12").run()
    assert "Noise" in "".join(html.value for html in app.html)


def test_only_the_last_attempt_is_watched() -> None:
    start = {"kind": "stage", "name": "unlearn", "state": "running"}
    again = watched.rounds(None, [start, watch(0, "a", "b"), watch(4, "c", "d"), start, watch(0, "e", "f")])
    assert {step: answers[0]["text"] for step, answers in again.items()} == {0: "e"}


def test_damaged_rounds_are_passed_over() -> None:
    assert watched.rounds(
        {"watched": [3, {"step": "x", "answers": []}, {"step": 4, "answers": [1, {"text": "t"}]}]}, []
    ) == {4: [{"text": "t"}]}


@pytest.mark.parametrize(
    ("state", "words", "button"),
    [
        ("queued", "Number 2 in the queue", "Cancel"),
        ("running", "You can close this page", "Cancel"),
        ("cancelled", "partial result is kept", "Resume"),
        ("failed", "The disk is full", "Resume"),
        ("done", "Done in", "Same again, changed"),
    ],
)
def test_each_state_says_what_it_is_and_what_can_be_done(
    state: str, words: str, button: str, make_run: MakeRun, open_page: Open
) -> None:
    errors = {"cancelled": "Cancelled; the partial result is kept.", "failed": "The disk is full."}
    make_run("mine", state, () if state == "done" else GONE, position=2, began=1.0, ended=90.0, error=errors.get(state, ""))
    app = open_page("run", "mine")
    assert not app.exception
    assert words in said(app)
    assert any(b.label == button for b in app.button)
    assert any(b.label == "Same again, changed" for b in app.button)
    assert app.get("download_button")


def test_a_broken_or_future_run_offers_the_form_of_others(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("future")
    values = json.loads((run.path / "config.json").read_text())
    (run.path / "config.json").write_text(json.dumps(values | {"format": 99}))
    app = open_page("run", "future")
    assert not app.exception
    assert "newer than this" in app.error[0].value
    app.segmented_control(key="view").set_value("New run").run()
    assert any(b.label == "Start" for b in app.button)
    (run.path / "config.json").write_text("{")
    assert "no readable config" in open_page("run", "future").error[0].value


def test_events_are_read_once_and_half_lines_wait(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"a": 1}\n{"b"', encoding="utf-8")
    follower = follow.Follower(Run(tmp_path))
    assert follower.read() == [{"a": 1}]
    with path.open("a", encoding="utf-8") as file:
        file.write(': 2}\nbroken\n[1]\n{"ü": 3}\n')
    first = follower.read()[0]
    assert follower.read() == [{"a": 1}, {"b": 2}, {"ü": 3}]
    assert follower.read()[0] is first
    path.unlink()
    path.write_text('{"new": 1}\n', encoding="utf-8")
    assert follower.read() == [{"new": 1}]
    path.unlink()
    assert follower.read() == []


def test_a_poll_of_a_long_run_reads_nothing_twice(living: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write_events(living, [{"kind": "progress", "stage": "unlearn", "done": k, "forget_loss": 1.0} for k in range(5000)])
    follower = follow.Follower(living)
    follower.read()
    monkeypatch.setattr(follow.json, "loads", lambda line: pytest.fail("read again"))
    assert len(follower.read()) == 5000


def test_long_curves_are_thinned_but_keep_spikes_and_ends() -> None:
    points = [(float(x), 1.0) for x in range(5000)]
    points[1234] = (1234.0, 9.0)
    kept = thinned(points)
    assert len(kept) <= 600
    assert (1234.0, 9.0) in kept
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert kept == sorted(kept)
    assert thinned(points[:10]) == points[:10]


# -- model --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "gigabytes"), [("bfloat16", "0.9"), ("float32", "1.2")])
def test_memory_is_told_before_starting(dtype: str, gigabytes: str, open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    st.cache_data.clear()
    monkeypatch.setattr(footprint, "guessed_dtype", lambda *_: dtype)
    assert f"135 million parameters need about {gigabytes} GB" in said(open_page("run")).replace("*", "")


def test_a_model_that_does_not_fit_is_said_plainly(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGETSCOPE_MEMORY_LIMIT", "2e9")
    app = open_page("run")
    app.segmented_control(key="new.model").set_value("llama").run()
    assert not app.exception
    assert "This model does not fit" in app.warning[0].value
    assert "only 2.0 GB are free" in app.warning[0].value


@pytest.mark.parametrize(("kind", "thresholds"), [("llama", "llama-2-7b"), ("qwen", "qwen1.5-7b")])
def test_the_papers_models_bring_their_published_thresholds(kind: str, thresholds: str, open_page: Open) -> None:
    app = open_page("run")
    app.segmented_control(key="new.model").set_value(kind).run()
    subset = next(box for box in app.selectbox if box.label == "Subset").value
    config = from_json(json.loads(app.code[-1].value))
    assert config.region.thresholds == "published"
    assert config.region.published == f"{thresholds}:{subset}"
    assert config.model.name.endswith(("hf", "Chat"))


@pytest.mark.parametrize(
    ("name", "words"),
    [("/nowhere/at/all", "There is no model"), ("org/name", "A model of the hub"), ("{tmp}", "holds no model"), ("bundled", "The bundled model")],
)
def test_a_model_name_is_told_what_it_is(name: str, words: str, open_page: Open, tmp_path: Path) -> None:
    app = open_page("run")
    app.segmented_control(key="new.model").set_value("other").run()
    app.text_input(key="new.model_name").set_value(name.format(tmp=tmp_path)).run()
    assert not app.exception
    assert words in said(app)


def test_an_adapter_folder_names_its_base(open_page: Open, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    app = open_page("run")
    app.segmented_control(key="new.model").set_value("other").run()
    app.text_input(key="new.model_name").set_value(str(tmp_path)).run()
    assert "A LoRA adapter on **org/base**" in said(app)


# -- data ---------------------------------------------------------------------------------------------------------------


def upload(app: AppTest, name: str, content: bytes) -> AppTest:
    app.segmented_control(key="new.data").set_value("upload").run()
    app.file_uploader[0].upload(name, content).run()
    assert not app.exception
    return app


def rows(count: int = 6) -> list[dict[str, str]]:
    return [
        {"question": f"Where does Ann Lee sleep {i}?", "answer": "a", "scope": scope}
        for scope in ("unlearn", "retention")
        for i in range(count)
    ]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("mine.json", b"{broken", "mine.json is not valid JSON"),
        ("mine.jsonl", "{}".encode("utf-16"), "mine.jsonl is not UTF-8"),
        ("mine.csv", b"question,answer\nq,a\n", "no column “scope”"),
        ("mine.json", b"[]", "is empty"),
    ],
)
def test_files_that_are_wrong_as_a_whole(name: str, content: bytes, words: str, open_page: Open) -> None:
    app = upload(open_page("run"), name, content)
    assert words in plain(app.error[0].value)
    assert next(b for b in app.button if b.label == "Start").disabled


def test_a_wrong_ending_is_refused_on_the_server_too() -> None:
    from core.errors import UserError
    from dashboard.parts.upload import save

    with pytest.raises(UserError, match="no data file"):
        save("evil.pkl", b"")


def test_bad_rows_are_listed_and_left_out_only_if_asked(open_page: Open) -> None:
    lines = [json.dumps(row) for row in rows()]
    lines.insert(1, json.dumps({"question": BAD, "answer": "", "scope": "unlearn"}))
    lines.insert(3, "{broken")
    app = upload(open_page("run"), "mine.jsonl", "\n".join(lines).encode())
    assert "row 2 has no answer" in plain(app.error[0].value)
    table = app.dataframe[0].value
    assert list(table["row"]) == [2, 4]
    assert list(table["what is wrong"]) == ["It has no answer.", "It is not a JSON object."]
    assert next(b for b in app.button if b.label == "Start").disabled
    app.checkbox[0].check().run()
    assert not next(b for b in app.button if b.label == "Start").disabled
    config = from_json(json.loads(app.code[-1].value))
    assert len(data.load(config.data).examples) == 12


def test_a_good_upload_is_used_as_it_is(open_page: Open) -> None:
    app = upload(open_page("run"), "mine.json", json.dumps(rows()).encode())
    assert not app.error
    assert "1 subjects, 12 questions" in said(app)


def test_subjects_table_and_field_show_the_same(open_page: Open) -> None:
    app = open_page("run")
    field = next(m for m in app.multiselect if m.label == "Subjects")
    table = app.dataframe[0]
    names = list(table.value["subject"])
    assert len(names) == 10
    field.set_value([names[1], names[2]]).run()
    assert "2 subjects, 32 questions" in said(app)
    assert app.session_state[f"{field.key}.table"]["selection"]["rows"] == [1, 2]
    assert "2 of 10 subjects" in str(app.expander[0].label)
    again = open_page("run", **{field.key: names[1]})
    assert "1 subjects, 16 questions" in said(again)


def test_clicked_rows_reach_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    from dashboard.parts import subjects

    monkeypatch.setattr(st, "session_state", {"k.table": {"selection": {"rows": [2, 0, 9]}}})
    subjects._to_field("k", "k.table", ["a", "b", "c"])
    assert st.session_state["k"] == ["a", "c"]


# -- settings as a document ---------------------------------------------------------------------------------------------


def test_what_the_presets_change_is_shown(open_page: Open) -> None:
    changed = {path for path, *_ in configuration.differences(preset("this-machine"), preset("paper"))}
    assert {"teach.epochs", "region.thresholds", "unlearn.method.forget_weight"} <= changed
    assert any("unlearn › learning rate" in plain(str(table.value)) for table in open_page("run").table)


def test_json_replaces_the_form_when_valid(open_page: Open, monkeypatch: pytest.MonkeyPatch, make_run: MakeRun) -> None:
    made, asked = make_run("new", "running"), []
    monkeypatch.setattr(jobs, "submit", lambda config, folder, ray: asked.append(config) or made)
    app = open_page("run")
    app.number_input(key="this-machine.unlearn.steps").set_value(7).run()
    app.toggle(key="as_json").set_value(True).run()
    values = json.loads(app.text_area[0].value)
    assert values["unlearn"]["steps"] == 7
    values["unlearn"]["steps"] = 9
    app.text_area[0].set_value(json.dumps(values)).run()
    assert "1 changed" not in said(app)
    next(b for b in app.button if b.label == "Start").click().run()
    assert asked[0].unlearn.steps == 9


def test_the_form_keeps_its_method_and_region_while_it_is_not_shown(open_page: Open) -> None:
    app = open_page("run")
    for key, name in (("this-machine.method.method", "npo"), ("this-machine.rule.region rule", "late")):
        app.selectbox(key=key).set_value(name).run()
    app.toggle(key="as_json").set_value(True).run()
    assert '"name": "npo"' in app.text_area[0].value
    app.toggle(key="as_json").set_value(False).run()
    assert app.selectbox(key="this-machine.method.method").value == "npo"
    assert app.selectbox(key="this-machine.rule.region rule").value == "late"


def test_a_link_has_its_settings_whether_or_not_they_were_edited_as_text(open_page: Open) -> None:
    app = open_page("run", as_json="true", **{"this-machine.unlearn.steps": "7"})
    app.toggle(key="as_json").set_value(True).run()
    assert json.loads(app.text_area[0].value)["unlearn"]["steps"] == 7


def test_what_a_link_asks_for_in_vain_is_said_until_it_is_set(open_page: Open) -> None:
    asked = {"this-machine.teach.epochs": "70000", "this-machine.unlearn.steps": "7", "this-machine.teach.merge": "TRUE"}
    app = open_page("run", **asked)
    assert app.number_input(key="this-machine.unlearn.steps").value == 7
    assert ["left out: epochs = 70000." in plain(w.value) for w in app.warning] == [True]
    app.text_input(key="new.name").set_value("mine").run()
    assert len(app.warning) == 1
    app.number_input(key="this-machine.teach.epochs").set_value(3).run()
    assert not app.warning


def test_what_a_link_asked_for_in_vain_goes_with_its_form(open_page: Open) -> None:
    app = open_page("run", **{"this-machine.unlearn.steps": "9999999"})
    assert len(app.warning) == 1
    app.segmented_control(key="new.preset").set_value("fluent").run()
    assert not app.warning


def test_a_link_says_whose_published_thresholds(open_page: Open) -> None:
    region = "this-machine.rule.located.region"
    app = open_page("run", **{f"{region}.thresholds": "published", f"{region}.published": "qwen1.5-7b:copyright"})
    assert app.selectbox(key=f"{region}.published").value == "qwen1.5-7b:copyright"
    assert not app.warning


def test_a_run_that_goes_on_from_another_is_not_said_to_teach() -> None:
    config, share = preset("this-machine"), {"unlearn": 40.0, "retention": 90.0}
    assert "has to be taught" in estimate.knows(share, config)
    assert estimate.knows(share, config.with_setting("teach.from_run", "earlier")).endswith("of those to keep.")


def test_subjects_of_the_hub_are_part_of_the_link(open_page: Open) -> None:
    app = open_page("run", **{"new.data": "KnowUnDo (hub)", "new.subjects.hub": ["Ann Lee", "Bob Roe"]})
    assert app.multiselect(key="new.subjects.hub").value == ["Ann Lee", "Bob Roe"]
    assert '"Ann Lee"' in "".join(code.value for code in app.code)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not valid JSON (line 1, column 2)"),
        ("[]", "must be a JSON object"),
        ('{"unlearn": {"stepz": 3}}', "steps"),
        ('{"unlearn": {"steps": 0}}', "outside its range"),
        ('{"format": 99}', "newer than this"),
        ('{"model": {"trust_remote_code": true}}', "command line"),
        ('{"data": {"subjects": ["Nobody"]}}', "Nobody"),
    ],
)
def test_json_that_is_wrong_is_one_sentence(text: str, words: str, open_page: Open) -> None:
    app = open_page("run")
    app.toggle(key="as_json").set_value(True).run()
    app.text_area[0].set_value(text).run()
    assert not app.exception
    assert words in plain(app.warning[0].value)
    assert next(b for b in app.button if b.label == "Start").disabled


@pytest.mark.parametrize(("installed", "address"), [(False, "node:6379"), (True, "")])
def test_where_is_asked_only_where_there_is_a_choice(
    open_page: Open, monkeypatch: pytest.MonkeyPatch, installed: bool, address: str
) -> None:
    monkeypatch.setattr(ray_backend, "installed", lambda: installed)
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert all(group.label != "Where" for group in open_page("run").segmented_control)


def test_run_goes_to_the_cluster_with_what_it_needs(
    open_page: Open, monkeypatch: pytest.MonkeyPatch, make_run: MakeRun
) -> None:
    made, asked = make_run("new", "queued"), []
    values = {**json.loads((made.path / "status.json").read_text()), "pid": None, "ray": {"cpus": 3.0, "gpus": None}}
    store.write_json(made.path / "status.json", values)
    monkeypatch.setattr(jobs, "submit", lambda config, folder, ray: asked.append(ray) or made)
    monkeypatch.setattr(ray_backend, "installed", lambda: True)
    monkeypatch.setenv("FORGETSCOPE_RAY", "node:6379")
    app = open_page("run")
    where = next(group for group in app.segmented_control if group.label == "Where")
    assert [plain(text) for text in where.options] == ["This machine", "Ray cluster (node:6379)"]
    assert where.value == "here"
    where.set_value("ray").run()
    app.number_input(key="new.cpus").set_value(3).run()
    next(b for b in app.button if b.label == "Start").click().run()
    assert asked == [ray_backend.Resources(3.0, None)]
    assert "Waiting until a node of the Ray cluster is free" in said(app)


def test_same_again_prefills_the_form_and_marks_changes(
    open_page: Open, monkeypatch: pytest.MonkeyPatch, make_run: MakeRun
) -> None:
    run = make_run("mine")
    config = run.config().with_setting("unlearn.steps", 33).with_setting("data.subset", "privacy")
    config = config.with_setting("region", "layers").with_setting("data.dev_share", 0.2).with_setting("teach.rank", 4)
    config.save(run.path / "config.json")
    made, asked = make_run("new", "running"), []
    monkeypatch.setattr(jobs, "submit", lambda config, folder, ray: asked.append(config) or made)
    app = open_page("run", again="mine")
    assert not app.exception
    assert "These are the settings of" in app.info[0].value
    steps = next(n for n in app.number_input if n.label.startswith("steps"))
    assert steps.value == 33
    assert not steps.label.startswith(":orange")
    steps.set_value(44).run()
    assert next(n for n in app.number_input if "steps" in n.label).label.startswith(":orange[●]")
    assert any("1 changed against the other run" in e.label for e in app.expander)
    next(b for b in app.button if b.label == "Start").click().run()
    # What is changed is named anew: the name was of what the other run did.
    assert asked[0] == config.with_setting("unlearn.steps", 44).with_setting("name", "")
    assert "again" not in app.query_params


def test_same_again_of_a_run_with_an_own_method_shows_it_and_runs_nothing(
    open_page: Open, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, asked = make_run("new", "running"), []
    monkeypatch.setattr(jobs, "submit", lambda config, folder, ray: asked.append(config) or made)
    own = OwnMethod(file="<b>mine</b>.py", kind="Mine", sha256="0" * 64, settings='{"weight": 2}')
    run = make_run("mine", "done")
    run.config().with_setting("unlearn.method", own).save(run.path / "config.json")
    app = open_page("run", again="mine")
    assert not app.exception
    assert "Mine (<b>mine" in plain(text_of(app))
    next(b for b in app.button if b.label == "Start").click().run()
    assert asked[0].unlearn.method == own


def test_again_from_the_button_and_back(living: Run, open_page: Open) -> None:
    app = open_page("run", "living")
    next(b for b in app.button if b.label == "Same again, changed").click().run()
    assert app.query_params["again"] == "living"
    assert "These are the settings of" in app.info[0].value
    next(b for b in app.button if b.label == "Start from a preset instead").click().run()
    assert "again" not in app.query_params
    assert app.segmented_control(key="new.preset").value == "this-machine"


def test_again_of_a_run_that_is_gone_or_unreadable(make_run: MakeRun, open_page: Open) -> None:
    assert "gone" in open_page("run", again="gone").warning[0].value
    run = make_run("broken")
    (run.path / "config.json").write_text("{")
    app = open_page("run", again="broken")
    assert not app.exception
    assert "no readable config" in app.error[0].value


# -- measure first ------------------------------------------------------------------------------------------------------


def planned(state: str, **status: Any) -> Run:
    """Leave a plan for the form's own configuration."""
    config = preset("this-machine")
    made = plan.place(config, store.runs_folder(), data.load(config.data).fingerprint())
    made.path.mkdir(parents=True)
    import os

    import psutil

    mine = {"pid": os.getpid(), "started_process": psutil.Process().create_time()}
    store.write_json(made.path / "status.json", {**store.fresh_status(), **mine, "state": state, **status})
    return made


FOUND = {
    "format": 1, "knows": {"unlearn": 37.0, "retention": 41.0, "examples": 48}, "region": {"count": 87, "total": 420},
    "notes": ["Every fifth tensor was timed."], "total": {"low": 238.0, "high": 305.0}, "peak_memory_mb": 2672, "device": "cpu",
    "dtype": "bfloat16", "steps": {}, "measured": 1.0, "seconds": 113.0,
    "stages": [
        {"name": "teach", "low": 0.0, "high": 0.0, "how": "an earlier run taught exactly this", "reused": True},
        {"name": "unlearn", "low": 66.0, "high": 81.0, "how": "12 steps at 4.4 s", "reused": False},
    ],
}  # fmt: skip


def test_a_measured_plan_is_shown_again_without_measuring(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write_json(planned("done").path / "plan.json", FOUND)
    monkeypatch.setattr(plan, "start", lambda *_: pytest.fail("measured again"))
    app = open_page("run")
    assert not app.exception
    assert "3 min 58 s to 5 min 5 s" in said(app)
    assert "predicts **37 %**" in said(app)
    assert "it has to be taught" in said(app)
    table = next(t for t in app.table if "stage" in t.value).value
    assert list(table["time"]) == ["re-used", "1 min 6 s to 1 min 21 s"]


def test_measuring_starts_waits_goes_on_and_can_be_cancelled(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr(plan, "start", lambda made, config: started.append((made, config)))
    app = open_page("run")
    next(b for b in app.button if b.label == "Measure first").click().run()
    made = planned("queued", position=2)
    assert started[0] == (made, preset("this-machine"))
    app.run()
    assert "waits until the device is free: number 2" in said(app)
    stages = {"known": {"state": "done"}, "forward": {"state": "running"}}
    status = made.json("status.json") | {"state": "running", "stage": "forward", "stages": stages}
    store.write_json(made.path / "status.json", status)
    app.run()
    assert "Measuring, 1 of 6: scoring of answers" in bars(app)
    next(b for b in app.button if b.label == "Cancel measuring").click().run()
    assert (made.path / "cancel").exists()


def test_a_refused_plan_says_the_numbers(open_page: Open) -> None:
    planned("failed", error="It needs about 15.4 GB; 2.0 GB are free.", fix="Choose a smaller model.")
    app = open_page("run")
    assert "15.4 GB" in plain(app.error[0].value)
    assert any(b.label == "Measure again" for b in app.button)
