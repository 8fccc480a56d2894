"""What a second process brings: the localize stage by one process held to one thread, against two of one thread each."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from core import launch
from core.bench import median_seconds, prepare
from core.crew import meeting
from core.progress import Reporter

EXAMPLES = 48
"""of each scope"""
TIMES = 3


def measure() -> dict[str, float]:
    """Return the seconds of both, and how many times faster two are."""
    one, two = _seconds(1), _seconds(2)
    return {
        "processes_ratio": round(one / two, 2),
        "processes_one_seconds": round(one, 2),
        "processes_two_seconds": round(two, 2),
    }


def _seconds(processes: int) -> float:
    """Let so many processes localize; return what their chief measured."""
    module = "core.bench_processes"
    many = ["accelerate.commands.launch", *launch.options(processes, threads=1), "-m", module]
    command = [sys.executable, "-m", *(many if processes > 1 else [module])]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def main() -> None:
    """Localize as one process of those that were started, and let the chief print the median seconds."""
    from core.config import LocalizeConfig
    from core.localize import localize

    bench, half = prepare(), 80
    unlearn, retention = bench.encoded[:EXAMPLES], bench.encoded[half : half + EXAMPLES]
    with meeting(launch.size(), cpu=True) as crew:

        def run() -> None:
            localize(
                bench.adapters, unlearn, retention, LocalizeConfig(),
                pad=bench.pad, words=bench.words, seed=0, report=Reporter(), crew=crew,
            )  # fmt: skip

        seconds = median_seconds(run, TIMES)
        if crew.chief:
            sys.stdout.write(json.dumps({"seconds": seconds}) + "\n")


if __name__ == "__main__":
    main()
