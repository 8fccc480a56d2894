"""What each voice said, token by token: how sure it was of each, and what else it could have said in its place."""

from __future__ import annotations

import contextlib
import html
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import streamlit as st

from core.runs import askable
from core.runs.store import Run
from core.serve import client
from core.util.errors import UserError
from dashboard.charts import tokens as charts
from dashboard.charts.base import voice_line
from dashboard.charts.palette import Palette
from dashboard.compare import token_strip
from dashboard.text import md
from dashboard.widgets import page_style
from dashboard.widgets.question_and_answers import Answer, Exchange, label

PARAMETER = "said"
"""of the address: the chosen token, VOICE.NUMBER from 1"""


def show(run: Run, asked: Exchange, voices: Sequence[str], work: list[Callable[[], None]]) -> None:
    """Show the answers of some voices; what was recorded without probabilities can be computed, which becomes work."""
    answers = {voice: asked.answers[voice] for voice in voices if asked.finished(voice) and asked.answers[voice].text}
    if not answers:
        return
    st.markdown("**What each one said**")
    palette = page_style.palette()
    if st.session_state.setdefault("said_of", asked.question) != asked.question:
        st.session_state["said_of"] = asked.question
        st.query_params.pop(PARAMETER, None)  # a place in another answer
    if any(answer.said for answer in answers.values()):
        st.caption(f"{legend(palette)} Choose a token: what else could it have said?")
    for voice, answer in answers.items():
        if answer.said:
            strip(voice, answer, palette)
    if silent := [voice for voice, answer in answers.items() if not answer.said]:
        compute(run, asked, silent, work)


def legend(palette: Palette) -> str:
    """Say what the colours of tokens mean."""
    return f"The {'darker' if palette.background[1] > '8' else 'lighter'}, the more probable."


def strip(voice: str, answer: Answer, palette: Palette) -> None:
    """Show one answer, and of its chosen token what else could have been said."""
    name, color = label(voice), voice_line(voice, palette)["color"]
    of, _, number = str(st.query_params.get(PARAMETER, "")).rpartition(".")
    chosen = int(number) - 1 if of == voice and number.isdecimal() and 1 <= int(number) <= len(answer.said) else -1
    st.html(f'<div style="font-weight:600;color:{color};overflow-wrap:anywhere">{html.escape(name)}</div>')
    token_strip.show(
        charts.said(answer.said, name, palette),
        chosen,
        f"Tokens that it said: {name}",
        f"said.{voice}",
        partial(pick, voice),
    )
    if chosen >= 0:
        token = answer.said[chosen]
        what = f"It said “{charts.visible(str(token['text'])).strip()}”: {charts.percent(math.exp(token['logprob']))}"
        st.html(words(what, color, token, palette))
        if not token.get("top"):
            st.caption("What else it could have said is not kept from one visit to the next. Ask again to see it.")


def pick(voice: str, index: int) -> None:
    """Make a token the chosen one, or none if it was."""
    choice = f"{voice}.{index + 1}"
    if st.query_params.get(PARAMETER) == choice:
        del st.query_params[PARAMETER]
    else:
        st.query_params[PARAMETER] = choice


def words(what: str, color: str, token: Mapping[str, Any], palette: Palette) -> str:
    """Return, as escaped HTML, a model's most probable words at a place of an answer. what: is said of the one there."""
    lines = [
        _line(str(word), math.exp(logprob), color, palette, str(word) == str(token["text"]))
        for word, logprob in token.get("top", ())
    ]
    return (
        f'<div style="max-width:28rem"><div style="color:{palette.muted};font-size:.85rem;margin-bottom:.35rem">'
        f"{html.escape(what)}</div>{''.join(lines)}</div>"
    )


def _line(word: str, p: float, color: str, palette: Palette, there: bool) -> str:
    weight, mark = ("600", "✓ ") if there else ("400", "")
    return (
        f'<div style="display:flex;align-items:center;gap:.5rem;font-size:.92rem;margin:.12rem 0">'
        '<span style="flex:0 1 '
        f'6.5rem;min-width:3rem;overflow:hidden;text-overflow:ellipsis;white-space:pre;font-weight:{weight}" '
        'dir="auto">'
        f"{mark}{html.escape(charts.visible(word))}</span>"
        f'<span style="flex:1 0 2rem;height:.55rem;background:{palette.surface};border-radius:3px"><span '
        'style="display:block;height:100%;'
        f'width:{100 * p:.1f}%;background:{color};border-radius:3px"></span></span>'
        '<span style="flex:0 0 '
        f'5.6rem;text-align:right;white-space:nowrap;color:{palette.muted}">{charts.percent(p)}</span></div>'
    )


def compute(run: Run, asked: Exchange, voices: Sequence[str], work: list[Callable[[], None]]) -> None:
    """Offer to compute how sure some voices were of answers that are there as text only."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        pressed = st.button("Show how sure each one was", icon=":material/gradient:", key="said")
        spot = st.empty()
    spot.caption(f"{md(', '.join(map(label, voices)))}: the run recorded what was said, not how sure the model was.")
    if pressed:
        # The model answers one at a time: what was pressed comes before what would be asked by the way.
        work.clear()
        spot.caption("Computing …")
        work.append(lambda: score(run, asked, voices))


def score(run: Run, asked: Exchange, voices: Sequence[str]) -> None:
    """Let each voice judge what it said, its own words before it given, then show the page again."""
    try:
        for voice in voices:
            answer = asked.answers[voice]
            for _, tokens, error in scored(run, asked.question, answer.text, [voice]):
                if error:
                    raise error
                # An answer that was as long as allowed did not say its end.
                answer.said = tokens[: asked.decoding.answers.max_new_tokens]
    except UserError as error:
        page_style.complain(error)
        return
    st.rerun()


def scored(
    run: Run, question: str, answer: str, voices: Sequence[str]
) -> Iterator[tuple[str, list[dict[str, Any]], UserError | None]]:
    """Yield (voice, tokens, None) as the model scores an answer, (voice, [], error) where a voice cannot.

    Raises UserError where nothing can be asked.
    """
    askable.askable(run)
    with contextlib.closing(client.score(run, question, answer, voices)) as replies:
        for reply in replies:
            st.empty()  # a place where this script can be interrupted
            if reply["kind"] == "score":
                yield str(reply["voice"]), reply["tokens"], None
            elif reply["kind"] == "voice_error":
                yield str(reply["voice"]), [], UserError(reply["what"], reply["fix"])
