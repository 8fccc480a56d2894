"""The tab "History": what was asked in this browser session, with stars and notes, to ask again and to take along."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import streamlit as st

from core.runs.store import Run
from dashboard.compare import answer_downloads, question
from dashboard.text import md, shorten
from dashboard.widgets import question_and_answers
from dashboard.widgets.question_and_answers import Exchange

SHOWN = 12
"""entries listed at first"""
LONGEST_NOTE = 2000


def note_seen(asked: Exchange) -> None:
    """Put an exchange on top of the history once the visitor chose its question or gave it a star."""
    seen: list[Exchange] = st.session_state.setdefault("history", [])
    # By identity: an exchange goes on changing, and two with equal fields are still two.
    if asked.question == question.current() and not any(entry is asked for entry in seen):
        seen.insert(0, asked)
        del seen[question_and_answers.MOST :]


def toggle_star(asked: Exchange) -> None:
    """Give or take the star; a starred exchange is in the history."""
    asked.star = not asked.star
    seen: list[Exchange] = st.session_state.setdefault("history", [])
    if asked.star and not any(entry is asked for entry in seen):
        seen.insert(0, asked)


def show(run: Run, asked: Exchange, voices: Sequence[str], work: list[Callable[[], None]]) -> None:
    """Show the tab."""
    seen: list[Exchange] = st.session_state.setdefault("history", [])
    if not seen:
        st.info("Nothing yet. Questions that you ask or pick are listed here, to star, annotate, ask again and export.")
        undo()
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        starred = st.toggle("Starred only", key="starred")
        st.button("Clear", icon=":material/delete:", key="clear_history", on_click=clear)
    undo()
    listed = [entry for entry in seen if entry.star or not starred]
    for number, entry in enumerate(listed[: len(listed) if st.session_state.get("all_history") else SHOWN]):
        line(entry, number)
    if len(listed) > SHOWN:
        st.toggle(f"Show all {len(listed)}", key="all_history")
    answer_downloads.show([entry.record() for entry in listed], "history")


def line(entry: Exchange, number: int) -> None:
    """Show one entry: star, question, first words of the answers, note."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "★" if entry.star else "☆",
            key=f"star.{number}",
            type="tertiary",
            on_click=toggle_star,
            args=(entry,),
            help="Take the star" if entry.star else "Give a star",
        )
        st.button(
            md(shorten(entry.question, 80)),
            key=f"show.{number}",
            type="tertiary",
            on_click=show_again,
            args=(entry,),
            help="Show this question again",
        )
        st.caption(" · ".join([md(entry.run), *(md(question_and_answers.label(v)) for v in entry.answers)]), width="content")
        with st.popover("note ●" if entry.note else "note", type="tertiary", key=f"pop.{number}"):
            text = st.text_area("Note", entry.note, key=f"note.{id(entry)}", max_chars=LONGEST_NOTE)
            entry.note = (text or "")[:LONGEST_NOTE]


def show_again(entry: Exchange) -> None:
    """Make an entry's question the current one."""
    question.choose(entry.question)


def clear() -> None:
    """Empty the history; it can be brought back for as long as the page is open."""
    st.session_state["cleared"] = (time.time(), st.session_state.get("history", []))
    st.session_state["history"] = []
    question.choose("")


def bring_back() -> None:
    """Undo the clearing; what was asked since stays on top."""
    _, old = st.session_state.pop("cleared", (0.0, []))
    now = st.session_state.get("history", [])
    st.session_state["history"] = [*now, *(entry for entry in old if not any(entry is newer for newer in now))]


def undo() -> None:
    """Offer to bring a cleared history back."""
    _, old = st.session_state.get("cleared", (0.0, []))
    if old:
        st.button(f"Undo: bring {len(old)} back", icon=":material/undo:", key="undo_clear", on_click=bring_back)
