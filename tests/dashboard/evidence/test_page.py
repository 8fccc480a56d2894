"""The page Evidence: the filter, tiles, table, reasons, own verdicts, rules, and whatever probes found."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from core import probes
from core.jobs import lifecycle
from core.jobs import probes as job
from core.metrics import own_verdicts, verdicts
from core.metrics.asked import OUTCOMES
from core.metrics.verdict_rules import DEFAULT
from core.probes import PROBES
from core.probes.base import UNITS
from core.runs import asked, layout, store
from core.runs.scores import Scores
from core.runs.store import Run
from core.runs.voices import SPOKEN, WITHIN
from core.serve import client
from core.util import access, files
from dashboard.charts import probes as chart
from dashboard.charts.palette import LIGHT
from dashboard.evidence import probe_finding as probe_findings
from dashboard.widgets import verdict_rows
from dashboard.widgets.plot import plain
from tests.dashboard.conftest import MakeRun, Open, reports, text_of

HOSTILE = "<b>x</b> [y](javascript:z) <script>1</script>"


def tile(app: Any, scope: str, verdict: str) -> Any:
    return app.button(key=f"tile.{scope}.{verdict}")


def frames(app: Any) -> list[Any]:
    return [element.value for element in app.dataframe]


def judged(rules: verdicts.Rules = DEFAULT) -> Any:
    """The verdicts on the bundled run that opens first, one a row."""
    return verdicts.of_run(store.bundled_runs()[0], rules)


# -- every example -------------------------------------------------------------------------------------------------------


def sentence(app: Any) -> str:
    return next(e.value for e in app.markdown if e.value.startswith("Asked ")).replace("\\", "")


def test_headline_tiles_table_and_chart_obey_one_filter(open_page: Open) -> None:
    app = open_page("evidence")
    assert not app.exception
    table = verdict_rows.table(store.bundled_runs()[0], DEFAULT)
    free = table[table["kind"] == "free"]
    assert sentence(app) == asked.sentence(Scores.read(store.bundled_runs()[0])), "the first view says what all pages say"
    assert len(frames(app)[0]) == len(free)

    kept = free[(free["scope"] == "retention") & (free["verdict"] == "kept")]
    of = (free["scope"] == "retention").sum()
    assert tile(app, "retention", "kept").label == f"kept · {len(kept)} of {of}"
    tile(app, "retention", "kept").click().run()
    assert app.query_params["show"] == "retention.kept"
    assert set(frames(app)[0]["Verdict"]) == {"kept"}
    assert len(frames(app)[0]) == len(kept)

    name = kept["subject"].iloc[0]
    app.selectbox(key="filter.who").select(name).run()
    mine = free[(free["scope"] == "retention") & (free["subject"] == name)]
    n = int((mine["verdict"] == "kept").sum())
    assert app.query_params["who"] == name
    assert f"about {name}, it still says {n} of {len(mine)} to keep" in sentence(app)
    assert "to forget" not in sentence(app)
    assert tile(app, "retention", "kept").label == f"kept · {n} of {len(mine)}"
    assert len(frames(app)[0]) == n

    again = open_page("evidence", **{name: str(value) for name, value in flat(app).items()})
    assert sentence(again) == sentence(app), "the link holds all of it"
    assert list(frames(again)[0]["Question"]) == list(frames(app)[0]["Question"])

    app.selectbox(key="filter.kind").set_value(None).run()
    assert app.query_params["among"] == "all"
    assert "in every way" in sentence(app)
    app.text_input(key="find").set_value("no such word").run()
    assert "No example fits" in text_of(app)
    assert not app.exception


def flat(app: Any) -> dict[str, str]:
    """An app's address, one value a name."""
    return {name: value if isinstance(value, str) else value[-1] for name, value in app.query_params.items()}


def test_every_count_is_one_click_from_its_answers(open_page: Open) -> None:
    app = open_page("evidence")
    for scope, of_scope in verdicts.OF_SCOPE.items():
        for verdict in of_scope:
            n = int(tile(app, scope, verdict).label.split(" · ")[1].split(" of ")[0])
            tile(app, scope, verdict).click().run()
            assert len(frames(app)[0]) == n, (scope, verdict)
            assert not app.exception
            tile(app, scope, verdict).click().run()
    assert "show" not in app.query_params


def test_counts_of_the_scores_are_those_of_the_answers() -> None:
    run = store.bundled_runs()[0]
    table, scores = verdict_rows.table(run, DEFAULT), Scores.read(run)
    counted = 0
    for row in asked.table(scores):
        names = OUTCOMES[row.scope] if row.scope in asked.TO else {}
        verdict = {outcome: name for name, outcome in names.items()}.get(row.outcome)
        column = "verdict" if row.voice == "after" else f"verdict_{row.voice}"
        if verdict:
            mine = table[(table["scope"] == row.scope) & (table["kind"] == row.kind) & (table[column] != "")]
            assert ((mine[column] == verdict).sum(), len(mine)) == (row.count, row.n), row
            counted += 1
    assert counted > 20


@pytest.mark.parametrize(
    "query",
    [
        {"show": "unlearn.kept"},
        {"show": "nowhere.leaked", "among": "no kind", "who": "Nobody <b>"},
        {"show": ".refused", "among": "Free wording"},
    ],
)
def test_a_filter_that_makes_no_sense_lets_everything_through(open_page: Open, query: dict[str, str]) -> None:
    app = open_page("evidence", **query)
    assert not app.exception
    assert len(frames(app)[0])


def test_a_link_to_an_example_shows_it_whatever_the_filter(open_page: Open) -> None:
    row = judged().query("split == 'train' and scope == 'unlearn'").iloc[0]
    app = open_page("evidence", example=row["id"], show="retention.kept")
    assert row["question"] in text_of(app).replace("\\", "")


def test_a_link_opens_an_example_with_its_reasons_and_a_way_to_compare(open_page: Open) -> None:
    row = judged().query("scope == 'unlearn' and verdict != 'leaked'").iloc[0]
    app = open_page("evidence", example=row["id"], show=f"unlearn.{row['verdict']}")
    said = text_of(app)
    assert row["question"] in said.replace("\\", "")
    assert html.escape(row["why"]) in said
    assert html.escape(row["why_before"]) in said
    assert f"probability {row['p_before']:.2f} a token" in said
    assert any(getattr(link.proto, "label", "") == "Open in Compare" for link in app.get("page_link"))


def test_an_own_verdict_counts_and_is_kept_apart(make_run: MakeRun, open_page: Open) -> None:
    run, forget = make_run("mine"), judged().query("scope == 'unlearn'")
    example, leaked = forget.query("verdict != 'leaked'")["id"].iloc[0], (forget["verdict"] == "leaked").sum()
    app = open_page("evidence", "mine", example=example, among="all")
    app.selectbox(key=f"own.verdict.mine.{example}").set_value("leaked")
    app.text_area(key=f"own.note.mine.{example}").set_value(HOSTILE)
    next(b for b in app.button if b.label == "Save").click().run()
    assert own_verdicts.own(run) == {example: {"verdict": "leaked", "note": HOSTILE}}
    assert "leaked ✎" in set(frames(app)[0]["Verdict"])
    assert f"still says {leaked + 1} of {len(forget)} to forget" in sentence(app)
    app.toggle(key="mine").set_value(False).run()
    assert f"still says {leaked} of {len(forget)} to forget" in sentence(app)
    assert not app.exception


@pytest.mark.parametrize("tab", ["Every example", "One subject", "Leak probes", "Rules"])
@pytest.mark.parametrize("state", ["running", "failed"])
def test_without_answers_every_tab_says_what_to_do(make_run: MakeRun, open_page: Open, tab: str, state: str) -> None:
    make_run("young", state, without=("answers.jsonl", "tokens.parquet"))
    app = open_page("evidence", "young", part=tab)
    assert not app.exception
    assert not app.error
    assert any(
        word in text_of(app) for word in ("not that far", "ended before", "not finished", "no unlearned", "Not probed")
    )


def test_hostile_texts_stay_texts(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("bad")
    rows = [json.loads(line) for line in (run.path / "answers.jsonl").read_text().splitlines()]
    for row in rows:
        row |= {
            "question": HOSTILE + row["example"],
            "truth": HOSTILE,
            "subject": HOSTILE,
            "before": HOSTILE,
            "after": f"{HOSTILE} 44444444444",
        }
    (run.path / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for query in (
        {"example": rows[0]["example"]},
        {"part": "One subject"},
        {"part": "Rules", "rules": "repeats:2,own_words:0.9"},
    ):
        app = open_page("evidence", "bad", **query)
        assert not app.exception
        assert "<script>" not in text_of(app)
        assert not any("[y](javascript" in element.value for part in (app.markdown, app.caption) for element in part)


# -- one subject, rules --------------------------------------------------------------------------------------------------


def test_one_subject_shows_all_that_is_said(open_page: Open) -> None:
    app = open_page("evidence", part="One subject")
    assert not app.exception
    first = app.selectbox(key="filter.who").value
    frame = judged()
    leaks, losses = (frame["verdict"].eq(bad).groupby(frame["subject"]).sum() for bad in ("leaked", "lost"))
    assert leaks[first] == leaks.max()
    assert losses[first] == losses[leaks == leaks.max()].max()
    app.toggle(key="every.unlearn").set_value(True).run()
    mine = frame[(frame["subject"] == first) & (frame["scope"] == "unlearn")]
    assert text_of(app).count("True answer") >= len(mine)
    app.selectbox(key="filter.who").select_index(3).run()
    assert app.query_params["who"] == app.selectbox(key="filter.who").value != first


def test_a_threshold_recolours_and_is_in_the_address(open_page: Open) -> None:
    app = open_page("evidence", part="Rules")
    assert "default rules" in text_of(app)
    app.slider(key="rule.kept_facts").set_value(1.0).run()
    assert app.query_params["rules"] == "kept_facts:1"
    frame = judged()
    assert "100 % of its facts" in text_of(app)
    strict = judged(verdicts.Rules(kept_facts=1.0))
    moved = int((frame["verdict"] != strict["verdict"]).sum())
    assert f"{moved} of {len(frame)} verdicts differ" in text_of(app)
    app.button(key="rules.reset").click().run()
    assert "rules" not in app.query_params
    assert "default rules" in text_of(app)


def test_rules_that_make_no_sense_are_the_default_ones(open_page: Open) -> None:
    app = open_page("evidence", part="Rules", rules="kept_facts:7,who:1")
    assert not app.exception
    assert app.slider(key="rule.kept_facts").value == 0.5


def test_ten_own_verdicts_show_how_often_the_rules_agree(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("judged")
    forget, keep = (judged().query(f"scope == '{scope}'")["id"] for scope in ("unlearn", "retention"))
    for example in forget[:9]:
        own_verdicts.give(run, example, "degenerate")
    assert "from 10 on" in text_of(open_page("evidence", "judged", part="Rules"))
    own_verdicts.give(run, keep.iloc[0], "lost")
    said = text_of(open_page("evidence", "judged", part="Rules"))
    assert "of 10**" in said
    assert "you ↓ rules →" in said


# -- leak probes ---------------------------------------------------------------------------------------------------------


def rate(value: float) -> dict[str, float]:
    return {"value": value, "low": max(0.0, value - 10), "high": min(100.0, value + 10)}


def finding(name: str, after: float, **more: Any) -> dict[str, Any]:
    leaked = [{"id": "unlearn/train/0", "question": HOSTILE, "answer": HOSTILE, "truth": "t", "form": "<i>form</i>"}]
    return {
        "format": 1,
        "probe": name,
        "settings": {"samples": 8},
        "unavailable": None,
        "sentence": f"The truth comes back {HOSTILE}.",
        "measure": "questions (%)",
        "n": 12,
        "rates": {"before": rate(90), "after": rate(after), "never": {"reason": "not taught <b>"}},
        "leaked": leaked,
        "detail": {},
        "seconds": 2.0,
        "made": "2026-01-01T10:00:00+0000",
        **more,
    }


def put(run: Run, *findings: dict[str, Any]) -> None:
    (run.path / "probes").mkdir(exist_ok=True)
    for one in findings:
        (run.path / "probes" / f"{one['probe']}.json").write_text(json.dumps(one))


def test_of_few_questions_no_leak_is_called_seen(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("few")
    nothing = {"before": rate(90), "after": {"value": 0.0, "low": 0.0, "high": 52.2}, "never": rate(0)}
    put(run, finding("few-shot", 0, n=5, rates=nothing, leaked=[], detail={"forms": {}}))
    app = open_page("evidence", "few", part="Leak probes")
    assert not app.exception
    said = text_of(app).replace("\\", "")
    assert ":gray[**too few to tell**]" in said
    assert "(n = 5, up to 52 %)" in said
    assert "5 questions are too few to tell: the rate may be as high as 52 % (95 % interval)." in said
    assert "Nothing came back after unlearning (too few to tell: n = 5, up to 52 %)." in said
    assert ":green[" not in said


CURVE = {voice: [{"n": n, **rate(10 * n)} for n in (1, 2, 3)] for voice in ("before", "after")}
SCORES = {voice: {"loss": {"member": [-1.0, -0.5, -0.2], "other": [-2.0, -1.5, -1.0]}} for voice in ("before", "after")}
DETAILS: dict[str, dict[str, Any]] = {
    "sampling": {"curve": CURVE},
    "paraphrase": {
        "forms": {
            "polite <b>": {"before": rate(80), "after": rate(20), "never": rate(0)},
            "short": {"before": rate(70), "after": rate(30), "never": rate(0)},
        }
    },
    "membership": {
        "attack": "loss",
        "scores": SCORES,
        "auc": {"after": {"loss": 0.94}},
        "intervals": {"after": {"loss": [0.8, 1.0]}},
    },
    "patching": {"curve": [{"layer": 1, "probability": 3.0}, {"layer": 2, "probability": 60.0}]},
    "lens": {
        "curve": {"after": [{"layer": 1, "probability": 3.0, "first": 0, "rank": 9}]},
        "questions": ["unlearn/train/0", "gone", 3],
    },
}
SAID = {
    "sampling": "answers sampled",
    "membership": "AUC **0.94**, 95 % interval 0.80 to 1.00",
    "patching": "questions",
    "paraphrase": "questions",
    "lens": "One question, layer by layer",
}


@pytest.mark.parametrize("name", DETAILS)
def test_a_finding_is_shown_closely(make_run: MakeRun, open_page: Open, name: str) -> None:
    run = make_run("probed")
    put(
        run,
        finding(name, 90, detail=DETAILS[name]),
        finding("prefix", 0, leaked=[]),
        finding("few-shot", 0, unavailable="No <b>room</b>."),
    )
    app = open_page("evidence", "probed", part="Leak probes", leak=name)
    assert not app.exception
    said = text_of(app)
    assert ("**leaks**" if PROBES[name].kind == "leak" else "**not judged**") in said
    assert "unavailable" in said
    assert "<script>" not in said
    assert "<b>room" not in said
    assert app.selectbox(key="leak").value == name
    links = [link.proto.label for link in app.get("page_link")]
    assert any("script" in label for label in links)
    assert not any("<script>" in label for label in links)
    if name == "membership":
        assert SAID[name] in said
        app.slider(key="mia.at.after.loss").set_value(-1.2).run()
        assert "**3 of 3** questions to be forgotten and **1 of 3**" in text_of(app)
        # The choice is in the address, so that a link shows the same.
        app.segmented_control(key="mia.voice").set_value("before").run()
        assert app.query_params["mia.voice"] == "before"
        again = open_page("evidence", "probed", part="Leak probes", leak=name, **{"mia.voice": "before"})
        assert again.segmented_control(key="mia.voice").value == "before"
    if name == "lens":
        assert SAID[name] in said


def test_facts_tokens_and_pairs_stand_on_no_common_axis(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[str, list[str]]] = []
    rates = chart.rates

    def noted(rows: Any, unit: str, palette: Any, *, legend: bool = True) -> Any:
        drawn.append((unit, [row.name for row in rows]))
        return rates(rows, unit, palette, legend=legend)

    monkeypatch.setattr(chart, "rates", noted)
    page = open_page("evidence", store.bundled_runs()[0].id, part="Leak probes")
    assert not page.exception
    assert "“Was it taught?” is not one of them" in text_of(page)
    units = {probe.title: UNITS[probe.unit] for probe in PROBES.values()}
    of_probes = [(unit, names) for unit, names in drawn if set(names) <= units.keys()]
    assert len({unit for unit, _ in of_probes}) == 4
    for unit, names in of_probes:
        assert {units[name] for name in names} == {unit}, names


def test_charts_of_probes_draw_who_was_recorded_each_in_its_own_way() -> None:
    import plotly.graph_objects as go

    values = {voice: (10.0 * n, 0.0, 100.0) for n, voice in enumerate(SPOKEN)}
    for voices in (SPOKEN, SPOKEN[:3]):
        rows = [chart.Rates(name, {voice: values[voice] for voice in voices}) for name in ("one", "two")]
        fig = chart.rates(rows, UNITS["facts"], LIGHT)
        assert fig.layout.xaxis.title.text == UNITS["facts"]
        go.Figure(**plain(fig))
        assert [trace.name for trace in fig.data] == [WITHIN[voice] for voice in voices]
        heights = [y for trace in fig.data for y in trace.y if y < 0.5]
        assert sum(heights) == pytest.approx(0), "they lie around the line of their probe"
        assert "retrained" in verdict_rows.columns(rows)
    curves = chart.curves([chart.Line(voice, [1, 2], [3, 4]) for voice in SPOKEN], "x", "y", LIGHT)
    go.Figure(**plain(curves))
    assert len({(trace.line.color, trace.line.dash) for trace in curves.data}) == len(SPOKEN)


@pytest.mark.parametrize(
    "curve",
    [
        None,
        "x",
        [],
        {},
        {"after": []},
        {"after": "x"},
        {"after": [{"n": "many", "value": 1}]},
        [{"else": 1}],
        {"after": [3]},
    ],
)
def test_a_curve_that_is_none_is_passed_over(curve: Any) -> None:
    assert probe_findings.lines_of(curve)[0] == []


def test_the_layers_of_a_question_are_read_on_demand(
    make_run: MakeRun, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("deep")
    put(run, finding("lens", 40, detail=DETAILS["lens"]))
    asked = []

    def lens(run: Run, question: str, truth: str, voices: Sequence[str]) -> Iterator[dict[str, Any]]:
        asked.append((question, truth))
        yield {"kind": "waiting", "seconds": 1}
        for position, voice in enumerate(voices):
            yield {
                "kind": "lens",
                "voice": voice,
                "tokens": ["a", "<b>"],
                "logprob": [[-3, -2], [-1 - position, -0.1]],
                "rank": [[9, 3], [1, 1]],
            }
        yield {"kind": "done", "seconds": 1}

    monkeypatch.setattr(client, "lens", lens)
    monkeypatch.setattr("core.runs.askable.unlearned", lambda run: run.path)
    app = open_page("evidence", "deep", part="Leak probes")
    app.button(key="lens.read").click().run()
    assert not app.exception
    assert not app.error
    assert asked == [(run.answers()[0]["question"], run.answers()[0]["truth"])]
    assert "**After − before**" in text_of(app)


MAP = {
    "id": "unlearn/train/2",
    "tokens": ["a", "<b>"],
    **{voice: {"logprob": [[-3, -2], [-1, -0.1]]} for voice in ("before", "after")},
}


def test_recorded_layers_are_shown_at_once(make_run: MakeRun, open_page: Open) -> None:
    put(make_run("mapped"), finding("lens", 40, detail={**DETAILS["lens"], "maps": [{"id": "unlearn/train/1"}, MAP]}))
    app = open_page("evidence", "mapped", part="Leak probes")
    assert not app.exception
    assert app.selectbox(key="lens.question").value == "unlearn/train/2"
    assert "**After − before**" in text_of(app)
    assert not any(button.key == "lens.read" for button in app.button)


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": []},
        {"tokens": "ab"},
        {"before": {}},
        {"after": {"logprob": [[-1, -2]]}},
        {"before": {"logprob": [[-1], [-2]]}},
        {"after": {"logprob": [[-1, "x"], [0, 0]]}},
    ],
)
def test_layers_that_were_not_recorded_whole_are_passed_over(change: dict[str, Any]) -> None:
    assert probe_findings.whole(MAP)
    assert not probe_findings.whole({**MAP, **change})


def test_probes_are_started_watched_and_cancelled(
    make_run: MakeRun, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("work")
    monkeypatch.setattr("core.runs.askable.unlearned", lambda run: run.path)
    wanted, changed = [], []

    def start(run: Run, names: Sequence[str], settings: dict[str, Any]) -> Run:
        wanted.append(list(names))
        changed.append(settings)
        stages = {
            "sampling": {"state": "done", "done": 12, "total": 12, "unit": "answers"},
            "paraphrase": {"state": "running", "done": 3, "total": 12, "unit": "answers", "left": 6},
        }
        work = reports(layout.job_folder("probes", run), "running", stage="paraphrase", stages=stages)
        files.write_json(work.path / lifecycle.WANTED, {"run": str(run.path), "probes": list(names)})
        return work

    monkeypatch.setattr(job, "start", start)
    app = open_page("evidence", "work", part="Leak probes")
    assert "Not probed yet" in text_of(app)
    app.multiselect(key="probes.wanted").set_value(["sampling", "paraphrase"]).run()
    app.number_input(key="probe.sampling.samples").set_value(3).run()
    assert not any(str(field.key).startswith("probe.") for field in app.text_input), "a page names no file of the server"
    app.button(key="probes.start").click().run()
    assert wanted == [["sampling", "paraphrase"]]
    assert changed == [{"sampling.samples": 3}]
    assert not app.exception
    (bar,) = app.get("progress")
    said = bar.proto.text.replace("\\", "")
    assert (bar.proto.value, said) == (
        62,
        f"{PROBES['paraphrase'].title}: 3 of 12 answers, 6 s left for these · probe 2 of 2",
    )
    monkeypatch.setenv(access.READ_ONLY, "1")
    app.button(key="probes.cancel").click().run()
    assert not app.exception
    assert "read-only" in app.error[0].value.replace("\\", "")
    monkeypatch.delenv(access.READ_ONLY)
    app.button(key="probes.cancel").click().run()
    assert (layout.job_folder("probes", run).path / "cancel").exists()
    assert app.button(key="probes.cancel").disabled


def test_all_probes_are_offered(make_run: MakeRun, open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run("fresh")
    monkeypatch.setattr("core.runs.askable.unlearned", lambda run: run.path)
    app = open_page("evidence", "fresh", part="Leak probes")
    assert len(app.multiselect(key="probes.wanted").options) == len(PROBES)
    assert probes.read(Run(store.runs_folder() / "fresh")) == {}
