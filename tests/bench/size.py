"""Peak memory by micro-batch and checkpointing: what `plan` says beside what a process really takes.

Each setting is measured in a process of its own, on the bundled model with the demo's longest examples: they decide what is
needed. A process makes a few steps by the run's own functions and tells its peak before and after them.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import psutil

from core.config.run_config import RunConfig, preset
from core.data import sources
from core.data.corpus import SCOPES
from core.models.micro_batches import MicroBatches
from core.models.tokens import Encoded, encode_all
from core.pipeline.localize import localize
from core.pipeline.supply import Supply
from core.pipeline.teach import teach
from core.pipeline.unlearn_loop import Callbacks, Watched, unlearn
from core.plan import dry_run, run_plan
from core.util.process import environment
from core.util.progress import Reporter, forget_peak_memory, peak_memory_mb
from tests.bench.setup import prepare

STEPS = 1
SETTINGS: dict[str, tuple[str, dict[str, object]]] = {
    "unlearn": ("unlearn", {}),
    "unlearn-4": ("unlearn", {"model.micro_batch": 4}),
    "unlearn-4-kept": ("unlearn", {"model.micro_batch": 4, "model.checkpointing": True}),
    "teach": ("teach", {}),
    "teach-64-8-kept": ("teach", {"teach.batch_size": 64, "model.micro_batch": 8, "model.checkpointing": True}),
    "localize-8": ("localize", {"model.micro_batch": 8}),
}
"""name -> stage, and how it differs from this-machine with batches of 16 and 16"""


def configured(name: str) -> RunConfig:
    """Return a setting's configuration."""
    config = preset("this-machine").with_setting("model.device", "cpu").with_setting("unlearn.batch_size", 16)
    for path, value in {"unlearn.prefix_memory": 0.0, "teach.keep_weight": 0.0, **SETTINGS[name][1]}.items():
        config = config.with_setting(path, value)
    return config


def measure() -> dict[str, float]:
    """Return for each setting what was planned over what was measured, and what cutting saves."""
    # glibc's large heap would hide what is used: with its defaults tensors are given back as they go.
    plain = {key: value for key, value in environment().items() if not key.startswith("MALLOC_")}
    found, peaks = dict[str, float](), dict[str, tuple[float, float]]()
    for name, (stage, _) in SETTINGS.items():
        command = [sys.executable, "-m", "tests.bench.size", name]
        done = subprocess.run(command, env=plain, stdout=subprocess.PIPE, text=True, check=True)
        before, peak = peaks[name] = json.loads(done.stdout.splitlines()[-1])
        parts = run_plan.make(configured(name), heap=run_plan.PLAIN).memory[stage]
        planned = sum(parts.values())
        found |= {
            f"size_{name}_ratio": round(planned / (peak * 2**20), 3),
            f"size_{name}_planned_mb": round(planned / 2**20),
            f"size_{name}_measured_mb": round(peak),
            f"size_{name}_loaded_mb": round(before),
        }
        sys.stderr.write(
            f"{name}: planned {planned / 2**20:.0f} MB, measured {peak:.0f} MB, loaded {before:.0f} MB, {parts}\n"
        )
    (base, whole), (small_base, small) = peaks["unlearn"], peaks["unlearn-4-kept"]
    return found | {
        "size_saved_in_all": round(small / whole, 3),
        "size_saved_beyond_model": round((small - small_base) / (whole - base), 3),
    }


def work(name: str) -> None:
    """Make a setting's steps here; print this process's peak memory in MB before and after them."""
    config, bench = configured(name), prepare()
    before = round(psutil.Process().memory_info().rss / 2**20)
    forget_peak_memory()
    micro = MicroBatches.of(config.model, Reporter())
    corpus, longest = sources.load(config.data), dry_run.longest

    def encoded(scope: str, split: str | None) -> list[Encoded]:
        c = config.data
        return encode_all(bench.tokenizer, config.model.template, corpus.select(scope, split), c.max_tokens)

    train = [encoded(scope, "train") for scope in SCOPES]
    match SETTINGS[name][0]:
        case "unlearn":
            c = dataclasses.replace(config.unlearn, steps=STEPS, check_every=STEPS, stop="never", retain_floor=0.0)
            forget, retain = longest(train[0], c.batch_size), longest(train[1], c.retain_batch_size)
            unlearn(
                bench.adapters,
                [cell.name for cell in bench.adapters.cells][::5],
                Supply(forget, retain),
                Watched(forget[:4], retain[:4], None),
                c,
                Callbacks(Reporter(), lambda *_: None),
                seed=0,
                micro=micro,
            )
        case "teach":
            t = dataclasses.replace(config.teach, epochs=STEPS, target_accuracy=100.1)
            members = longest([m for scope in SCOPES for m in encoded(scope, None)], t.batch_size)
            teach(bench.adapters, [], members, [], [], None, t, seed=0, report=Reporter(), micro=micro)
        case "localize":
            members = [longest(part, config.localize.batch_size) for part in train]
            localize(
                bench.adapters, *members, config.localize, held={}, words=bench.words, seed=0, report=Reporter(), micro=micro
            )
    sys.stdout.write(f"{json.dumps([before, peak_memory_mb()])}\n")


if __name__ == "__main__":
    work(sys.argv[1])
