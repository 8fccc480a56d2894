"""Controls whose value is kept in the address as it is, where `bind` would write the label that people read."""

from __future__ import annotations

from collections.abc import Callable, Collection

import streamlit as st


def part(key: str, parts: Collection[str], draw: Callable[[], str]) -> str:
    """Let one of a page's parts be chosen, the first one at the beginning; return it. draw: shows the control."""
    first = next(iter(parts))
    take(key, parts)
    if st.session_state.get(key) not in parts:
        st.session_state[key] = first
    chosen = draw()
    keep(key, chosen if chosen != first else "")
    return chosen


def take(key: str, choices: Collection[str], *, stays: bool = False) -> None:
    """Before a control is drawn: let it follow the address where that was changed by a link or by back and forward.

    stays: a control of a form, which keeps its value while another page or another view of the form is shown; Streamlit
    forgets what is not drawn, and links to other pages drop the address's words.
    """
    given, state = st.query_params.get(key), st.session_state
    written = state.get(f"{key}_written")
    if stays and key not in state and written in choices and given in (None, written):
        state[key] = written
        return
    # Only a change of the address counts: its old word, read at every rerun, would undo what was just chosen. Of a control
    # that was not drawn meanwhile nothing is known any more: whoever comes back finds what the address says.
    if given != written or state.get(key) not in choices:
        state[f"{key}_written"] = given
        if given in choices:
            state[key] = given
        elif given is None:
            state.pop(key, None)


def keep(key: str, value: str) -> None:
    """After a control was drawn: put its value into the address; an empty one takes it out."""
    if st.query_params.get(key, "") != value:
        if value:
            st.query_params[key] = value
        else:
            del st.query_params[key]
    # What was written here must not come back as a wish of somebody's.
    st.session_state[f"{key}_written"] = value or None
