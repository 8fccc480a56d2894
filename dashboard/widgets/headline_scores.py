"""The headline numbers of a run, each with its reference, or the reason why it is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from core.runs import asked, never_knew
from core.runs.scores import Scores
from core.runs.store import Run
from core.runs.voices import VOICE_NAMES
from dashboard.text import md
from dashboard.widgets import current_run, page_style, scope_names

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
    "unlearn": "How often the model no longer picks the right next word on what it must forget, on questions held out from "
    "unlearning (val). A model that was never taught reaches the number beside it: far above that is more than forgetting: "
    "noise or refusals.",
    "retention": "How often the model still picks the right next word on what it must keep, on questions held out from "
    "unlearning (val). Higher is better.",
}
SAID = {
    "unlearn": (
        "To forget, still said",
        "Answers that still say what was to be forgotten. The others are noise, decline in plain words, or are fluent and "
        "say something else (ignorant).",
    ),
    "retention": (
        "To keep, still said",
        "Answers that still say what was to be kept. The others say something else (lost), are noise, or decline.",
    ),
}
"""scope -> what its number is called, and what it counts"""
KNEW = (
    "100 when each word of the true answer is as likely as to a model that was never taught it; 0 when nothing was "
    "forgotten. The mean over questions held out from unlearning (val). The gap says the direction: above 0 points "
    "something is left, below 0 answers are pushed below ignorance."
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


def said(scores: Scores) -> list[Headline]:
    """Return the numbers to read first: of both scopes, how many questions are still answered with their fact."""
    return [_said(scores, scope) for scope in SAID]


def headlines(scores: Scores) -> list[Headline]:
    """Return the numbers of next-word accuracy, on val, with train and the never-taught model beside them."""
    numbers = [_success(scores, scope) for scope in HELP]
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
    kind, fact = asked.kind_asked(scores), asked.STILL_SAID[scope]
    after = asked.outcomes(scores, "after", scope, kind)
    if after is None:
        return Headline(label, MISSING, scores.reason(asked.METRIC, "after"), help_)
    others = {v: asked.outcomes(scores, v, scope, kind) for v in asked.voices(scores) if v != "after"}
    beside = [f"{asked.voice_name(v)} {other.count(fact)}" for v, other in others.items() if other]
    share = after.shares[fact]
    ends = "" if share.low is None else f" 95 % interval: {share.low:.0f} to {share.high:.0f} %."
    return Headline(label, after.in_words(fact), " · ".join(beside), f"{help_} Questions: {asked.KIND_NAMES[kind]}.{ends}")


def _success(scores: Scores, scope: str) -> Headline:
    val, train = (scores.success("after", scope, split).value for split in ("val", "train"))
    never = scores.success("never", scope, "val").value
    label = "Unlearn Success" if scope == "unlearn" else "Retention Success"
    if val is None:
        return Headline(label, MISSING, reason(scores, "accuracy", "after"), HELP[scope])
    beside = f"never taught {percent(never)}" if never is not None else reason(scores, "accuracy", "never")
    return Headline(label, percent(val), f"train {percent(train)} · {beside}", HELP[scope])


def row(run: Run) -> None:
    """Show what the run says in a sentence and two numbers, and next-word accuracy beneath."""
    scores = Scores.read(run)
    if not scores.metrics:
        st.caption("This run has no scores yet: they are measured in its last stage.")
        return
    if words := f"{asked.sentence(scores)} {asked.contradiction(scores)}".strip():
        st.markdown(md(words))
    _grid(said(scores), 330)
    st.caption(f"{asked.NEXT_WORD.capitalize()}:")
    _grid(headlines(scores))
    where_from(facts(run))


def _grid(numbers: Sequence[Headline], width: int = 230) -> None:
    """Show numbers in a row that breaks where there is no room. width: of one at least, pixels."""
    with st.grid("auto", min_column_width=width, gap="small"):
        for headline in numbers:
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
    ("unlearn", "noise", "To forget, noise"),
    ("retention", "kept", "To keep, still said"),
)
"""what stands first in a run's table: scope, outcome, name"""


def before_after(scores: Scores, kind: str = "") -> list[dict[str, str]]:
    """Return the final table: a row a measure, a column a voice; what is said first, next-word accuracy after it.

    kind: of question that is counted, empty for the one that says the most.
    """
    there = voices(scores)
    kind, rows = kind or asked.kind_asked(scores), []
    for scope, outcome, title in ROWS if kind else ():
        counts = {voice: asked.outcomes(scores, voice, scope, kind) for voice in there}
        cells = {VOICE_NAMES[voice]: each.in_words(outcome) if each else MISSING for voice, each in counts.items()}
        rows.append({"Measure": f"{title} ({asked.KIND_NAMES[kind]})", **cells})
    for scope, title in (("unlearn", "Unlearn Success"), ("retention", "Retention Success")):
        for split in ("train", "dev", "val"):
            values = {voice: scores.success(voice, scope, split).value for voice in there}
            if values["before"] is not None or values["after"] is not None:
                rows.append({"Measure": f"{title}, {split} (next-word accuracy)", **_cells(values)})
    for metric, title, part in (
        ("degenerate", "Degenerate answers, unlearn val", "unlearn/val"),
        ("rouge", "ROUGE-L, retention val", "retention/val"),
        ("general", "Perplexity of everyday text", "text"),
    ):
        values = {voice: scores.value(metric, voice, part).value for voice in there}
        if any(v is not None for v in values.values()):
            rows.append({"Measure": title, **_cells(values, scores.unit(metric))})
    for split in ("train", "val"):
        knew = never_knew.knew(scores, split).score.value
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
