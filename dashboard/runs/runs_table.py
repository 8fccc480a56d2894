"""The table of all runs: which rows, in which order, how dark. The first half knows nothing of Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from core.runs.overview import Overview
from dashboard.charts.palette import Palette, shade

if TYPE_CHECKING:
    import pandas as pd
    from pandas.io.formats.style import Styler

ORDERS = (
    "Newest first",
    "Name",
    "What it says",
    "Unlearn Success, val",
    "Retention Success, val",
    "Never-knew score, val",
    "Longest",
    "Most memory",
    "Largest",
)
SHOWN = ("Scores", "Cost", "All")
SHADED = 500
"""rows up to which scores are shaded: a style a cell would cost seconds with thousands of runs"""

SAID = {"✖ said": "leaked", "✖ gibberish": "noise", "● said": "kept"}
"""column -> what of an overview's answers"""
SCORES = {
    "U train": "after/unlearn/train",
    "U val": "after/unlearn/val",
    "U never taught": "never/unlearn/val",
    "R train": "after/retention/train",
    "R val": "after/retention/val",
    "R before": "before/retention/val",
}
"""column -> key in an overview's successes"""
KNEW = {"Never-knew train": "train", "Never-knew val": "val"}
COLUMNS: dict[str, tuple[str, ...]] = {
    "Scores": (
        "Name",
        "State",
        "Method",
        "Region",
        *SAID,
        "U val",
        "U never taught",
        "R val",
        "Never-knew val",
        "Made",
        "Asked",
    ),
    "Cost": ("Name", "State", "Model", "Data", "Seconds", "Peak memory", "Size", "Made", "Tags"),
    "All": (
        "Name",
        "State",
        "Model",
        "Data",
        "Method",
        "Region",
        *SAID,
        "Asked",
        *SCORES,
        *KNEW,
        "Seconds",
        "Peak memory",
        "Made",
        "Size",
        "Tags",
        "Id",
    ),
}
HELP = {
    "✖ said": "To forget, still said: how many answers say it. The fewer, the stronger the shade.",
    "✖ gibberish": "To forget, gibberish: answers that are empty, repeat themselves or are no words. That is no forgetting.",
    "● said": "To keep, still said: how many answers say it. The more, the stronger the shade.",
    "Asked": "Which questions “said” and “gibberish” count: of the kinds that were asked, the one that says the most.",
    "U train": "Unlearn Success (100 − next-word accuracy) on the questions it was made to forget.",
    "U val": "Unlearn Success (100 − next-word accuracy) on questions held out from unlearning. Read it against the next "
    "column: a model that was never taught. The nearer, the stronger its shade; far above is more than forgetting.",
    "U never taught": "Unlearn Success (val) of the model before it was taught anything: the control of the column before.",
    "R train": "Retention Success (next-word accuracy) on the questions it was to keep.",
    "R val": "Retention Success (next-word accuracy) on questions held out from unlearning. The higher, the stronger its "
    "shade.",
    "R before": "Retention Success (val) before unlearning: the control of the column before.",
    "Never-knew train": "100: it answers these questions as if it had never been taught; 0: nothing was forgotten.",
    "Never-knew val": "100: it answers held-out questions as if it had never been taught; 0: nothing was forgotten.",
    "Seconds": "Work time of all stages; stages that were re-used cost next to nothing.",
    "Peak memory": "Most memory that the run's own process ever held.",
    "Size": "Files in the run's folder. Stages that several runs share take their space once, but count for each.",
    "Region": "The rule, and how many of the adapter's tensors it chose.",
}


def matching(
    overviews: Sequence[Overview], words: str, states: Sequence[str], methods: Sequence[str], data: Sequence[str]
) -> list[Overview]:
    """Return the runs that have all the words somewhere, and one of the states, methods and data sets, where any is
    named.
    """
    wanted = words.lower().split()
    return [
        run
        for run in overviews
        if (not states or run.state in states)
        and (not methods or run.method in methods)
        and (not data or run.data in data)
        and all(word in _text(run) for word in wanted)
    ]


def _text(run: Overview) -> str:
    label = run.label
    parts = (run.name, run.id, run.state, run.model, run.data, run.method, run.region, label.note, run.problem, *label.tags)
    return "\n".join(parts).lower()


def ordered(overviews: Sequence[Overview], order: str) -> list[Overview]:
    """Sort runs; pinned ones come first, and those that lack the number come last."""
    numbers = {
        "Unlearn Success, val": lambda run: run.success.get("after/unlearn/val"),
        "Retention Success, val": lambda run: run.success.get("after/retention/val"),
        "What it says": lambda run: run.said and run.said.balance,
        "Never-knew score, val": lambda run: run.knew.get("val"),
        "Longest": lambda run: run.seconds,
        "Most memory": lambda run: run.peak_memory,
        "Largest": lambda run: run.size,
    }
    newest = sorted(overviews, key=lambda run: (not run.bundled, run.id), reverse=True)
    if order == "Name":
        newest.sort(key=lambda run: run.name.lower())
    elif number := numbers.get(order):
        newest.sort(key=lambda run: float("inf") if (value := number(run)) is None else -float(value))
    return sorted(newest, key=lambda run: not run.label.pinned)


def row(run: Overview) -> dict[str, Any]:
    """Return a run's cells, whole; None where there is nothing to say."""
    return {
        "Name": f"★ {run.name}" if run.label.pinned else run.name,
        "State": [run.state],
        "Model": run.model,
        "Data": run.data,
        "Method": run.method,
        "Region": run.region,
        **{column: getattr(run.said, key) if run.said else None for column, key in SAID.items()},
        "Asked": run.said.kind if run.said else None,
        **{column: run.success.get(key) for column, key in SCORES.items()},
        **{column: run.knew.get(split) for column, split in KNEW.items()},
        "Seconds": run.seconds,
        "Peak memory": run.peak_memory,
        "Made": run.created,
        "Size": run.size,
        "Tags": list(run.label.tags),
        "Id": run.id,
    }


def goodness(cells: Mapping[str, Any], column: str) -> float | None:
    """Return how good a score is, 0 … 1. Unlearn Success is good near the never-taught model, not above it."""
    value, never = cells.get(column), cells.get("U never taught")
    if value is None:
        return None
    if column in SAID:
        count, _, of = str(value).partition(" of ")
        share = int(count) / int(of)
        return share if column == "● said" else 1 - share
    if column == "U val":
        return None if never is None else max(0.0, 1 - abs(value - never) / 50)
    if column in ("R train", "R val"):
        return float(max(0.0, (value - 50) / 50))
    return max(0.0, value / 100) if column in KNEW else None


def frame(overviews: Sequence[Overview], shown: str) -> pd.DataFrame:
    """Return the table's values, a row a run."""
    import pandas as pd

    table = pd.DataFrame([row(run) for run in overviews], columns=list(COLUMNS["All"]))
    table["Made"] = pd.to_datetime(table["Made"], unit="s", errors="coerce", utc=True)
    for column in (*SCORES, *KNEW, "Seconds", "Peak memory"):
        table[column] = table[column].astype("float64")
    return table[list(COLUMNS[shown])]


def show(overviews: Sequence[Overview], shown: str, chosen: Sequence[str], palette: Palette, version: int) -> None:
    """Show the table; the rows that a person marks there become the chosen runs (by `choose`)."""
    table = frame(overviews, shown)
    ids = [run.id for run in overviews]
    # Marks are positions: with other rows, or another order, they would mean other runs. So such a table is another one.
    key = f"runs.table.{hash((tuple(ids), shown, version))}"
    st.dataframe(
        shaded(table, overviews, palette) if len(overviews) <= SHADED else table,
        key=key,
        hide_index=True,
        placeholder="–",
        column_config=columns(shown),
        height=min(38 + 35 * len(ids), 38 + 35 * 14),
        on_select=lambda: choose(key, ids),
        selection_mode="multi-row",
        selection_default={"selection": {"rows": [i for i, name in enumerate(ids) if name in chosen]}},
        alt="All runs",
    )


def shaded(table: pd.DataFrame, overviews: Sequence[Overview], palette: Palette) -> Styler:
    """Return the table with its scores shaded."""
    import pandas as pd

    styles = [[shade(goodness(row(run), column), palette) for column in table.columns] for run in overviews]
    return table.style.apply(lambda _: pd.DataFrame(styles, index=table.index, columns=table.columns), axis=None)


def choose(key: str, ids: Sequence[str]) -> None:
    """Take the marks of the table over into the address; runs that are filtered away stay chosen."""
    marked = [ids[i] for i in st.session_state[key]["selection"]["rows"] if i < len(ids)]
    hidden = [name for name in chosen_ids() if name not in ids]
    remember([*hidden, *marked])


def chosen_ids() -> list[str]:
    """Return the chosen runs' ids, as the address has them."""
    return [name for name in st.query_params.get("chosen", "").split(",") if name]


def remember(ids: Sequence[str]) -> None:
    """Write the chosen runs into the address."""
    if ids:
        st.query_params["chosen"] = ",".join(dict.fromkeys(ids))
    else:
        st.query_params.pop("chosen", None)


def columns(shown: str) -> dict[str, Any]:
    """Return how each column is shown."""
    kinds = st.column_config
    states = {
        "done": "green",
        "running": "orange",
        "queued": "gray",
        "cancelled": "gray",
        "failed": "red",
        "unreadable": "red",
    }
    made, width = ("D MMM", 68) if shown == "Scores" else ("distance", 96)  # beside the scores is room for a day alone
    kinds_of: dict[str, Any] = {
        "Name": kinds.TextColumn(width=212, pinned=shown == "All", help="★: pinned"),
        "State": kinds.MultiselectColumn(width=72, options=list(states), color=list(states.values())),
        "Seconds": kinds.NumberColumn("Time", format="duration", width=110, help=HELP["Seconds"]),
        "Peak memory": kinds.NumberColumn(format="bytes", width=105, help=HELP["Peak memory"]),
        "Size": kinds.NumberColumn("Size on disk", format="bytes", width=95, help=HELP["Size"]),
        "Made": kinds.DatetimeColumn(format=made, width=width),
        "Tags": kinds.MultiselectColumn(color="gray", width=140),
        "Region": kinds.TextColumn(width=138, help=HELP["Region"]),
        "Method": kinds.TextColumn(width=78),
        "Model": kinds.TextColumn(width=110),
        "Data": kinds.TextColumn(width=110),
        "Id": kinds.TextColumn(width=220),
    }
    for column in SAID:
        kinds_of[column] = kinds.TextColumn(width=90 if len(column) > 8 else 72, help=HELP[column])
    kinds_of["Asked"] = kinds.TextColumn(width=210, help=HELP["Asked"])
    for column in (*SCORES, *KNEW):
        head = {"U never taught": "U never", "Never-knew val": "Never-knew"}.get(column, column)
        kinds_of[column] = kinds.NumberColumn(head, format="%.1f %%", width=66 if len(head) < 10 else 88, help=HELP[column])
    return kinds_of
