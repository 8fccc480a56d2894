"""Which palette the visitor's theme asks for, and how figures and messages are put on a page."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import streamlit as st

from core.data.corpus import SCOPES
from core.runs.store import Run
from core.util.errors import UserError
from dashboard.charts.palette import DARK, LIGHT, Palette
from dashboard.text import md
from dashboard.widgets import current_run
from dashboard.widgets.plot import chart as chart


def scheme() -> str:
    """Return what the page is drawn for: “dark” or “light”."""
    return "dark" if st.context.theme.type == "dark" else "light"


def palette() -> Palette:
    """Return the colours of the theme that the page is shown in."""
    return DARK if scheme() == "dark" else LIGHT


def where(run: Run, stage: str, file: str, formula: str, examples: str = "") -> list[tuple[str, str]]:
    """Return what stands behind "Where from": enough to find a number again and to compute it anew."""
    manifest, status = run.json("manifest.json") or {}, run.status()
    record = (manifest.get("stages") or {}).get(stage) or (status.get("stages") or {}).get(stage) or {}
    took = f", {record['seconds']:.0f} s" if isinstance(record.get("seconds"), int | float) else ""
    again = ", re-used from an earlier run" if record.get("reused") or record.get("state") == "reused" else ""
    facts = [("Run", run.id), ("Stage", f"{stage}{took}{again}"), ("File", file), ("Computed as", formula)]
    if not examples:
        config, there = run.config(), _trained_on(str(run.path), current_run.stamp(run, "answers.jsonl"))
        # The stages that do not take all of them.
        most = {"localize": config.localize.most, "evaluate": config.evaluate.most}.get(stage) or math.inf
        unlearn, retention = (min(most, there[scope]) for scope in SCOPES)
        examples = f"{unlearn} unlearn and {retention} retention questions (train)" if there else ""
    if examples:
        facts.append(("From", examples))
    for name in ("seed", "dtype", "device"):
        if manifest.get(name) is not None:
            facts.append((name.capitalize(), str(manifest[name])))
    return facts


@st.cache_resource(max_entries=64, show_spinner=False)  # type: ignore[untyped-decorator]
def _trained_on(path: str, changed: float) -> Counter[str]:
    """Return scope -> questions of train; empty where no answers were recorded."""
    answers = current_run.answers(Run(Path(path)))
    return Counter(str(row.get("scope")) for row in answers if row.get("split") == "train")


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
