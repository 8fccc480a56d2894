"""Requests that keep coming: instead of one run, one for each of some subjects, each going on from the one before."""

from __future__ import annotations

import streamlit as st

from core.config.run_config import RunConfig
from core.data.corpus import Corpus
from core.jobs import lifecycle, unlearning_series
from core.runs import store
from dashboard.text import md

HELP = (
    "For requests that keep coming. The first subject is forgotten, then the next from that result, and so on. After each "
    "one all subjects are asked again: does the first come back?"
)


def choose(config: RunConfig, corpus: Corpus | None) -> list[str]:
    """Let subjects be chosen that are forgotten one after the other; return them in that order, none for one run."""
    names = [] if corpus is None else [name for name, parts in corpus.subjects().items() if parts.get("unlearn/train")]
    if len(names) < 2 or config.teach.from_run or config.data.forget:
        return []
    if not st.toggle("Forget one subject after the other", key="new.requests", help=HELP):
        return []
    chosen = st.multiselect("In this order", names, names[:3], key="new.requests.order")
    if len(chosen) < 2:
        st.caption("Choose at least two subjects.")
    else:
        st.caption(f"{len(chosen)} runs, each from the result of the one before: {md(', '.join(chosen))}.")
    return chosen


def start(config: RunConfig, subjects: list[str]) -> None:
    """Queue them. Raises UserError, as core.jobs.unlearning_series.create does."""
    series = unlearning_series.create(config, subjects, store.runs_folder(), config.name or "requests")
    lifecycle.start("sweep", series.as_run)
