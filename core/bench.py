"""Ratios against the published procedure, both sides measured in this very run, on the bundled model and demo data.

The slow side is the published procedure as its authors run it: one example at a time, padded to 256 tokens, logits at
every position, gradients copied to the CPU after each example. Same model, same threads; once in float32, as
published, and once in the number format of ours. It is not a straw man: it has eval mode, no dropout and the
same adapters, and only tensors that are trained have gradients.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from core.config import preset
from core.errors import unknown

Note = Callable[[str], None]
PADDED = 256
"""tokens that the published code pads every example to"""


def measure(only: Sequence[str] | None, note: Note) -> dict[str, Any]:
    """Run the benchmarks in a process of its own with the worker's environment; return the ratios.

    Raises UserError for a name that does not exist.
    """
    from core.jobs import environment

    for name in only or ():
        if name not in BENCHES:
            raise unknown("benchmark", name, BENCHES)
    found: dict[str, Any] = {}
    for name in only or BENCHES:
        note(f"{name} …")
        command = [sys.executable, "-m", "core.bench", name]
        done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, text=True, check=True)
        found |= json.loads(done.stdout.splitlines()[-1])
    return found


@dataclass
class Bench:
    """The bundled model with an adapter on it, and the demo's examples as tokens."""

    adapters: Any
    tokenizer: Any
    encoded: list[Any]
    questions: list[str]
    words: Any

    @property
    def pad(self) -> int:
        """Padding token."""
        return int(self.tokenizer.pad_token_id)


def prepare(dtype: str = "auto") -> Bench:
    """Load everything; B is made random, so that both factors have gradients as after teaching."""
    import torch

    from core import adapters, batching, data, models

    config = preset("this-machine").with_setting("model.dtype", dtype)
    loaded = models.load(config.model)
    picked = models.pick_dtype(dtype, "auto")
    own = adapters.attach(loaded.model, picked, rank=8, alpha=16, dropout=0.0, seed=0)
    torch.manual_seed(0)
    for cell in own.cells:
        if cell.factor == "B":
            own.tensor("before", cell.name).data.normal_(std=0.01)
    corpus = data.load(config.data)
    encoded = batching.encode_all(loaded.tokenizer, "plain", corpus.examples, 256)
    words = torch.arange(10, len(loaded.tokenizer))
    return Bench(own, loaded.tokenizer, encoded, [e.question for e in corpus.examples], words)


def median_seconds(run: Callable[[], object], times: int = 3) -> float:
    """Return the median wall time after one uncounted run."""
    run()
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


# -- the published procedure --------------------------------------------------------------------------------------------


def published_pass(bench: Bench, example: Any, labels: Any, sign: float = 1.0) -> None:
    """Run one forward and backward as published: padded to 256, logits everywhere, peft's own layers."""
    import torch

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
    import torch

    sums: dict[str, Any] = {}
    names = [cell.name for cell in bench.adapters.cells]
    with bench.adapters.trainable("before", names) as parameters:
        for example in examples:
            for copy in range(copies):
                source = torch.Generator().manual_seed(copy)
                labels = bench.words[torch.randint(len(bench.words), (len(example.answer),), generator=source)]
                published_pass(bench, example, labels)
                for name, parameter in zip(names, parameters, strict=True):
                    gradient = parameter.grad.detach().cpu().clone()
                    sums[name] = gradient if name not in sums else sums[name] + gradient
                    parameter.grad = None


def localization() -> dict[str, float]:
    """Seconds per example and copy, published over ours; 5 copies, labels perturbed as in the paper."""
    from core.localize import _Counter, gradient, perturbed
    from core.progress import Reporter
    from core.stages import LocalizeConfig

    bench, config = prepare(), LocalizeConfig()
    part = bench.encoded[:64]

    def ours() -> None:
        members, targets = perturbed(part, config, bench.words, 0)
        gradient(bench.adapters, members, targets, config.batch_size, bench.pad, _Counter(Reporter(), len(part)))

    fast = median_seconds(ours) / len(part)
    same = _published_per_example(bench, config.copies)
    slow = _published_per_example(prepare("float32"), config.copies)
    return {"localization_ratio": round(slow / fast, 1), "localization_ratio_same_dtype": round(same / fast, 1)}


def _published_per_example(bench: Bench, copies: int) -> float:
    few = bench.encoded[:2]
    return median_seconds(lambda: published_localization(bench, few, copies), 2) / len(few)


def step() -> dict[str, float]:
    """One unlearning step of 16 + 16 examples on the located region's size of tensors, published over ours."""
    import torch

    from core.context import Context, Supply
    from core.methods.base import FORGET, RETAIN
    from core.stages import UnlearnConfig

    config = UnlearnConfig(batch_size=16, retain_batch_size=16)
    bench = prepare()
    region = [cell.name for cell in bench.adapters.cells][::5]  # a fifth of all tensors, over all layers, as located

    def ours(bench: Bench) -> float:
        forget, retain = _sorted(bench.encoded[:16]), _sorted(bench.encoded[80:96])
        bench.adapters.copy("before", "after")
        with bench.adapters.trainable("after", region) as parameters, bench.adapters.active("after"):
            optimizer = torch.optim.AdamW(parameters, lr=1e-6)
            context = Context(bench.adapters, region, Supply(forget, retain), bench.pad, seed=0)

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
                for forget, retain in zip(bench.encoded[:16], bench.encoded[80:96], strict=True):
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


# -- how close to the machine ------------------------------------------------------------------------------------------


def roofline() -> dict[str, float]:
    """Matrix-product FLOPs needed for LoRA forward and backward at batch 32, as a share of the bf16 product rate."""
    import torch

    from core.batching import by_length, collate
    from core.likelihood import answer_logits, mean_loss

    bench = prepare()
    groups = by_length(bench.encoded, 32)
    members = groups[len(groups) // 2]
    batch = collate(members, bench.pad)
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


# -- answers and memory -------------------------------------------------------------------------------------------------


def answers() -> dict[str, float]:
    """64 questions to before and after in one batch, against two models asked one question at a time."""
    from core.answers import Request, generate
    from core.batching import prompt_ids
    from core.stages import AnswersConfig

    bench, config = prepare(), AnswersConfig(max_new_tokens=32)
    bench.adapters.copy("before", "after")
    prompts = [tuple(prompt_ids(bench.tokenizer, "plain", question)) for question in bench.questions[:64]]
    requests = [Request(prompt, adapter) for prompt in prompts for adapter in ("before", "after")]
    # No end token: every answer has 32 tokens on both sides, so the same work is compared.
    fast = median_seconds(lambda: generate(bench.adapters, requests, config, end=-1, pad=bench.pad), 2)
    few = prompts[:4]
    same = median_seconds(lambda: _one_by_one(bench, few, config.max_new_tokens), 1) * len(prompts) / len(few)
    other = prepare("float32")
    other.adapters.copy("before", "after")
    slow = median_seconds(lambda: _one_by_one(other, few, config.max_new_tokens), 1) * len(prompts) / len(few)
    return {"answers_ratio": round(slow / fast, 1), "answers_ratio_same_dtype": round(same / fast, 1)}


def _one_by_one(bench: Bench, prompts: Sequence[tuple[int, ...]], count: int) -> None:
    """Ask as transformers and peft do it: generate() with one question and one active adapter."""
    import torch

    model = bench.adapters.model
    for adapter in ("before", "after"):
        model.set_adapter(adapter)
        model.requires_grad_(False)
        for prompt in prompts:
            ids = torch.tensor([prompt])
            model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, min_new_tokens=count,
                do_sample=False, pad_token_id=bench.pad,
            )  # fmt: skip


def memory() -> dict[str, float]:
    """Peak memory of a process that holds and asks before and after, over one that holds and asks before alone."""
    from core.jobs import environment

    peaks = []
    # glibc's large heap would hide what is used; both sides run with its defaults.
    plain = {key: value for key, value in environment().items() if not key.startswith("MALLOC_")}
    for which in ("memory-one", "memory-both"):
        command = [sys.executable, "-m", "core.bench", which]
        done = subprocess.run(command, env=plain, stdout=subprocess.PIPE, text=True, check=True)
        peaks.append(float(done.stdout.splitlines()[-1]))
    return {
        "memory_ratio": round(peaks[1] / peaks[0], 3),
        "memory_one_mb": round(peaks[0]),
        "memory_both_mb": round(peaks[1]),
    }


def _ask_and_report(adapters: Sequence[str]) -> None:
    """Ask 8 questions of each adapter and print this process's peak memory in MB."""
    from core.answers import Request, generate
    from core.batching import prompt_ids
    from core.progress import peak_memory_mb
    from core.stages import AnswersConfig

    bench = prepare()
    if "after" in adapters:
        bench.adapters.copy("before", "after")
    prompts = [tuple(prompt_ids(bench.tokenizer, "plain", question)) for question in bench.questions[:8]]
    requests = [Request(prompt, adapter) for prompt in prompts for adapter in adapters]
    generate(bench.adapters, requests, AnswersConfig(max_new_tokens=16), end=-1, pad=bench.pad)
    sys.stdout.write(f"{peak_memory_mb()}\n")


def methods() -> dict[str, float]:
    """Compare a step of every method with a plain step on the same examples; see core/bench_methods.py."""
    from core import bench_methods

    return bench_methods.measure(prepare())


def _of_its_own(name: str) -> Callable[[], dict[str, Any]]:
    """Return the benchmark that has a file of its own."""
    return lambda: dict(importlib.import_module(f"core.bench_{name}").measure())


BENCHES: dict[str, Callable[[], dict[str, Any]]] = {
    "localization": localization,
    "step": step,
    "roofline": roofline,
    "answers": answers,
    "memory": memory,
    "methods": methods,
    "processes": _of_its_own("processes"),
    "plan": _of_its_own("plan"),
    "scale": _of_its_own("scale"),
}


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if sys.argv[1].startswith("memory-"):
        _ask_and_report(["before"] if sys.argv[1] == "memory-one" else ["before", "after"])
    else:
        sys.stdout.write(json.dumps(BENCHES[sys.argv[1]]()) + "\n")
