"""What a run needs, worked out without weights: against models that are here, and for models that are not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoConfig

from core.cli import plan as verb
from core.config.run_config import RunConfig
from core.config.stages import TeachConfig
from core.models import cells
from core.models.likelihood import answer_logits, mean_loss
from core.models.tokens import Encoded, collate
from core.plan import architectures, cards, dry_run, run_plan
from core.plan.model_memory import parameter_count
from dashboard.charts import heatmap
from dashboard.charts.palette import LIGHT
from tests.processes import command, last_json, quick
from tests.tiny import SETTINGS

LARGE = ("Llama-2-7B", "Llama-3.1-8B", "Llama-2-70B", "Qwen1.5-7B", "Mixtral-8x7B", "Llama-3.1-405B")
LINEAR = {"Llama-2-7B": 7, "Llama-3.1-8B": 7, "Llama-2-70B": 7, "Qwen1.5-7B": 7, "Llama-3.1-405B": 7, "Mixtral-8x7B": 7}
"""modules of a layer that carry an adapter: q, k, v, o and three of the feed-forward part (Mixtral: router, two of
experts)"""


def batch_of(count: int = 4, length: int = 24) -> list[Encoded]:
    return [Encoded(str(i), tuple(range(3, 3 + length - i)), 6) for i in range(count)]


@pytest.mark.parametrize("name", LARGE)
def test_from_a_published_configuration_to_the_heatmap(name: str) -> None:
    entry = architectures.published()[name]
    adapters = architectures.weightless(architectures.configuration(name), "bfloat16", TeachConfig())
    base = [p for key, p in adapters.model.named_parameters() if ".lora_" not in key]
    assert sum(p.numel() for p in base) == entry["parameters"]
    assert all(p.device.type == "meta" for p in adapters.model.parameters())
    layers = entry["config"]["num_hidden_layers"]
    assert len(adapters.cells) == layers * LINEAR[name] * 2
    draw = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "name": c.name,
            "layer": c.layer,
            "module": c.module,
            "factor": c.factor,
            "rows": c.shape[0],
            "columns": c.shape[1],
            "cos": draw.uniform(-1, 1),
            "mag_unlearn": draw.uniform(),
            "mag_retain": 1.0,
            "norm_unlearn": 1.0,
            "norm_retain": 1.0,
            "divergence": draw.uniform(),
            "has_gradient": True,
        }
        for c in adapters.cells
    )
    assert cells.layout(table).layers == list(range(layers))
    figure = heatmap.heatmap(table, "divergence", list(table["name"][::5]), None, LIGHT)
    drawn = next(trace for trace in figure.data if trace.name == "all")
    assert np.isfinite(np.array(drawn.z, float)).sum() == len(adapters.cells)
    assert np.array(drawn.z).shape[1] == layers


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2", "falcon", "mixtral"])
def test_few_layers_tell_what_many_hold(architecture: str) -> None:
    settings = {key: value for key, value in SETTINGS[architecture].items() if key not in ("num_hidden_layers", "n_layer")}
    model = AutoConfig.for_model(
        architecture, **settings, **{"n_layer" if architecture == "gpt2" else "num_hidden_layers": 10}
    )
    members = batch_of()
    batches = dry_run.Batches(members, members, [members, members[:2]], members, rows=4, prompt=6)
    told = dry_run.held(model, RunConfig(), batches, "float32")
    fused = architecture == "mixtral"  # torch groups products of a meta tensor in bfloat16 alone
    whole = dry_run._held(model, RunConfig(), batches, "bfloat16" if fused else "float32")
    for stage in ("teach", "localize", "evaluate"):
        fullest = whole[stage][0]
        assert sum(told[stage].values()) == pytest.approx(sum(fullest.values()) * (1 + fused), rel=0.02), stage


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_cut_batches_and_layers_that_keep_less_hold_less(architecture: str) -> None:
    layers = "n_layer" if architecture == "gpt2" else "num_hidden_layers"
    model = AutoConfig.for_model(architecture, **{**SETTINGS[architecture], layers: 8})
    members = batch_of(6)  # in micro-batches of two, well under half
    batches = dry_run.Batches(members, members, [members, members], members, rows=4, prompt=6)

    def told(micro: int, keeps: bool, *, gpu: bool = False) -> dict[str, float]:
        config = RunConfig().with_setting("model.micro_batch", micro).with_setting("model.checkpointing", keeps)
        held = dry_run.held(model, config, batches, "float32", gpu=gpu)
        return {stage: held[stage]["activations"] for stage in ("teach", "localize", "unlearn", "evaluate")}

    whole = told(0, False)
    for micro, keeps in ((2, False), (0, True), (2, True)):
        less = told(micro, keeps)
        assert all(less[stage] < 0.5 * whole[stage] for stage in ("teach", "localize", "unlearn")), (micro, keeps)
        assert less["evaluate"] == whole["evaluate"]
    assert (told(0, False, gpu=True)["teach"] < whole["teach"]) is (architecture != "gemma2")  # it caps its scores


def test_few_layers_tell_what_many_hold_where_logits_fill_the_few() -> None:
    """In micro-batches the fullest moment of few layers is when all logits have their gradient; of many, within a layer."""
    model = AutoConfig.for_model("llama", **{**SETTINGS["llama"], "vocab_size": 8000, "num_hidden_layers": 32})
    members, one = batch_of(4, 48), batch_of(1)
    batches = dry_run.Batches(one, one, [members, members], one, rows=1, prompt=6)  # it is of unlearning alone
    config = RunConfig().with_setting("model.micro_batch", 1)
    few, most = dry_run._held(dry_run.shallow(model, 4), config, batches, "float32")["unlearn"]
    assert few["logits"] > most["logits"]
    assert few["activations"] < 0.5 * most["activations"]
    told = dry_run.held(model, config, batches, "float32")["unlearn"]
    whole = dry_run._held(model, config, batches, "float32")["unlearn"][0]
    assert sum(told.values()) == pytest.approx(sum(whole.values()), rel=0.1)  # as much as a plan may err


def test_cards_say_what_fits(tiny_llama: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = quick(tiny_llama, tiny_data)
    fits = cards.fits(config)
    assert len(fits) == len(cards.CUTS) * 3
    assert all(fit.cards == cards.CARDS for fit in fits)
    assert cards.plainest(fits, 24) == fits[0]
    assert verb._cards(fits)[-3:] == [f"One GPU of {card} GiB: it fits as it is." for card in (24, 40, 80)]
    by = {(fit.weights, fit.micro_batch, fit.checkpointing): fit.needed for fit in fits}
    assert by["full", 0, False] > by["8bit", 0, False] > by["4bit", 0, False]
    assert by["full", 0, False] >= by["full", 1, True]  # answers and scores are cut by settings of their own
    plan = run_plan.make(config, gpu=True)
    assert by["full", 0, False] == sum(plan.memory[plan.fullest].values())
    assert fits[0].settings == ""
    assert fits[-1].settings == "--set model.weights=4bit --set model.micro_batch=1 --set model.checkpointing=true"
    monkeypatch.setattr(cards, "CARDS", (0, 80))
    assert all(fit.cards == (80,) for fit in fits)
    assert cards.plainest(fits, 0) is None


def test_it_counts_what_torch_keeps_for_the_way_back(tiny_llama: Path) -> None:
    """Beside torch's own hooks, which see every tensor that backward will need, on real numbers."""
    model = architectures.configuration(str(tiny_llama))
    members = batch_of()
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    from core.config.stages import ModelConfig
    from core.models import adapters as adapters_
    from core.models import loading

    loaded = loading.load(ModelConfig(name=str(tiny_llama), dtype="float32", device="cpu"))
    adapters = adapters_.attach(loaded.model, "float32", rank=8, alpha=16, dropout=0.0, seed=0)
    batch = collate(members)
    weights = {p.untyped_storage()._cdata for p in adapters.model.parameters()}
    with (
        adapters.trainable("before", [c.name for c in adapters.cells]),
        adapters.active("before") as active,
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        loss = mean_loss(answer_logits(active, batch), batch)
    saved = sum(size for key, size in kept.items() if key not in weights)
    assert loss.isfinite()
    batches = dry_run.Batches(members, members, [members, members[:2]], members, rows=4, prompt=6)
    told = sum(dry_run._held(model, RunConfig(), batches, "float32")["teach"][0].values())
    assert saved <= told <= 1.6 * saved


def test_devices_share_all_of_it() -> None:
    config = RunConfig().with_setting("model.name", "Llama-3.1-405B")
    plan = run_plan.make(config, gpu=True, rate=1000)
    parts = plan.memory[plan.fullest]
    for count in (1, 5, 126):
        devices = plan.devices(count)
        together = sum(sum(device.values()) - device["libraries"] for device in devices)
        assert together == pytest.approx(sum(parts.values()) - parts["libraries"])
    needed = plan.needed(80 * 2**30)
    assert needed is not None
    assert max(sum(d.values()) for d in plan.devices(needed)) <= 80 * 2**30
    assert max(sum(d.values()) for d in plan.devices(needed - 1)) > 80 * 2**30
    assert plan.needed(2**30) is None
    assert plan.seconds is not None
    assert plan.seconds["teach"] == pytest.approx(plan.work.trained["teach"] / 1000)


def test_the_longest_example_decides(tiny_llama: Path, tmp_path: Path) -> None:
    rows = [
        {"question": f"Who is it, {i}?", "answer": "Ada.", "scope": s, "split": "train"}
        for s in ("unlearn", "retention")
        for i in range(40)
    ]
    (tmp_path / "short.jsonl").write_text("\n".join(map(json.dumps, rows)))
    rows[0] = {**rows[0], "answer": "Ada of the long name. " * 9}
    (tmp_path / "long.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = RunConfig().with_setting("model.name", str(tiny_llama)).with_setting("model.dtype", "float32")
    short, long = (
        run_plan.make(config.with_setting("data.source", str(tmp_path / f"{n}.jsonl"))) for n in ("short", "long")
    )
    assert long.memory["localize"]["activations"] > 3 * short.memory["localize"]["activations"]
    assert long.parameters == short.parameters == parameter_count(str(tiny_llama))


def test_the_verb(tiny_llama: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "CUTS", cards.CUTS[:1])  # the others are those of the test above
    done = command(
        "plan",
        "--model",
        str(tiny_llama),
        "--data",
        str(tiny_data),
        "--gpus",
        "2",
        "--gpu-memory",
        "8",
        "--rate",
        "500",
        "--cards",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    value = last_json(done.stdout)
    assert value["tensors"] == 28
    assert len(value["devices"]) == 2
    assert value["gpus_needed"] == 1
    assert {fit["weights"] for fit in value["cards"]} == {"full", "8bit", "4bit"}
    assert set(value["seconds"]) == {"teach", "preflight", "localize", "unlearn", "answers", "evaluate"}
    wrong = command("plan", "--model", str(tiny_llama), "--data", str(tiny_data), "--gpu-memory", "-1")
    assert wrong.returncode == 1
    assert wrong.stderr == "--gpu-memory cannot be -1. Give a number above 0.\n"


def test_all_that_is_taught_counts_and_nothing_where_a_run_is_gone_on_from(tiny_llama: Path, tiny_data: Path) -> None:
    config = quick(tiny_llama, tiny_data)
    one = config.with_setting("data.forget", ("Orla Venning",))
    whole, part, on = (run_plan.make(c).work for c in (config, one, config.with_setting("teach.from_run", "earlier")))
    assert part.trained["teach"] == whole.trained["teach"] > 0
    assert part.trained["localize"] < whole.trained["localize"]
    assert on.trained["teach"] == 0
