"""What this machine measures of itself; most figures are ratios of two things that are measured in one run."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from core.errors import unknown
from core.jobs import environment

Note = Callable[[str], None]
BENCHES = {
    "localization": "bench_published.localization", "step": "bench_published.step", "roofline": "bench_roofline.roofline",
    "answers": "bench_published.answers", "memory": "bench_memory.memory", "methods": "bench_methods.methods",
    "processes": "bench_processes.measure", "plan": "bench_plan.measure", "scale": "bench_scale.measure",
}  # fmt: skip
"""name -> the function that measures it; imported when it is its turn, because most need torch"""


def measure(only: Sequence[str] | None, note: Note) -> dict[str, Any]:
    """Run the benchmarks, each in a process of its own with the worker's environment; return their figures.

    Raises UserError for a name that does not exist.
    """
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


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    module, _, function = BENCHES[sys.argv[1]].partition(".")
    sys.stdout.write(json.dumps(getattr(importlib.import_module(f"core.{module}"), function)()) + "\n")
