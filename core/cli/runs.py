"""The verbs about runs that are there: runs, show, compare."""

from __future__ import annotations

import argparse
from typing import Any

from core.cli.terminal import SAID_OF, out, said_of, scores, table
from core.config.run_config import differences
from core.data import widened_questions
from core.runs import asked, repair, store
from core.runs.scores import Scores
from core.runs.summary import said, summary


def options(command: argparse.ArgumentParser) -> None:
    """Add the options of `runs`."""
    command.add_argument("--check", action="store_true", help="examine all runs: hashes, truncated files, missing stages")
    command.add_argument("--repair", action="store_true", help="examine, and mend what can be mended without guessing")


def runs(given: argparse.Namespace) -> int:
    """List runs, bundled ones last; unreadable ones with the reason. With --check, say what is wrong with them."""
    if given.check or given.repair:
        return _checked(given)
    runs = [*store.list_runs(store.runs_folder(given.runs)), *store.bundled_runs()]
    values: list[dict[str, Any]] = []
    rows: list[list[Any]] = [["run", "state", *SAID_OF, "name"]]
    for run in runs:
        problem = run.problem()
        name = problem or run.config().name
        state = "unreadable" if problem else run.status()["state"]
        measured = Scores.read_once(run)
        about = {"run": run.id, "state": state, "name": name, "bundled": run.bundled}
        values.append({**about, "asked": said(measured).get("after", {})})
        rows.append([run.id, state, *said_of(measured), name])
    return out(given, {"runs": values}, table(rows) if runs else ["No runs yet. Start one with `python -m core run`."])


def _checked(given: argparse.Namespace) -> int:
    """Examine all runs, with --repair mend what is safe; exit status 1 where something is left that is wrong."""
    folder = store.runs_folder(given.runs)
    problems = list(repair.examine(folder))
    mended, failed = repair.repair(problems) if given.repair else (0, [])
    left = list(repair.examine(folder)) if mended else problems
    lines = [f"{p.where}: {p.says} {p.advice}" for p in (problems if not given.repair else left)]
    count = len(store.list_runs(folder))
    lines.append(
        f"{count} runs examined, {len(problems)} problems"
        + (f", {mended} mended, {len(left)} left." if given.repair else ".")
    )
    records = [{"where": p.where, "says": p.says, "advice": p.advice, "mendable": p.mend is not None} for p in problems]
    out(
        given, {"runs": count, "problems": records, "mended": mended, "left": len(left), "failed": failed}, [*lines, *failed]
    )
    return 1 if left else 0


def show(given: argparse.Namespace) -> int:
    """Print a run's scores; with --json its configuration, status and scores."""
    run = store.find(given.id, store.runs_folder(given.runs))
    status = run.status()
    output = {**summary(run), "config": run.config().to_json(), "status": status}
    lines = scores(run) if status["state"] == "done" else []
    lines += _memory(output["memory"])
    if account := widened_questions.read_account(run):
        output["widened"] = account
        lines.append(widened_questions.in_words(account))
    state = f"{run.id} is {status['state']}. {status.get('error', '')} {status.get('fix', '')}".strip()
    return out(given, output, lines if status["state"] == "done" else [state, *lines])


def _memory(stages: dict[str, dict[str, float]]) -> list[str]:
    """Say how much memory each stage held at most, by device."""
    devices = dict.fromkeys(device for peaks in stages.values() for device in peaks)
    lines = []
    for device in devices:
        held = [f"{name} {peaks[device] / 1e9:.2f} GB" for name, peaks in stages.items() if device in peaks]
        lines.append(f"Peak memory, {device}: {', '.join(held)}.")
    return lines


def compare(given: argparse.Namespace) -> int:
    """Print scores of several runs side by side, and the settings in which they differ."""
    runs = [store.find(name, store.runs_folder(given.runs)) for name in given.ids]
    summaries = [summary(run) for run in runs]
    said_rows: list[list[Any]] = [["run", *SAID_OF], *([run.id, *said_of(Scores.read_once(run))] for run in runs)]
    rows: list[list[Any]] = [["run", "U-train", "U-val", "R-train", "R-val", "never-knew train", "val", asked.GIBBERISH]]
    for entry in summaries:
        after, knew = entry["after"], entry["never_knew"]
        unlearned, kept = after.get("unlearn_success", {}), after.get("retention_success", {})
        scored = [unlearned.get("train"), unlearned.get("val"), kept.get("train"), kept.get("val")]
        rows.append([entry["run"], *scored, knew.get("train"), knew.get("val"), entry["degenerate"]])
    differing = differences([run.config().to_json() for run in runs])
    differ = [f"{key}: {' | '.join(map(str, values))}" for key, values in differing.items()]
    lines = [*table(said_rows), "", f"{asked.NEXT_WORD.capitalize()}, percent:", *table(rows), "", *differ]
    return out(given, {"runs": summaries, "differences": differing}, lines)
