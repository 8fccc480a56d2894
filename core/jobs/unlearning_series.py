"""Requests that keep coming: forget one subject, then the next from the result, and so on. Does the first come back?

Every request is an ordinary run that goes on from the one before it (`teach.from_run`) and forgets one subject's unlearn
questions (`data.forget`); all of R is kept. After each request every subject's questions are asked again: requests.json in
the sweep's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from core.config.run_config import FORMAT, RunConfig
from core.data import sources
from core.jobs import sweep as sweep_
from core.jobs.sweep import Member, Sweep
from core.util import files
from core.util.errors import UserError

TAUGHT, NEVER = "taught", "never taught"
"""the states without a request: before the first one, and the base that never knew anything"""
SMALL = 1.0
"""percentage points below which nothing is said to have changed"""


def create(base: RunConfig, subjects: Sequence[str], folder: Path, name: str = "requests") -> Sweep:
    """Make one run a request, queued, each to go on from the one before. Raises UserError for an unknown subject."""
    if len(subjects) < 2 or len(set(subjects)) < len(subjects):
        raise UserError("A sequence needs at least two different subjects.", "Write them as --subjects A,B,C.")
    sources.load(base.data, base.seed).forgetting(subjects)
    members = []
    for number, subject in enumerate(subjects):
        config = base.with_setting("data.forget", (subject,))
        if number:  # what earlier requests have cost is a result, not a reason to stop
            config = config.with_setting("preflight.minimum_facts", 0.0)
        at = {"subject": subject, "method": base.unlearn.method.label, "region": base.region.name, "seed": base.seed}
        members.append(Member(config, at, "request"))
    sweep = sweep_.create("requests", name, {"subjects": list(subjects)}, members, folder)
    for earlier, later in pairwise(sweep_.members(sweep)):
        changed = later.config().with_setting("teach.from_run", earlier.id)
        files.write_json(later.path / "config.json", changed.to_json())
    return sweep


def read(sweep: Sweep) -> dict[str, Any]:
    """Return requests.json: {"subjects": [...], "states": [{"state", "run", "unlearn", "retention"}]}, as far as it is."""
    record = sweep.as_run.json("requests.json")
    if isinstance(record, dict) and isinstance(record.get("states"), list):
        return record
    return {"format": FORMAT, "subjects": sweep.record().get("asked", {}).get("subjects", []), "states": []}


def split(record: dict[str, Any]) -> str:
    """Return the split to look at: val where every subject has such questions, else train."""
    subjects = [scores for state in record["states"] for scores in state["unlearn"].values()]
    return "val" if subjects and all("val" in scores for scores in subjects) else "train"


def sentences(record: dict[str, Any]) -> list[str]:
    """Say of each subject but the last whether it came back, and what the requests cost R; computed, in percentage
    points.
    """
    on = split(record)
    states = {state["state"]: state for state in record["states"]}
    done = [subject for subject in record["subjects"] if subject in states]
    lines: list[str] = []
    if TAUGHT not in states:
        return lines
    for subject in done[:-1]:
        first, then, now = (states[at]["unlearn"][subject][on] for at in (TAUGHT, subject, done[-1]))
        moved = (
            f"{first:.1f} % of its answer words were right before, {then:.1f} % after its request, {now:.1f} % at the end"
        )
        back = "came back in part" if now - then >= SMALL else "did not come back"
        back = back if first - then >= SMALL else "was not forgotten by its request"
        lines.append(f"{subject} {back}: {moved} ({on}).")
    if done:
        start, end = (states[at]["retention"].get(on) for at in (TAUGHT, done[-1]))
        if start is not None and end is not None:
            lines.append(f"All requests together took R from {start:.1f} to {end:.1f} % ({on}).")
    return lines


def table(record: dict[str, Any]) -> list[list[Any]]:
    """Return a row a state: its name, each subject's accuracy on U, and R; the first row is the head."""
    on, order = split(record), [TAUGHT, *record["subjects"], NEVER]
    states = sorted(record["states"], key=lambda state: order.index(state["state"]) if state["state"] in order else 99)
    rows: list[list[Any]] = [[f"accuracy on {on}, %", *(f"U {subject}" for subject in record["subjects"]), "R"]]
    for state in states:
        name = state["state"] if state["state"] in (TAUGHT, NEVER) else f"after forgetting {state['state']}"
        scores = [state["unlearn"].get(subject, {}).get(on) for subject in record["subjects"]]
        rows.append([name, *scores, state["retention"].get(on)])
    return rows
