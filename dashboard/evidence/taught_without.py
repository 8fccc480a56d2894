"""The model that was taught all but U, for a run that was made without it: offered beside its scores."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.jobs import reference
from core.runs.scores import Scores
from core.runs.store import Run
from core.runs.voices import VOICE
from core.util.errors import UserError
from dashboard.widgets import glossary, page_style, work_beside


def show(run: Run, scores: Scores) -> None:
    """Offer it where the run's scores lack it and it can have it, or show how far it is."""
    if VOICE not in scores.voices("accuracy"):
        work_beside.show(run, "reference", "Teaching a model without U", partial(_offer, run))


def _offer(run: Run) -> None:
    try:
        reference.check(run)
    except UserError:  # nothing is wrong: this run cannot have one, as one that taught nothing
        return
    st.caption(
        f"{glossary.link('retrained', 'What the model would be had it never seen U')} is not known of this run. "
        "It takes about as long as teaching did. The scores are then computed anew."
    )
    if st.button("Teach a model without U as well", icon=":material/school:", key="reference.start"):
        with page_style.complaints():
            reference.start(run)
            st.rerun()
