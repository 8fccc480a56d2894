"""What this machine measures of itself; most figures are ratios of two things that are measured in one run."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from core.util.errors import unknown
from core.util.process import environment

Note = Callable[[str], object]
BENCHES = {
    "localization": "published.localization",
    "step": "published.step",
    "prefix": "prefix.measure",
    "roofline": "roofline.roofline",
    "answers": "published.answers",
    "memory": "memory.memory",
    "methods": "methods.methods",
    "processes": "processes.measure",
    "plan": "plan.measure",
    "size": "size.measure",
    "scale": "scale.measure",
    "endpoint": "endpoint.measure",
    "site": "site.measure",
    "depth": "depth.measure",
    "scopes": "scopes.measure",
}
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
        command = [sys.executable, "-m", "tests.bench", "--here", name]
        done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, text=True, check=True)
        found |= json.loads(done.stdout.splitlines()[-1])
    return found


def main(given: Sequence[str] | None = None) -> int:
    """Measure what is named, or all, and print the figures as one JSON object."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Measure this machine against the published procedure."
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"{', '.join(BENCHES)} (default: all)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(given)
    if options.here:
        module, _, function = BENCHES[options.names[0]].partition(".")
        figures = getattr(importlib.import_module(f"tests.bench.{module}"), function)()
    else:
        figures = measure(options.names, lambda text: sys.stderr.write(f"{text}\n"))
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    raise SystemExit(main())
