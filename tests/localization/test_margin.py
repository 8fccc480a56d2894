"""The margin of true tokens, against its definition."""

from __future__ import annotations

import math

import pytest
import torch

from core.localization.margin import margins, token_margin
from core.models.likelihood import CHUNK
from core.models.tokens import Encoded, collate


def by_definition(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    p = torch.softmax(logits, -1).gather(1, targets[:, None])[:, 0]
    return torch.log(p / (1 - p))


def test_margin_and_gradient_are_those_of_the_log_odds() -> None:
    torch.manual_seed(0)
    logits = torch.randn(CHUNK + 7, 11, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(11, (len(logits),))
    weights = torch.randn(len(logits), dtype=torch.float64)
    (by_definition(logits, targets) * weights).sum().backward()
    single = logits.detach().float().requires_grad_()
    values = token_margin(single, targets)
    (values * weights.float()).sum().backward()
    torch.testing.assert_close(values.double(), by_definition(logits, targets).detach(), atol=1e-5, rtol=1e-5)
    assert logits.grad is not None
    assert single.grad is not None
    torch.testing.assert_close(single.grad.double(), logits.grad, atol=1e-6, rtol=1e-5)


def test_a_sure_token_still_has_a_gradient() -> None:
    logits = torch.tensor([[60.0, 0.0, 1.0]], requires_grad=True)
    value = token_margin(logits, torch.tensor([0]))
    value.sum().backward()
    assert logits.grad is not None
    assert value.item() == pytest.approx(60 - math.log(1 + math.e))
    assert float(logits.grad[0, 0]) == 1.0


def test_margins_are_means_over_wanted_tokens() -> None:
    batch = collate([Encoded("a", (5, 6, 7, 1), 1), Encoded("b", (5, 8, 1), 1)])
    logits = torch.randn(5, 9)
    wanted = torch.tensor([True, True, False, False, False])
    single = token_margin(logits, batch.targets)
    torch.testing.assert_close(margins(logits, batch, wanted), torch.stack([single[:2].mean(), torch.tensor(0.0)]))
