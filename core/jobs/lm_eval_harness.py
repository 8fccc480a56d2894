"""lm-evaluation-harness on a run's voices: ARC, MMLU, TruthfulQA and whatever else it knows (`core harness RUN --tasks …`).

An optional extra: `pip install lm-eval` brings the harness, which downloads each task's data from the hub. A process waits
for the device, asks (core/jobs/job_functions.py) and writes harness.json into the run, task by task as the harness names
them. What the harness prints goes into worker.log at RUNS/.harness/ID/. No heavy import.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from core.jobs import lifecycle
from core.runs import askable, layout
from core.runs.store import Run
from core.runs.voices import SPOKEN
from core.util.errors import UserError, unknown

INSTALL = "Install it with: pip install lm-eval"
RESULT = "result.json"
"""file of the job's folder: what this evaluation found"""

Results = dict[str, dict[str, dict[str, float]]]
"""voice -> task -> measure -> value"""


def start(run: Run, tasks: Sequence[str], voices: Sequence[str], limit: int | None, folder: Path | None = None) -> Run:
    """Start the worker that evaluates each voice; return the folder where it reports.

    limit: examples of each task, None for all. Raises UserError where the harness is missing, for unknown voices, and while
    the run is being evaluated already.
    """
    if find_spec("lm_eval") is None:
        raise UserError("lm-evaluation-harness is not installed.", INSTALL)
    for voice in voices:
        if voice not in SPOKEN:
            raise unknown("voice", voice, SPOKEN)
    if "never" in voices and (why := askable.no_never(run)):
        voices = [voice for voice in voices if voice != "never"]
        if not voices:
            raise UserError(f"The voice never cannot be evaluated: {why}.", "Name before or after.")
    job_folder = layout.job_folder("harness", run, folder)
    wanted = {"run": str(run.path), "tasks": list(tasks), "voices": list(voices), "limit": limit}
    if not lifecycle.begin("harness", job_folder, run.config(), wanted, RESULT):
        raise UserError(f"The run {run.id} is being evaluated already.", "Wait for it, or cancel it.")
    return job_folder


def result(job_folder: Run) -> Results:
    """Return what the last evaluation that ended well found, empty where there is none."""
    results = job_folder.json(RESULT)
    return results if isinstance(results, dict) else {}
