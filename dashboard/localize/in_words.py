"""What the map shows, in words above it: a heading and a sentence for its colours, one for its outline, and what is known
of both: how well the score found planted facts, and whether random regions would have done as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from core.jobs.controls import MEASURED
from core.localization.measures import MEASURES
from core.regions import Located
from core.regions.words import words
from dashboard.localize import planted_truth, region_controls
from dashboard.text import md
from dashboard.widgets import glossary

if TYPE_CHECKING:
    from dashboard.localize.opened import Opened

OWN_REGION = "Which weights this run was allowed to change"


def show(page: Opened, measure: str, *, by_factor: bool) -> None:
    """Show it."""
    st.subheader(OWN_REGION if measure == "region" and page.own else MEASURES[measure].heading)
    cell = "factor, A or B, of a module" if by_factor else "module"
    st.markdown(f"Each cell is one {cell}. {MEASURES[measure].colour} {outlined(page)}")


def outlined(page: Opened) -> str:
    """Say what is outlined, and whether the run was made with it."""
    rule = (
        f"the pull to **forget** is strong (above {glossary.link('σ')}) and little of it is shared "
        f"({glossary.link('cosine')} below {glossary.link('μ')})"
    )
    if page.own:
        how = f"adds {glossary.link('fresh rank', 'fresh weights')} to" if page.run.config().unlearn.slots > 0 else "changes"
        what = rule if page.by_rule else md(page.words)
        unmapped = "" if isinstance(page.run.config().region, MEASURED) else " The settings chose it, not this map."
        return f"Outlined is the {glossary.link('region')}: {what}.{unmapped} Unlearning here {how} these and no others."
    said = f"Outlined is what these thresholds select: {rule}." if page.by_rule else f"Outlined are {md(page.words)}."
    if not page.recorded:
        return said
    region = page.run.config().region
    if page.by_rule and isinstance(region, Located):
        return f"{said} This run was made with other thresholds."
    return f"{said} This run was made with another region: {md(words(region))}."


def doubts(page: Opened, measure: str) -> str:
    """Say how well the score that the map shows found planted facts, and how random regions did; empty where unknown."""
    planted = planted_truth.sentence(page.run, measure, by_rule=page.by_rule)
    return " ".join(filter(None, (md(planted), md(region_controls.sentence(page.run)))))
