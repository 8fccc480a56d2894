"""Whether a model is found to know what it should forget: by facts, by tokens where there are none."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from core.config.run_config import preset
from core.config.stages import ModelConfig
from core.data.corpus import Corpus, Example
from core.models import loading
from core.pipeline import preflight
from core.pipeline.voices import Voices
from core.util.errors import UserError
from tests.naive import Recorder

CONFIG = preset("this-machine")


def corpus(*answers: str) -> Corpus:
    return Corpus(
        tuple(Example(f"unlearn/train/{n}", "Where?", a, "unlearn", "train", "Ann") for n, a in enumerate(answers)), "test"
    )


def found(data: Corpus, answers: list[str], within: list[str] | None = None, right: int = 0) -> dict[str, object]:
    """Return what is found of answers; of each true answer's four tokens so many are right."""
    ids = [e.id for e in data.examples]
    rows = [{"example": name, "rank_before": 1 if k < right else 9} for name in ids for k in range(4)]
    room = within or [e.answer for e in data.examples]
    return preflight.knowledge(
        data.examples, pd.DataFrame(rows), dict(zip(ids, answers, strict=True)), dict(zip(ids, room, strict=True))
    )


def test_where_there_are_no_facts_tokens_are_judged() -> None:
    data = corpus("Paris.", "東京。")
    unknown, known = (found(data, ["No.", "No."], right=right) for right in (1, 3))
    with pytest.raises(
        UserError, match=r"the first 48 tokens .* hold no fact .* was taken \(25 %, at least 50 % are needed\)"
    ):
        preflight.check(unknown, CONFIG)
    preflight.check(known, CONFIG)
    assert preflight.in_words(known).endswith("the model predicts 75 % of their tokens.")


def test_facts_are_judged_where_there_are_some() -> None:
    data = corpus("At Quay Street 14.", "Paris.")
    preflight.check(found(data, ["She lives at Quay Street 14.", "No."]), CONFIG)
    unknown = found(data, ["At Elm Road.", "Paris."], right=4)
    with pytest.raises(UserError, match="0 of 2 facts of the unlearn scope stand in its answers"):
        preflight.check(unknown, CONFIG)
    with pytest.raises(UserError, match="temperature=0"):
        preflight.check(unknown, CONFIG.with_setting("answers.temperature", 0.7))
    assert preflight.in_words(unknown) == "Before unlearning the model states 0 of 2 facts it is to forget."


def test_a_run_that_recorded_less_says_nothing() -> None:
    assert preflight.in_words({"facts": {"known": 0, "asked": 0, "share": None}}) == ""


def test_what_comes_after_the_longest_answer_is_not_asked_for(tiny_llama: Path) -> None:
    data = corpus("Ann lives at Quay Street 14, and her number is 5551234.")
    loaded = loading.load(ModelConfig(name=str(tiny_llama), device="cpu", dtype="float32"))
    for most, facts in ((100, 3), (30, 2)):
        config = CONFIG.with_setting("answers.max_new_tokens", most)
        within = Voices(loaded, data.examples, config, Recorder()).within()
        assert found(data, ["No."], list(within.values()))["facts"] == {"known": 0, "asked": facts, "share": 0.0}
