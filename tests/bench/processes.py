"""What a second process brings: the localize stage by one process held to one thread, against two of one thread each.

Wall time needs two idle cores. Processor time of the busier process says what the wall time would be, also on a busy
machine.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

from core.jobs import launch
from core.models import distributed
from core.models.distributed import meeting
from core.util.progress import Reporter
from tests.bench.setup import prepare

EXAMPLES = 48
"""of each scope"""
TIMES = 3


def measure() -> dict[str, float]:
    """Return how many times faster two are, by wall time and by processor time, and the wall seconds of both."""
    (one, one_busy), (two, two_busy) = _seconds(1), _seconds(2)
    return {
        "processes_ratio": round(one / two, 2),
        "processes_ratio_processor_time": round(one_busy / two_busy, 2),
        "processes_one_seconds": round(one, 2),
        "processes_two_seconds": round(two, 2),
    }


def _seconds(processes: int) -> tuple[float, float]:
    """Let so many processes localize; return the wall seconds of the main one and the processor seconds of the busiest."""
    module = "tests.bench.processes"
    many = ["accelerate.commands.launch", *launch.options(processes, threads=1), "-m", module]
    command = [sys.executable, "-m", *(many if processes > 1 else [module])]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return float(found["wall"]), float(found["busy"])


def main() -> None:
    """Localize as one process of those that were started, and let the main one print the median seconds after the first."""
    from core.config.stages import LocalizeConfig
    from core.pipeline.localize import localize

    bench = prepare()
    times: list[tuple[float, float]] = []
    with meeting(distributed.size(), cpu=True) as group:
        for _ in range(TIMES + 1):
            began, busy = time.perf_counter(), time.process_time()
            localize(
                bench.adapters,
                bench.unlearn[:EXAMPLES],
                bench.retention[:EXAMPLES],
                LocalizeConfig(),
                held={},
                words=bench.words,
                seed=0,
                report=Reporter(),
                group=group,
            )
            times.append((time.perf_counter() - began, max(group.all_gather(time.process_time() - busy))))
        wall, busiest = (statistics.median(values) for values in zip(*times[1:], strict=True))
        if group.is_main:
            sys.stdout.write(json.dumps({"wall": wall, "busy": busiest}) + "\n")


if __name__ == "__main__":
    main()
