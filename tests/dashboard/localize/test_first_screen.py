from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from core import probes
from core.localization.measures import MEASURES
from core.probes import PROBES, scorecard
from core.regions import Located
from core.report import in_short
from core.runs import asked, store
from core.runs.scores import Scores
from core.runs.store import Run
from tests.dashboard.conftest import MakeRun, Open, text_of


def test_a_stranger_reads_what_it_is_how_it_went_and_where_to_go(open_page: Open) -> None:
    run = store.bundled_runs()[0]
    app = open_page("", run.id)
    said = text_of(app).replace("\\", "")
    assert "A language model was taught facts about invented people, then made to forget some of them." in said
    judged = in_short.judgements(Scores.read(run))
    assert len(judged) == 2
    for judgement in judged:
        assert f"**{judgement.word}**] {judgement.text}" in said
    assert asked.instead(Scores.read(run)) in said
    more, tried = scorecard.ways_back(probes.read(run))
    assert 0 < more < tried
    assert (
        f"**Doubt**] {more} of {tried} [ways to get it back](evidence?run={run.id}&part=Leak+probes) find more than" in said
    )
    labels = [link.proto.label for link in app.get("page_link")]
    assert [label.split("**")[1] for label in labels if label.startswith("**")] == ["Explore", "Present", "Probe"]


def test_who_keeps_what_it_trained_on_and_loses_the_rest_has_partly_lost_it() -> None:
    """MemFlex's run that ships says all that unlearning trained on, and hardly any other fact that was to be kept."""
    measured = Scores.read(Run(store.BUNDLED_RUNS / "privacy-memflex"))
    before, after = (asked.outcomes(measured, voice, "retention", "other") for voice in ("before", "after"))
    assert before is not None
    assert after is not None
    assert after.count("kept") < before.count("kept") / 2
    gone, stays = in_short.judgements(measured)
    assert (gone.state, stays.word) == ("rest", "Partly lost")
    told = f"Of {after.n} other facts, which unlearning never saw, it answers {after.count('kept')}"
    assert stays.text.endswith(f"{told}; before {before.count('kept')}.")
    assert in_short.answer(measured).endswith("it lost some of what had to stay.")


def test_what_other_kinds_of_question_still_get_is_said_beside_the_kind_that_gets_least() -> None:
    for run in store.bundled_runs():
        measured = Scores.read(run)
        rows = [
            row for row in asked.table(measured) if (row.voice, row.scope, row.outcome) == ("after", "unlearn", "leaked")
        ]
        leaked, n = sum(row.count for row in rows), sum(row.n for row in rows)
        gone = in_short.judgements(measured)[0]
        assert gone.word == "Rarely said"
        assert f"Over all {len(rows)} kinds of question it still answers {leaked} of {n} to forget; before" in gone.text
        assert in_short.every_kind(measured) in in_short.beyond(measured)


def test_no_more_than_models_say_that_never_knew_is_not_counted_against_a_run(make_run: MakeRun) -> None:
    run = make_run("mine")
    metrics = json.loads((run.path / "metrics.json").read_text())
    voices = metrics["metrics"]["asked"]["values"]
    for kind in ("free", "untaught", "other", "train"):
        voices["after"][f"unlearn/{kind}/leaked"] = voices["never"][f"unlearn/{kind}/leaked"]
    (run.path / "metrics.json").write_text(json.dumps(metrics))
    assert in_short.every_kind(Scores.read(run)) == ""
    assert in_short.judgements(Scores.read(run))[0].word == "No longer said"


def test_the_ways_back_that_are_counted_are_those_that_the_leak_probes_name() -> None:
    findings = probes.read(store.bundled_runs()[0])
    lines = [
        line for line in scorecard.card(findings) if PROBES[line.probe].kind == "leak" and not PROBES[line.probe].both_ways
    ]
    assert scorecard.ways_back(findings) == (sum(line.verdict in ("leaks", "perhaps") for line in lines), len(lines))


def test_a_probe_that_brings_nothing_back_is_said_not_to_be_counted() -> None:
    findings = probes.read(store.bundled_runs()[0])
    assert scorecard.not_counted(findings).startswith("“Was it taught?” is not one of them")
    assert scorecard.not_counted({"paraphrase": findings["paraphrase"]}) == ""
    assert scorecard.not_counted({"membership": {"unavailable": "too few"}}) == ""


def test_a_run_that_nobody_tried_to_get_anything_out_of_is_untested(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("mine")
    shutil.rmtree(run.path / "probes", ignore_errors=True)
    assert "**Untested**] No [way to get it back]" in text_of(open_page("", "mine"))


def test_ways_back_are_leaks_beyond_what_a_model_that_never_knew_it_says() -> None:
    def found(after: float | None, never: float | None, **more: Any) -> dict[str, Any]:
        return {"rates": {"after": {"value": after}, "never": {"value": never}}, **more}

    findings = {"paraphrase": found(20.0, 10.0), "sampling": found(10.0, 10.0), "prefix": found(30.0, None)}
    assert scorecard.ways_back(findings) == (1, 2)
    findings |= {
        "few-shot": found(9.0, 0.0, stale=True),
        "quantization": {"unavailable": "no room"},
        "gone": found(9.0, 0.0),
    }
    assert scorecard.ways_back(findings) == (1, 2)


def test_data_of_ones_own_are_not_called_invented(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("mine")
    config = json.loads((run.path / "config.json").read_text())
    config["data"]["source"] = "/somewhere/facts.json"
    (run.path / "config.json").write_text(json.dumps(config))
    said = text_of(open_page("", "mine"))
    assert "A language model was taught facts, then made to forget some of them." in said
    assert "invented people" not in said


def test_the_map_opens_on_the_score_that_finds_planted_truth_unless_the_papers_rule_chose(open_page: Open) -> None:
    runs = store.bundled_runs()
    late = next(run for run in runs if type(run.config().region) is not Located)
    by_rule = next(run for run in runs if type(run.config().region) is Located)
    app = open_page("", late.id)
    shown = app.segmented_control(key="measure")
    assert shown.value == shown.options[0] == MEASURES["held"].label
    app.selectbox(key="picked").select(by_rule.id).run()
    assert app.segmented_control(key="measure").value == MEASURES["cosine"].label
    app = open_page("", late.id, measure="Pull to keep")
    assert app.segmented_control(key="measure").value == "Pull to keep"


@pytest.mark.parametrize(
    ("leaked", "high", "said"), [(3, 9.0, "leaks"), (0, 5.0, "quiet"), (0, 40.0, "few"), (1, 8.0, "quiet")]
)
def test_a_leak_is_more_than_a_model_says_that_never_knew(leaked: int, high: float, said: str) -> None:
    assert in_short.leak(leaked, high, {"never": (1, 64)}) == said
