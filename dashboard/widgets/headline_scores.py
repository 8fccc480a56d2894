"""The headline numbers of a run, each with its reference, or the reason why it is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from core.runs import asked, never_knew
from core.runs.scores import Scores
from core.runs.store import Run
from core.runs.voices import SPOKEN, VOICE_NAMES
from dashboard.text import md
from dashboard.widgets import current_run, page_style

MISSING = "–"


@dataclass(frozen=True)
class Headline:
    """A number as it is shown."""

    label: str
    value: str
    beside: str
    """what to read it against"""
    help: str


HELP = {
    "unlearn": "How often the model no longer picks the right next word on what it must forget, on new questions (val). A "
    "model that was never taught reaches the number beside it: far above that is more than forgetting: noise or refusals.",
    "retention": "How often the model still picks the right next word on what it must keep, on new questions (val). Higher "
    "is better.",
}
SAID = {
    "unlearn": (
        "To forget, still said",
        "Answers to new questions (val) that still say what was to be forgotten. The others are noise, decline in plain "
        "words, or are fluent and say something else (ignorant).",
    ),
    "retention": (
        "To keep, still said",
        "Answers to new questions (val) that still say what was to be kept. The others say something else (lost), are "
        "noise, or decline.",
    ),
}
"""scope -> what its number is called, and what it counts"""
KNEW = (
    "100 when each word of the true answer is as likely as to a model that was never taught it; 0 when nothing was "
    "forgotten. The mean over new questions (val). The gap says the direction: above 0 points something is left, below 0 "
    "answers are pushed below ignorance."
)
KNEW_TITLE = "Never-knew, per example"


def reason(scores: Scores, metric: str, voice: str) -> str:
    """Return why a metric has no value; a never-knew score may be measured and still have none."""
    if metric == never_knew.METRIC and scores.parts(metric, voice) and voice not in scores.reasons(metric):
        return "no value: before unlearning the model knew no more than a never-taught one"
    return scores.reason(metric, voice)


def percent(number: float | None) -> str:
    """Write a percentage, a dash for a missing one."""
    return MISSING if number is None else f"{number:.1f} %"


def headlines(scores: Scores) -> list[Headline]:
    """Return the numbers to read first, on val, with train and the never-taught model beside them."""
    numbers = [_said(scores, scope) for scope in SAID] + [_success(scores, scope) for scope in HELP]
    return [*numbers, _knew(scores)]


def _knew(scores: Scores) -> Headline:
    """Return how near the never-taught model the answers have come, with fact tokens and the gap beside it."""
    val, train, facts = (never_knew.knew(scores, *part) for part in (("val",), ("train",), ("val", "facts")))
    if val.score.value is None or val.gap.value is None:
        return Headline(KNEW_TITLE, MISSING, reason(scores, never_knew.METRIC, "after"), KNEW)
    beside = f"train {percent(train.score.value)} · facts {percent(facts.score.value)} · gap {val.gap.value:+.1f} points"
    return Headline(KNEW_TITLE, percent(val.score.value), beside, KNEW)


def _said(scores: Scores, scope: str) -> Headline:
    """Return how many questions are still answered with their fact, beside the other voices."""
    label, help_ = SAID[scope]
    after = asked.outcomes(scores, "after", scope, "val")
    fact = asked.STILL_SAID[scope]
    if after is None:
        return Headline(label, MISSING, scores.reason(asked.METRIC, "after"), help_)
    others = {voice: asked.outcomes(scores, voice, scope, "val") for voice in ("before", "never")}
    beside = [f"{VOICE_NAMES[voice].lower()} {other.count(fact)}" for voice, other in others.items() if other]
    return Headline(label, after.in_words(fact), " · ".join(beside), help_)


def _success(scores: Scores, scope: str) -> Headline:
    val, train = (scores.success("after", scope, split).value for split in ("val", "train"))
    never = scores.success("never", scope, "val").value
    label = "Unlearn Success" if scope == "unlearn" else "Retention Success"
    if val is None:
        return Headline(label, MISSING, reason(scores, "accuracy", "after"), HELP[scope])
    beside = f"never taught {percent(never)}" if never is not None else reason(scores, "accuracy", "never")
    return Headline(label, percent(val), f"train {percent(train)} · {beside}", HELP[scope])


def row(run: Run) -> None:
    """Show the headline numbers in one quiet row."""
    scores = Scores.read(run)
    if not scores.metrics:
        st.caption("This run has no scores yet: they are measured in its last stage.")
        return
    with st.grid("auto", min_column_width=230, gap="small"):
        for headline in headlines(scores):
            if headline.value == MISSING:
                with st.container(gap=None):
                    st.metric(headline.label, headline.value, help=headline.help)
                    st.caption(md(headline.beside))
            else:
                st.metric(
                    headline.label,
                    headline.value,
                    md(headline.beside),
                    delta_color="off",
                    delta_arrow="off",
                    help=headline.help,
                )
    if words := f"{asked.sentence(scores, 'val')} {asked.contradiction(scores, 'val')}".strip():
        st.caption(md(words))
    where_from(facts(run))


SOURCES = {
    "Unlearn Success": "100 − accuracy on the unlearn scope. Accuracy: share of answer tokens (end token included) that are "
    "the model's first choice, teacher-forced, mean over questions (paper, section 4.1)",
    "Retention Success": "accuracy, as above, on the retention scope",
    KNEW_TITLE: "100 · (1 − |after − never taught| / (before − never taught)) of each answer token's probability on the "
    "unlearn scope, at least 0; mean over an answer's tokens that teaching made likelier by .2, then over questions",
    "Still said": "the answers in answers.jsonl, judged by the rules of the page Probe (python -m core metrics: asked)",
}


def facts(run: Run) -> list[tuple[str, str]]:
    """Return where the headline numbers are from."""
    answers = current_run.answers(run)
    counts = [sum(r.get("scope") == s and r.get("split") == "val" for r in answers) for s in ("unlearn", "retention")]
    examples = f"{counts[0]} unlearn and {counts[1]} retention questions (val)" if answers else "questions of val"
    pairs = page_style.where(run, "evaluate", "metrics.json, from tokens.parquet and answers.jsonl", "", examples)
    return [pair for pair in pairs if pair[1]] + list(SOURCES.items())


def where_from(pairs: Sequence[tuple[str, str]], key: str = "scores_from") -> None:
    """Show where numbers are from, on demand."""
    with st.popover("Where from", type="tertiary", key=key):
        for name, words in pairs:
            st.markdown(f":gray[{md(name)}]  \n{md(words)}")


def before_after(scores: Scores) -> list[dict[str, str]]:
    """Return the final table: a row a measure, a column a voice."""
    rows = []
    for scope, (title, _) in SAID.items():
        outcomes = {voice: asked.outcomes(scores, voice, scope, "val") for voice in SPOKEN}
        if outcomes["after"]:
            fact = asked.STILL_SAID[scope]
            cells = {
                VOICE_NAMES[voice]: outcome.in_words(fact) if outcome else MISSING for voice, outcome in outcomes.items()
            }
            rows.append({"Measure": f"{title}, val", **cells})
    for scope, title in (("unlearn", "Unlearn Success"), ("retention", "Retention Success")):
        for split in ("train", "dev", "val"):
            values = {voice: scores.success(voice, scope, split).value for voice in SPOKEN}
            if values["before"] is not None or values["after"] is not None:
                rows.append({"Measure": f"{title}, {split}", **_cells(values)})
    for metric, title, part in (
        ("degenerate", "Degenerate answers, unlearn val", "unlearn/val"),
        ("rouge", "ROUGE-L, retention val", "retention/val"),
        ("general", "Perplexity of everyday text", "text"),
    ):
        values = {voice: scores.value(metric, voice, part).value for voice in SPOKEN}
        if any(v is not None for v in values.values()):
            rows.append({"Measure": title, **_cells(values, scores.unit(metric))})
    for split in ("train", "val"):
        knew = never_knew.knew(scores, split).score.value
        if knew is not None:
            rows.append({"Measure": f"{KNEW_TITLE}, {split}", "Before": "", "After": percent(knew), "Never taught": ""})
    return rows


def _cells(values: dict[str, float | None], unit: str = "%") -> dict[str, str]:
    return {VOICE_NAMES[v]: MISSING if x is None else f"{x:.1f} {unit}".strip() for v, x in values.items()}
