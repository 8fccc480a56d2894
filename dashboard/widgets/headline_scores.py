"""A run's final numbers as a table, and where they are from."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core.runs import asked, never_knew
from core.runs.scores import Scores
from core.runs.store import Run
from core.runs.voices import VOICE_NAMES
from dashboard.text import md
from dashboard.widgets import current_run, page_style, scope_names

MISSING = "–"


KNEW_TITLE = "Never-knew, per example"


def percent(number: float | None) -> str:
    """Write a percentage, a dash for a missing one."""
    return MISSING if number is None else f"{number:.1f} %"


SOURCES = {
    "Unlearn Success": "100 − accuracy on the unlearn scope. Accuracy: share of answer tokens (end token included) that are "
    "the model's first choice, teacher-forced, mean over questions (paper, section 4.1)",
    "Retention Success": "accuracy, as above, on the retention scope",
    KNEW_TITLE: "100 · (1 − |after − never taught| / (before − never taught)) of each answer token's probability on the "
    "unlearn scope, at least 0; mean over an answer's tokens that teaching made likelier by .2, then over questions",
    "Still said": "the answers in answers.jsonl, judged by the rules of the page Evidence (python -m core metrics: asked)",
}


def facts(run: Run) -> list[tuple[str, str]]:
    """Return where the headline numbers are from."""
    answers = current_run.answers(run)
    kind = asked.kind_asked(Scores.read(run)) or "val"
    there = [str(row.get("scope")) for row in answers if scope_names.kind(row) == kind and "after" in row]
    counts = f"{there.count('unlearn')} unlearn and {there.count('retention')} retention questions"
    examples = f"{counts} ({asked.KIND_NAMES[kind]}); next-word accuracy: val" if answers else "questions of val"
    pairs = page_style.where(run, "evaluate", "metrics.json, from tokens.parquet and answers.jsonl", "", examples)
    return [pair for pair in pairs if pair[1]] + list(SOURCES.items())


def where_from(pairs: Sequence[tuple[str, str]], key: str = "scores_from") -> None:
    """Show where numbers are from, on demand."""
    with st.popover("Where from", type="tertiary", key=key):
        for name, words in pairs:
            st.markdown(f":gray[{md(name)}]  \n{md(words)}")


ROWS = (
    ("unlearn", "leaked", "To forget, still said"),
    ("unlearn", "noise", "To forget, gibberish"),
    ("retention", "kept", "To keep, still said"),
)
"""what stands first in a run's table: scope, outcome, name"""


def before_after(scores: Scores, kind: str = "") -> list[dict[str, str]]:
    """Return the final table: a row a measure, a column a voice; what is said first, next-word accuracy after it.

    kind: of question that is counted, empty for the one that says the most.
    """
    there = voices(scores)
    kind, rows = kind or asked.kind_asked(scores), []
    said = [(*row, kind) for row in ROWS] if kind else []
    if said and kind != asked.OTHER and asked.OTHER in asked.kinds(scores):
        said += [(*row, asked.OTHER) for row in (ROWS[0], ROWS[-1])]  # of each run, so that runs can be compared
    for scope, outcome, title, of in said:
        counts = {voice: asked.outcomes(scores, voice, scope, of) for voice in there}
        cells = {VOICE_NAMES[voice]: each.in_words(outcome) if each else MISSING for voice, each in counts.items()}
        rows.append({"Measure": f"{title} ({asked.KIND_NAMES[of]})", **cells})
    for scope, title in (("unlearn", "Unlearn Success"), ("retention", "Retention Success")):
        for split in ("train", "dev", "val"):
            values = {voice: scores.success(voice, scope, split).value for voice in there}
            if values["before"] is not None or values["after"] is not None:
                rows.append({"Measure": f"{title}, {split} (next-word accuracy)", **_cells(values)})
    for metric, title, part in (
        ("degenerate", "Answers that are gibberish, unlearn val", "unlearn/val"),
        ("rouge", "ROUGE-L, retention val", "retention/val"),
        ("general", "Perplexity of everyday text", "text"),
    ):
        values = {voice: scores.value(metric, voice, part).value for voice in there}
        if any(v is not None for v in values.values()):
            rows.append({"Measure": title, **_cells(values, scores.unit(metric))})
    for split in ("train", "val"):
        knew = never_knew.knew(scores, asked.kind_of_split(scores, split)).score.value
        if knew is not None:
            only = {VOICE_NAMES[voice]: percent(knew) if voice == "after" else "" for voice in there}
            rows.append({"Measure": f"{KNEW_TITLE}, {split}", **only})
    return rows


def voices(scores: Scores) -> list[str]:
    """Return the voices that a run's tables show: the three that any run has, and what else was asked or scored."""
    there = {"before", "after", "never", *scores.voices(asked.METRIC), *scores.voices("accuracy")}
    return [voice for voice in VOICE_NAMES if voice in there]


def _cells(values: dict[str, float | None], unit: str = "%") -> dict[str, str]:
    return {VOICE_NAMES[v]: MISSING if x is None else f"{x:.1f} {unit}".strip() for v, x in values.items()}
