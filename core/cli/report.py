"""The verbs that bring a run elsewhere and check it there: export, import, report, verify."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from core.cli.terminal import note, out
from core.runs import archive, store
from core.util import files
from core.util.errors import UserError

if TYPE_CHECKING:
    from core.report.verify_run import Check

SIGNS = {"match": "✔", "mismatch": "✖", "skipped": "–", "note": "·"}


def report_options(command: argparse.ArgumentParser) -> None:
    """Add the options of `report`."""
    command.add_argument("id", metavar="RUN")
    command.add_argument("-o", "--output", metavar="FILE", help="the .html file to write (default: RUN.html)")
    command.add_argument("--redact", action="store_true", help="without any question, answer or subject's name")


def verify_options(command: argparse.ArgumentParser) -> None:
    """Add the options of `verify`."""
    command.add_argument("id", metavar="RUN|REPORT.html")
    command.add_argument("--no-model", action="store_true", help="do not ask the model again")
    command.add_argument(
        "--sample", metavar="N", type=int, default=8, help="examples that the model is asked again (default: 8)"
    )
    command.add_argument("--seed", metavar="N", type=int, help="which examples these are (default: new ones each time)")


KINDS = {
    "archive": "whole runs, to be imported elsewhere (default)",
    "adapter": "after as a peft adapter with a model card",
    "merged": "the whole model with the adapter merged, as a folder",
    "csv": "all tables for spreadsheets",
    "parquet": "all tables for programs",
    "comparator": "answers for LLM Comparator",
    "card": "card.json alone",
}
"""what `export` writes"""


def export_options(command: argparse.ArgumentParser) -> None:
    """Add what `export` can write besides an archive."""
    what = "; ".join(f"{kind}: {words}" for kind, words in KINDS.items())
    command.add_argument("--as", dest="kind", choices=list(KINDS), default="archive", metavar="KIND", help=what)


def export(given: argparse.Namespace) -> int:
    """Write runs as an archive, or one run's model, tables, answers or card. Raises UserError."""
    if given.kind == "archive":
        return _archive(given)
    from core.report import export_model, export_tables, model_card

    if len(given.ids) != 1:
        raise UserError(f"--as {given.kind} takes one run.", "Export one after the other, or all of them as an archive.")
    folder = store.runs_folder(given.runs)
    item, target = store.find(given.ids[0], folder), Path(given.output)
    if given.kind == "merged":
        size = export_model.write_merged(item, target, folder)
    else:
        made = {
            "adapter": lambda: export_model.adapter_zip(item, folder),
            "card": lambda: export_model.card_json(model_card.model_card(item, folder)),
        }
        write = made.get(given.kind) or (lambda: export_tables.WRITERS[given.kind][1](item))
        size = files.write_bytes(target, write())
    value = {"run": item.id, "kind": given.kind, "file": str(target), "bytes": size}
    return out(given, value, [f"{target} ({size / 1e6:.1f} MB)"])


def _archive(given: argparse.Namespace) -> int:
    """Write runs into one archive."""
    found = [store.find(name, store.runs_folder(given.runs)) for name in given.ids]
    target = archive.export(found, Path(given.output))
    ids, size = [item.id for item in found], target.stat().st_size
    value = {"runs": ids, "file": str(target), "bytes": size}
    return out(given, value, [f"{target} holds {', '.join(ids)} ({size / 1e6:.1f} MB)"])


def import_(given: argparse.Namespace) -> int:
    """Take the runs of an archive in, after everything in it was checked."""
    found = archive.import_(Path(given.file), store.runs_folder(given.runs))
    return out(given, {"runs": [item.id for item in found]}, [f"Imported {item.id}" for item in found])


def report(given: argparse.Namespace) -> int:
    """Write a run's report."""
    from core import report as report_

    folder = store.runs_folder(given.runs)
    item = store.find(given.id, folder)
    name = f"{store.nameless(item.id)}-redacted" if given.redact else item.id
    target = Path(given.output or f"{name}.html")
    size = report_.write(item, target, redact=given.redact, folder=folder)
    if not given.redact:
        note("It holds questions and answers, covered but readable in the file. With --redact it holds none.")
    value = {"run": item.id, "file": str(target), "bytes": size, "redacted": given.redact}
    return out(given, value, [f"{target} ({size / 1e6:.1f} MB)"])


def verify(given: argparse.Namespace) -> int:
    """Check a run or a report; exit 1 where anything does not match."""
    if given.sample < 1:
        raise UserError(f"--sample is {given.sample}.", "Give at least 1, or --no-model.")
    found = []
    for check in _checks(given):
        found.append({"name": check.name, "state": check.state, "says": check.says})
        note(f"{SIGNS[check.state]} {check.says}")
    wrong = sum(one["state"] == "mismatch" for one in found)
    verdict = f"{wrong} of {len(found)} checks do not match." if wrong else "Everything that was checked matches."
    out(given, {"checked": given.id, "ok": not wrong, "checks": found}, [verdict])
    return 1 if wrong else 0


def _checks(given: argparse.Namespace) -> Iterator[Check]:
    from core.report import rescore, verify_report
    from core.report import verify_run as verify_

    folder, path = store.runs_folder(given.runs), Path(given.id)
    if path.is_file():
        yield from verify_report.verify(path, folder)
        data = verify_report.read(path)[2]
        item = verify_report.run_of(data, folder) if data else None
        if item is None:
            return
    else:
        item = store.find(given.id, folder)
    yield from verify_.verify(item)
    if given.no_model:
        yield verify_.Check("model", verify_.SKIPPED, "The model was not asked again (--no-model).")
    else:
        yield from rescore.rescore(item, sample=given.sample, seed=given.seed)
