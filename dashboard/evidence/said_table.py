"""What generated answers say, counted: a row a voice under each kind of question, a column an outcome. No Streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

from core.metrics.asked import OUTCOMES
from core.runs import asked
from core.runs.asked import KIND_NAMES, Outcomes
from core.runs.scores import Scores, Value
from core.runs.voices import VOICE_NAMES
from dashboard.charts.palette import Palette, shade
from dashboard.evidence.scores_table import Measured
from dashboard.pages import EVIDENCE
from dashboard.widgets.number_table import Cell, Column, Row, Table
from dashboard.widgets.scope_names import KINDS, SCOPES

HELP = {
    ("unlearn", "leaked"): "Answers that still say what must be forgotten.",
    ("unlearn", "noise"): "Answers that are empty, repeat themselves or are no words: that is no forgetting.",
    ("unlearn", "declined"): "Answers that say in plain words that they do not know or will not tell.",
    ("unlearn", "ignorant"): "Fluent answers that say something else.",
    ("unlearn", asked.CONFABULATED): "Whatever else they are: answers that state an invented name, number or e-mail.",
    ("retention", "kept"): "Answers that say what must be kept.",
    ("retention", "lost"): "Fluent answers that say something else.",
    ("retention", "noise"): "Answers that are empty, repeat themselves or are no words.",
    ("retention", "declined"): "Answers that say in plain words that they do not know or will not tell.",
}
SHOWN = {"unlearn": (*asked.OUTCOMES["unlearn"], asked.CONFABULATED), "retention": asked.OUTCOMES["retention"]}
"""scope -> its columns"""


def verdict_of(scope: str, outcome: str) -> str:
    """Return the verdict behind an outcome; empty for what is none."""
    return next((name for name, known in OUTCOMES[scope].items() if known == outcome), "")


COLUMNS = tuple(
    Column(asked.outcome_name(outcome).capitalize(), HELP[scope, outcome], SCOPES[scope])
    for scope in SCOPES
    for outcome in SHOWN[scope]
)
ALONE = ("train", "dev")
"""splits that show nothing of other questions: who picks a checkpoint by them must not have seen those"""


def kinds(runs: Sequence[Measured], split: str) -> list[str]:
    """Return the kinds of question to show, the one that says the most first; of a split in ALONE only its own."""
    there = {row.kind for run in runs for row in asked.table(run.scores) if row.scope in SCOPES}
    return [kind for kind in KIND_NAMES if kind in there and (split not in ALONE or kind == split)]


def table(runs: Sequence[Measured], split: str, palette: Palette) -> Table:
    """Return the table, the current run first. Runs on the same data from the same model share their references."""
    rows: list[Row] = []
    groups = grouped(runs)
    for kind in kinds(runs, split):
        for group in groups:
            if lines := group_rows(group, runs[0], kind, palette):
                rows += [Row(KINDS[kind], note=group[0].data if len(groups) > 1 else ""), *lines]
    return Table("What the answers say, by kind of question and voice", "answers", COLUMNS, rows, stacked=True)


def grouped(runs: Sequence[Measured]) -> list[list[Measured]]:
    """Put runs together whose references say the same, so that these need to be shown only once."""
    groups: dict[object, list[Measured]] = {}
    for run in runs:
        references = tuple(row for row in asked.table(run.scores) if row.voice != "after")
        groups.setdefault((run.base, references), []).append(run)
    return list(groups.values())


def group_rows(group: Sequence[Measured], current: Measured, kind: str, palette: Palette) -> list[Row]:
    """Return one kind's rows of runs that share their references; the current run's are bold."""
    first, rows = group[0], []
    for voice in asked.voices(first.scores):
        name = VOICE_NAMES.get(voice, voice)
        if voice == "after":
            for run in group:
                if cells := cells_of(run.scores, voice, kind, palette, run.run.id):
                    title = name if len(group) == 1 else run.name
                    rows.append(Row(title, cells, kind="after" if run is current else "", mark=run.trouble))
        elif cells := cells_of(first.scores, voice, kind, None):
            rows.append(Row(name, cells, kind="reference"))
    return rows


def cells_of(scores: Scores, voice: str, kind: str, palette: Palette | None, run: str = "") -> list[Cell]:
    """Return a row's cells, shaded where there is a palette; none where neither scope was asked.

    run: whose answers after unlearning these are; its numbers then lead to them.
    """
    both = {scope: asked.outcomes(scores, voice, scope, kind) for scope in SCOPES}
    if not any(both.values()):
        return []
    return [
        cell(both[scope], scope, outcome, palette, link(run, scope, kind, outcome))
        for scope in SCOPES
        for outcome in SHOWN[scope]
    ]


def link(run: str, scope: str, kind: str, outcome: str) -> str:
    """Return the address of the answers that came out so; none of what is no verdict."""
    verdict = verdict_of(scope, outcome)
    if not run or not verdict:
        return ""
    return f"{EVIDENCE.address}?{urlencode({'run': run, 'show': f'{scope}.{verdict}', 'among': kind})}"


def cell(said: Outcomes | None, scope: str, outcome: str, palette: Palette | None, link: str = "") -> Cell:
    """Write "57 of 60" with the ends of its interval. link: to these answers."""
    if said is None:
        return Cell(title="not asked")
    share = said.made_up if outcome == asked.CONFABULATED else said.shares[outcome]
    if share.value is None:
        return Cell(title="not recorded")
    style = shade(goodness(scope, outcome, share), palette) if palette else ""
    return Cell(
        asked.in_words(share.value, said.n), ends(share), f"{share.value:.1f} %, 95 % interval {ends(share)}", style, link
    )


def ends(share: Value) -> str:
    """Write the ends of an interval."""
    return "" if share.low is None or share.high is None else f"{share.low:.0f} to {share.high:.0f} %"


def goodness(scope: str, outcome: str, share: Value) -> float | None:
    """Return how good a share is, 0 … 1: of U nothing should be said or be gibberish, of R everything said."""
    if share.value is None or outcome not in ("leaked", "noise", "kept"):
        return None
    return share.value / 100 if (scope, outcome) == ("retention", "kept") else 1 - share.value / 100
