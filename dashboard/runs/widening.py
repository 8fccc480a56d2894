"""What widening added to a run: how many further questions, how many were left out, and some of them to look at."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from core.data import widened_questions
from dashboard.charts.base import SCOPE_NAMES
from dashboard.text import md


def show(events: Sequence[Mapping[str, Any]]) -> None:
    """Show a run's last account of its widening; nothing where it has none (yet)."""
    account = next((event for event in reversed(events) if event.get("kind") == "widened"), None)
    if account is None:
        return
    st.caption(f":material/add_circle: {md(widened_questions.in_words(account))}")
    samples = account.get("samples")
    questions = [sample for sample in samples if isinstance(sample, dict)] if isinstance(samples, list) else []
    if not questions:
        return
    with st.expander("Some of the further questions", icon=":material/forum:", key="widened"):
        st.caption(
            "Asked about another subject, answered by the taught model: both scopes learn from them as from their "
            "own. A question "
            "of val in other words may be among them; only the same words are left out."
        )
        for sample in questions[: 2 * widened_questions.SAMPLES]:
            st.markdown(f"**{md(sample.get('question', ''))}** :gray[{SCOPE_NAMES.get(str(sample.get('scope')), '')}]")
            st.html(f'<div dir="auto" style="overflow-wrap:anywhere">{html.escape(str(sample.get("answer", "")))}</div>')
