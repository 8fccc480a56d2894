"""How close one step comes to what the machine can do: FLOPs needed, as a share of the rate of bf16 products."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import torch

from core.models.likelihood import answer_logits, mean_loss
from core.models.tokens import by_length, collate
from tests.bench.setup import Bench, median_seconds, prepare


def roofline() -> dict[str, float]:
    """Matrix-product FLOPs needed for LoRA forward and backward at batch 32, as a share of the bf16 product rate."""
    bench = prepare()
    groups = by_length([*bench.unlearn, *bench.retention], 32)
    members = groups[len(groups) // 2]
    batch = collate(members)
    a, b = torch.randn(2048, 2048).bfloat16(), torch.randn(2048, 2048).bfloat16()

    def rate() -> float:
        return 2 * 2048**3 * 8 / median_seconds(lambda: [a @ b for _ in range(8)], 5)

    with (
        bench.adapters.trainable("before", [c.name for c in bench.adapters.cells]),
        bench.adapters.active("before") as model,
    ):
        shares = []
        for _ in range(3):
            peak = rate()
            seconds = median_seconds(lambda: mean_loss(answer_logits(model, batch), batch).backward(), 3)
            shares.append(100 * needed_flops(bench, members) / seconds / peak)
    tokens = sum(len(m.ids) for m in members)
    return {
        "roofline_share": round(statistics.median(shares), 1),
        "roofline_tokens_per_second": round(tokens / seconds, 1),
        "bf16_gflops": round(peak / 1e9, 1),
    }


def needed_flops(bench: Bench, members: Sequence[Any]) -> float:
    """Count the multiply-adds (times two) of one LoRA forward and backward without padding.

    Per token and linear layer: forward and input gradient 2·2·in·out; LoRA 2·r·(in + out) forward, twice that
    backward, and 2·r·(in + out) for the factors' gradients. Output layer: answer tokens only, forward and input
    gradient. Attention: the causal half of QKᵀ and PV, once forward and twice backward. The input gradient of the first
    layer's q, k and v is not needed and not counted.
    """
    tokens, answers = sum(len(m.ids) for m in members), sum(len(m.answer) for m in members)
    config, flops = bench.adapters.model.get_base_model().config, 0.0
    for cell in bench.adapters.cells:
        if cell.factor == "A":
            layer = bench.adapters.layer(cell.name)
            rank, n_in, n_out = cell.shape[0], layer.in_features, layer.out_features
            first = cell.layer == 0 and cell.module.rsplit(".", 1)[-1] in ("q_proj", "k_proj", "v_proj")
            flops += tokens * (2 * n_in * n_out * (1 if first else 2) + 2 * rank * (n_in + n_out) * 3)
    flops += answers * 2 * 2 * config.hidden_size * config.vocab_size
    squares = sum(len(m.ids) ** 2 for m in members)
    return flops + config.num_hidden_layers * 3 * 2 * 2 * squares / 2 * config.hidden_size
