"""Which palette the visitor's theme asks for, and how figures and messages are put on a page."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import streamlit as st

from core.util.errors import UserError
from dashboard.charts.palette import DARK, LIGHT, Palette
from dashboard.text import md
from dashboard.widgets import current_run
from dashboard.widgets.plot import chart as chart

if TYPE_CHECKING:
    from core.runs.store import Run


def palette() -> Palette:
    """Return the colours of the theme that the page is shown in."""
    return DARK if st.context.theme.type == "dark" else LIGHT


def where(run: Run, stage: str, file: str, formula: str, examples: str = "") -> list[tuple[str, str]]:
    """Return what stands behind "Where from": enough to find a number again and to compute it anew."""
    manifest, status = run.json("manifest.json") or {}, run.status()
    record = (manifest.get("stages") or {}).get(stage) or (status.get("stages") or {}).get(stage) or {}
    took = f", {record['seconds']:.0f} s" if isinstance(record.get("seconds"), int | float) else ""
    again = ", re-used from an earlier run" if record.get("reused") or record.get("state") == "reused" else ""
    facts = [("Run", run.id), ("Stage", f"{stage}{took}{again}"), ("File", file), ("Computed as", formula)]
    if not examples:
        answers = current_run.answers(run)
        config = run.config()
        # The stages that do not take all of them.
        most = {"localize": config.localize.most, "evaluate": config.evaluate.most}.get(stage) or len(answers)
        counts = {
            s: min(most, sum(r.get("scope") == s and r.get("split") == "train" for r in answers))
            for s in ("unlearn", "retention")
        }
        examples = f"{counts['unlearn']} unlearn and {counts['retention']} retention questions (train)" if answers else ""
    if examples:
        facts.append(("From", examples))
    for name in ("seed", "dtype", "device"):
        if manifest.get(name) is not None:
            facts.append((name.capitalize(), str(manifest[name])))
    return facts


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
