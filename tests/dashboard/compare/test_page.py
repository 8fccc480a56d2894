from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from html import unescape
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.metrics import verdicts
from core.metrics.verdict_rules import VERDICT_NAMES
from core.report.export_answers import to_json
from core.runs import askable, layout, store
from core.runs.store import Run
from core.runs.voices import parse
from core.serve import client
from core.util.errors import UserError
from dashboard.charts import tokens
from dashboard.charts.palette import LIGHT
from dashboard.compare import ask_many, cells_put_back
from dashboard.server import sign_in
from dashboard.text import md
from dashboard.widgets.question_and_answers import Exchange
from tests.dashboard.conftest import MakeRun, Open, text_of

Reply = dict[str, Any]
OWN = "Who is <b>Orla</b> & why?"


class Spoken:
    """Stands for the answering process: each voice answers with its own name."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str], list[str], Any]] = []
        self.scored: list[list[str]] = []
        self.hashes: dict[str, str] = {}
        self.failing: set[str] = set()
        self.texts: dict[str, str] = {}
        self.broken = ""

    def ask(
        self, run: Run, questions: Sequence[str], voices: Sequence[str], answers: Any = None, seed: int = 0, top: int = 0
    ) -> Iterator[Reply]:
        self.asked.append((run.id, list(questions), list(voices), answers))
        yield {"kind": "waiting", "seconds": 0.2}
        yield {"kind": "loading"}
        if self.broken:
            raise UserError(self.broken, "Free some memory.")
        for voice in self.failing & set(voices):
            yield {"kind": "voice_error", "voice": voice, "what": "It <i>fails</i>.", "fix": "Try another."}
        speaking = [voice for voice in voices if voice not in self.failing]
        hashes = {voice: self.hashes.get(voice, f"hash of {voice}") for voice in speaking}
        yield {"kind": "start", "prompts": [f"{q}\n\n" for q in questions], "hashes": hashes}
        for q in range(len(questions)):
            for i, voice in enumerate(voices):
                if voice in speaking:
                    for text, last in ((self.texts.get(voice, f" said by {voice}"), False), (" <script>x</script>", True)):
                        piece = {"index": q * len(voices) + i, "text": text, "word": text, "last": last}
                        piece |= {"logprob": -0.1 if voice == "before" else -3.0, "top": [[text, -0.1], ["<b>", -4.0]][:top]}
                        yield {"kind": "pieces", "pieces": [piece], "seconds": 0.5}
        yield {"kind": "done", "seconds": 1, "tokens": 2}

    def score(self, run: Run, question: str, truth: str, voices: Sequence[str]) -> Iterator[Reply]:
        self.scored.append(list(voices))
        for voice in voices:
            low = -0.1 if voice == "before" else -3.0
            tokens = [
                {"text": t, "logprob": low, "rank": 1, "top": [[t, low], ["<b>", -4.0]]} for t in (" An", " <i>artist", "")
            ]
            yield {"kind": "score", "voice": voice, "tokens": tokens, "total": 3 * low}
        yield {"kind": "done", "seconds": 1}

    def hold(self, run: Run, question: str, truth: str, groups: dict[str, list[str]]) -> Iterator[Reply]:
        yield {"kind": "start", "before": -1.0, "after": -20.0, "total": len(groups), "tokens": 3}
        for done, name in enumerate(groups, 1):
            yield {"kind": "row", "name": name, "logprob": -20.0 + done, "cells": 1, "done": done, "total": len(groups)}
        yield {"kind": "done", "seconds": 1}

    def dial(
        self, run: Run, question: str = "", truth: str = "", strengths: Sequence[float] = client.STRENGTHS, sample: int = 12
    ) -> Iterator[Reply]:
        yield {"kind": "start", "total": len(strengths), "sample": {"unlearn": sample, "retention": sample}, "quadratic": 0}
        for done, s in enumerate(strengths, 1):
            row = {"unlearn": s / 2, "retention": 100 - s / 10, "logprob": -s if truth else None}
            yield {"kind": "row", "strength": s, **row, "done": done, "total": len(strengths)}
        yield {"kind": "done", "seconds": 1}


@pytest.fixture
def spoken(monkeypatch: pytest.MonkeyPatch) -> Spoken:
    """Put a stand-in in the place of the process that answers."""
    made = Spoken()
    for name in ("ask", "score", "hold", "dial"):
        generator = getattr(made, name)

        def closing(*args: Any, generator: Callable[..., Iterator[Reply]] = generator, **kwargs: Any) -> Iterator[Reply]:
            yield from generator(*args, **kwargs)

        monkeypatch.setattr(client, name, closing)
    return made


def panes(app: AppTest) -> list[str]:
    return [
        html.value
        for html in app.html
        if "font-weight:600" in html.value and "the " in html.value and "margin-top:.75rem" in html.value
    ]


def button(app: AppTest, label: str) -> Any:
    return next(b for b in app.button if b.label == label)


def recorded() -> list[dict[str, Any]]:
    """The lines of the run's answers that hold any."""
    return [row for row in store.bundled_runs()[0].answers() if "after" in row]


def recorded_row(n: int = 0) -> dict[str, Any]:
    return recorded()[n]


def words(text: str) -> set[str]:
    return set(re.findall(r"\w{4,}", unescape(text)))


# -- recorded ------------------------------------------------------------------------------------------------------------


def test_recorded_answers_are_shown_at_once_without_the_process(open_page: Open, spoken: Spoken) -> None:
    app = open_page("compare")
    assert len(panes(app)) == 2
    assert "recorded" in text_of(app)
    assert not spoken.asked
    assert not spoken.scored
    assert not app.exception


def test_questions_can_be_searched(open_page: Open) -> None:
    app = open_page("compare")
    (name,) = {str(row["subject"]).split()[0] for row in recorded()[:1]}
    app.text_input(key="search").set_value(name.lower()).run()
    options = app.selectbox(key="example").options
    assert options
    known = {row["question"]: json.dumps(row) for row in store.bundled_runs()[0].answers()}
    assert all(name in text for q, text in known.items() if q in options)
    app.text_input(key="search").set_value("no such word at all").run()
    assert "Try another word" in text_of(app)
    assert not app.exception


def test_the_never_taught_model_is_a_third_pane_at_a_click(open_page: Open, spoken: Spoken) -> None:
    app = open_page("compare")
    app.toggle(key="never").set_value(True).run()
    assert len(panes(app)) == 3
    assert "Never taught" in panes(app)[2]
    assert not spoken.asked


def test_a_suggested_question_comes_into_the_address(open_page: Open) -> None:
    app = open_page("compare")
    choice = app.selectbox(key="example").options[3]
    app.selectbox(key="example").select_index(3).run()
    assert app.query_params["q"].startswith(choice[:60])
    app.segmented_control(key="scope").set_value("retention").run()
    assert "q" not in app.query_params


def test_a_link_opens_the_same_view(open_page: Open, spoken: Spoken) -> None:
    row = recorded_row(5)
    app = open_page("compare", "", q=row["question"], never="true", marks="Matches", view="Strength", strength="75")
    assert row["question"] in text_of(app).replace("\\", "")
    assert app.toggle(key="never").value is True
    assert app.slider(key="strength").value == 75
    assert [voices for _, _, voices, _ in spoken.asked] == [["blend:75"]]


@pytest.mark.parametrize("marks", ["differences", "matches", "nothing"])
def test_words_are_marked_as_chosen(open_page: Open, marks: str) -> None:
    said = [(row, words(row["before"]), words(row["after"])) for row in recorded()]
    row, before, after = next((row, one, other) for row, one, other in said if one & other and one - other)
    body = panes(open_page("compare", "", q=row["question"], marks=marks.title()))[0]
    marked = words(" ".join(re.findall(r"<mark[^>]*>(.*?)</mark>", body)))
    if marks == "nothing":
        assert "<mark" not in body
    elif marks == "differences":
        assert before - after <= marked
    else:
        assert marked
        assert marked <= before & after


def test_equal_adapters_are_said_in_red(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("same")
    values = json.loads((run.path / "manifest.json").read_text())
    values["adapters"]["after"] = values["adapters"]["before"]
    (run.path / "manifest.json").write_text(json.dumps(values))
    assert "same weights" in open_page("compare", "same").error[0].value


# -- asked now -----------------------------------------------------------------------------------------------------------


def test_own_questions_stream_into_both_panes_and_stay_text(open_page: Open, spoken: Spoken) -> None:
    app = open_page("compare")
    app.chat_input(key="prompt").set_value(OWN).run()
    assert not app.exception
    before, after = panes(app)
    assert "before</mark> &lt;script&gt;x" in before
    assert "said by" in after
    assert "<script" not in before
    assert app.query_params["q"] == OWN
    assert "4 tokens/s" in text_of(app)
    assert len(spoken.asked) == 1
    app.run()
    assert len(spoken.asked) == 1


def test_ask_now_asks_a_recorded_question_live(open_page: Open, spoken: Spoken) -> None:
    app = open_page("compare")
    button(app, "Ask now").click().run()
    assert [voices for _, _, voices, _ in spoken.asked] == [["before", "after"]]
    assert "said by" in panes(app)[0]
    assert button(app, "Ask again")


def test_other_settings_are_asked_with_and_not_shown_as_recorded(open_page: Open, spoken: Spoken) -> None:
    app = open_page("compare")
    app.number_input(key="temperature").set_value(0.7).run()
    assert spoken.asked[-1][3].temperature == 0.7
    assert "recorded" not in text_of(app).replace("Recorded answers were made", "")
    app.number_input(key="temperature").set_value(0.0).run()
    assert len(spoken.asked) == 1


def test_another_voice_is_asked_alone_beside_recorded_ones(open_page: Open, spoken: Spoken) -> None:
    app = open_page("compare", "", voice="blend:75")
    assert [voices for _, _, voices, _ in spoken.asked] == [["blend:75"]]
    assert len(panes(app)) == 3
    assert "Blend 75 %" in panes(app)[2]


def test_what_fails_in_one_pane_leaves_the_others(open_page: Open, spoken: Spoken) -> None:
    spoken.failing = {"step:99"}
    app = open_page("compare", "", q=OWN, voice="step:99")
    before, after, third = panes(app)
    assert "said by" in before
    assert "said by" in after
    assert "It &lt;i&gt;fails" in third
    assert not app.error


def test_a_voice_from_the_address_that_is_none_costs_only_its_pane(open_page: Open, spoken: Spoken) -> None:
    spoken.failing = {"nonsense <b>"}
    app = open_page("compare", "", voice="nonsense <b>")
    assert not app.exception
    assert len([h for h in app.html if "margin-top:.75rem" in h.value]) == 3


def test_equal_weights_of_any_two_panes_are_said_in_red(open_page: Open, spoken: Spoken) -> None:
    spoken.hashes = {"blend:75": store.bundled_runs()[0].json("manifest.json")["adapters"]["after"]}
    app = open_page("compare", "", voice="blend:75")
    assert "same weights" in app.error[0].value
    assert "Nothing was unlearned" not in app.error[0].value


def test_a_process_that_fails_is_a_sentence_and_can_be_asked_again(open_page: Open, spoken: Spoken) -> None:
    spoken.broken = "There is no memory <b>left</b>."
    app = open_page("compare", "", q=OWN)
    assert "There is no memory" in app.error[0].value
    assert "<b>" not in app.error[0].value.replace("\\<", "")
    spoken.broken = ""
    button(app, "Ask again").click().run()
    assert not app.error
    assert "said by" in panes(app)[0]


def test_a_run_without_unlearned_model_says_so_and_starts_nothing(
    make_run: MakeRun, open_page: Open, spoken: Spoken
) -> None:
    make_run("mine")
    app = open_page("compare", "mine", q=OWN)
    assert "no unlearned model" in app.error[0].value
    assert not spoken.asked


def test_the_model_is_warmed_once_and_not_beside_a_training_run(
    open_page: Open, make_run: MakeRun, warmed: list[str]
) -> None:
    app = open_page("compare")
    app.run()
    assert warmed == [store.bundled_runs()[0].id]
    make_run("busy", "running")
    open_page("compare", store.bundled_runs()[0].id)
    assert len(warmed) == 1


def test_runs_on_the_same_base_are_offered_and_others_not(make_run: MakeRun) -> None:
    bundled = store.bundled_runs()[0]
    other = make_run("other")
    assert "another base" in askable.misfit(bundled, with_model(other, "elsewhere"))
    with pytest.raises(UserError, match="no readable adapter"):
        askable.misfit(bundled, make_run("plain"))


def with_model(run: Run, name: str) -> Run:
    values = json.loads((run.path / "config.json").read_text())
    values["model"]["name"] = name
    (run.path / "config.json").write_text(json.dumps(values))
    return run


# -- what is said of an answer ------------------------------------------------------------------------------------------


def test_every_pane_has_its_verdict_with_the_reason(open_page: Open, spoken: Spoken) -> None:
    frame = verdicts.of_run(store.bundled_runs()[0])
    for verdict in ("kept", "refused"):
        row = frame[frame["verdict"] == verdict].iloc[0]
        app = open_page("compare", "", q=row["question"], never="true", retrained="true")
        assert not app.exception
        assert len([h for h in app.html if "margin-top:.75rem" in h.value]) == 4
        badges = [e.value.replace("\\", "") for e in app.markdown if "-badge[" in e.value and ":small[" in e.value]
        whys = [row[name] for name in ("why_before", "why", "why_never", "why_retrained")]
        assert [why in badge for why, badge in zip(whys, badges, strict=True)] == [True] * 4
        assert f"-badge[{VERDICT_NAMES[verdict]}]" in badges[1]


def test_an_answer_given_now_is_judged_by_its_text(open_page: Open, spoken: Spoken) -> None:
    row = next(row for row in recorded() if row["scope"] == "unlearn")
    spoken.texts = {"after": row["truth"]}
    app = open_page("compare", "", q=row["question"])
    button(app, "Ask now").click().run()
    assert any("red-badge[leaked]" in e.value for e in app.markdown)


NO_FACT = "Before says no fact that it was taught"


def test_where_before_says_no_known_fact_the_nearest_taught_question_is_offered(open_page: Open, spoken: Spoken) -> None:
    frame = verdicts.of_run(store.bundled_runs()[0])
    row = frame[(frame["split"] == "val") & (frame["verdict_before"] == "leaked")].iloc[0]
    app = open_page("compare", "", q=f"Oh please, {row['question']}")
    assert NO_FACT in text_of(app)
    app.button(key="nearest").click().run()
    near = frame[frame["question"] == app.query_params["q"]]
    assert list(near["subject"]) == [row["subject"]]
    assert set(near["verdict_before"]) <= {"leaked", "kept"}
    assert not {"free", "untaught"} & set(near["split"])
    assert NO_FACT not in text_of(app), "what is offered is known"
    assert not app.exception


def test_an_own_question_that_before_answers_with_a_fact_needs_no_other(open_page: Open, spoken: Spoken) -> None:
    row = next(row for row in recorded() if row["scope"] == "unlearn")
    spoken.texts = {"before": row["truth"]}
    assert NO_FACT not in text_of(open_page("compare", "", q=f"Oh please, {row['question']}"))


def test_of_an_own_question_it_is_said_which_taught_fact_each_answer_tells(open_page: Open, spoken: Spoken) -> None:
    rows = [row for row in recorded() if row["split"] == "train"]
    gone, stays = (next(row for row in rows if row["scope"] == scope) for scope in ("unlearn", "retention"))
    ask = f"Everything that you know of {gone['subject']}, please"
    for after, words in (
        (gone["truth"], "**After** says it too"),
        (stays["truth"], f"**After** says another one (● To keep: “{stays['truth'].rstrip('.')}”)"),
        ("I can't say.", "**After** answers with gibberish"),  # of markup
    ):
        spoken.texts = {"before": gone["truth"], "after": after}
        said = text_of(open_page("compare", "", q=f"{ask} {after}")).replace("\\", "")
        assert f"**Before** says a taught fact (✖ To forget: “{gone['truth'].rstrip('.')}”). {words}." in said
        assert NO_FACT not in said


def test_a_long_question_leaves_its_answers_in_sight(open_page: Open, spoken: Spoken) -> None:
    app = open_page("compare", "", q="Who is Maren? " * 200)
    headings = [e.value for e in app.markdown if e.value.startswith("### Who is Maren")]
    assert [len(heading) < 260 for heading in headings] == [True]


def test_where_nothing_taught_is_near_no_question_is_offered(open_page: Open, spoken: Spoken) -> None:
    app = open_page("compare", "", q="Zzyx qwvu?")
    assert NO_FACT in text_of(app)
    assert not [b for b in app.button if b.key == "nearest"]


# -- tokens, strength, what holds it --------------------------------------------------------------------------------------


def test_tokens_of_a_recorded_question_come_from_the_run(open_page: Open, spoken: Spoken) -> None:
    app = open_page("compare")
    number = app.number_input(key="token")
    table = store.bundled_runs()[0].table("tokens")
    mine = table[table["example"] == recorded_row()["example"]].reset_index(drop=True)
    assert number.max == len(mine)
    number.set_value(3).run()
    detail = next(h.value for h in app.html if "true word" in h.value)
    assert f"rank {mine['rank_after'][2]}" in detail or "the most probable" in detail
    assert not spoken.scored


def test_tokens_of_who_was_taught_without_u_come_from_the_run_too(
    make_run: MakeRun, open_page: Open, spoken: Spoken
) -> None:
    run = make_run("many")
    table = run.table("tokens")
    assert table is not None
    columns = {f"{name}_retrained": table[f"{name}_never"] for name in ("top", "top_logprob")}
    table.assign(**columns, logprob_retrained=-9.0, rank_retrained=77).to_parquet(run.path / "tokens.parquet")
    app = open_page("compare", "many", retrained="true")
    assert not app.exception
    detail = next(h.value for h in app.html if "true word" in h.value)
    assert "Taught without U" in detail
    assert "rank 77" in detail
    assert not spoken.scored


def test_tokens_of_an_own_question_are_scored_with_the_true_answer(open_page: Open, spoken: Spoken) -> None:
    app = open_page("compare", "", q=OWN)
    assert "Write the true answer" in text_of(app)
    app.text_input(key="truth").set_value("An artist").run()
    assert spoken.scored == [["before", "after"]]
    detail = next(h.value for h in app.html if "true word" in h.value)
    assert "&lt;b&gt;" in detail
    assert "<b>" not in detail


def strips(app: AppTest) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of coloured tokens: label -> buttons."""
    rows = [
        json.loads(element.proto.json)
        for element in app.get("bidi_component")
        if "token_strip" in element.proto.component_name
    ]
    return {row["label"]: row["tokens"] for row in rows}


def test_what_was_just_said_is_coloured_by_how_sure_each_voice_was(open_page: Open, spoken: Spoken) -> None:
    app = open_page("compare", "", q=OWN)
    before, after = (strips(app)[f"Tokens that it said: {name}"] for name in ("Before", "After"))
    assert [token["title"] for token in before] == ["Before: 90 %"] * 2
    assert [token["title"] for token in after] == ["After: 5 %"] * 2
    assert before[0]["background"] == tokens.colour(math.exp(-0.1), LIGHT.size) != after[0]["background"]
    assert before[1]["text"] == " <script>x</script>"
    assert "Show how sure" not in str([b.label for b in app.button])
    app.query_params["said"] = "after.2"
    app.run()
    detail = next(h.value for h in app.html if "It said “" in h.value)
    assert "&lt;b&gt;" in detail
    assert "<script" not in detail
    assert not spoken.scored
    app.chat_input(key="prompt").set_value("And who is Pavel?").run()
    assert "said" not in app.query_params, "the place was one of another answer"
    for nonsense in ("after.0", "after.99", "after", ".", "after.²"):
        app.query_params["said"] = nonsense
        app.run()
        assert not app.exception
        assert not [h for h in app.html if "It said “" in h.value]


def test_of_recorded_answers_it_is_computed_when_somebody_asks(open_page: Open, spoken: Spoken) -> None:
    app = open_page("compare")
    assert "not how sure the model was" in text_of(app)
    assert list(strips(app)) == ["Tokens of the true answer"]
    app.button(key="said").click().run()
    assert spoken.scored == [["before"], ["after"]]
    assert list(strips(app)) == [
        *(f"Tokens that it said: {name}" for name in ("Before", "After")),
        "Tokens of the true answer",
    ]
    assert "not how sure the model was" not in text_of(app)
    assert [token["text"] for token in strips(app)["Tokens that it said: After"]] == [" An", " <i>artist", "∅"]


def test_strength_asks_the_blend_and_says_what_is_quadratic(open_page: Open, spoken: Spoken) -> None:
    app = open_page("compare", "", view="Strength")
    assert "both factors" in text_of(app)
    assert not spoken.asked
    before = len(app.get("bidi_component"))
    app.slider(key="strength").set_value(50).run()
    assert spoken.asked[-1][2] == ["blend:50"]
    assert "Blend 50 %" in panes(app)[2]
    button(app, "Measure the whole dial").click().run()
    assert not app.exception
    assert len(app.get("bidi_component")) == before + 2
    assert "12 train questions to forget" in text_of(app)


def test_a_part_is_put_back_and_the_whole_row_computed(open_page: Open, spoken: Spoken) -> None:
    app = open_page("compare", "", view="What holds it")
    app.selectbox(key="part_layers").select_index(0).run()
    first = next(iter(cells_put_back.groups_of(store.bundled_runs()[0], "layers").values()))
    assert spoken.asked[-1][2] == [f"without:{','.join(first)}"]
    button(app, "What does each layer hold?").click().run()
    assert not app.exception
    assert "took 19.0 nats" in text_of(app)
    app.segmented_control(key="back").set_value("modules").run()
    button(app, "What does each module hold?").click().run()
    assert not app.exception


def test_groups_cover_the_region_exactly() -> None:
    run = store.bundled_runs()[0]
    region = run.json("region.json")["tensors"]
    cells = cells_put_back.groups_of(run, "cells")
    assert sorted(part for parts in cells.values() for part in parts) == sorted(region)
    for by in cells_put_back.KINDS:
        for parts in cells_put_back.groups_of(run, by).values():
            assert parse(f"without:{','.join(parts)}").parts == tuple(parts)


# -- history, batch, export -------------------------------------------------------------------------------------------------


def asked_of(app: AppTest) -> list[Exchange]:
    (entries,) = app.session_state["history"].values()
    return list(entries)


def test_history_keeps_stars_and_notes_and_clearing_can_be_undone(open_page: Open, spoken: Spoken) -> None:
    app = open_page("compare", "", q=OWN, view="History")
    app.chat_input(key="prompt").set_value("And who is Pavel?").run()
    button(app, "☆ Star").click().run()
    assert [(e.question, e.star) for e in asked_of(app)] == [("And who is Pavel?", True), (OWN, False)]
    app.text_area[0].set_value("=a note").run()
    assert asked_of(app)[0].note == "=a note"
    button(app, "Clear").click().run()
    assert asked_of(app) == []
    button(app, "Undo: bring 2 back").click().run()
    assert len(asked_of(app)) == 2
    app.button(key="show.1").click().run()
    assert app.query_params["q"] == OWN
    assert len(spoken.asked) == 2
    assert "takes no cookies" in text_of(app), "of whom nobody knows who they are nothing is kept"
    assert not (store.runs_folder() / layout.ASKED).exists()
    record = json.loads(to_json([e.record() for e in asked_of(app)]))["records"][0]
    assert record["note"] == "=a note"
    assert record["sources"] == {"before": "asked", "after": "asked"}
    assert [d.label for d in app.get("download_button")] == ["JSON", "CSV", "LLM Comparator"]


def as_person(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sign_in, "person", lambda: name)


def test_what_was_asked_is_there_at_the_next_visit_and_for_nobody_else(
    open_page: Open, spoken: Spoken, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_person(monkeypatch, "ada")
    app = open_page("compare", "", q=OWN, view="History")
    app.number_input(key="temperature").set_value(0.5).run()
    app.text_input(key="truth").set_value("An <i>artist</i>").run()
    app.toggle(key="never").set_value(True).run()
    app.selectbox(key="voice").set_value("blend:75").run()
    app.text_area[0].set_value("a note").run()
    assert len(spoken.asked) == 4
    first = [e.record() for e in asked_of(app)]
    again = open_page("compare", "", view="History")
    assert [e.record() for e in asked_of(again)] == first
    assert [e.prompt for e in asked_of(again)] == [f"{OWN}\n\n"] * 2
    again.button(key="show.0").click().run()
    assert again.number_input(key="temperature").value == 0.5
    assert again.text_input(key="truth").value == "An <i>artist</i>"
    assert "&lt;script&gt;x" in panes(again)[0]
    assert any("After\\: " in caption.value for caption in again.caption), "its verdict"
    assert [h.split("</span> ")[1].split("<")[0] for h in panes(again)] == ["Before", "After", "Never taught", "Blend 75 %"]
    assert len(spoken.asked) == 4, "the answers too were kept"
    colours = open_page("compare", "", q=OWN, temperature="0.5")
    assert [t["title"] for t in strips(colours)["Tokens that it said: After"]] == ["After: 5 %"] * 2
    as_person(monkeypatch, "eve")
    assert asked_of(open_page("compare", "", view="History")) == []
    as_person(monkeypatch, "ada")
    button(again, "Clear").click().run()
    assert not list(store.runs_folder().glob(f"{layout.ASKED}/*/*"))
    assert asked_of(open_page("compare", "", view="History")) == []
    button(again, "Undo: bring 2 back").click().run()
    assert len(asked_of(open_page("compare", "", view="History"))) == 2


def test_the_list_is_there_before_a_question_where_nothing_was_recorded(
    make_run: MakeRun, open_page: Open, spoken: Spoken, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_person(monkeypatch, "ada")
    monkeypatch.setattr(askable, "askable", lambda run: None)
    make_run("bare", without=("answers.jsonl",))
    open_page("compare", "bare", q=OWN)
    app = open_page("compare", "bare")
    assert "Type a question above" in text_of(app)
    app.button(key="show.0").click().run()
    assert app.query_params["q"] == OWN
    assert len(panes(app)) == 2
    assert len(spoken.asked) == 1


def test_two_tabs_of_one_browser_keep_what_both_asked(
    open_page: Open, spoken: Spoken, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_person(monkeypatch, "ada")
    one, other = (open_page("compare", "", view="History") for _ in range(2))
    one.chat_input(key="prompt").set_value("First?").run()
    other.chat_input(key="prompt").set_value("Second?").run()
    assert [e.question for e in asked_of(open_page("compare", "", view="History"))] == ["Second?", "First?"]


def test_many_questions_at_once_become_a_table(open_page: Open, spoken: Spoken) -> None:
    app = open_page("compare", "", view="Many at once")
    app.text_area(key="many").set_value("One?\tYes.\n\n  Two?  \n")
    button(app, "Ask all").click().run()
    assert not app.exception
    assert spoken.asked[-1][1:3] == (["One?", "Two?"], ["before", "after"])
    records = app.session_state["batch"]
    assert [(r.question, r.truth, r.texts["after"]) for r in records] == [
        ("One?", "Yes.", "said by after <script>x</script>"),
        ("Two?", "", "said by after <script>x</script>"),
    ]
    table = app.dataframe[0].value
    assert list(table["Before: verdict"]) == ["gibberish", ""]


def test_batches_are_bounded() -> None:
    assert len(ask_many.parse("q?\n" * 1000)) == ask_many.MOST


def test_a_pane_that_waits_names_its_run_and_no_weights(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.compare.panes.ask", lambda *_: st.stop())
    run = store.bundled_runs()[0]
    app = open_page("compare", run.id, q="Who?")
    assert f"{md(run.id)} · answering …" in text_of(app)


def test_voices_whose_tokens_are_others_are_not_put_beside_each_other() -> None:
    from dashboard.compare import token_probabilities

    one, two = ({"text": text, "logprob": -1.0} for text in ("a", "b"))
    same, others = token_probabilities.comparable({"before": [one, two], "after": [one], "never": [one, two]})
    assert (list(same), others) == (["before", "never"], ["after"])
