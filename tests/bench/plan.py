"""What `plan` says beside what happens: three whole runs, their peak memory, their stages' seconds, their files.

The bundled model and two small random ones of other shapes, each by a worker of its own as any run is made. The settings
leave nothing to chance: all passes and steps are made, answers have their full length.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from core import regions
from core.config.run_config import RunConfig, preset
from core.data import sources
from core.jobs import lifecycle, sweep_estimate
from core.models import names
from core.plan import run_plan
from core.runs import store
from core.runs.overview import size_on_disk
from core.util.errors import UserError

SETTINGS = {
    "teach.epochs": 1,
    "teach.target_accuracy": 100.1,
    "preflight.minimum_facts": 0.0,
    "unlearn.steps": 4,
    "unlearn.check_every": 4,
    "unlearn.stop": "never",
    "unlearn.retain_floor": 0.0,
    "unlearn.watch": 0,
    "answers.max_new_tokens": 16,
    "evaluate.extras": False,
}
SMALL: dict[str, dict[str, Any]] = {
    "wide": {
        "model_type": "llama",
        "hidden_size": 384,
        "intermediate_size": 1024,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
    },
    "deep": {
        "model_type": "gpt_neox",
        "hidden_size": 192,
        "intermediate_size": 768,
        "num_hidden_layers": 16,
        "num_attention_heads": 6,
    },
}
PEOPLE = 4
"""of the demo: more would take longer and need no more memory, which the largest batch decides"""
STAGES = ("teach", "localize", "unlearn")


def measure() -> dict[str, float]:
    """Return, for each model, planned over measured memory and seconds, and both of each."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in (*SMALL, "bundled"):
            model = name if name == "bundled" else str(small(Path(folder) / name, SMALL[name]))
            values = compared(model, Path(folder) / f"runs-{name}")
            sys.stderr.write(f"{name}: {values}\n")
            found |= {f"plan_{name}_{key}": value for key, value in values.items()}
    return found


def small(folder: Path, settings: dict[str, Any]) -> Path:
    """Save a random model of some shape with the bundled model's tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    values, tokenizer = dict(settings), AutoTokenizer.from_pretrained(names.bundled_folder())
    config = AutoConfig.for_model(values.pop("model_type"), vocab_size=len(tokenizer), **values)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def configured(model: str) -> RunConfig:
    """Return the configuration that is planned and run."""
    config = preset("this-machine").with_setting("model.name", model).with_setting("model.device", "cpu")
    people = ",".join(list(sources.load(config.data).subjects())[:PEOPLE])
    for path, value in {**SETTINGS, "data.subjects": people}.items():
        config = config.with_setting(path, value)
    return dataclasses.replace(config, region=regions.parse("top:20%", config.region))  # a random model has no other


def compared(model: str, folder: Path) -> dict[str, float]:
    """Plan a run, make it, and return both sides."""
    config = configured(model)
    planned = run_plan.make(config)
    paced = sweep_estimate.steps_of(config, folder)
    run = lifecycle.submit(config, folder)
    while run.status().get("state") not in store.ENDED:
        time.sleep(0.5)
        lifecycle.reap()
    if run.status().get("state") != "done":
        raise UserError(
            f"The run to compare with ended early: {run.status().get('error')}", "See that there is enough memory."
        )
    stages = run.json("manifest.json")["stages"]
    # A process's peak only grows: what teaching needs is seen after it, what the fullest stage needs at the end.
    taught = stages["teach"]["peak_memory_mb"] * 2**20
    peak = max(stage["peak_memory_mb"] for stage in stages.values()) * 2**20
    told = {stage: sum(parts.values()) for stage, parts in planned.memory.items()}
    seconds = sum(stages[name]["seconds"] for name in STAGES)
    foreseen = sum((cost["low"] + cost["high"]) / 2 for cost in paced["stages"] if cost["name"] in STAGES)
    disk = size_on_disk(run.path)
    shutil.rmtree(folder, ignore_errors=True)
    ratios = {"memory": max(told.values()) / peak, "teach_memory": told["teach"] / taught, "seconds": foreseen / seconds}
    return {
        **{f"{name}_ratio": round(value, 3) for name, value in ratios.items()},
        "memory_gb": round(peak / 1e9, 3),
        "seconds": round(seconds, 1),
        "disk_ratio": round(sum(planned.disk.values()) / disk, 3),
        "disk_mb": round(disk / 1e6, 2),
    }
