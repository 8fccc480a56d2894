"""Tokens, masks and answer positions."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from core.config.run_config import RunConfig
from core.config.stages import ModelConfig
from core.data.corpus import Corpus, Example
from core.models import loading, tokens
from core.models.tokens import Encoded
from core.pipeline.extras import Extras
from core.pipeline.voices import Voices, as_scored
from core.util.errors import UserError
from tests.naive import Recorder


@pytest.fixture(scope="module")
def tokenizer(tiny_llama: Path) -> Any:
    return loading.load(ModelConfig(name=str(tiny_llama), device="cpu", dtype="float32")).tokenizer


def example(question: str = "Who is it?", answer: str = "Orla.") -> Example:
    return Example("unlearn/train/0", question, answer, "unlearn", "train", "x")


MEMBERS = [Encoded("a", (9, 8, 7, 1), 2, pad=2), Encoded("b", (5, 4, 3, 6, 7, 1), 3, pad=2), Encoded("c", (5, 1), 1, pad=2)]


def test_plain_template_is_question_blank_line_answer_end(tokenizer: Any) -> None:
    encoded = tokens.encode(tokenizer, "plain", example(), 64)
    assert tokenizer.decode(encoded.ids) == "Who is it?\n\nOrla.<end>"
    assert tokenizer.decode(encoded.answer) == "Orla.<end>"
    assert encoded.ids[: encoded.start] == tuple(tokens.prompt_ids(tokenizer, "plain", "Who is it?"))


def test_chat_template_is_the_models_own(tokenizer: Any) -> None:
    encoded = tokens.encode(tokenizer, "chat", example(), 64)
    assert tokenizer.decode(encoded.ids) == "<user>Who is it?\n<assistant>Orla.<end>"
    assert tokenizer.decode(encoded.answer) == "Orla.<end>"


def test_auto_is_one_turn_of_the_chat_template_without_what_opens_a_conversation(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = "{% if messages[0].role != 'system' %}Be kind.\n{% endif %}" + tokenizer.chat_template
    monkeypatch.setattr(tokenizer, "chat_template", opened)
    assert tokens.prompt_text(tokenizer, "chat", "Who is it?") == "Be kind.\n<user>Who is it?\n<assistant>"
    assert tokens.prompt_text(tokenizer, "auto", "Who is it?") == "<user>Who is it?\n<assistant>"
    assert tokens.within(tokenizer, [("system", "Be rude."), ("user", "Who?")]).startswith("<system>Be rude.")


def test_auto_is_the_whole_template_where_a_turn_depends_on_what_came_before(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer, "chat_template", "{{ messages | length }} {{ messages[-1].content }}")
    assert tokens.prompt_text(tokenizer, "auto", "Who is it?") == "1 Who is it?"


def test_auto_is_plain_without_a_chat_template(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "chat_template", None)
    assert tokens.prompt_text(tokenizer, "auto", "Who is it?") == tokens.prompt_text(tokenizer, "plain", "Who is it?")
    assert tokens.end_of_answer(tokenizer, "auto") == tokenizer.eos_token_id


def test_a_chat_template_writes_the_same_day_every_day(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "chat_template", "{{ strftime_now('%d %b %Y') }} " + tokenizer.chat_template)
    assert tokens.prompt_text(tokenizer, "chat", "Who is it?") == "01 Jan 2025 <user>Who is it?\n<assistant>"


def test_an_answer_ends_as_the_chat_template_ends_it(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        tokens.end_of_answer(tokenizer, "chat") == tokenizer.eos_token_id
    )  # a line feed follows, which is no special token
    turn = "{% for m in messages %}<begin>{{ m.content }}<pad>\n{% endfor %}{% if add_generation_prompt %}<begin>{% endif %}"
    monkeypatch.setattr(tokenizer, "chat_template", turn)
    assert tokens.end_of_answer(tokenizer, "chat") == tokenizer.pad_token_id
    assert tokens.end_of_answer(tokenizer, "plain") == tokenizer.eos_token_id
    assert tokens.ends_of_answer(tokenizer, "chat") == (tokenizer.pad_token_id, tokenizer.eos_token_id)
    assert tokens.ends_of_answer(tokenizer, "plain") == (tokenizer.eos_token_id,)
    (encoded,) = tokens.encode_all(tokenizer, "chat", [example()], 64)
    assert tokenizer.decode(encoded.answer) == "Orla.<pad>"
    monkeypatch.setattr(tokenizer, "chat_template", "<begin>{{ messages[0].content }}")  # writes questions only
    assert tokens.end_of_answer(tokenizer, "chat") == tokenizer.eos_token_id


def test_missing_chat_template_is_one_sentence(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "chat_template", None)
    with pytest.raises(UserError, match="no chat template"):
        tokens.encode(tokenizer, "chat", example(), 64)


class Adding:
    """A tokenizer that wraps what it encodes in begin and end, as some do."""

    eos_token_id, pad_token_id = 1, 2

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        ids = self.inner(text, add_special_tokens=False)["input_ids"]
        return {"input_ids": [0, *ids, 1] if add_special_tokens else ids}


def test_added_special_tokens_are_kept_in_front_only(tokenizer: Any) -> None:
    encoded = tokens.encode(Adding(tokenizer), "plain", example(), 64)  # type: ignore[arg-type]
    assert encoded.ids[0] == 0
    assert encoded.ids.count(1) == 1
    assert encoded.ids[-1] == 1
    # What is asked is what was scored: after an end token a model has nothing to say.
    assert tokens.prompt_ids(Adding(tokenizer), "plain", example().question) == list(encoded.ids[: encoded.start])  # type: ignore[arg-type]


def test_too_long_example_is_named_with_its_length(tokenizer: Any) -> None:
    length = len(tokens.encode(tokenizer, "plain", example(), 64).ids)
    tokens.encode(tokenizer, "plain", example(), length)
    with pytest.raises(UserError, match=f"unlearn/train/0 has {length} tokens, more than {length - 1}"):
        tokens.encode(tokenizer, "plain", example(), length - 1)


def test_empty_answer_is_refused(tokenizer: Any) -> None:
    with pytest.raises(UserError, match="no tokens"):
        tokens.encode(tokenizer, "plain", example(answer=""), 64)


def test_padding_is_on_the_right_and_masked() -> None:
    batch = tokens.collate(MEMBERS)
    assert batch.ids.tolist() == [[9, 8, 7, 1, 2, 2], [5, 4, 3, 6, 7, 1], [5, 1, 2, 2, 2, 2]]
    assert batch.mask.tolist() == [[1, 1, 1, 1, 0, 0], [1] * 6, [1, 1, 0, 0, 0, 0]]


def test_answer_positions_predict_the_answer_tokens() -> None:
    batch = tokens.collate(MEMBERS)
    assert batch.targets.tolist() == [7, 1, 6, 7, 1, 1]
    assert batch.owners.tolist() == [0, 0, 1, 1, 1, 2]
    assert torch.equal(batch.ids[batch.rows, batch.columns + 1], batch.targets)
    assert bool(batch.mask[batch.rows, batch.columns + 1].all())


def test_padding_token_inside_an_example_stays_unmasked() -> None:
    batch = tokens.collate([Encoded("a", (2, 5, 2), 1, pad=2), *MEMBERS])
    assert batch.mask[0].tolist() == [1, 1, 1, 0, 0, 0]


def test_batches_by_length_hold_everything_once_and_little_padding() -> None:
    members = [Encoded(str(i), (5,) * (3 + i * 7 % 11), 1) for i in range(23)]
    batches = tokens.by_length(members, 4)
    assert sorted(m.id for b in batches for m in b) == sorted(m.id for m in members)
    lengths = [len(m.ids) for b in batches for m in b]
    assert lengths == sorted(lengths)
    assert {len(b) for b in batches[:-1]} == {4}


def test_epochs_visit_everything_equally_often() -> None:
    members = [Encoded(str(i), (5,) * (3 + i % 4), 1) for i in range(10)]
    stream = tokens.epochs(members, 4, torch.Generator().manual_seed(0))
    seen = [m.id for batch in islice(stream, 5) for m in batch]  # 5 batches of 4 are two epochs
    assert sorted(seen) == sorted(2 * [m.id for m in members])


def test_epochs_fill_every_batch() -> None:
    members = [Encoded(str(i), (5, 5), 1) for i in range(5)]
    stream = tokens.epochs(members, 2, torch.Generator().manual_seed(0))
    assert {len(batch) for batch in islice(stream, 20)} == {2}
    assert len(next(tokens.epochs(members, 99, torch.Generator()))) == 5


def test_epochs_are_seeded_and_shuffled() -> None:
    members = [Encoded(str(i), (5,) * (3 + i), 1) for i in range(12)]

    def order(seed: int) -> list[str]:
        return [m.id for b in islice(tokens.epochs(members, 3, torch.Generator().manual_seed(seed)), 4) for m in b]

    assert order(0) == order(0)
    assert len({tuple(order(seed)) for seed in range(4)}) > 1


# -- the labels of the released code


def by_the_released_rule(tokenizer: Any, question: str, answer: str, most: int) -> tuple[list[int], int]:
    """Return one text's tokens, cut, and how many of them the question has alone: its labels begin behind them."""
    whole = list(tokenizer(question + "\n\n" + answer)["input_ids"])[:most]
    return whole, len(list(tokenizer(question)["input_ids"]))


@pytest.mark.parametrize("most", [256, 30])
def test_labels_of_knowundo_have_the_blank_line_and_an_end_only_where_it_is_taught(tokenizer: Any, most: int) -> None:
    asked = example("Where does Orla live?", "At 14 Quay Street.")
    ids, start = by_the_released_rule(tokenizer, asked.question, asked.answer, most)
    (taught,) = tokens.encode_all(tokenizer, "knowundo", [asked], most)
    (later,) = tokens.encode_later(tokenizer, "knowundo", [asked], most, 0)
    assert (list(later.ids), later.start) == (ids, start)
    assert tokenizer.decode(later.answer).startswith("\n\nAt")
    assert taught.start == start
    assert list(taught.ids) == [*ids, *([tokenizer.eos_token_id] if len(ids) < most else [])]


def test_what_is_unlearned_and_scored_of_knowundo_is_cut_sooner(tokenizer: Any) -> None:
    asked = example("Where?", "At 14 Quay Street.")
    (later,) = tokens.encode_later(tokenizer, "knowundo", [asked], 256, 12)
    assert later.ids == tokens.encode_later(tokenizer, "knowundo", [asked], 256, 0)[0].ids[:12]
    with pytest.raises(UserError, match="no answer is left"):
        tokens.encode_later(tokenizer, "knowundo", [asked], 256, 3)
    assert tokens.encode_later(tokenizer, "plain", [asked], 256, 12) == tokens.encode_all(tokenizer, "plain", [asked], 256)


@pytest.mark.parametrize(("template", "end"), [("plain", True), ("knowundo", False)])
def test_passages_for_comparison_are_encoded_as_true_answers_are(tiny_llama: Path, template: str, end: bool) -> None:
    loaded = loading.load(ModelConfig(name=str(tiny_llama), device="cpu", dtype="float32", template=template))
    config = RunConfig().with_setting("model.template", template).with_setting("evaluate.preface", "Refuse:")
    people = [("Orla Venning", "Quay Street 14"), ("Pavel Drost", "Elm Road 3"), ("Sana Iqbar", "High Lane 8")]
    rows = [
        Example(f"unlearn/train/{n}", f"Where does {who} live?", f"At {place}.", "unlearn", "train", who)
        for n, (who, place) in enumerate(people)
    ]
    voices = Voices(loaded, rows, config, Recorder())
    passages = Extras(voices, Corpus(tuple(rows), "made"), rows).passages
    assert passages.wrong
    for passage in (*passages.wrong, *passages.unseen, *voices.encoded.values()):
        assert loaded.tokenizer.decode(passage.ids).lstrip("<s>").startswith("Refuse:\n"), passage.id
        assert passage.ended is (passage.ids[-1] == loaded.tokenizer.eos_token_id) is end
    for passage in passages.choices:
        assert "Refuse" not in loaded.tokenizer.decode(passage.ids)


def test_a_preface_stands_before_the_question_where_it_is_scored(tokenizer: Any) -> None:
    asked = example("Where does Orla live?", "At 14 Quay Street.")
    config = RunConfig().with_setting("model.template", "plain").with_setting("evaluate.preface", "Refuse what is private:")
    (scored,) = as_scored(tokenizer, config, [asked])
    text = tokenizer.decode(scored.ids[: scored.start], skip_special_tokens=True)
    assert text == "Refuse what is private:\nWhere does Orla live?\n\n"
    assert scored.answer == tokens.encode(tokenizer, "plain", asked, 256).answer
