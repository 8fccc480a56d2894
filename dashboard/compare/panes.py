"""Answers to one question, side by side: streamed as they come, words that differ or match marked, each pane's facts."""

from __future__ import annotations

import contextlib
import html
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import streamlit as st
from streamlit.runtime.scriptrunner import StopException

from core.runs import audit
from core.runs.store import Run
from core.util.errors import UserError
from dashboard.text import marked, match_style, md
from dashboard.widgets import page_style, question_and_answers, verdict_rows
from dashboard.widgets.question_and_answers import Answer, Exchange, kind, label

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

    from dashboard.charts.palette import Palette

WHAT = {
    "before": "the model that was taught these facts",
    "after": "the same model after unlearning",
    "never": "the original model, which never saw these facts",
    "retrained": "taught everything but what is to be forgotten",
    "step": "the model at a checkpoint of unlearning",
    "blend": "between before and after: the dial",
    "without": "after, with these cells put back to before",
}
MARKS = {"differences": "Differences", "matches": "Matches", "nothing": "Nothing"}


def show(exchange: Exchange, run: Run, voices: Sequence[str], marks: str) -> dict[str, DeltaGenerator]:
    """Show a pane for each voice; return the places into which their answers go."""
    same_weights(exchange, voices)
    spots = {}
    for column, voice in zip(st.columns(len(voices), gap="medium"), voices, strict=True):
        with column:
            spots[voice] = box(exchange, run, voice, marks)
    if any(exchange.error):
        page_style.complain(UserError(*exchange.error))
    return spots


def box(exchange: Exchange, run: Run, voice: str, marks: str) -> DeltaGenerator:
    """Show one pane with its facts; return the place of its answer."""
    with st.container(border=True, height="stretch"):
        spot: DeltaGenerator = st.empty()
        spot.html(pane(exchange, voice, page_style.palette(), marks))
        verdict(run, exchange, voice)
        facts(exchange, voice, run)
    return spot


def verdict(run: Run, exchange: Exchange, voice: str) -> None:
    """Show what the rules say of a pane's answer, and why. Nothing is good or bad of a voice but after's."""
    if judged := verdict_rows.judged(run, exchange, voice):
        name, bad = verdict_rows.of_voice(judged.verdict, voice, of_data=bool(exchange.tags))
        st.markdown(f":{'red' if bad else 'gray'}-badge[{md(name)}] :small[{md(judged.why)}]")


def pane(exchange: Exchange, voice: str, palette: Palette, marks: str = "differences") -> str:
    """Return a pane's heading and answer as escaped HTML, its words marked against the opposite pane."""
    answer, spoken = exchange.answers.get(voice), kind(voice)
    own = spoken.kind if spoken else ""
    reference = own in ("never", "retrained", "")
    color = palette.muted if reference else palette.before if own == "before" else palette.accent
    heading = (
        f'<div style="font-weight:600;color:{color};font-size:1.05rem;overflow-wrap:anywhere"><span aria-hidden="true">'
        f"{'□' if reference or own == 'before' else '■'}</span> {html.escape(label(voice))}</div>"
        f'<div style="color:{palette.muted};font-size:.85rem">{WHAT.get(own, "")}</div>'
    )
    body, quiet = _body(exchange, voice, answer, palette, marks)
    style = f"color:{palette.muted};font-size:1rem" if quiet else "font-size:1.2rem"
    text = (
        f'<div style="{style};line-height:1.6;margin-top:.75rem;overflow-wrap:anywhere;white-space:pre-wrap" '
        f'dir="auto">{body}</div>'
    )
    return heading + text


def _body(exchange: Exchange, voice: str, answer: Answer | None, palette: Palette, marks: str) -> tuple[str, bool]:
    """Return a pane's text as escaped HTML, and whether it is a remark rather than an answer."""
    if answer is None or (answer.state == "streaming" and not answer.text):
        return "…", True
    if answer.state == "error":
        return html.escape(f"{answer.what} {answer.fix}"), True
    if not answer.text:
        return ("stopped before the first word" if answer.state == "stopped" else "(empty answer)"), True
    opposite = "after" if voice == "before" else "before"
    other = exchange.answers.get(opposite)
    if marks == "nothing" or not exchange.finished(voice) or not exchange.finished(opposite) or not (other and other.text):
        return html.escape(answer.text), False
    same = marks == "matches"
    return marked(
        answer.text, other.text, match_style(palette.retention) if same else mark_style(voice, palette), matches=same
    ), False


def mark_style(voice: str, palette: Palette) -> str:
    """Return how words that differ look: a grey line under before and the never-taught, the accent behind the others."""
    if voice in ("before", "never", "retrained"):
        return f"background:none;color:inherit;border-bottom:2px solid {palette.before}"
    return f"background:{palette.accent}29;color:inherit;border-radius:3px;padding:0 1px"


def facts(exchange: Exchange, voice: str, run: Run) -> None:
    """Say which run and weights a pane speaks for, how it was asked, and what the model read."""
    answer, spoken = exchange.answers.get(voice), kind(voice)
    if spoken is None:
        return
    if answer is None:
        # Said at once: until the answer is complete, what stood here would name another run's weights.
        st.caption(f"{md(spoken.run or run.id)} · answering …")
        return
    off, digest = spoken.kind == "never", md(answer.digest[:10] or "not recorded")
    parts = ["adapter off" if off else f"adapter {digest}", md(spoken.run or run.id)]
    side = (audit.read(run) or {}).get("sides", {}).get(voice)
    if isinstance(side, dict):  # of an audit: the names that the user gave say more than the run's
        parts = [md(side.get("name", "")), f"weights {digest}"]
    if answer.state == "recorded":
        parts.append("recorded")
    elif answer.rate:
        parts.append(f"{answer.rate:.0f} tokens/s")
    if answer.state == "stopped":
        parts.append("stopped")
    elif answer.cut:
        parts.append(f"cut off at {answer.tokens} tokens, see Decoding")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(" · ".join(parts), width="content")
        if exchange.prompt:
            with st.popover(
                "prompt", type="tertiary", help="The question exactly as the model read it", key=f"prompt.{voice}"
            ):
                st.code(exchange.prompt, language=None, wrap_lines=True)


def same_weights(exchange: Exchange, voices: Sequence[str]) -> None:
    """Say openly when two panes speak with equal weights, since their answers then prove nothing."""
    for first, second in itertools.combinations(voices, 2):
        digests = [exchange.answers[v].digest for v in (first, second) if v in exchange.answers]
        if len(digests) == 2 and digests[0] and digests[0] == digests[1]:
            names = f"“{md(label(first))}” and “{md(label(second))}”"
            nothing = " Nothing was unlearned in this run." if {first, second} == {"before", "after"} else ""
            st.error(f"**{names} use the same weights.**{nothing} Equal answers mean nothing here.", icon=":material/error:")


def ask(run: Run, exchange: Exchange, spots: Mapping[str, DeltaGenerator], note: DeltaGenerator) -> None:
    """Let voices answer into their places. Whatever interrupts this script closes the line, which ends the work."""
    palette = page_style.palette()
    try:
        with contextlib.closing(question_and_answers.ask(run, exchange, list(spots))) as replies:
            for reply in replies:
                note.caption(question_and_answers.waited_for(reply))
                if reply["kind"] != "waiting":
                    # At every reply, even one without words: drawing is where Streamlit can interrupt this script.
                    for voice, spot in spots.items():
                        spot.html(pane(exchange, voice, palette))
    except StopException:  # Streamlit's own Stop, in the corner of the window
        exchange.stop(spots)
        raise
