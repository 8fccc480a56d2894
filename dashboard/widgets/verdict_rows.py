"""What the page Probe reads of a run: every example with its verdicts, under the rules that the address spells, and rates of
probes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from core.metrics import verdicts
from core.metrics.verdict_rules import DEFAULT, Rules, from_json
from core.metrics.verdicts import Gathered
from core.runs.store import Run
from core.runs.voices import SPOKEN
from core.util.errors import UserError
from core.util.safe_read import mapping, number
from dashboard import pages
from dashboard.charts import probes as chart
from dashboard.widgets import current_run, scope_names

if TYPE_CHECKING:
    import pandas as pd

PARAMETER = "rules"
ORDER = ("leaked", "lost", "degenerate", "refused", "forgotten", "kept")
"""worst first, over both scopes"""


def rules() -> Rules:
    """Return the rules that the address spells, e.g. rules=kept_facts:0.7; the default ones where it makes no sense."""
    pairs = (part.partition(":") for part in str(st.query_params.get(PARAMETER, "")).split(",") if part)
    try:
        return from_json({name: value for name, _, value in pairs})
    except UserError:
        return DEFAULT


def keep(rules: Rules) -> None:
    """Put rules into the address; the default ones need no words."""
    own = {name: value for name, value in rules.to_json().items() if value != getattr(DEFAULT, name)}
    if own:
        st.query_params[PARAMETER] = ",".join(f"{name}:{value:g}" for name, value in own.items())
    else:
        st.query_params.pop(PARAMETER, None)


def gathered(run: Run) -> Gathered:
    """Return what was measured of a run's answers, cached."""
    return _gathered(
        str(run.path), *(current_run.stamp(run, name) for name in ("answers.jsonl", "tokens.parquet", "recorded.json"))
    )


def table(run: Run, rules: Rules) -> pd.DataFrame:
    """Return a run's examples with their kind of question and the rules' verdicts (core.metrics.verdicts.judged), cached.

    Not to be changed.
    """
    stamps = [current_run.stamp(run, name) for name in ("answers.jsonl", "tokens.parquet", "recorded.json")]
    return _table(str(run.path), tuple(stamps), dataclasses.astuple(rules))


@st.cache_resource(max_entries=4, show_spinner=False)  # type: ignore[untyped-decorator]
def _gathered(path: str, *changed: float) -> Gathered:
    return verdicts.gather(Run(Path(path)))


@st.cache_resource(max_entries=8, show_spinner=False)  # type: ignore[untyped-decorator]
def _table(path: str, changed: tuple[float, ...], values: tuple[Any, ...]) -> pd.DataFrame:
    frame = verdicts.judged(_gathered(path, *changed), Rules(*values))
    kinds = {str(row.get("example")): scope_names.kind(row) for row in Run(Path(path)).answers()}
    return frame.assign(kind=[kinds.get(example, "") for example in frame["id"]])


def with_own(frame: pd.DataFrame, given: Mapping[str, Mapping[str, str]], count: bool = True) -> pd.DataFrame:
    """Return the table with the columns own and note; where `count`, a person's verdicts stand in the place of the
    rules'.
    """
    own = frame["id"].map(lambda i: given.get(i, {}).get("verdict", "")).astype(str)
    examples = frame.assign(own=own, note=frame["id"].map(lambda i: given.get(i, {}).get("note", "")).astype(str))
    return examples.assign(verdict=examples["verdict"].where(own == "", own)) if count else examples


def worst_first(frame: pd.DataFrame) -> pd.DataFrame:
    """Sort: the worst verdict first; within it what is best remembered of U, least of R."""
    probability = frame["p_after"].fillna(0.0)
    rank = frame["verdict"].map({verdict: position for position, verdict in enumerate(ORDER)}).fillna(len(ORDER))
    badness = probability.where(frame["scope"] == "unlearn", 1 - probability)
    order = frame.assign(_rank=rank, _bad=-badness).sort_values(["_rank", "_bad"], kind="stable").index
    return frame.loc[order]


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def rates_of(name: str, rates: Mapping[str, Any]) -> chart.Rates:
    """Return the rates that were measured, with their intervals."""
    values = {}
    for voice in SPOKEN:
        rate = mapping(rates.get(voice))
        value, low, high = (number(rate.get(part)) for part in ("value", "low", "high"))
        if value is not None:
            values[voice] = (value, value if low is None else low, value if high is None else high)
    return chart.Rates(name, values)


def columns(rows: Sequence[chart.Rates]) -> dict[str, list[Any]]:
    """Return what the CSV holds."""
    parts = [(voice, index, part) for voice in SPOKEN for index, part in enumerate(("", " low", " high"))]
    nothing = (None, None, None)
    return {"probe": [row.name for row in rows]} | {
        f"{voice}{part}": [row.values.get(voice, nothing)[index] for row in rows] for voice, index, part in parts
    }


def compare_link(run: Run, question: str, label: str) -> None:
    """Show a link that opens a question in Compare."""
    st.page_link(
        pages.COMPARE.script, label=label, icon=pages.COMPARE.icon, query_params={"run": run.id, "q": question[:4000]}
    )
