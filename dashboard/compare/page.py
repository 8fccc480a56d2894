"""Compare: the same question before and after unlearning, recorded or asked right now, and what lies behind the answers."""

from __future__ import annotations

import time
from collections.abc import Callable

import streamlit as st

from core.runs import askable
from core.runs.store import Run
from core.serve import client
from core.util.errors import UserError
from dashboard.compare import cells_put_back, history, many_questions, panes, strength, token_probabilities
from dashboard.compare import question as prompting
from dashboard.text import md, shorten
from dashboard.widgets import address, current_run, glossary, known_facts, page_style, question_and_answers
from dashboard.widgets.question_and_answers import Exchange
from dashboard.widgets.scope_names import KINDS, scope_name

TABS = {
    "Tokens": token_probabilities.show,
    "Strength": strength.show,
    "What holds it": cells_put_back.show,
    "Many at once": many_questions.show,
    "History": history.show,
}
LONGEST_HEADING = 240
"""characters of a question above its answers, which must not push them out of sight; “prompt” below them shows all"""


def page() -> None:
    """Show the page."""
    run = current_run.opened()
    if run is None:
        return
    st.title("Ask it, before and after")
    with page_style.complaints():
        compare(run)
    warm(run)


def compare(run: Run) -> None:
    """Show question, answers, and what lies behind them; whatever has to be computed is computed last, into its place."""
    rows, own = current_run.answers(run), question_and_answers.decoding_of(run.config())
    if not rows and not answers_itself(run):
        waiting(run)
        return
    history.bring(run, own, rows)
    question = prompting.question(rows)
    answers = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        marks = prompting.marks(list(panes.MARKS), panes.MARKS)
        voices = prompting.voices(run)
        decoding = prompting.decoding(run, own)
    if not question:
        st.caption("Type a question above. Both models answer it, side by side.")
        history.listed(run)
        history.keep(run)
        return
    asked = question_and_answers.open_exchange(run, question, decoding, own, rows)
    asked.voices = voices
    question_and_answers.fill(asked, run, voices)
    with answers:
        note = heading(run, asked, voices)
        spots = panes.show(asked, run, voices, marks)
        known_facts.show(run, asked, rows, prompting.choose)
        truth(asked)
    history.note_seen(run, asked)
    work: list[Callable[[], None]] = []
    for tab, show in zip(tabs(), TABS.values(), strict=True):
        if tab.open:
            with tab:
                spots |= show(run, asked, voices, work) or {}
    history.keep(run)
    missing = asked.missing(spots)
    if missing and not any(asked.error):
        panes.ask(run, asked, {voice: spots[voice] for voice in missing}, note)
        st.rerun()
    for task in work:
        task()


def tabs() -> list[st.delta_generator.TabContainer]:
    """Return the tabs under the panes; the open one is in the address."""
    made: list[st.delta_generator.TabContainer] = []

    def draw() -> str:
        made.extend(st.tabs(list(TABS), key="view", on_change="rerun"))
        return str(st.session_state["view"])

    # Not bound to the address: Streamlit would take the word out of that of Runs, whose views are called so as well.
    address.part("view", TABS, draw)
    return made


def answers_itself(run: Run) -> bool:
    """Say whether the run has an unlearned model, so that it can be asked although nothing was recorded."""
    try:
        askable.askable(run)
    except UserError:
        return False
    return run.status().get("state") not in current_run.ALIVE


def heading(run: Run, asked: Exchange, voices: list[str]) -> st.delta_generator.DeltaGenerator:
    """Show the question with what can be done about it; return the place that says how far an answer is."""
    st.markdown(f"### {md(shorten(asked.question, LONGEST_HEADING))}")
    missing = asked.missing(voices)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        states = {asked.answers[voice].state for voice in voices if voice in asked.answers}
        if missing and not any(asked.error):
            st.button("Stop", icon=":material/stop:", key="stop", on_click=asked.stop, args=(voices,))
        else:
            name = "Ask now" if states == {"recorded"} else "Ask again"
            st.button(
                name,
                icon=":material/send:",
                key="again",
                on_click=asked.again,
                args=(voices,),
                help="Let the model itself answer now, instead of showing what was recorded.",
            )
        name = "★ Starred" if asked.star else "☆ Star"
        st.button(name, key="star", type="tertiary", on_click=history.toggle_star, args=(run, asked))
        spot = st.empty()
        spot.caption(source(asked, states))
    return spot


def source(asked: Exchange, states: set[str]) -> str:
    """Say where the answers come from."""
    names = [(t, KINDS.get(t) or scope_name(t)) for t in asked.tags]
    where = [glossary.link(glossary.TERMS[t], name) if t in glossary.TERMS else name for t, name in names]
    if states == {"recorded"}:
        where.append("recorded when the run was evaluated")
    elif "recorded" in states:
        where.append("partly recorded, partly asked now")
    if not asked.tags:
        where.insert(0, "your own question")
    return " · ".join(where)


def truth(asked: Exchange) -> None:
    """Show the true answer, or let it be written for an own question."""
    if asked.tags and asked.truth:
        st.markdown(f":gray[True answer]  \n{md(asked.truth)}")
        return
    known = st.session_state.get("truth_of")
    if known != asked.question and (known is not None or "truth" not in st.query_params):
        st.session_state["truth"] = asked.truth  # another question's answer is not this one's
    st.session_state["truth_of"] = asked.question
    given = st.text_input(
        "True answer, if you know it",
        key="truth",
        bind="query-params",
        max_chars=question_and_answers.LONGEST_QUESTION,
        help="With it the page can show how probable it is in each model, word by word.",
    )
    if (given or "").strip() != asked.truth:
        asked.truth = (given or "").strip()[: question_and_answers.LONGEST_QUESTION]
        asked.scores, asked.holds, asked.dial = {}, {}, {}


def waiting(run: Run) -> None:
    """Say why nothing was recorded yet."""
    current_run.not_that_far(
        run,
        "Answers are recorded after unlearning: this run is not that far.",
        "This run ended before answers were recorded.",
    )


def warm(run: Run) -> None:
    """Let the answering process load the model in the background, unless a training run needs the machine."""
    name, since = st.session_state.get("warmed", ("", 0.0))
    if (name == run.id and time.monotonic() - since < 300) or not answers_itself(run):
        return
    if current_run.busy():
        return
    st.session_state["warmed"] = (run.id, time.monotonic())
    with page_style.complaints():
        client.warm(run)


page()
