"""Counts of the verdicts as tiles, before → after; a click on one filters the table below."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from core.metrics import verdicts
from core.metrics.verdict_rules import MEANING, OF_SCOPE
from core.runs.voices import REFERENCES, SPOKEN, WITHIN
from dashboard.widgets import page_style
from dashboard.widgets.scope_names import SCOPES

if TYPE_CHECKING:
    from dashboard.charts.palette import Palette

PARAMETER = "show"


def chosen() -> tuple[str, str]:
    """Return (scope, verdict) of the tile that filters; empty strings where none does."""
    scope, _, verdict = str(st.query_params.get(PARAMETER, "")).partition(".")
    return (scope, verdict) if verdict in OF_SCOPE.get(scope, ()) else ("", "")


def show(counts: verdicts.Counts) -> None:
    """Show the tiles of both scopes, the worst verdict first."""
    present = [scope for scope in OF_SCOPE if scope in counts]
    for column, scope in zip(st.columns(len(present), gap="large"), present, strict=True):
        with column:
            total = int(next(iter(counts[scope].values()))["after"]["of"])
            st.markdown(f"**{SCOPES[scope]}** :gray[· {total} questions, before → after with its 95 % interval]")
            with st.grid("auto", min_column_width=112, gap="small"):
                for verdict in OF_SCOPE[scope]:
                    tile(scope, verdict, counts[scope][verdict], page_style.palette())


def tile(scope: str, verdict: str, rates: dict[str, dict[str, float]], palette: Palette) -> None:
    """Show one verdict: how often, as counts and rates."""
    on = chosen() == (scope, verdict)
    with st.container(gap="xxsmall"):
        st.button(
            verdict,
            key=f"tile.{scope}.{verdict}",
            type="primary" if on else "secondary",
            width="stretch",
            on_click=toggle,
            args=(scope, verdict),
            help=f"{verdict.capitalize()}: {MEANING[verdict]}. Click to see only these.",
        )
        st.html(markup(rates, palette))


def markup(rates: dict[str, dict[str, float]], palette: Palette) -> str:
    """Return a tile's numbers: counts, rates with the last one's interval, and those of models that never learned it."""
    after, before = rates["after"], rates.get("before")
    counts = f"{before['n']:.0f} → {after['n']:.0f}" if before else f"{after['n']:.0f}"
    lines = [f"{before['value']:.0f} → {after['value']:.0f} %" if before else f"{after['value']:.0f} %"]
    lines[0] += f" ({after['low']:.0f}–{after['high']:.0f})"
    lines += [f"{WITHIN[voice]} {rates[voice]['value']:.0f} %" for voice in REFERENCES if voice in rates]
    small = "".join(f'<div style="font-size:.78rem;color:{palette.muted};white-space:nowrap">{line}</div>' for line in lines)
    return (
        '<div style="text-align:center;line-height:1.35;font-variant-numeric:tabular-nums"><div '
        f'style="font-size:1.15rem;font-weight:600">{counts}</div>{small}</div>'
    )


def toggle(scope: str, verdict: str) -> None:
    """Filter by a tile, or no longer."""
    if chosen() == (scope, verdict):
        st.query_params.pop(PARAMETER, None)
    else:
        st.query_params[PARAMETER] = f"{scope}.{verdict}"


OTHERWISE = {"degenerate": "noise", "refused": "declined", "forgotten": "fluent and ignorant"}
"""what answers that say nothing of what was to be forgotten are instead; noise comes first, for it is no forgetting"""


def others(rates: dict[str, dict[str, dict[str, float]]]) -> str:
    """Say what became of the answers to be forgotten that did not leak."""
    counts = {words: rates[verdict]["after"]["n"] for verdict, words in OTHERWISE.items() if verdict in rates}
    parts = [f"**{n:.0f}** {words}" for words, n in counts.items() if n]
    return f"; the others: {', '.join(parts)}" if parts else ""


def in_words(counts: verdicts.Counts) -> str:
    """Say the result in one or two sentences."""
    parts = []
    for scope, verdict, words in (("unlearn", "leaked", "still say"), ("retention", "kept", "still say")):
        if rates := counts.get(scope, {}).get(verdict):
            after = rates["after"]
            voices = [voice for voice in SPOKEN if voice != "after" and voice in rates]
            beside = ", ".join(f"{WITHIN[voice]} {rates[voice]['n']:.0f}" for voice in voices)
            what = "some of what was to be forgotten" if scope == "unlearn" else "what was to be kept"
            rest = others(counts["unlearn"]) if scope == "unlearn" else ""
            parts.append(
                f"**{after['n']:.0f} of {after['of']:.0f}** answers {words} {what}"
                + (f" ({beside})" if beside else "")
                + rest
            )
    return (".  \n".join(parts) + ".") if parts else ""
