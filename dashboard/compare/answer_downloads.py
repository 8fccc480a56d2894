"""Answers to take along: as JSON, as CSV, and as a file for the LLM Comparator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from core.report.export_answers import Record, to_comparator, to_csv, to_json
from core.util.errors import UserError
from dashboard.widgets import page_style


def show(records: Sequence[Record], name: str) -> None:
    """Offer some records as JSON, CSV and an LLM Comparator file."""
    if not records:
        return
    kinds: list[tuple[str, Callable[[Sequence[Record]], str], str, str]] = [
        ("JSON", to_json, "json", "application/json"),
        ("CSV", to_csv, "csv", "text/csv"),
    ]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for title, write, ending, mime in kinds:
            st.download_button(
                title,
                write(records),
                f"forgetscope-{name}.{ending}",
                mime,
                key=f"{name}.{ending}",
                icon=":material/download:",
                on_click="ignore",
            )
        try:
            text: Any = to_comparator(records)
        except UserError as error:
            page_style.complain(error)
            return
        st.download_button(
            "LLM Comparator",
            text,
            f"forgetscope-{name}-comparator.json",
            "application/json",
            key=f"{name}.comparator",
            icon=":material/download:",
            on_click="ignore",
            help="Before and after, for https://pair-code.github.io/llm-comparator (it opens local files).",
        )
