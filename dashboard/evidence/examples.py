"""The tab "Every example": tiles that filter, a table of all examples, and the chosen one with its reasons."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import streamlit as st

from core.metrics import own_verdicts, verdicts
from core.runs.store import Run
from dashboard.evidence import one_example, verdict_tiles
from dashboard.text import shorten
from dashboard.widgets import current_run, verdict_rows
from dashboard.widgets.scope_names import KINDS, kinds_of

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
    """Show the tab."""
    given = own_verdicts.own(run)
    count = not given or st.session_state.get("mine", True)
    frame = verdict_rows.with_own(verdict_rows.table(run, verdict_rows.rules()), given, count)
    counts = verdicts.counts(frame)
    st.markdown(verdict_tiles.in_words(counts))
    verdict_tiles.show(counts)
    notes(run, len(given))
    shown = filtered(frame)
    if shown.empty:
        st.info("No example fits. Take back the tile, or another filter.")
        return
    chosen = str(st.query_params.get(PARAMETER, ""))
    match = shown[shown["id"] == chosen]
    if match.empty:
        listing(shown, None)
        st.caption(
            "Choose a row (its left edge) to see why it got its verdict, to disagree, and to ask the same in Compare."
        )
        return
    left, right = st.columns([1.35, 1], gap="medium")
    with left:
        listing(shown, list(shown["id"]).index(chosen))
    with right, st.container(border=True):
        ruled = verdict_rows.table(run, verdict_rows.rules()).set_index("id").loc[chosen, "verdict"]
        one_example.show(run, {**verdict_rows.records(match)[0], "ruled": ruled})


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
            st.caption("The rules were changed: see the tab Rules.")


def filtered(frame: pd.DataFrame) -> pd.DataFrame:
    """Show the filters; return the rows that pass, worst first."""
    scope, verdict = verdict_tiles.chosen()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        words = st.text_input("Search", key="find", placeholder="a name, a street, a word", bind="query-params", width=240)
        subjects = sorted(set(frame["subject"]))
        who = st.selectbox(
            "Subject",
            subjects,
            index=None,
            key="who",
            placeholder=f"all {len(subjects)}",
            bind="query-params",
            width=240,
            format_func=lambda name: shorten(str(name) or "none", 60),
        )
        there = kinds_of(frame["kind"])
        among = st.segmented_control("Questions", there, format_func=KINDS.get, key="among", bind="query-params")
        if verdict:
            st.button(
                f"Only {verdict}",
                icon=":material/close:",
                key="all",
                on_click=verdict_tiles.toggle,
                args=(scope, verdict),
                help="Show all verdicts again",
            )
    if verdict:
        frame = frame[(frame["scope"] == scope) & (frame["verdict"] == verdict)]
    if words:
        texts = frame["question"].astype(str)
        for name in ("truth", "subject", "before", "after"):
            texts = texts + "\n" + frame[name].fillna("").astype(str) if name in frame else texts
        frame = frame[texts.str.lower().str.contains(words.lower(), regex=False)]
    if who is not None:
        frame = frame[frame["subject"] == who]
    if among:
        frame = frame[frame["kind"] == among]
    return verdict_rows.worst_first(frame)


def listing(shown: pd.DataFrame, at: int | None) -> None:
    """Show the table; a chosen row goes into the address."""

    def cut(name: str) -> pd.Series[str]:
        return shown[name].astype(str).str.replace(r"\s+", " ", regex=True).str.slice(0, LONGEST)

    columns = {
        "Verdict": shown["verdict"].where(shown["own"] == "", shown["verdict"] + " ✎"),
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


def nothing(run: Run) -> None:
    """Say why there is nothing to judge yet."""
    current_run.not_that_far(
        run,
        "Verdicts need the answers that a run records after unlearning: this one is not that far.",
        "This run ended before answers were recorded, so there is nothing to judge.",
    )
