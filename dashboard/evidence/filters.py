"""The one filter of Evidence: scope, kind of question, subject and verdict. It lives in the address and nowhere else.

`show=unlearn.leaked&among=free&who=NAME`; each part may be missing. Without `among` it is the kind that leads on all pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from core.metrics.verdict_rules import OF_SCOPE, VERDICT_NAMES, VERDICTS
from dashboard.text import shorten
from dashboard.widgets import glossary
from dashboard.widgets.scope_names import KINDS, SCOPES, kinds_of

if TYPE_CHECKING:
    import pandas as pd

SHOW, AMONG, WHO = "show", "among", "who"
"""parameters of the address"""
ALL = "all"
"""as kind: all of them"""
NOBODY = "(no subject)"


@dataclass(frozen=True)
class Filter:
    """What is looked at; an empty part lets everything through."""

    scope: str = ""
    verdict: str = ""
    """of the answer after unlearning"""
    kind: str = ""
    subject: str | None = None

    def counted(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows that headline, tiles and chart count: all verdicts of what is looked at."""
        for column, wanted in (("scope", self.scope), ("kind", self.kind)):
            frame = frame[frame[column] == wanted] if wanted else frame
        return frame if self.subject is None else frame[frame["subject"] == self.subject]

    def listed(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows that the table lists: of these, those with the verdict."""
        rows = self.counted(frame)
        return rows[rows["verdict"] == self.verdict] if self.verdict else rows


def of_address(frame: pd.DataFrame, lead: str) -> Filter:
    """Return the filter that the address spells; what makes no sense there lets everything through. lead: the first kind."""
    scope, _, verdict = str(st.query_params.get(SHOW, "")).partition(".")
    scope = scope if scope in OF_SCOPE else ""
    among = str(st.query_params.get(AMONG, lead or ALL))
    kind = {name: kind for kind, name in KINDS.items()}.get(among, among)  # earlier addresses held what people read
    who = st.query_params.get(WHO)
    return Filter(
        scope,
        verdict if verdict in verdicts_of(scope) else "",
        kind if kind in set(frame["kind"]) else "",
        who if who in set(frame["subject"]) else None,
    )


def verdicts_of(scope: str) -> Sequence[str]:
    """Return the verdicts that an answer can get, worst first; of both scopes where none is named."""
    return OF_SCOPE.get(scope, VERDICTS)


def show(scope: str, verdict: str) -> None:
    """Put scope and verdict into the address; empty ones are left out."""
    if scope or verdict:
        st.query_params[SHOW] = f"{scope}.{verdict}" if verdict else scope
    else:
        st.query_params.pop(SHOW, None)


def about(subject: str | None) -> None:
    """Put a subject into the address; None takes it out."""
    if subject is None:
        st.query_params.pop(WHO, None)
    else:
        st.query_params[WHO] = subject


def controls(frame: pd.DataFrame, chosen: Filter) -> str:
    """Show the four parts and a search; return the words that are searched for."""
    # Before they are drawn: the address decides, also after a click on a number and after back and forward.
    st.session_state.update(
        {
            "filter.scope": chosen.scope,
            "filter.verdict": chosen.verdict or None,
            "filter.kind": chosen.kind or None,
            "filter.who": chosen.subject,
        }
    )
    subjects = sorted(set(frame["subject"]))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.segmented_control(
            "Scope",
            ["", *SCOPES],
            format_func=lambda scope: SCOPES.get(scope, "Both"),
            key="filter.scope",
            required=True,
            help=glossary.help_text("unlearn scope", "retention scope"),
            on_change=_changed,
        )
        st.selectbox(
            "Kind of question",
            kinds_of(frame["kind"]),
            None,
            format_func=KINDS.get,
            key="filter.kind",
            help=glossary.help_text("wording", "another fact", "val"),
            placeholder="all kinds",
            width=230,
            on_change=_changed,
        )
        subject(subjects, "Subject", f"all {len(subjects)}", 190)
        st.selectbox(
            "Verdict",
            verdicts_of(chosen.scope),
            None,
            format_func=VERDICT_NAMES.get,
            key="filter.verdict",
            help=glossary.help_text("leaked", "kept", "lost", "gibberish", "declined"),
            placeholder="all verdicts",
            width=160,
            on_change=_changed,
        )
        return st.text_input("Search", key="find", placeholder="a street, a word", bind="query-params", width=150)


def subject(subjects: Sequence[str], label: str, nobody: str, width: int) -> None:
    """Show the part that names a subject; the session holds what it shows. nobody: empty where it must be one."""
    st.selectbox(
        label,
        subjects,
        None if nobody else 0,
        key="filter.who",
        placeholder=nobody,
        width=width,
        format_func=lambda name: shorten(str(name), 60) or NOBODY,
        on_change=lambda: about(st.session_state["filter.who"]),
    )


def _changed() -> None:
    """Take over what was chosen; a verdict that the other scope cannot have is taken back."""
    state = st.session_state
    scope, verdict = state["filter.scope"] or "", state["filter.verdict"] or ""
    show(scope, verdict if verdict in verdicts_of(scope) else "")
    st.query_params[AMONG] = state["filter.kind"] or ALL
