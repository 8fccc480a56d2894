"""Compare: the same question before and after unlearning, recorded or asked right now."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any, cast

import streamlit as st

from core import answerer
from core.errors import UserError
from core.store import Run
from dashboard.parts import look, panes, runs, scores
from dashboard.parts.panes import Exchange
from dashboard.parts.text import md, shorten

SCOPES = {"unlearn": "✖ To forget", "retention": "● To keep"}
SPLITS = {"train": "Train", "dev": "Dev", "val": "New questions"}
LONGEST = 4000  # characters of a question that are sent


def page() -> None:
    """Show the page."""
    run = runs.pick()
    if run is None:
        runs.nothing_here()
        return
    if runs.unreadable(run):
        return
    st.title("Ask it, before and after")
    ways = ["Recorded answers", "Ask a question"]
    way = st.segmented_control("Where answers come from", ways, default=ways[0], key="way", required=True,
                               persist_state="session", label_visibility="collapsed")  # fmt: skip
    with look.complaints():
        if way == ways[0]:
            recorded(run)
        else:
            live(run)
    st.subheader("This run's scores")
    scores.row(run)


def recorded(run: Run) -> None:
    """Show what both models answered when the run was evaluated; no model is needed."""
    rows = runs.answers(run)
    if not rows:
        waiting(run)
        return
    chosen = pick(rows)
    if chosen is None:
        return
    template = (run.json("config.json") or {}).get("model", {}).get("template")
    prompt = f"{chosen.get('question', '')}\n\n" if template == "plain" else ""
    hashes = (run.json("manifest.json") or {}).get("adapters", {})
    voices = [voice for voice in voices_shown(rows) if voice in chosen]
    exchange = Exchange(
        str(chosen.get("question", "")), voices, {v: str(chosen[v]) for v in voices}, hashes, prompt, "recorded"
    )
    st.markdown(f"### {md(exchange.question)}")
    panes.show(exchange, run.id, str(chosen.get("truth", "")))
    st.caption("Recorded when the run was evaluated; decoding as in its settings.")


def voices_shown(rows: list[dict[str, Any]]) -> list[str]:
    """Return the voices to show: before, after, and the never-taught one where the visitor wants it."""
    there = any("never" in row for row in rows)
    never = there and st.toggle("Show the never-taught model too", key="with_never", persist_state="session",
                                help="The original model: what somebody says who has never heard of these people.")  # fmt: skip
    return ["before", "after", *(["never"] if never else [])]


def pick(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Let an example be chosen by scope, split and words."""
    scope_place, split_place, search_place = st.columns([1, 1, 1.4], vertical_alignment="bottom")
    scope = scope_place.segmented_control("Scope", list(SCOPES), format_func=SCOPES.get, default="unlearn", key="scope",
                                          required=True, persist_state="session")  # fmt: skip
    present = [split for split in SPLITS if any((r.get("scope"), r.get("split")) == (scope, split) for r in rows)]
    split = split_place.segmented_control("Questions", present, format_func=SPLITS.get, default=present[0] if present else None,
                                          key=f"split_{len(present)}", required=bool(present), persist_state="session")  # fmt: skip
    words = search_place.text_input("Search", key="search", placeholder="a name, a street, a word", persist_state="session")
    found = [
        row for row in rows
        if (row.get("scope"), row.get("split")) == (scope, split)
        and words.lower() in f"{row.get('question', '')} {row.get('truth', '')} {row.get('subject', '')}".lower()
    ]  # fmt: skip
    if not found:
        st.info("No recorded question fits. Try another word, or ask it yourself under “Ask a question”.")
        return None
    return st.selectbox(
        f"{len(found)} questions", found, format_func=lambda row: shorten(str(row.get("question", "")), 110), key="example"
    )


def waiting(run: Run) -> None:
    """Say why nothing was recorded yet."""
    alive = run.status().get("state") in runs.ALIVE
    st.info("Answers are recorded after unlearning: this run is not that far." if alive else
            "This run ended before answers were recorded.")  # fmt: skip
    st.page_link("views/run.py", label="See the run", icon=":material/play_circle:", query_params={"run": run.id})


def live(run: Run) -> None:
    """Ask the model now, and stream what both say."""
    with st.form("ask", border=False):
        question = st.text_area("Question", key="question", height=80, max_chars=LONGEST,
                                placeholder="Where in Bergen does Maren Tveitaskog live?")  # fmt: skip
        left, right = st.columns([1, 2], vertical_alignment="center")
        asked = left.form_submit_button("Ask", type="primary", icon=":material/send:", width="stretch")
        never = right.checkbox("Ask the never-taught model too", key="ask_never")
    exchange: Exchange | None = st.session_state.get("exchange")
    if asked and question.strip():
        exchange = Exchange(question.strip()[:LONGEST], ["before", "after", *(["never"] if never else [])], state="loading")
        st.session_state["exchange"], st.session_state["exchange_run"] = exchange, run.id
        stream(run, exchange)
        return
    if exchange is None or st.session_state.get("exchange_run") != run.id:
        st.caption(
            "The first answer takes some seconds: a process of its own loads the model, and keeps it warm for a while."
        )
        return
    if exchange.state in ("loading", "streaming"):
        exchange.state = "stopped"
    st.markdown(f"### {md(exchange.question)}")
    panes.show(exchange, run.id, truth_of(run, exchange.question))
    if exchange.state == "stopped":
        st.caption("Stopped.")


def truth_of(run: Run, question: str) -> str:
    """Return the true answer of a question that stands in the run's data."""
    return next((str(row.get("truth", "")) for row in runs.answers(run) if row.get("question") == question), "")


def stream(run: Run, exchange: Exchange) -> None:
    """Show the answers as they come. A click on Stop interrupts this script, which closes the iterator."""
    st.markdown(f"### {md(exchange.question)}")
    bar = st.container(horizontal=True, vertical_alignment="center")
    bar.button("Stop", icon=":material/stop:", key="stop")
    note = bar.empty()
    note.caption("Loading the model …")
    places = [column.container(border=True).empty() for column in st.columns(len(exchange.voices), gap="medium")]
    palette = look.palette()
    asked = cast("Generator[dict[str, Any]]", answerer.ask(run, [exchange.question], exchange.voices))
    with contextlib.closing(asked) as replies:
        try:
            for reply in replies:
                if take(reply, exchange):
                    note.caption("Answering …")
                for place, voice in zip(places, exchange.voices, strict=True):
                    place.html(panes.pane(exchange, voice, palette))
        except UserError:
            exchange.state = "stopped"
            raise
    st.rerun()


def take(reply: dict[str, Any], exchange: Exchange) -> bool:
    """Put a reply into the exchange; say whether the model has begun to answer."""
    if reply["kind"] == "start":
        exchange.hashes, exchange.prompt = dict(reply["hashes"]), str(reply["prompts"][0])
        exchange.state = "streaming"
    for piece in reply.get("pieces", ()):
        voice = exchange.voices[piece["index"] % len(exchange.voices)]
        exchange.texts[voice] = (exchange.texts.get(voice, "") + piece["text"]).lstrip()
    if reply["kind"] == "done":
        exchange.state = "done"
    return exchange.state == "streaming"


page()
