"""What unlearning cost: time, tokens and memory of each chosen run, with the paper's cost per step beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from core.runs.summary import memory
from core.util.safe_read import mapping, number
from dashboard.evidence import published
from dashboard.evidence.scores_table import Measured
from dashboard.text import duration, md
from dashboard.widgets import headline_scores, number_table, page_style
from dashboard.widgets.number_table import Cell, Column, Row, Table

COLUMNS = (
    Column("Steps", "Optimizer steps that were made"),
    Column(
        "Seconds a step", "Time of the stage divided by its steps: checks and the watch questions at checkpoints included"
    ),
    Column("Tokens/s", "Tokens of the steps' batches, padding included, divided by the time of the stage"),
    Column("Peak memory", "Most memory that the run's process held up to the end of the stage"),
    Column("Unlearning", "Time of the whole stage"),
)


@dataclass(frozen=True)
class Cost:
    """What one run's unlearning took; None where it was not recorded."""

    steps: float | None
    seconds: float | None
    tokens: float | None
    memory: float | None
    """bytes"""
    where: str
    """device and number format"""
    reused: bool = False

    @property
    def step(self) -> float | None:
        """Seconds a step."""
        return self.seconds / self.steps if self.seconds and self.steps else None

    @property
    def rate(self) -> float | None:
        """Tokens a second."""
        return self.tokens / self.seconds if self.tokens and self.seconds else None


def show(chosen: Sequence[Measured]) -> None:
    """Show the table."""
    costs = [read(run) for run in chosen]
    st.markdown(md(in_words(chosen, costs)))
    st.html(number_table.markup(table(chosen, costs), page_style.palette()))
    headline_scores.where_from(
        page_style.where(
            chosen[0].run,
            "unlearn",
            "unlearn.json, manifest.json",
            "seconds / steps; tokens / seconds; peak of the fullest device: the process's resident memory, or a GPU's",
        ),
        "cost_from",
    )


def read(run: Measured) -> Cost:
    """Read a run's cost."""
    result, manifest = mapping(run.run.json("unlearn.json")), mapping(run.run.json("manifest.json"))
    stage = mapping(mapping(manifest.get("stages")).get("unlearn"))
    # A stage that was re-used took its time and memory elsewhere; the time is recorded with what it made, the memory is not.
    peak = None if stage.get("reused") else max(memory(stage).values(), default=None)
    where = " ".join(str(manifest[key]) for key in ("device", "dtype") if manifest.get(key))
    return Cost(
        number(result.get("steps")),
        number(result.get("seconds")),
        number(result.get("tokens")),
        peak,
        where,
        bool(stage.get("reused")),
    )


def in_words(chosen: Sequence[Measured], costs: Sequence[Cost]) -> str:
    """Say what the current run took, and against the cheapest step."""
    mine = costs[0]
    if mine.step is None or mine.seconds is None:
        return "What the current run's unlearning cost was not recorded."
    sentence = f"One step took {mine.step:.2f} s, all {mine.steps:.0f} of them {duration(mine.seconds)}."
    step_times = [(cost.step, run.name) for run, cost in zip(chosen, costs, strict=True) if cost.step]
    cheapest = min(step_times)
    if len(step_times) > 1:
        sentence += (
            " No chosen run has a cheaper step."
            if cheapest[0] == mine.step
            else f" The cheapest step of the chosen runs has “{cheapest[1]}”, {cheapest[0]:.2f} s."
        )
    return sentence


def table(chosen: Sequence[Measured], costs: Sequence[Cost]) -> Table:
    """Return runs first, then the paper's rows, on other hardware and labelled so."""
    rows = [
        Row(
            run.name,
            cells(cost),
            " · ".join(
                part
                for part in (
                    run.method,
                    cost.where,
                    "re-used from an earlier run, where its memory was not kept" if cost.reused else "",
                )
                if part
            ),
            "after" if index == 0 else "",
            run.trouble,
        )
        for index, (run, cost) in enumerate(zip(chosen, costs, strict=True))
    ]
    paper = published.read()
    rows.append(
        Row(
            paper.cost_label,
            note=f"{paper.source}; 7B in 40 GB: compare methods with each other there, not with the rows above",
        )
    )
    for line in paper.cost:
        step, memory = line.values["seconds_per_step"], line.values["memory_gb"]
        figures = [Cell(), Cell(f"{step:.1f} s"), Cell(), Cell(f"{memory:.1f} GB"), Cell()]
        rows.append(Row(line.name[:1].upper() + line.name[1:], figures, paper.cost_label, "published"))
    return Table("What unlearning cost in the chosen runs, and in the paper", "", COLUMNS, rows)


def cells(cost: Cost) -> list[Cell]:
    """Write a run's cost."""

    def cell(value: float | None, text: str) -> Cell:
        return Cell() if value is None else Cell(text)

    return [
        cell(cost.steps, f"{cost.steps or 0:.0f}"),
        cell(cost.step, f"{cost.step or 0:.2f} s"),
        cell(cost.rate, f"{cost.rate or 0:.0f}"),
        cell(cost.memory, f"{(cost.memory or 0) / 1e9:.1f} GB"),
        cell(cost.seconds, duration(cost.seconds or 0)),
    ]
