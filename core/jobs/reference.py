"""A model taught on the retention scope only: what a run's model would be had it never seen U (`core reference RUN`).

Of a run that forgets some subjects (`data.forget`) it is taught what the others have to forget as well, as the run's model
was. TOFU's forget quality needs it, and the never-knew score is then measured against it too: the base that was never taught
anything does not know R either. It costs one teaching. The run's own settings are used; scores and answers of this voice,
"retrained", are added to the run's files, and all metrics are computed anew. The work is done by a worker process with a
folder of its own, RUNS/.references/ID/, laid out like a run's, so it is followed and cancelled in the same way. Importing
this file costs no heavy library.
"""

from __future__ import annotations

from core.jobs import lifecycle
from core.plan import admission
from core.runs import layout
from core.runs.store import Run
from core.runs.voices import VOICE
from core.util.errors import UserError


def exists(run: Run) -> bool:
    """Say whether a run has its reference."""
    metrics = (run.json("metrics.json") or {}).get("metrics", {})
    return VOICE in metrics.get("accuracy", {}).get("values", {})


def check(run: Run) -> None:
    """Raise UserError where no reference can be made for a run."""
    state, config = run.status().get("state"), run.config()
    if run.bundled:
        raise UserError("The bundled run cannot be changed.", "Start a new one with its settings.")
    if state != "done":
        raise UserError(f"The run {run.id} is {state}.", "Let it finish first.")
    if not config.teach.enabled or not (run.path / "teach.json").is_file():
        raise UserError(
            f"The run {run.id} did not teach its model, so what it would be without the unlearn scope is not known.",
            "Use a run that teaches.",
        )
    if not isinstance(run.json("recorded.json"), dict):
        raise UserError(
            f"The run {run.id} is older than this: it lacks recorded.json.",
            "Start it again with its settings; what is in the cache is not computed again.",
        )


def start(run: Run) -> Run:
    """Start the worker that makes a run's reference; return the folder where it reports. Raises UserError, as `check`
    does.
    """
    check(run)
    admission.check(run.config(), run.path.parent)
    job_folder = layout.job_folder("reference", run)
    if not lifecycle.begin("reference", job_folder, run.config(), {"run": str(run.path)}):
        raise UserError(f"The reference of {run.id} is being made already.", "Wait for it.")
    return job_folder
