"""What lies in a folder of runs besides the runs: the trash, and a folder for each kind of job.

One table says everything about a kind of job. It is read by who starts jobs, by the process that does them, by the lists of
what is under way, and by whoever deletes runs and cleans up. It names the functions that do the work as text, so that
nothing heavy is imported by reading it. A new kind is a line here and the function that it names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.runs import store
from core.runs.store import Run

TRASH = ".trash"
"""folder beside the runs with those that were deleted"""
ASKED = ".asked"
"""folder beside the runs with a folder a run, in it what each visitor of the pages asked: RUN/PERSON.jsonl"""


@dataclass(frozen=True)
class JobKind:
    """One kind of work that a process of its own does, waiting for its turn at the device."""

    work: str
    """"module:function" of two arguments, the folder in which the work reports (laid out as a run) and its Log. Only the
    process resolves it, when it is its turn."""
    folder: str = ""
    """beside the runs, with one folder a job; empty where it is the run itself"""
    words: str = ""
    """what stands before the name of what is worked at: "leak probes of"; empty where the name alone says it"""
    process: str = "worker"
    """what its process is called in lists"""
    takes_turns: bool = False
    """whether the function is called at once and takes its turns at the device itself"""
    results: bool = False
    """whether its folder holds results; else only what its process reported, which may be cleaned away"""


KINDS: dict[str, JobKind] = {
    "run": JobKind("core.jobs.launch:work", results=True),
    "sweep": JobKind("core.jobs.sweep_worker:work", ".sweeps", "sweep", takes_turns=True, results=True),
    "reference": JobKind("core.jobs.job_functions:reference", ".references", "reference of"),
    "probes": JobKind("core.jobs.job_functions:probes", ".probes", "leak probes of"),
    "plant": JobKind("core.jobs.job_functions:plant", ".plantings", "planted facts in", results=True),
    "harness": JobKind("core.jobs.job_functions:harness", ".harness", "lm-evaluation-harness on"),
    "estimate": JobKind("core.jobs.job_functions:estimate", ".plans", "estimate for", process="estimate"),
    "rescore": JobKind("core.report.rescore:work", ".rescores", "verification of"),
    "export": JobKind("core.report.merged_model:work", ".exports", "whole model of"),
}
"""kind of job -> all about it, in the order in which lists show them"""


def reports(folder: Path) -> Iterator[Run]:
    """Yield the jobs' folders among runs that hold nothing but what processes reported."""
    for kind in KINDS.values():
        if not kind.results:
            yield from store.list_runs(folder / kind.folder)


def job_folder(kind: str, run: Run, folder: Path | None = None) -> Run:
    """Return the folder where work on a run reports, whether or not it has begun.

    folder: where runs lie, for work on a bundled run, whose own folder cannot be changed; the usual one where None.
    """
    runs = (folder or store.runs_folder()) if run.bundled else run.path.parent
    return Run(runs / KINDS[kind].folder / run.id)


def under_way(kind: str, run: Run, folder: Path | None = None) -> bool:
    """Say whether work on a run is queued or at work now."""
    at = job_folder(kind, run, folder)
    return at.path.is_dir() and at.status().get("state") in store.ALIVE


def later(run: Run) -> str:
    """Say which later work on a run is queued or under way, an empty text where none is."""
    return ", ".join(name for name, kind in KINDS.items() if kind.folder and under_way(name, run))
