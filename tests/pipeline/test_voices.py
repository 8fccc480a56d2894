"""What the voices of a run say of how far they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.config.run_config import preset
from core.config.stages import ModelConfig
from core.data.corpus import Example
from core.metrics import asked
from core.models import adapters, loading
from core.pipeline import watched_questions
from core.pipeline.voices import Voices
from tests.naive import Recorder, randomize


def test_scoring_reports_once_a_batch(tiny_llama: Path) -> None:
    """The time left after the first example of a batch would be that of a whole batch for each example."""
    loaded, report = loading.load(ModelConfig(name=str(tiny_llama), device="cpu", dtype="float32")), Recorder()
    attached = adapters.attach(loaded.model, "float32", rank=2, alpha=4.0, dropout=0.0, seed=0)
    examples = [Example(f"unlearn/train/{n}", "Where?", f"Place {n}.", "unlearn", "train", "Ann") for n in range(3)]
    config = preset("this-machine").with_setting("evaluate.batch_size", 2)
    Voices(loaded, examples, config, report).score(attached, ["before", "never"])
    assert [step["done"] for step in report.steps] == [2, 3, 5, 6]


def test_a_line_of_general_text_ends_where_the_model_can_read_no_further(tiny_llama: Path) -> None:
    loaded = loading.load(ModelConfig(name=str(tiny_llama), device="cpu", dtype="float32"))
    whole = Voices(loaded, [], preset("this-machine"), Recorder()).general_encoded()
    loaded.model.config.max_position_embeddings = 100
    lines = Voices(loaded, [], preset("this-machine"), Recorder()).general_encoded()
    assert max(len(line.ids) for line in whole) > 100
    assert [line.ids for line in lines] == [line.ids[:100] for line in whole]


def voices_of(tiny_llama: Path, examples: list[Example], **settings: int) -> Voices:
    loaded = loading.load(ModelConfig(name=str(tiny_llama), device="cpu", dtype="float32", template="plain"))
    config = preset("this-machine").with_setting("model.template", "plain")
    for name, value in settings.items():
        config = config.with_setting(name.replace("__", "."), value)
    return Voices(loaded, examples, config, Recorder(), besides=[Example("everyday/0", "One?", "", "everyday", "", "")])


EXAMPLES = [
    Example(f"unlearn/train/{n}", f"Where is {n}?", f"Place {n * 'x'}.", "unlearn", "train", "Ann") for n in range(5)
]


def test_a_checkpoint_is_judged_by_greedy_answers_however_answers_are_drawn(tiny_llama: Path) -> None:
    found = []
    for temperature in (0, 5):
        voices = voices_of(tiny_llama, EXAMPLES, answers__temperature=temperature, answers__max_new_tokens=6)
        model = loading.load(ModelConfig(name=str(tiny_llama), device="cpu", dtype="float32", template="plain")).model
        attached = adapters.attach(model, "float32", rank=2, alpha=4.0, dropout=0.0, seed=0)
        found.append(voices.ask(attached, ["never"], greedy=True))
        assert (voices.ask(attached, ["never"]) == found[0]) is (temperature == 0)
    assert found[0] == found[1]


def test_voices_over_some_examples_are_those_of_all(tiny_llama: Path) -> None:
    whole = voices_of(tiny_llama, EXAMPLES)
    some = whole.of(EXAMPLES[1:3])
    assert some.examples == EXAMPLES[1:3]
    assert some.encoded == {e.id: whole.encoded[e.id] for e in EXAMPLES[1:3]}
    assert some.known(EXAMPLES[1:3]) == whole.known(EXAMPLES)[1:3] == whole.encode(EXAMPLES)[1:3]
    assert some.answers == whole.answers, "an answer ends at the same place, whatever is asked"
    assert whole.examples == EXAMPLES
    assert len(whole.besides) == 1
    assert some.besides == ()


def test_an_example_fits_where_its_tokens_do(tiny_llama: Path) -> None:
    plain = voices_of(tiny_llama, EXAMPLES)
    (encoded,) = plain.encode(EXAMPLES[4:])
    for most in (len(encoded.ids), len(encoded.ids) - 1):
        bounded = voices_of(tiny_llama, [], data__max_tokens=most)
        assert bounded.fits(EXAMPLES[4]) == (most == len(encoded.ids))
        plain.room = most  # so does what the model can read
        assert plain.fits(EXAMPLES[4]) == (most == len(encoded.ids))


def test_a_judge_asks_after_alone_and_silently(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = loading.load(ModelConfig(name=str(tiny_llama), device="cpu", dtype="float32", template="plain"))
    attached, report = adapters.attach(loaded.model, "float32", rank=2, alpha=4.0, dropout=0.0, seed=0), Recorder()
    attached.copy("before", "after")
    randomize(attached, "after", seed=3, scale=1.0)
    config = preset("this-machine").with_setting("model.template", "plain").with_setting("answers.max_new_tokens", 4)
    kept = [Example("retention/train/0", "Which?", "That.", "retention", "train", "Ann")]
    whole = Voices(loaded, [*EXAMPLES, *kept], config, report)
    expected = whole.ask(attached, ["after"])["after"]
    assert expected != whole.ask(attached, ["before"])["before"]
    said, made = [], len(report.steps)
    shares = asked.shares
    monkeypatch.setattr(asked, "shares", lambda *given: said.append(given) or shares(*given))
    among = [EXAMPLES[1], EXAMPLES[3], *kept]
    found = watched_questions.said(whole.of(among), attached, whole.of(among).lexicon())
    assert len(report.steps) == made
    assert said[0][:2] == (among, {e.id: expected[e.id] for e in among})
    assert found == shares(among, said[0][1], whole.of(among).lexicon())
