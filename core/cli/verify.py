"""The verb verify: is a run, a report or a site, what it says?"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from core.cli import progress_bar
from core.cli.terminal import note, out
from core.report import site, verify_model, verify_report, verify_run
from core.report.verify_run import SKIPPED, Check
from core.runs import store
from core.runs.store import Run
from core.util.errors import UserError

SIGNS = {"match": "✔", "mismatch": "✖", "skipped": "–", "note": "·"}


def options(command: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    command.add_argument("id", metavar="RUN|REPORT.html|SITE")
    command.add_argument("--no-model", action="store_true", help="do not ask the model again")
    command.add_argument(
        "--sample", metavar="N", type=int, default=8, help="examples that the model is asked again (default: 8)"
    )
    command.add_argument("--seed", metavar="N", type=int, help="which examples these are (default: new ones each time)")


def verify(given: argparse.Namespace) -> int:
    """Check a run, a report or a site; exit 1 where anything does not match."""
    if given.sample < 1:
        raise UserError(f"--sample is {given.sample}.", "Give at least 1, or --no-model.")
    checks = []
    for check in _checks(given):
        checks.append({"name": check.name, "state": check.state, "says": check.says})
        note(f"{SIGNS[check.state]} {check.says}")
    wrong = sum(entry["state"] == "mismatch" for entry in checks)
    verdict = f"{wrong} of {len(checks)} checks do not match." if wrong else "Everything that was checked matches."
    out(given, {"checked": given.id, "ok": not wrong, "checks": checks}, [verdict])
    return 1 if wrong else 0


def _checks(given: argparse.Namespace) -> Iterator[Check]:
    folder, path = store.runs_folder(given.runs), Path(given.id)
    if (path / site.LIST).is_file():
        yield from verify_report.verify_site(path, folder)
        runs = verify_report.runs_of(path, folder)
    elif path.is_file():
        yield from verify_report.verify(path, folder)
        data = verify_report.read(path)[2]
        runs = [run] if data and (run := verify_report.run_of(data, folder)) else []
    else:
        runs = [store.find(given.id, folder)]
    for run in runs:
        of = f"{run.id}: " if len(runs) > 1 else ""
        for check in _of_run(run, given, folder):
            yield replace(check, says=f"{of}{check.says}")


def _of_run(run: Run, given: argparse.Namespace, folder: Path) -> Iterator[Check]:
    yield from verify_run.verify(run)
    if given.no_model:
        yield Check("model", SKIPPED, "The model was not asked again (--no-model).")
    else:
        yield from _asked_again(run, given, folder)


def _asked_again(run: Run, given: argparse.Namespace, folder: Path) -> Iterator[Check]:
    """Let a worker ask the model again, and wait for it."""
    if run.table("tokens") is None or not run.answers():
        yield verify_model.NOTHING
        return
    try:
        work = verify_model.start(run, given.sample, given.seed, folder)
    except UserError as error:  # among them: nothing may be written beside the runs
        yield Check("model", SKIPPED, f"The model was not asked: {error.what}")
        return
    progress_bar.completed(work)
    yield from verify_model.checks(work)
