"""The Run page: choosing the model and the data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.config.run_config import from_json
from core.config.stages import DataConfig
from core.data import sources
from core.plan import model_memory
from tests.dashboard.conftest import Open
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
    table = app.dataframe[0].value
    assert list(table["row"]) == [2, 4]
    assert list(table["what is wrong"]) == ["It has no answer.", "It is not a JSON object."]
    assert next(b for b in app.button if b.label == "Start").disabled
    app.checkbox[0].check().run()
    assert not next(b for b in app.button if b.label == "Start").disabled
    config = from_json(json.loads(app.code[-1].value))
    assert len(sources.load(config.data).examples) == 12


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
