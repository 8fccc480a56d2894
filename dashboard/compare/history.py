"""The tab "History": what a visitor asked of this run, with stars and notes, to ask again and to take along.

It survives the page: dashboard/compare/kept_questions.py has it in a file of the visitor's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from core.runs.store import Run
from core.util.errors import UserError
from dashboard.compare import answer_downloads, kept_questions, question
from dashboard.text import md, shorten
from dashboard.widgets import question_and_answers, verdict_rows
from dashboard.widgets.question_and_answers import Decoding, Exchange

SHOWN = 12
"""entries listed at first"""


def seen(run: Run) -> list[Exchange]:
    """Return what was asked of a run, the last first: a list to change."""
    lists: dict[str, list[Exchange]] = st.session_state.setdefault("history", {})
    return lists.setdefault(str(run.path), [])


def bring(run: Run, own: Decoding, rows: Sequence[Mapping[str, Any]]) -> None:
    """Read, once a session and run, what the visitor asked at earlier visits."""
    if str(run.path) in st.session_state.get("history", {}):
        return
    entries, path = seen(run), kept_questions.place(run)
    if path is None:
        return
    for values in kept_questions.read(path):
        if entry := kept_questions.opened(values, run, own, rows):
            entries.append(entry)
    _written()[str(run.path)] = _told(run)


def _written() -> dict[str, list[dict[str, Any]]]:
    """Return run -> what this tab has written down, or read."""
    written: dict[str, list[dict[str, Any]]] = st.session_state.setdefault("written", {})
    return written


def _told(run: Run) -> list[dict[str, Any]]:
    return [kept_questions.told(entry) for entry in seen(run)]


def note_seen(run: Run, asked: Exchange) -> None:
    """Put an exchange on top of the history once the visitor chose its question or gave it a star."""
    entries = seen(run)
    # By identity: an exchange goes on changing, and two with equal fields are still two.
    if (asked.star or asked.question == question.current()) and not any(entry is asked for entry in entries):
        entries.insert(0, asked)
        del entries[kept_questions.MOST :]


def keep(run: Run) -> None:
    """Write down what has changed. Where the disk refuses, the tab says so."""
    path, entries = kept_questions.place(run), _told(run)
    if path is None or entries == _written().get(str(run.path), []):
        return
    mine = {kept_questions.which(entry) for entry in entries}
    # What another tab of this browser wrote stays; not where the list was cleared, which means all of it.
    others = [entry for entry in kept_questions.read(path) if kept_questions.which(entry) not in mine] if entries else []
    try:
        kept_questions.write(path, kept_questions.lines([*entries, *others]))
        st.session_state.pop("not_kept", None)
    except UserError as error:
        st.session_state["not_kept"] = error.what
    _written()[str(run.path)] = entries


def toggle_star(run: Run, asked: Exchange) -> None:
    """Give or take the star; a starred exchange is in the history."""
    asked.star = not asked.star
    note_seen(run, asked)


def show(run: Run, asked: Exchange, voices: Sequence[str], work: list[Callable[[], None]]) -> None:
    """Show the tab."""
    listed(run)


def listed(run: Run) -> None:
    """Show the list, with what can be done with it."""
    entries = seen(run)
    if not entries:
        st.info("Nothing yet. Questions that you ask or pick are listed here, to star, annotate, ask again and export.")
        undo(run)
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        starred = st.toggle("Starred only", key="starred")
        st.button("Clear", icon=":material/delete:", key="clear_history", on_click=clear, args=(run,))
        st.caption(kept_how(run), width="content")
    undo(run)
    chosen = [entry for entry in entries if entry.star or not starred]
    for number, entry in enumerate(chosen[: len(chosen) if st.session_state.get("all_history") else SHOWN]):
        line(run, entry, number)
    if len(chosen) > SHOWN:
        st.toggle(f"Show all {len(chosen)}", key="all_history")
    answer_downloads.show([entry.record() for entry in chosen], "history")


def kept_how(run: Run) -> str:
    """Say for how long the list is there, and who sees it."""
    if kept_questions.place(run) is None:
        return "This browser takes no cookies: the list is gone when the page is."
    if why := st.session_state.get("not_kept"):
        return f"The list is gone when the page is. {md(why)}"
    return f"Your last {kept_questions.MOST} questions to this run, here when you come back. Other visitors do not see them."


def line(run: Run, entry: Exchange, number: int) -> None:
    """Show one entry: star, question, what each answer was judged to be, note."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "★" if entry.star else "☆",
            key=f"star.{number}",
            type="tertiary",
            on_click=toggle_star,
            args=(run, entry),
            help="Take the star" if entry.star else "Give a star",
        )
        st.button(
            md(shorten(entry.question, 80)),
            key=f"show.{number}",
            type="tertiary",
            on_click=show_again,
            args=(entry,),
            help="Show this question again, asked as it was then",
        )
        judged = " · ".join(md(said(run, entry, voice)) for voice in entry.answers)
        st.caption(judged or "not answered yet", width="content")
        with st.popover("note ●" if entry.note else "note", type="tertiary", key=f"pop.{number}"):
            text = st.text_area("Note", entry.note, key=f"note.{id(entry)}", max_chars=kept_questions.LONGEST_NOTE)
            entry.note = (text or "")[: kept_questions.LONGEST_NOTE]


def said(run: Run, entry: Exchange, voice: str) -> str:
    """Return a voice's name, with the verdict on its answer where there is one."""
    name, judged = question_and_answers.label(voice), verdict_rows.judged(run, entry, voice)
    return f"{name}: {verdict_rows.of_voice(judged.verdict, voice, of_data=bool(entry.tags))[0]}" if judged else name


def show_again(entry: Exchange) -> None:
    """Make an entry's question the current one, with its voices and decoding."""
    question.choose(entry.question)
    question.speak_as(entry.voices)
    question.decode_as(entry.decoding)


def clear(run: Run) -> None:
    """Empty the history of a run; it can be brought back for as long as the page is open."""
    st.session_state.setdefault("cleared", {})[str(run.path)] = list(seen(run))
    seen(run).clear()
    question.choose("")


def bring_back(run: Run) -> None:
    """Undo the clearing; what was asked since stays on top."""
    now = seen(run)
    now += [entry for entry in st.session_state["cleared"].pop(str(run.path)) if not any(entry is newer for newer in now)]


def undo(run: Run) -> None:
    """Offer to bring a cleared history back."""
    if old := st.session_state.get("cleared", {}).get(str(run.path)):
        st.button(f"Undo: bring {len(old)} back", icon=":material/undo:", key="undo_clear", on_click=bring_back, args=(run,))
