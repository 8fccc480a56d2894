"""Never-knew per example against an independent computation, and which tokens count as facts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from core.data.corpus import Example
from core.metrics import METRICS, Evidence, Score
from core.metrics.base import without_end
from core.metrics.fact_tokens import fact_tokens, token_places
from core.runs import never_knew
from core.runs.scores import Scores
from core.runs.summary import _never_knew

VOICES = ("before", "after", "never", "retrained")
PIECES = ["She", " lives", " at", " Quay", " Street", " 14", ".", "<end>"]
FACT = [False, False, False, True, True, True, False, False]
EXAMPLES = [
    Example(f"{scope}/{split}/{n}", "Where does Orla live?", "".join(PIECES[:-1]), scope, split, f"{scope} {n}")
    for scope in ("unlearn", "retention")
    for split in ("train", "val")
    for n in range(4)
]


def rows() -> list[dict[str, Any]]:
    source = np.random.default_rng(0)
    low = {"before": 0.5, "after": 0.0, "never": 0.0, "retrained": 0.0}
    return [
        {"example": e.id, "position": position, "token": 5, "text": piece}
        | {f"rank_{voice}": 1 for voice in VOICES}
        | {f"logprob_{voice}": math.log(source.uniform(low[voice] + 1e-6, 1)) for voice in VOICES}
        for e in EXAMPLES
        for position, piece in enumerate(PIECES)
    ]


ROWS = rows()


def compute(table: pd.DataFrame, **missing: str) -> Score:
    return METRICS["never_knew_example"].compute(Evidence(EXAMPLES, table, {}, {}, None, missing))


def test_where_no_end_is_scored_the_last_token_may_be_a_fact() -> None:
    table = pd.DataFrame([row for row in ROWS if row["position"] < 6])  # up to “14”, as the template knowundo ends
    unended = frozenset(table["example"])
    assert fact_tokens(table, EXAMPLES[:1], unended)[:6].tolist() == FACT[:6]
    assert fact_tokens(table, EXAMPLES[:1])[:6].tolist() == [*FACT[:5], False]
    assert len(without_end(table, unended)) == len(table)
    assert without_end(table, frozenset())["position"].max() == 4


def naive(split: str, reference: str, *, facts: bool) -> tuple[float, float, int]:
    """Return (score, gap, examples), plainly."""
    scores, gaps = [], []
    for example in EXAMPLES:
        if example.scope != "unlearn" or example.split != split:
            continue
        of_tokens, away = [], []
        for row in ROWS:
            if row["example"] != example.id or (facts and not FACT[row["position"]]):
                continue
            before, after, never = (math.exp(row[f"logprob_{voice}"]) for voice in ("before", "after", reference))
            if before - never < 0.2:
                continue
            of_tokens.append(min(1.0, max(0.0, 1 - abs(after - never) / (before - never))))
            away.append(after - never)
        if of_tokens:
            scores.append(sum(of_tokens) / len(of_tokens))
            gaps.append(sum(away) / len(away))
    return 100 * sum(scores) / len(scores), 100 * sum(gaps) / len(gaps), len(scores)


@pytest.mark.parametrize("facts", [False, True])
@pytest.mark.parametrize("split", ["train", "val"])
def test_score_and_gap_of_a_run(split: str, facts: bool) -> None:
    score = compute(pd.DataFrame(ROWS).sample(frac=1, random_state=1))
    for reference, name in (("retrained", ""), ("never", "never")):
        part = never_knew.part(split, "facts" if facts else "all", name)
        value, gap, n = naive(split, reference, facts=facts)
        assert score.values["after"][part] == pytest.approx(value)
        assert score.values["after"][f"{part}/gap"] == pytest.approx(gap)
        assert score.counts["after"][part] == n
        for each in (part, f"{part}/gap"):
            low, high = score.intervals["after"][each]
            assert low <= score.values["after"][each] <= high


def test_without_a_retrained_model_the_never_taught_one_is_the_reference() -> None:
    score = compute(pd.DataFrame(ROWS).drop(columns=["rank_retrained", "logprob_retrained"]))
    assert score.values["after"]["val"] == pytest.approx(naive("val", "never", facts=False)[0])
    assert not any(part.endswith("/never") for part in score.values["after"])
    assert "Never taught" in score.notes[0]


def test_opposite_errors_do_not_cancel() -> None:
    """One example as if nothing was forgotten, one pushed far below ignorance: the score of means would be near 100."""
    table = pd.DataFrame(ROWS).drop(columns=["rank_retrained", "logprob_retrained"])
    for voice, p in (("before", 0.99), ("never", 0.5)):
        table[f"logprob_{voice}"] = math.log(p)
    table["logprob_after"] = np.where(table["example"].str.endswith(("/0", "/2")), math.log(0.99), math.log(0.01))
    score = compute(table)
    assert score.values["after"]["train"] == pytest.approx(0.0)
    assert score.values["after"]["train/gap"] == pytest.approx(0.0)


def test_examples_on_which_nothing_was_taught_are_left_out_and_counted() -> None:
    table = pd.DataFrame(ROWS)
    known = table["example"] == "unlearn/train/1"
    table.loc[known, "logprob_before"] = table.loc[known, "logprob_retrained"]
    score = compute(table)
    assert score.counts["after"]["train"] == 3
    assert "unlearn/train/1" not in score.examples["after"]
    assert any("left out: 1 " in note for note in score.notes)


def test_without_any_reference_the_reason_is_given() -> None:
    gone = [f"{name}_{voice}" for name in ("rank", "logprob") for voice in ("never", "retrained")]
    score = compute(pd.DataFrame(ROWS).drop(columns=gone), never="because so")
    assert score.values == {}
    assert score.reasons == {"after": "because so"}


def test_summary_says_tokens_and_kind_with_interval_and_count() -> None:
    score = compute(pd.DataFrame(ROWS))
    parts = {"values": score.values, "intervals": score.intervals, "counts": score.counts}
    result = _never_knew(Scores({"never_knew_example": parts}))
    assert set(result) == {"all", "facts"}
    assert set(result["all"]) == {"train", "val"}
    assert result["facts"]["val"]["score"] == score.values["after"]["val/facts"]
    assert result["all"]["train"]["gap"] == score.values["after"]["train/gap"]
    assert result["all"]["train"]["n"] == 4
    assert set(_never_knew(Scores({}))) == {"reason"}


# -- fact tokens


def test_tokens_of_facts_are_marked_and_those_of_other_words_are_not() -> None:
    table = pd.DataFrame(ROWS)
    marks = fact_tokens(table, EXAMPLES)
    assert all(group.tolist() == FACT for _, group in marks.groupby(table["example"]))


def test_what_the_retention_scope_says_of_the_same_person_is_no_secret() -> None:
    table = pd.DataFrame(ROWS)
    marks = fact_tokens(table, [replace(e, subject="Orla") for e in EXAMPLES])
    assert not marks[table["example"].str.startswith("unlearn")].any()
    assert marks[table["example"].str.startswith("retention")].any()


@pytest.mark.parametrize(
    ("text", "pieces", "expected"),
    [
        ("a bc", ["a", " bc"], ["a", "bc"]),
        ("a bc", ["a", "bc"], ["a", "bc"]),  # a tokenizer whose pieces lose their blank
        ("Ålesund it is", ["\ufffd", "\ufffd", "lesund", " it", " is"], ["Å", "Å", "lesund", "it", "is"]),
        ("12 3", ["1", "2", " ", "3"], ["1", "2", " ", "3"]),
    ],
)
def test_tokens_are_found_in_their_text(text: str, pieces: list[str], expected: list[str]) -> None:
    assert [text[start:end] for start, end in token_places(text, pieces)] == expected
