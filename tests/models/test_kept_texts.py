"""What a model is held to: which texts, whose answers, and the gradient that holds it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from core.data import everyday
from core.models import kept_texts
from core.models.kept_texts import MOST_TOKENS, PIECE, Anchor, Kept
from core.models.prefix import frozen_prefix
from core.models.tokens import Encoded, prompt_ids
from core.util.progress import Reporter
from tests.naive import Bench, gradients, make_bench, plain_model

LINES = ["A short line about bread and salt.", "x", "The harbour lay quiet. " * 12]


@pytest.mark.parametrize(("room", "most"), [(256, PIECE), (PIECE, PIECE), (17, 17)])
def test_pieces_lose_no_token_and_none_is_longer_than_an_answer_with_its_question(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, room: int, most: int
) -> None:
    monkeypatch.setattr(everyday, "general_kept", lambda: LINES)
    tokenizer = bench.loaded.tokenizer
    kept = kept_texts.general(tokenizer, room)
    assert all(text.asked == text.told and text.asked.start == 1 for text in kept)
    assert max(len(text.asked.ids) for text in kept) == most
    assert len({text.asked.id for text in kept}) == len(kept)
    pieces = [list(text.asked.ids) for text in kept]
    for line in LINES:
        ids = tokenizer(line)["input_ids"]
        while len(ids) > 1:  # of a single token nothing could be held: it has none before it
            assert pieces.pop(0) == ids[:most]
            ids = ids[most:]
    assert pieces == []


def test_every_so_many_th_piece(bench: Bench) -> None:
    tokenizer = bench.loaded.tokenizer
    lines = [tuple(tokenizer(line)["input_ids"]) for line in everyday.general_kept()]
    pieces = [ids[at : at + PIECE] for ids in lines for at in range(0, len(ids), PIECE)]
    assert len(pieces) > 20
    kept = [text.asked.ids for text in kept_texts.general(tokenizer, 256, 4)]
    assert kept == [piece for piece in pieces[::4] if len(piece) > 1]


@pytest.mark.filterwarnings("ignore:.*temperature.*")
def test_before_is_asked_for_its_own_answers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers token by token, by a plain greedy loop; a base would be asked in its chat template besides."""
    prompts = ["What is two and two?", "Name a colour.", "word " * 300]
    monkeypatch.setattr(everyday, "prompts", lambda every=1: prompts)
    tokenizer = bench.loaded.tokenizer
    also = bench.unlearn[0]
    kept = kept_texts.own_answers(bench.adapters, tokenizer, "plain", 256, lambda: None, voice="before", further=[also])
    by_id = {text.asked.id: text for text in kept}
    assert sorted(by_id) == ["own/0", "own/1", "own/3"], "the third is too long"
    assert by_id["own/3"].asked.ids[: also.start] == also.ids[: also.start]
    for text, prompt in zip((by_id["own/0"], by_id["own/1"]), prompts, strict=False):
        ids = list(prompt_ids(tokenizer, "plain", prompt))
        assert text.asked == text.told
        assert text.asked.start == len(ids)
        with bench.adapters.active("before") as model, torch.no_grad():
            for _ in range(MOST_TOKENS):
                ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
                if ids[-1] in bench.ends:
                    break
        assert list(text.asked.ids) == ids
    base = kept_texts.own_answers(bench.adapters, tokenizer, "plain", 256, lambda: None)
    assert [text.told.ids for text in base] != [text.told.ids for text in kept]


def texts(bench: Bench) -> list[Kept]:
    """Return texts with answers of several lengths."""
    made = [Encoded(f"kept/{i}", e.ids[: e.start + 2 + i], e.start, e.pad) for i, e in enumerate(bench.retention[:4])]
    made += [Encoded("kept/line", bench.unlearn[0].ids, 1, bench.pad)]
    return [Kept(text, text) for text in made]


@pytest.mark.parametrize("memory", [0.0, 1.0])
@pytest.mark.parametrize("slots", [0, 3])
def test_the_anchors_gradient_is_that_of_the_divergence(
    deep_tiny_of: Callable[[str], Path], tiny_data: Path, memory: float, slots: int
) -> None:
    bench, weight = make_bench(deep_tiny_of("llama"), tiny_data), 3.0
    adapters, kept = bench.adapters, texts(bench)
    region = [cell.name for cell in adapters.cells if cell.layer >= 2]
    adapters.copy("before", "after")
    if slots:
        adapters.widen("after", slots)
    for number, name in enumerate(region):
        source = torch.Generator().manual_seed(number)
        tensor = adapters.tensor("after", name)
        tensor.data += 0.05 * torch.randn(tensor.shape, generator=source)

    expected = 0.0
    for text in kept:
        ids, start = torch.tensor([text.asked.ids]), text.asked.start
        with torch.no_grad():
            reference = plain_model(adapters, "before")(input_ids=ids).logits[0, start - 1 : -1].log_softmax(-1)
        now = plain_model(adapters, "after")(input_ids=ids).logits[0, start - 1 : -1].log_softmax(-1)
        divergence = (reference.exp() * (reference - now)).sum(-1).mean()
        expected = expected + weight * divergence / len(kept)
    expected.backward()  # type: ignore[attr-defined]
    naive = gradients(adapters, "after")
    adapters.model.requires_grad_(False)

    with contextlib.ExitStack() as stack:
        stack.enter_context(adapters.trainable("after", region))
        model = stack.enter_context(adapters.active("after"))
        prefix = stack.enter_context(frozen_prefix(adapters, region, memory, bench.unlearn[:4], Reporter()))
        assert (prefix is not None) == bool(memory)
        anchor = Anchor(adapters, "before", kept, weight, len(kept), 0, prefix)
        anchor.draw()
        anchor.backward(model)
        found = {name: adapters.tensor("after", name).grad for name in region}
        assert anchor.moved() == pytest.approx(float(expected.detach()) / weight, rel=1e-4)
        assert anchor.moved() is None
    for name, gradient in found.items():
        assert gradient is not None
        assert float((gradient - naive[name]).norm()) <= 1e-3 * float(naive[name].norm()) + 1e-7, name


def test_an_anchor_without_weight_or_texts_does_nothing(bench: Bench) -> None:
    with bench.adapters.trainable("before", [bench.adapters.cells[0].name]) as (parameter,):
        with bench.adapters.active("before") as model:
            for kept, weight in ((texts(bench), 0.0), ([], 1.0)):
                anchor = Anchor(bench.adapters, "before", kept, weight, 2, 0)
                anchor.draw()
                anchor.backward(model)
                assert anchor.moved() is None
        assert parameter.grad is None


def test_all_texts_come_equally_often(bench: Bench) -> None:
    kept, seen = texts(bench), list[str]()
    bench.adapters.copy("before", "after")
    with bench.adapters.trainable("after", [bench.adapters.cells[-1].name]), bench.adapters.active("after") as model:
        anchor = Anchor(bench.adapters, "before", kept, 1.0, 2, 0)
        of = anchor._reference.of
        anchor._reference.of = lambda voice, members: (seen.extend(m.id for m in members), of(voice, members))[1]  # type: ignore
        for _ in range(5):
            anchor.draw()
            anchor.backward(model)
    assert sorted(seen) == sorted(2 * [text.asked.id for text in kept])
