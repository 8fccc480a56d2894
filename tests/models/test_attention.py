"""Torch's own attention: the gradients and answers of the one computed step by step, or none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from core.config.stages import AnswersConfig, ModelConfig
from core.models import loading
from core.models.generate import Request, generate
from core.models.likelihood import answer_logits, mean_loss
from core.models.micro_batches import MicroBatches
from core.models.tokens import collate
from core.util.errors import UserError
from tests.naive import Bench, gradients, make_bench
from tests.tiny import ARCHITECTURES

CAPPED, OWN = "gemma2", "falcon"


def gradient(bench: Bench, micro: MicroBatches) -> dict[str, torch.Tensor]:
    with (
        bench.adapters.trainable("before", [cell.name for cell in bench.adapters.cells]),
        bench.adapters.active("before") as model,
        micro.keeping(bench.adapters),
    ):
        batch = collate([*bench.unlearn, *bench.retention], bench.adapters.device)  # of different lengths
        mean_loss(answer_logits(model, batch), batch).backward()
        return gradients(bench.adapters, "before")


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name not in (CAPPED, OWN)])
def test_gradients_are_the_same(tiny_of: Callable[[str], Path], tiny_data: Path, architecture: str) -> None:
    eager, quick = (make_bench(tiny_of(architecture), tiny_data, attention=how) for how in ("eager", "sdpa"))
    assert quick.loaded.model.config._attn_implementation == "sdpa"
    expected = gradient(eager, MicroBatches())
    for micro in (MicroBatches(), MicroBatches(checkpointing=True)):
        found = gradient(quick, micro)
        for name, value in expected.items():
            assert float((found[name] - value).norm()) <= 1e-4 * float(value.norm()) + 1e-7, name


def test_in_bfloat16_they_differ_by_no_more_than_the_format(tiny_of: Callable[[str], Path], tiny_data: Path) -> None:
    """Each of the two is as far from the gradient in float32 as the other."""
    model, data = tiny_of("llama"), tiny_data
    exact = gradient(make_bench(model, data), MicroBatches())

    def away(how: str) -> float:
        found = gradient(make_bench(model, data, dtype="bfloat16", attention=how), MicroBatches())
        return sum(float((found[name] - value).norm()) ** 2 for name, value in exact.items()) ** 0.5

    assert away("sdpa") <= 1.2 * away("eager")


def test_answers_are_the_same(tiny_of: Callable[[str], Path], tiny_data: Path) -> None:
    def answers(how: str) -> list[list[int]]:
        bench = make_bench(tiny_of("llama"), tiny_data, attention=how)
        requests = [Request(m.ids[: m.start], "before") for m in bench.unlearn]
        return list(generate(bench.adapters, requests, AnswersConfig(max_new_tokens=8), ends=(), pad=2))

    assert answers("sdpa") == answers("eager")


def test_a_processor_computes_step_by_step_unless_told(tiny_of: Callable[[str], Path]) -> None:
    model = loading.load(ModelConfig(name=str(tiny_of("llama")), device="cpu")).model
    assert model.config._attn_implementation == "eager"
    loading.settle_attention(model, "auto", "cuda")  # as on a GPU
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(("architecture", "why"), [(CAPPED, "caps its attention scores"), (OWN, "in a way of its own")])
def test_other_attention_stays_step_by_step(tiny_of: Callable[[str], Path], architecture: str, why: str) -> None:
    name = str(tiny_of(architecture))
    model = loading.load(ModelConfig(name=name, device="cpu")).model
    loading.settle_attention(model, "auto", "cuda")
    assert model.config._attn_implementation == "eager"
    with pytest.raises(UserError, match=why):
        loading.load(ModelConfig(name=name, device="cpu", attention="sdpa"))


def test_what_gives_something_else_is_not_used(tiny_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    real = PreTrainedModel.set_attn_implementation

    def another(model: PreTrainedModel, how: str) -> None:
        real(model, how)
        model.get_output_embeddings().weight.data.mul_(1.01)

    monkeypatch.setattr(PreTrainedModel, "set_attn_implementation", another)
    with pytest.raises(UserError, match="its answers differ by"):
        loading.load(ModelConfig(name=str(tiny_of("llama")), device="cpu", dtype="float32", attention="sdpa"))
