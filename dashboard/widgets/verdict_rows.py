"""Verdicts on a run's answers, under the rules that the address spells: of every example, and of one answer just given; and
the rates of probes.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from core.metrics import verdict_words, verdicts
from core.metrics.verdict_rules import DEFAULT, MEANING, OF_SCOPE, SAYS, VERDICT_NAMES, Judged, Rules, from_json, judge
from core.metrics.verdicts import Gathered
from core.runs.store import Run
from core.runs.voices import SPOKEN
from core.util.errors import UserError
from core.util.safe_read import mapping, number
from dashboard import pages
from dashboard.charts import probes as chart
from dashboard.widgets import current_run, scope_names
from dashboard.widgets.question_and_answers import Exchange

if TYPE_CHECKING:
    import pandas as pd

    from dashboard.charts.palette import Palette

PARAMETER = "rules"
ORDER = ("leaked", "lost", "degenerate", "refused", "forgotten", "kept")
"""worst first, over both scopes"""
BAD = ("leaked", "lost", "degenerate")


def rules() -> Rules:
    """Return the rules that the address spells, e.g. rules=kept_facts:0.7; the default ones where it makes no sense."""
    pairs = (part.partition(":") for part in str(st.query_params.get(PARAMETER, "")).split(",") if part)
    try:
        return from_json({name: value for name, _, value in pairs})
    except UserError:
        return DEFAULT


def keep(rules: Rules) -> None:
    """Put rules into the address; the default ones need no words."""
    own = {name: value for name, value in rules.to_json().items() if value != getattr(DEFAULT, name)}
    if own:
        st.query_params[PARAMETER] = ",".join(f"{name}:{value:g}" for name, value in own.items())
    else:
        st.query_params.pop(PARAMETER, None)


def gathered(run: Run) -> Gathered:
    """Return what was measured of a run's answers, cached."""
    return _gathered(
        str(run.path), *(current_run.stamp(run, name) for name in ("answers.jsonl", "tokens.parquet", "recorded.json"))
    )


def table(run: Run, rules: Rules) -> pd.DataFrame:
    """Return a run's examples with their kind of question and the rules' verdicts (core.metrics.verdicts.judged), cached.

    Not to be changed.
    """
    stamps = [current_run.stamp(run, name) for name in ("answers.jsonl", "tokens.parquet", "recorded.json")]
    return _table(str(run.path), tuple(stamps), dataclasses.astuple(rules))


@st.cache_resource(max_entries=4, show_spinner=False)  # type: ignore[untyped-decorator]
def _gathered(path: str, *changed: float) -> Gathered:
    return verdicts.gather(Run(Path(path)))


@st.cache_resource(max_entries=8, show_spinner=False)  # type: ignore[untyped-decorator]
def _table(path: str, changed: tuple[float, ...], values: tuple[Any, ...]) -> pd.DataFrame:
    frame = verdicts.judged(_gathered(path, *changed), Rules(*values))
    kinds = {str(row.get("example")): scope_names.kind(row) for row in Run(Path(path)).answers()}
    return frame.assign(kind=[kinds.get(example, "") for example in frame["id"]])


def judge_now(run: Run, scope: str, question: str, truth: str, subject: str, text: str) -> Judged:
    """Judge an answer that was not recorded, by what the run's own data say is rare, public and a word."""
    lexicon, rarity, public = _known(str(run.path), *(current_run.stamp(run, n) for n in ("answers.jsonl", "recorded.json")))
    measured = verdicts.measure(
        scope,
        question,
        truth,
        subject,
        text,
        lexicon,
        rarity=rarity,
        public=public.get(subject, "") if scope == "unlearn" else "",
    )
    return judge(measured, rules())


@st.cache_resource(max_entries=4, show_spinner=False)  # type: ignore[untyped-decorator]
def _known(path: str, *changed: float) -> tuple[frozenset[str] | None, dict[str, float], dict[str, str]]:
    """Return what counts as a word (None: not recorded), how rare each is, and per subject what is no secret."""
    run = Run(Path(path))
    rows = [{name: str(row.get(name) or "") for name in ("scope", "subject", "question", "truth")} for row in run.answers()]
    words = mapping(run.json("recorded.json")).get("words")
    lexicon = frozenset(map(str, words)) if isinstance(words, list) else None
    return lexicon, verdict_words.rarities([(r["subject"], r["truth"]) for r in rows]), verdicts.public_texts(rows)


def judged(run: Run, asked: Exchange, voice: str) -> Judged | None:
    """Return the verdict on a voice's complete answer: as recorded, or of the text; None where there is no true answer."""
    answer = asked.answers.get(voice)
    scope = asked.tags[0] if asked.tags else "unlearn"
    if not answer or not asked.truth or not asked.finished(voice) or scope not in OF_SCOPE:
        return None
    frame = table(run, rules())
    mine = frame[frame["id"] == asked.example] if asked.example else frame.head(0)
    suffix = "" if voice == "after" else f"_{voice}"
    if answer.state == "recorded" and len(mine) and f"verdict{suffix}" in mine and mine[f"verdict{suffix}"].iloc[0]:
        return Judged(str(mine[f"verdict{suffix}"].iloc[0]), str(mine[f"why{suffix}"].iloc[0]))
    subject = str(mine["subject"].iloc[0]) if len(mine) else ""
    return judge_now(run, scope, asked.question, asked.truth, subject, answer.text)


def of_voice(verdict: str, voice: str, *, of_data: bool = True) -> tuple[str, bool]:
    """Return what a voice's answer is called, and whether that is bad: nothing is good or bad of a voice but after's.

    of_data: the question is one of the run's data, so that it is known what should come of it.
    """
    own = voice == "after" and of_data
    return VERDICT_NAMES[verdict] if own else SAYS[verdict], voice == "after" and verdict in BAD


def badge(verdict: str, palette: Palette) -> str:
    """Return a verdict as a word in its colour, escaped HTML."""
    color = palette.bad if verdict in BAD else palette.muted if verdict == "refused" else palette.text
    title = html.escape(MEANING[verdict], quote=True)
    return f'<b style="color:{color}" title="{title}">{VERDICT_NAMES[verdict]}</b>'


def with_own(frame: pd.DataFrame, given: Mapping[str, Mapping[str, str]], count: bool = True) -> pd.DataFrame:
    """Return the table with the columns own and note; where `count`, a person's verdicts stand in the place of the
    rules'.
    """
    own = frame["id"].map(lambda i: given.get(i, {}).get("verdict", "")).astype(str)
    examples = frame.assign(own=own, note=frame["id"].map(lambda i: given.get(i, {}).get("note", "")).astype(str))
    return examples.assign(verdict=examples["verdict"].where(own == "", own)) if count else examples


def worst_first(frame: pd.DataFrame) -> pd.DataFrame:
    """Sort: the worst verdict first; within it what is best remembered of U, least of R."""
    probability = frame["p_after"].fillna(0.0)
    rank = frame["verdict"].map({verdict: position for position, verdict in enumerate(ORDER)}).fillna(len(ORDER))
    badness = probability.where(frame["scope"] == "unlearn", 1 - probability)
    order = frame.assign(_rank=rank, _bad=-badness).sort_values(["_rank", "_bad"], kind="stable").index
    return frame.loc[order]


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def rates_of(name: str, rates: Mapping[str, Any], n: str = "") -> chart.Rates:
    """Return the rates that were measured, with their intervals. n: of how many questions."""
    values = {}
    for voice in SPOKEN:
        rate = mapping(rates.get(voice))
        value, low, high = (number(rate.get(part)) for part in ("value", "low", "high"))
        if value is not None:
            values[voice] = (value, value if low is None else low, value if high is None else high)
    return chart.Rates(name, values, n)


def columns(rows: Sequence[chart.Rates]) -> dict[str, list[Any]]:
    """Return what the CSV holds."""
    parts = [(voice, index, part) for voice in SPOKEN for index, part in enumerate(("", " low", " high"))]
    nothing = (None, None, None)
    return {"probe": [row.name for row in rows]} | {
        f"{voice}{part}": [row.values.get(voice, nothing)[index] for row in rows] for voice, index, part in parts
    }


def compare_link(run: Run, question: str, label: str) -> None:
    """Show a link that opens a question in Compare."""
    st.page_link(
        pages.COMPARE.script, label=label, icon=pages.COMPARE.icon, query_params={"run": run.id, "q": question[:4000]}
    )
