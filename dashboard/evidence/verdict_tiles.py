"""How the answers came out: a sentence, a count a verdict that opens its answers at a click, and all voices as bars."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from core.metrics import verdicts
from core.metrics.asked import OUTCOMES
from core.metrics.verdict_rules import MEANING, OF_SCOPE, VERDICT_NAMES
from core.runs import asked
from core.runs.store import Run
from core.runs.voices import VOICE_NAMES, WITHIN
from dashboard.charts import verdict_bars
from dashboard.evidence import filters
from dashboard.evidence.filters import Filter
from dashboard.text import md
from dashboard.widgets import page_style
from dashboard.widgets.scope_names import SCOPES


def in_words(counts: verdicts.Counts, chosen: Filter) -> str:
    """Say the result of what is looked at, in the sentence that leads on all pages."""
    said: dict[str, tuple[int, Mapping[str, int]]] = {}
    for scope in SCOPES:
        names, found = OUTCOMES[scope], counts.get(scope, {})
        if cells := {names[verdict]: rates["after"] for verdict, rates in found.items() if "after" in rates}:
            n = int(next(iter(cells.values()))["of"])
            said[scope] = n, {outcome: int(cell["n"]) for outcome, cell in cells.items()}
    return asked.in_sentence(chosen.kind, said, chosen.subject or "")


def tiles(counts: verdicts.Counts, chosen: Filter) -> None:
    """Show a button a verdict of each scope, the worst verdict first."""
    for scope in OF_SCOPE:
        if scope in counts:
            with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
                st.markdown(f"**{SCOPES[scope]}**", width=100)
                for verdict in OF_SCOPE[scope]:
                    tile(scope, verdict, counts[scope][verdict], on=(chosen.scope, chosen.verdict) == (scope, verdict))


def tile(scope: str, verdict: str, rates: Mapping[str, Mapping[str, float]], *, on: bool) -> None:
    """Show one verdict: how many of how many, a click from the answers; the other voices in its help."""
    after = rates["after"]
    others = [f"{WITHIN[v]} {rates[v]['n']:.0f} of {rates[v]['of']:.0f}" for v in VOICE_NAMES if v in rates]
    st.button(
        f"{VERDICT_NAMES[verdict]} · {after['n']:.0f} of {after['of']:.0f}",
        key=f"tile.{scope}.{verdict}",
        type="primary" if on else "secondary",
        on_click=filters.show,
        args=("", "") if on else (scope, verdict),
        help=f"{MEANING[verdict].capitalize()}. {', '.join(others).capitalize()}. "
        f"95 % interval after unlearning: {after['low']:.0f} to {after['high']:.0f} %.",
    )


def bars(run: Run, counts: verdicts.Counts, chosen: Filter) -> None:
    """Draw the same for every voice; a click on a part opens its answers."""
    rows = verdict_bars.lines(counts)
    words = "; ".join(
        f"{VOICE_NAMES[voice]}, {scope}: "
        + ", ".join(f"{VERDICT_NAMES[verdict]} {counts[scope][verdict][voice]['n']:.0f}" for verdict in OF_SCOPE[scope])
        for scope, voice in rows
    )
    page_style.chart(
        verdict_bars.bars(counts, VERDICT_NAMES, chosen.verdict, page_style.palette()),
        f"What became of the answers. {words}",
        "verdicts",
        on_click=lambda part: filters.show(*str(part).split(".", 1)),
        facts=[
            ("Run", run.id),
            ("File", "answers.jsonl, tokens.parquet"),
            ("Computed as", "each answer judged by the rules, see the part Rules"),
            ("From", md(asked.KIND_NAMES.get(chosen.kind, "all kinds of question"))),
        ],
        columns={
            "scope": [scope for scope, _ in rows],
            "voice": [voice for _, voice in rows],
            **{
                verdict: [counts[scope].get(verdict, {}).get(voice, {}).get("n") for scope, voice in rows]
                for verdict in VERDICT_NAMES
            },
        },
    )
