"""The process that does a job: `python -m core.jobs KIND FOLDER`, or `… --ray` where it hands the job to a Ray cluster.

KIND is one of core.runs.layout.KINDS, FOLDER the one in which the job reports. It frees all memory by ending.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from core.jobs import launch, ray_manager, worker
from core.jobs.under_way import ON_RAY
from core.models import distributed
from core.runs.store import Run
from core.util import logs

LOG = logging.getLogger("core.jobs.worker")
NICENESS = 10
"""How far a worker stands back (0 to 19, as `nice`): pages and answers are waited for, a run is not. Alone it loses
nothing."""


def main(arguments: Sequence[str]) -> int:
    """Do the job that the command line names; return the exit status."""
    kind, job_folder = arguments[0], Run(Path(arguments[1]).absolute())
    if ON_RAY in arguments[2:]:
        return ray_manager.manage(kind, job_folder)
    if distributed.size() > 1 and kind != "run":
        LOG.error("Only a run can be shared by several processes. Start this without accelerate.")
        return 1
    return launch.assist(job_folder) if distributed.rank() else worker.work(kind, job_folder)


if __name__ == "__main__":
    logs.start()
    if ON_RAY not in sys.argv:  # a manager only waits
        os.nice(max(0, NICENESS - os.nice(0)))
    raise SystemExit(main(sys.argv[1:]))
