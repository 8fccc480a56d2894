"""Ratios against the published procedure, both sides measured in this very run, on the bundled model and demo data.

The slow side is the published procedure as its authors run it: one example at a time, padded to 256 tokens, logits at
every position, gradients copied to the CPU after each example. Same model, same threads; once in float32, as
published, and once in the number format of ours. It is not a straw man: it has eval mode, no dropout and the
same adapters, and only tensors that are trained have gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from core.config.stages import AnswersConfig, LocalizeConfig, UnlearnConfig
from core.methods.base import FORGET, RETAIN
from core.models.generate import Request, generate
from core.models.tokens import prompt_ids
from core.pipeline.localize import Counter, gradient, perturbed
from core.pipeline.step_context import Context
from core.pipeline.supply import Supply
from core.util.progress import Reporter
from tests.bench.setup import Bench, median_seconds, prepare

PADDED = 256
"""tokens that the published code pads every example to"""


def published_pass(bench: Bench, example: Any, labels: Any, sign: float = 1.0) -> None:
    """Run one forward and backward as published: padded to 256, logits everywhere, peft's own layers."""
    ids = torch.full((1, PADDED), bench.pad)
    mask, target = torch.zeros_like(ids), torch.full_like(ids, -100)
    length = len(example.ids)
    ids[0, :length], mask[0, :length] = torch.tensor(example.ids), 1
    target[0, example.start : length] = labels
    logits = bench.adapters.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits[0, :-1].float(), target[0, 1:])
    (sign * loss).backward()


def published_localization(bench: Bench, examples: Sequence[Any], copies: int) -> None:
    """One example and one copy at a time; every gradient is copied to the CPU and summed there."""
    sums: dict[str, Any] = {}
    names = [cell.name for cell in bench.adapters.cells]
    with bench.adapters.trainable("before", names) as parameters:
        for example in examples:
            for copy in range(copies):
                source = torch.Generator().manual_seed(copy)
                labels = bench.words[torch.randint(len(bench.words), (len(example.answer),), generator=source)]
                published_pass(bench, example, labels)
                for name, parameter in zip(names, parameters, strict=True):
                    one = parameter.grad.detach().cpu().clone()  # type: ignore[union-attr]
                    sums[name] = one if name not in sums else sums[name] + one
                    parameter.grad = None


def localization() -> dict[str, float]:
    """Seconds per example and copy, published over ours; 5 copies, labels perturbed as in the paper."""
    bench, config = prepare(), LocalizeConfig()
    part = bench.unlearn[:64]

    def ours() -> None:
        members, targets = perturbed(part, config, bench.words, 0)
        gradient(bench.adapters, members, targets, config.batch_size, Counter(Reporter(), len(part)))

    fast = median_seconds(ours) / len(part)
    same = _published_per_example(bench, config.copies)
    slow = _published_per_example(prepare("float32"), config.copies)
    return {"localization_ratio": round(slow / fast, 1), "localization_ratio_same_dtype": round(same / fast, 1)}


def _published_per_example(bench: Bench, copies: int) -> float:
    few = bench.unlearn[:2]
    return median_seconds(lambda: published_localization(bench, few, copies), 2) / len(few)


def step() -> dict[str, float]:
    """One unlearning step of 16 + 16 examples on the located region's size of tensors, published over ours."""
    config = UnlearnConfig(batch_size=16, retain_batch_size=16)
    bench = prepare()
    region = [cell.name for cell in bench.adapters.cells][::5]  # a fifth of all tensors, over all layers, as located

    def ours(bench: Bench) -> float:
        forget, retain = _sorted(bench.unlearn[:16]), _sorted(bench.retention[:16])
        bench.adapters.copy("before", "after")
        with bench.adapters.trainable("after", region) as parameters, bench.adapters.active("after"):
            optimizer = torch.optim.AdamW(parameters, lr=1e-6)
            context = Context(bench.adapters, region, Supply(forget, retain), seed=0)

            def run() -> None:
                context.load(1, {FORGET: forget, RETAIN: retain})
                config.method.backward(context)
                optimizer.step()
                optimizer.zero_grad()

            return median_seconds(run)

    def published(bench: Bench) -> float:
        with bench.adapters.trainable("before", region) as parameters:
            optimizer = torch.optim.AdamW(parameters, lr=1e-6)

            def run() -> None:
                for forget, retain in zip(bench.unlearn[:16], bench.retention[:16], strict=True):
                    published_pass(bench, forget, torch.tensor(forget.answer), -0.4 / 16)
                    published_pass(bench, retain, torch.tensor(retain.answer), 2.0 / 16)
                optimizer.step()
                optimizer.zero_grad()

            return median_seconds(run, 1)

    fast, same = ours(bench), published(bench)
    slow = published(prepare("float32"))
    return {"step_ratio": round(slow / fast, 1), "step_ratio_same_dtype": round(same / fast, 1)}


def _sorted(members: Sequence[Any]) -> list[Any]:
    return sorted(members, key=lambda m: len(m.ids))


def answers() -> dict[str, float]:
    """64 questions to before and after in one batch, against two models asked one question at a time."""
    bench, config = prepare(), AnswersConfig(max_new_tokens=32)
    bench.adapters.copy("before", "after")
    prompts = [tuple(prompt_ids(bench.tokenizer, "plain", question)) for question in bench.questions[:64]]
    requests = [Request(prompt, adapter) for prompt in prompts for adapter in ("before", "after")]
    # No end token: every answer has 32 tokens on both sides, so the same work is compared.
    fast = median_seconds(lambda: generate(bench.adapters, requests, config, ends=(), pad=bench.pad), 2)
    few = prompts[:4]
    same = median_seconds(lambda: _one_by_one(bench, few, config.max_new_tokens), 1) * len(prompts) / len(few)
    other = prepare("float32")
    other.adapters.copy("before", "after")
    slow = median_seconds(lambda: _one_by_one(other, few, config.max_new_tokens), 1) * len(prompts) / len(few)
    return {"answers_ratio": round(slow / fast, 1), "answers_ratio_same_dtype": round(same / fast, 1)}


def _one_by_one(bench: Bench, prompts: Sequence[tuple[int, ...]], count: int) -> None:
    """Ask as transformers and peft do it: generate() with one question and one active adapter."""
    model = bench.adapters.model
    for adapter in ("before", "after"):
        model.set_adapter(adapter)
        model.requires_grad_(False)
        for prompt in prompts:
            ids = torch.tensor([prompt])
            model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=count,
                min_new_tokens=count,
                do_sample=False,
                pad_token_id=bench.pad,
            )
