"""Two answers to one question, side by side: the words that differ marked, and what each pane is."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import streamlit as st

from dashboard.parts import look
from dashboard.parts.text import marked, md

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dashboard.charts.palette import Palette

NAMES = {"before": "Before", "after": "After", "never": "Never taught"}
WHAT = {
    "before": "the model that was taught these facts",
    "after": "the same model after unlearning",
    "never": "the original model, which never saw these facts",
}


@dataclass
class Exchange:
    """A question with the answers known so far."""

    question: str
    voices: Sequence[str]
    texts: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    """voice -> hash of its adapter's weights"""
    prompt: str = ""
    """as the model read it"""
    state: str = ""
    """loading, streaming, done, stopped, recorded, or an error's text"""


def show(exchange: Exchange, run: str, truth: str = "") -> None:
    """Show a finished exchange."""
    same_weights(exchange)
    for column, voice in zip(st.columns(len(exchange.voices), gap="medium"), exchange.voices, strict=True):
        with column, st.container(border=True, height="stretch"):
            st.html(pane(exchange, voice, look.palette()))
            facts(exchange, voice, run)
    if truth:
        st.markdown(f":gray[True answer]  \n{md(truth)}")


def pane(exchange: Exchange, voice: str, palette: Palette) -> str:
    """Return a pane's heading and answer as escaped HTML; words that the opposite pane lacks are marked."""
    text = exchange.texts.get(voice, "")
    other = exchange.texts.get("after" if voice == "before" else "before", "")
    color = {"before": palette.before, "after": palette.accent}.get(voice, palette.muted)
    finished = exchange.state in ("done", "recorded", "stopped")
    body = marked(text, other, mark_style(voice, palette)) if finished and other and text else html.escape(text)
    empty = "…" if not finished else "(empty answer)"
    heading = (
        f'<div style="font-weight:600;color:{color};font-size:1.05rem"><span aria-hidden="true">{"■" if voice == "after" else "□"}'
        f'</span> {NAMES[voice]}</div><div style="color:{palette.muted};font-size:.85rem">{WHAT[voice]}</div>'
    )
    answer = (
        f'<div style="font-size:1.2rem;line-height:1.6;margin-top:.75rem;overflow-wrap:anywhere;white-space:pre-wrap">'
        f"{body or empty}</div>"
    )
    return heading + answer


def mark_style(voice: str, palette: Palette) -> str:
    """Return how differing words look: a grey line under before, the accent behind after."""
    if voice == "before":
        return f"background:none;color:inherit;border-bottom:2px solid {palette.before}"
    if voice == "after":
        return f"background:{palette.accent}29;color:inherit;border-radius:3px;padding:0 1px"
    return "background:none;color:inherit"


def facts(exchange: Exchange, voice: str, run: str) -> None:
    """Say which run and weights a pane speaks for, and what the model read."""
    digest = exchange.hashes.get(voice, "")
    name = "adapter off" if voice == "never" else f"adapter {md(digest[:10] or 'not recorded')}"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(f"{name} · {md(run)}", width="content")
        if exchange.prompt:
            with st.popover("prompt", type="tertiary", help="The question exactly as the model read it"):
                st.code(exchange.prompt, language=None, wrap_lines=True)


def same_weights(exchange: Exchange) -> None:
    """Say openly when both panes speak with one adapter, since their answers then prove nothing."""
    before, after = exchange.hashes.get("before"), exchange.hashes.get("after")
    if before and before == after:
        st.error(
            "**Both panes use the same weights.** Nothing was unlearned in this run, so equal answers mean nothing.",
            icon=":material/error:",
        )
