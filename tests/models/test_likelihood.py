"""Log-probabilities at answer positions against full logits, and the loss against torch's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from core.models import likelihood
from core.models.tokens import Encoded, collate
from core.util.errors import UserError
from tests.naive import Bench, example_loss
from tests.tiny import ARCHITECTURES


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answer_logits_equal_those_of_unpadded_examples(bench_of: Callable[..., Bench], architecture: str) -> None:
    bench = bench_of(architecture)
    members = bench.unlearn + bench.retention
    batch = collate(members)
    assert len({len(m.ids) for m in members}) > 3
    with bench.adapters.active("before") as model, torch.no_grad():
        logits = likelihood.answer_logits(model, batch)
        for row, member in enumerate(members):
            alone = model(input_ids=torch.tensor([member.ids])).logits[0, member.start - 1 : -1]
            torch.testing.assert_close(logits[batch.owners == row], alone, rtol=1e-5, atol=1e-5)


def test_full_logits_come_back_afterwards(bench: Bench) -> None:
    batch = collate(bench.unlearn)
    with bench.adapters.active("before") as model, torch.no_grad():
        likelihood.answer_logits(model, batch)
        assert model(input_ids=batch.ids).logits.shape[:2] == batch.ids.shape


@pytest.mark.parametrize("alternatives", [None, 1, 3])
@pytest.mark.parametrize("count", [5, 64, 131])
def test_token_loss_forward_and_backward(alternatives: int | None, count: int) -> None:
    torch.manual_seed(0)
    logits = (5 * torch.randn(count, 50)).requires_grad_(True)
    targets = torch.randint(50, (count,) if alternatives is None else (count, alternatives))
    if alternatives == 3:
        targets[0] = targets[0, 0]  # the same label three times
    weights = torch.rand(count)
    loss = likelihood.token_nll(logits, targets)
    (gradient,) = torch.autograd.grad((loss * weights).sum(), logits)
    columns = targets[:, None] if alternatives is None else targets
    expected = torch.stack([F.cross_entropy(logits, column, reduction="none") for column in columns.T]).mean(0)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), logits)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(gradient, wanted, rtol=1e-5, atol=1e-6)


def test_token_loss_of_extreme_logits_is_finite() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    loss = likelihood.token_nll(logits, torch.tensor([1]))
    loss.sum().backward()
    assert float(loss.detach()) == pytest.approx(2e4)
    assert logits.grad is not None
    assert logits.grad.tolist() == [[1.0, -1.0, 0.0]]


def test_token_loss_of_bfloat16_is_computed_in_float32() -> None:
    logits = torch.randn(70, 40).to(torch.bfloat16).requires_grad_(True)
    targets = torch.randint(40, (70,))
    loss = likelihood.token_nll(logits, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, F.cross_entropy(logits.float(), targets, reduction="none"), rtol=1e-6, atol=1e-5)
    loss.sum().backward()
    assert logits.grad is not None
    assert logits.grad.dtype == torch.bfloat16


def test_mean_within_examples_of_different_length() -> None:
    values, owners = torch.tensor([1.0, 3.0, 10.0, 2.0, 2.0, 5.0]), torch.tensor([0, 0, 1, 2, 2, 2])
    assert likelihood.per_example(values, owners, 3).tolist() == [2.0, 10.0, 3.0]


def test_mean_loss_is_over_examples_of_the_mean_over_tokens(bench: Bench) -> None:
    batch = collate(bench.unlearn)
    with bench.adapters.active("before") as model, torch.no_grad():
        loss = likelihood.mean_loss(likelihood.answer_logits(model, batch), batch)
        expected = torch.stack([example_loss(model, member) for member in bench.unlearn]).mean()
    torch.testing.assert_close(loss, expected)


def test_scores_equal_a_plain_computation(bench: Bench) -> None:
    with bench.adapters.active("before") as model, torch.no_grad():
        scores = dict(likelihood.score(model, bench.unlearn, size=4, top=3))
        assert set(scores) == {m.id for m in bench.unlearn}
        for member in bench.unlearn:
            logits = model(input_ids=torch.tensor([member.ids])).logits[0, member.start - 1 : -1]
            logprobs, member_scores = logits.log_softmax(-1), scores[member.id]
            for position, token in enumerate(member.answer):
                order = logprobs[position].argsort(descending=True, stable=True).tolist()
                assert member_scores.logprob[position] == pytest.approx(float(logprobs[position, token]), abs=1e-5)
                assert member_scores.rank[position] == order.index(token) + 1
                assert [t for t, _ in member_scores.top[position]] == order[:3]
                assert [v for _, v in member_scores.top[position]] == pytest.approx(
                    logprobs[position, order[:3]].tolist(), abs=1e-5
                )
            right = logits.argmax(-1) == torch.tensor(member.answer)
            assert member_scores.accuracy == pytest.approx(float(right.float().mean()))


def test_rank_one_means_argmax_even_among_equals() -> None:
    class Flat(torch.nn.Module):
        """All words are equally probable, so argmax takes the first."""

        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Identity()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def get_output_embeddings(self) -> torch.nn.Module:
            return self.head

        def forward(self, input_ids: torch.Tensor, **_: object) -> object:
            class Output:
                logits = self.head(torch.zeros(*input_ids.shape, 6))

            return Output

    ((_, scores),) = likelihood.score(Flat(), [Encoded("a", (3, 0, 2), 1)])
    assert scores.rank == [1, 3]


def test_a_model_that_answers_with_no_numbers_is_not_right() -> None:
    with pytest.raises(UserError, match="no numbers"):
        likelihood._scored(torch.full((3, 10), float("nan")), torch.tensor([1, 2, 3]), 2)


def partly_right(model: Any, member: Encoded, every: int) -> Encoded:
    """Replace every n-th answer token by the one that the model would choose there."""
    ids = list(member.ids)
    for position in range(member.start, len(ids), every):
        ids[position] = int(model(input_ids=torch.tensor([ids[:position]])).logits[0, -1].argmax())
    return Encoded(member.id, tuple(ids), member.start)


def test_accuracy_is_the_mean_of_example_means(bench: Bench) -> None:
    with bench.adapters.active("before") as model, torch.no_grad():
        members = [partly_right(model, member, every) for every, member in enumerate(bench.unlearn, start=1)]
        accuracy = likelihood.accuracy(model, members, size=5)
        shares = []
        for member in members:
            predicted = model(input_ids=torch.tensor([member.ids])).logits[0, member.start - 1 : -1].argmax(-1)
            shares.append(float((predicted == torch.tensor(member.answer)).float().mean()))
    assert accuracy == pytest.approx(100 * sum(shares) / len(shares), abs=1e-4)
    assert 0 < accuracy < 100
