"""The part "Every example": tiles that filter, a table of all examples, and the chosen one with its reasons."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import streamlit as st

from core.metrics import own_verdicts, verdicts
from core.metrics.verdict_rules import VERDICT_NAMES
from core.runs import asked
from core.runs.scores import Scores
from core.runs.store import Run
from dashboard.evidence import filters, one_example, verdict_tiles
from dashboard.text import md
from dashboard.widgets import current_run, verdict_rows
from dashboard.widgets.scope_names import KINDS

if TYPE_CHECKING:
    import pandas as pd

PARAMETER = "example"
LONGEST = 300
"""characters of a cell: the chosen example is shown whole"""
HEIGHT = 520
BESIDE = ("Verdict", "Scope", "Question", "After")
"""columns that are seen beside an opened example"""
WIDTHS = {
    "Verdict": 104,
    "Scope": 56,
    "Question": 230,
    "True answer": 180,
    "Before": 170,
    "After": 180,
    "Kind": 110,
    "Subject": 150,
}
"""pixels; together with the probabilities what a window of 1280 shows"""


def show(run: Run) -> None:
    """Show the part: the sentence, the filter, the counts and the list, all of the same answers."""
    if not judged(run):
        return
    given = own_verdicts.own(run)
    count = not given or st.session_state.get("mine", True)
    frame = verdict_rows.with_own(verdict_rows.table(run, verdict_rows.rules()), given, count)
    chosen = filters.of_address(frame, asked.kind_asked(Scores.read(run)))
    counts = verdicts.counts(chosen.counted(frame))
    st.markdown(md(verdict_tiles.in_words(counts, chosen)))
    words = filters.controls(frame, chosen)
    if counts:
        verdict_tiles.tiles(counts, chosen)
        verdict_tiles.bars(run, counts, chosen)
    notes(run, len(given))
    shown = verdict_rows.worst_first(searched(chosen.listed(frame), words))
    if shown.empty:
        st.info("No example fits. Take a part of the filter back.")
    name = str(st.query_params.get(PARAMETER, ""))
    # A link to an example shows it, whatever the filter lets through.
    match = frame[frame["id"] == name]
    if match.empty:
        listing(shown, None)
        st.caption(
            "Choose a row (its left edge) to see why it got its verdict, to disagree, and to ask the same in Compare."
        )
        return
    left, right = st.columns([1.35, 1], gap="medium")
    with left:
        ids = list(shown["id"])
        listing(shown, ids.index(name) if name in ids else None)
    with right, st.container(border=True):
        ruled = verdict_rows.table(run, verdict_rows.rules()).set_index("id").loc[name, "verdict"]
        one_example.show(run, {**verdict_rows.records(match)[0], "ruled": ruled})


def judged(run: Run) -> bool:
    """Say whether a run's answers can be judged; the page says why not."""
    there = "after" in verdict_rows.gathered(run).answers
    if not there:
        current_run.not_that_far(
            run,
            "Verdicts need the answers that a run records after unlearning: this one is not that far.",
            "This run ended before answers were recorded, so there is nothing to judge.",
        )
    return there


def notes(run: Run, own: int) -> None:
    """Say what a reader of the counts must know."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if own:
            st.toggle(
                f"With your {own} own verdict{'s' if own > 1 else ''}",
                value=True,
                key="mine",
                help="Off: the rules' verdicts alone.",
            )
        recorded = run.json("recorded.json")
        if not isinstance(recorded, dict) or "words" not in recorded:
            st.caption("This run did not record what counts as a word, so answers of non-words are not found here.")
        if verdict_rows.PARAMETER in st.query_params:
            st.caption("The rules were changed: see the part Rules.")


def searched(frame: pd.DataFrame, words: str) -> pd.DataFrame:
    """Return the rows that say some words in question, answers or subject."""
    if not words:
        return frame
    texts = frame["question"].astype(str)
    for name in ("truth", "subject", "before", "after"):
        texts = texts + "\n" + frame[name].fillna("").astype(str) if name in frame else texts
    return frame[texts.str.lower().str.contains(words.lower(), regex=False)]


def listing(shown: pd.DataFrame, at: int | None) -> None:
    """Show the table; a chosen row goes into the address."""

    def cut(name: str) -> pd.Series[str]:
        return shown[name].astype(str).str.replace(r"\s+", " ", regex=True).str.slice(0, LONGEST)

    verdict = shown["verdict"].map(VERDICT_NAMES).fillna("")
    columns = {
        "Verdict": verdict.where(shown["own"] == "", verdict + " ✎"),
        "Scope": shown["scope"].map({"unlearn": "✖", "retention": "●"}),
        "Question": cut("question"),
        "True answer": cut("truth"),
        **{name: cut(voice) for voice, name in (("before", "Before"), ("after", "After")) if voice in shown},
        **{f"p {voice}": shown[f"p_{voice}"] for voice in ("before", "after") if f"p_{voice}" in shown},
        "Kind": shown["kind"].map(lambda name: KINDS.get(name, name)),
        "Subject": cut("subject"),
    }
    table = shown.assign(**columns)[list(columns)]
    ids = [str(name) for name in shown["id"]]
    key = "examples." + hashlib.sha256("\n".join([*ids, *map(str, table["Verdict"])]).encode()).hexdigest()[:12]
    st.dataframe(
        table,
        key=key,
        hide_index=True,
        column_order=None if at is None else [*BESIDE, *(name for name in columns if name not in BESIDE)],
        height=min(HEIGHT, 38 + 35 * max(2, len(table))),
        on_select=lambda: choose(key, ids),
        selection_mode="single-row",
        selection_default={"selection": {"rows": [] if at is None else [at]}},
        column_config={
            **{
                f"p {voice}": st.column_config.NumberColumn(
                    format="%.2f", width=74, help=f"Probability of the true answer a token, {voice} (geometric mean)"
                )
                for voice in ("before", "after")
            },
            **{name: st.column_config.TextColumn(width=width) for name, width in WIDTHS.items()},
        },
        alt=f"{len(table)} examples with verdict, question, true answer, both answers and the true answer's probability",
    )
    st.caption(f"{len(table)} {'example' if len(table) == 1 else 'examples, worst first'}. ✎: your own verdict.")


def choose(key: str, ids: list[str]) -> None:
    """Take over the row that was clicked."""
    rows = st.session_state[key]["selection"]["rows"]
    if rows and rows[0] < len(ids):
        st.query_params[PARAMETER] = ids[rows[0]]
    else:
        st.query_params.pop(PARAMETER, None)
