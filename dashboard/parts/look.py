"""Which palette the visitor's theme asks for, and how figures and messages are put on a page."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import streamlit as st

from core.errors import UserError
from dashboard.charts.palette import DARK, LIGHT, Palette
from dashboard.parts.text import md

if TYPE_CHECKING:
    import plotly.graph_objects as go


def palette() -> Palette:
    """Return the colours of the theme that the page is shown in."""
    return DARK if st.context.theme.type == "dark" else LIGHT


def chart(fig: go.Figure, alt: str, key: str, **more: Any) -> None:
    """Show a figure in the app's own look, with a name for screen readers."""
    from dashboard.charts.base import CONFIG

    st.plotly_chart(fig, theme=None, config=CONFIG, alt=alt, key=key, **more)


def complain(error: UserError) -> None:
    """Show what is wrong and what to do about it."""
    st.error(f"**{md(error.what)}**  \n{md(error.fix)}" if error.fix else f"**{md(error.what)}**", icon=":material/error:")


@contextlib.contextmanager
def complaints() -> Iterator[None]:
    """Show a UserError raised inside as a message; what follows on the page goes on."""
    try:
        yield
    except UserError as error:
        complain(error)
