"""Doubts that others have published, each beside the number it concerns, with a link to the paper."""

from __future__ import annotations

import streamlit as st

from dashboard.text import cited

DOUBTS = {
    "forgotten": "Forgotten is not gone for good: of methods that keep utility, 21 % of the knowledge was left on average, "
    "and 83 % after 4-bit quantization (arXiv 2410.16454).",
    "planted": "On the testbed LACUNA, MemFlex’s localization found the true parameters no better than chance: AUC .50 "
    "(arXiv 2607.02513).",
    "controls": "Why this matters: on the testbed LACUNA, MemFlex’s localization found the true parameters no better than "
    "chance (AUC .50; "
    "arXiv 2607.02513), and even the true region gives no better trade-off (arXiv 2505.16252).",
}


def beside(number: str) -> None:
    """Show the doubt that concerns a number."""
    st.caption(f":material/menu_book: {cited(DOUBTS[number])}")
