"""One example: what it was asked, what was answered, why it got its verdict, and what the visitor says instead."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from core.metrics import own_verdicts
from core.metrics.verdict_rules import OF_SCOPE, VERDICT_NAMES
from core.runs.store import Run
from core.runs.voices import VOICE_NAMES
from dashboard.text import marked, match_style, md
from dashboard.widgets import page_style, verdict_rows
from dashboard.widgets.scope_names import KINDS, scope_name

if TYPE_CHECKING:
    from dashboard.charts.palette import Palette

AS_RULED = "as the rules say"
LONGEST = 4000
"""characters of an answer that are shown"""


def show(run: Run, row: Mapping[str, Any]) -> None:
    """Show an example with its reasons."""
    st.markdown(f"#### {md(row['question'])}")
    where = " · ".join(
        part
        for part in (scope_name(str(row["scope"])), KINDS.get(str(row["kind"]), str(row["kind"])), str(row["subject"]))
        if part
    )
    st.caption(md(where))
    st.html(answers(row, page_style.palette()))
    verdict_rows.compare_link(run, str(row["question"]), "Open in Compare")
    own(run, row)


def answers(row: Mapping[str, Any], palette: Palette, voices: Sequence[str] = tuple(VOICE_NAMES)) -> str:
    """Return the true answer and each voice's with its verdict and why, as escaped HTML, side by side where there is room.

    Words that the true answer has too are marked.
    """
    parts = [block("True answer", html.escape(str(row["truth"])[:LONGEST]), "Its words are marked in the answers.", palette)]
    for voice in voices:
        verdict, why = verdict_of(row, voice)
        if verdict:
            text = (
                marked(str(row[voice])[:LONGEST], str(row["truth"]), match_style(palette.retention), matches=True)
                or "<i>nothing</i>"
            )
            parts.append(
                block(
                    VOICE_NAMES[voice],
                    text,
                    f"{verdict_rows.badge(verdict, palette)} {html.escape(why)}{chance(row, voice)}",
                    palette,
                )
            )
    return (
        '<div style="display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,260px),1fr));gap:.1rem '
        f'1.5rem">{"".join(parts)}</div>'
    )


def verdict_of(row: Mapping[str, Any], voice: str) -> tuple[str, str]:
    """Return a voice's verdict by the rules and why; empty where it was not asked."""
    suffix = "" if voice == "after" else f"_{voice}"
    verdict = str(row.get("ruled" if voice == "after" and "ruled" in row else f"verdict{suffix}") or "")
    return verdict, str(row.get(f"why{suffix}") or "")


def chance(row: Mapping[str, Any], voice: str) -> str:
    """Return the true answer's probability, where the reason did not say it."""
    p = row.get(f"p_{voice}")
    stated = isinstance(p, float) and not math.isnan(p) and "probability" not in verdict_of(row, voice)[1]
    return f" The true answer has probability {p:.2f} a token." if stated else ""


def block(name: str, text: str, note: str, palette: Palette) -> str:
    """Return one voice's lines. text, note: escaped HTML already."""
    under = (
        f'<div style="font-size:.85rem;color:{palette.muted};margin-top:.15rem;overflow-wrap:anywhere">{note}</div>'
        if note
        else ""
    )
    return (
        f'<div style="margin:.1rem 0 .8rem"><div style="font-size:.85rem;color:{palette.muted}">{html.escape(name)}</div>'
        f'<div style="line-height:1.5;overflow-wrap:anywhere;white-space:pre-wrap" dir="auto">{text}</div>{under}</div>'
    )


def own(run: Run, row: Mapping[str, Any]) -> None:
    """Let the visitor disagree, with a note; both are kept apart from what the rules say."""
    example, options = str(row["id"]), [AS_RULED, *OF_SCOPE[str(row["scope"])]]
    given, note = str(row.get("own") or ""), own_verdicts.remarks(run).get(example, {}).get("note", "")
    with st.form(f"own.{run.id}.{example}", border=False):
        verdict = st.selectbox(
            "Your verdict",
            options,
            index=options.index(given) if given in options else 0,
            key=f"own.verdict.{run.id}.{example}",
            format_func=lambda name: VERDICT_NAMES.get(name, name),
            help="It counts instead of the rules' one, and is kept apart from it in verdicts.json.",
        )
        text = st.text_area("Note", note, key=f"own.note.{run.id}.{example}", max_chars=own_verdicts.LONGEST_NOTE, height=68)
        if st.form_submit_button("Save", icon=":material/save:"):
            with page_style.complaints():
                own_verdicts.give(run, example, "" if verdict == AS_RULED else str(verdict), text or "")
                st.rerun()
