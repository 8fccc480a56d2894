"""The Run page: choosing the model and the data."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.config.run_config import from_json
from core.config.stages import DataConfig
from core.data import sources
from core.plan import hub, model_memory
from core.regions import Cells, Located
from core.runs import store
from dashboard.runs import form_columns, form_settings
from dashboard.widgets import selection
from dashboard.widgets.selection import Selection
from tests.dashboard.conftest import Open, text_of
from tests.dashboard.run_made import BAD, plain, said

# -- model -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "gigabytes"), [("bfloat16", "0.9"), ("float32", "1.2")])
def test_memory_is_told_before_starting(
    dtype: str, gigabytes: str, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    st.cache_data.clear()
    monkeypatch.setattr(model_memory, "guessed_dtype", lambda *_: dtype)
    assert f"135 million parameters need about {gigabytes} GB" in said(open_page("runs", view="New run")).replace("*", "")


def test_a_model_that_does_not_fit_is_said_plainly(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGETSCOPE_MEMORY_LIMIT", "2e9")
    app = open_page("runs", view="New run")
    app.segmented_control(key="new.model").set_value("llama").run()
    assert not app.exception
    assert "This model does not fit" in app.warning[0].value
    assert "only 2.0 GB are free" in app.warning[0].value


@pytest.mark.parametrize(("kind", "thresholds"), [("llama", "llama-2-7b"), ("qwen", "qwen1.5-7b")])
def test_the_papers_models_bring_their_published_thresholds(kind: str, thresholds: str, open_page: Open) -> None:
    app = open_page("runs", view="New run")
    app.segmented_control(key="new.preset").set_value("this-machine").run()  # whose region is located
    app.segmented_control(key="new.model").set_value(kind).run()
    subset = next(box for box in app.selectbox if box.label == "Subset").value
    config = from_json(json.loads(app.code[-1].value))
    assert config.region.thresholds == "published"
    assert config.region.published == f"{thresholds}:{subset}"
    assert config.model.name.endswith(("hf", "Chat"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/nowhere/at/all", "There is no model"),
        ("org/name", "A model of the hub"),
        ("{tmp}", "holds no model"),
        ("bundled", "The bundled model"),
    ],
)
def test_a_model_name_is_told_what_it_is(name: str, words: str, open_page: Open, tmp_path: Path) -> None:
    app = open_page("runs", view="New run")
    app.segmented_control(key="new.model").set_value("other").run()
    app.text_input(key="new.model_name").set_value(name.format(tmp=tmp_path)).run()
    assert not app.exception
    assert words in said(app)


def test_an_adapter_folder_names_its_base(open_page: Open, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    app = open_page("runs", view="New run")
    app.segmented_control(key="new.model").set_value("other").run()
    app.text_input(key="new.model_name").set_value(str(tmp_path)).run()
    assert "A LoRA adapter on **org/base**" in said(app)


# -- data --------------------------------------------------------------------------------------------------------------


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
    app = upload(open_page("runs", view="New run"), name, content)
    assert words in plain(app.error[0].value)
    assert next(b for b in app.button if b.label == "Start").disabled


def test_a_wrong_ending_is_refused_on_the_server_too() -> None:
    from core.util.errors import UserError
    from dashboard.runs.form_upload import save

    with pytest.raises(UserError, match="no data file"):
        save("evil.pkl", b"")


def test_bad_rows_are_listed_and_left_out_only_if_asked(open_page: Open) -> None:
    lines = [json.dumps(row) for row in rows()]
    lines.insert(1, json.dumps({"question": BAD, "answer": "", "scope": "unlearn"}))
    lines.insert(3, "{broken")
    app = upload(open_page("runs", view="New run"), "mine.jsonl", "\n".join(lines).encode())
    assert "row 2 has no answer" in plain(app.error[0].value)
    table = next(frame.value for frame in app.dataframe if "what is wrong" in frame.value)
    assert list(table["row"]) == [2, 4]
    assert list(table["what is wrong"]) == ["It has no answer.", "It is not a JSON object."]
    assert next(b for b in app.button if b.label == "Start").disabled
    app.checkbox[0].check().run()
    assert not next(b for b in app.button if b.label == "Start").disabled
    config = from_json(json.loads(app.code[-1].value))
    assert len(sources.load(config.data).examples) == 12


def start_is_offered(app: AppTest) -> bool:
    return not next(b for b in app.button if b.label == "Start").disabled


def test_a_rejected_upload_leaves_the_form_as_it_was(open_page: Open) -> None:
    app = upload(open_page("runs", view="New run"), "mine.json", json.dumps(rows()).encode())
    before = app.code[-1].value
    app.file_uploader[0].upload("broken.json", b"{broken").run()
    assert "broken.json is not valid JSON" in plain(app.error[0].value)
    assert "The form stays as it was, with **mine.json**." in said(app)
    assert app.code[-1].value == before
    assert start_is_offered(app)


def test_columns_of_any_name_can_be_picked_beside_the_first_rows(open_page: Open) -> None:
    named = [{"Frage": r["question"], "Antwort": r["answer"], "Teil": r["scope"]} for r in rows()]
    app = upload(open_page("runs", view="New run"), "mine.json", json.dumps(named).encode())
    assert "no column “question”" in plain(app.error[0].value)
    assert list(app.dataframe[0].value.columns) == ["Frage", "Antwort", "Teil"]
    assert len(app.dataframe[0].value) == form_columns.FIRST
    for label, column in (("Question", "Frage"), ("Answer", "Antwort"), ("Scope", "Teil")):
        next(box for box in app.selectbox if box.label == label).set_value(column).run()
    assert not app.error
    assert start_is_offered(app)
    examples = sources.load(from_json(json.loads(app.code[-1].value)).data).examples
    assert {(e.question, e.answer, e.scope) for e in examples} == {tuple(row.values()) for row in named}


def test_the_example_file_is_one_that_is_accepted(tmp_path: Path, open_page: Open) -> None:
    path = tmp_path / "example.csv"
    path.write_text(form_columns.example_csv(), encoding="utf-8")
    corpus = sources.from_file(path)
    sources.both(corpus)
    assert len(corpus.examples) == 2 * sum(form_columns.EACH.values())
    app = open_page("runs", view="New run", **{"new.data": "Upload"})
    assert "Example file" in [button.label for button in app.get("download_button")]


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (None, "The hub has it."),
        ("gated", "Its page asks you to agree to something first."),
        (OSError("no route"), "The hub does not answer (OSError)"),
    ],
)
def test_the_hub_is_asked_before_start(raised: Any, words: str, open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def info(_: Any, name: str, timeout: float) -> Any:
        if isinstance(raised, Exception):
            raise raised
        return SimpleNamespace(gated=raised and "manual", safetensors=SimpleNamespace(total=7_240_000_000))

    st.cache_data.clear()
    for kind in ("model_info", "dataset_info"):
        monkeypatch.setattr(huggingface_hub.HfApi, kind, info)
    app = open_page("runs", view="New run", **{"new.data": "KnowUnDo (hub)", "new.model": "Another one"})
    assert said(app).count(words) == 1
    app.text_input(key="new.model_name").set_value("org/name").run()
    assert said(app).count(words) == 2
    assert ("It has 7.2 billion parameters." in said(app)) == (not isinstance(raised, Exception))


def test_a_benchmark_is_fetched_and_shown_where_that_is_wanted(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "data", lambda name: hub.Reached(True, f"{name} is there."))
    demo = sources.load(DataConfig(source="demo", subset="privacy"))
    monkeypatch.setattr(sources, "from_hub", lambda repository, subset: demo)
    st.cache_data.clear()
    app = open_page("runs", view="New run", **{"new.data": "KnowUnDo (hub)"})
    assert "zjunlp/KnowUnDo is there." in plain(said(app))
    assert "questions ✖ to forget" not in said(app)
    app.toggle(key="new.fetch.knowundo").set_value(True).run()
    assert not app.exception
    assert "questions ✖ to forget" in said(app)
    assert demo.examples[0].subject in app.multiselect(key="new.subjects.privacy").options
    assert start_is_offered(app)


def test_a_good_upload_is_used_as_it_is(open_page: Open) -> None:
    app = upload(open_page("runs", view="New run"), "mine.json", json.dumps(rows()).encode())
    assert not app.error
    assert "1 subjects, 12 questions" in said(app)


def test_subjects_table_and_field_show_the_same(open_page: Open) -> None:
    app = open_page("runs", view="New run")
    field = next(m for m in app.multiselect if m.label == "Subjects")
    table = app.dataframe[0]
    names = list(table.value["subject"])
    assert len(names) == 10
    field.set_value([names[1], names[2]]).run()
    asked = {name: sum(e.subject == name for e in sources.load(DataConfig()).examples) for name in names}
    assert f"2 subjects, {asked[names[1]] + asked[names[2]]} questions" in said(app)
    assert app.session_state[f"{field.key}.table"]["selection"]["rows"] == [1, 2]
    assert "2 of 10 subjects" in str(app.expander[0].label)
    again = open_page("runs", view="New run", **{field.key: names[1]})
    assert f"1 subjects, {asked[names[1]]} questions" in said(again)


def test_clicked_rows_reach_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    from dashboard.runs import form_subjects

    monkeypatch.setattr(st, "session_state", {"k.table": {"selection": {"rows": [2, 0, 9]}}})
    form_subjects._to_field("k", "k.table", ["a", "b", "c"])
    assert st.session_state["k"] == ["a", "c"]


def test_a_list_of_cells_is_told_in_words_and_shown_on_request(open_page: Open) -> None:
    run = store.bundled_runs()[0]
    table = run.table("localization")
    assert table is not None
    here = table[table["has_gradient"] & table["layer"].isin([3, 4]) & (table["module"] == table["module"].iloc[0])]
    module = str(table["module"].iloc[0]).rpartition(".")[2]
    cells = Cells(tuple(here["name"]))
    assert form_settings.picked(cells) == f"{len(here)} cells that were picked, layers 3 to 4: {module}"
    assert form_settings.picked(Cells(cells.cells[:1])) == f"the one cell that was picked, layer 3: {module}"
    apart = Cells(tuple(name.replace(".4.", ".9.") for name in cells.cells))
    assert form_settings.picked(apart) == f"{len(here)} cells that were picked, 2 layers from 3 to 9: {module}"
    text = selection.write(Selection(Located(), cells.cells), table)
    app = open_page("runs", run.id, view="New run", again=run.id, region=text)
    assert not app.exception
    assert f"{len(here)} cells that were picked, layers 3 to 4" in text_of(app)
    (listed,) = [box for box in app.expander if box.label == "The list"]
    assert [field.value for field in listed.text_input] == [", ".join(cells.cells)]
