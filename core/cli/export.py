"""The verbs that bring a run elsewhere and take it in again: export, import."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from core.cli import progress_bar
from core.cli.terminal import out, several_runs
from core.report import export_model, export_tables, model_card, notebook
from core.runs import archive, store
from core.runs.store import Run
from core.util import files
from core.util.errors import UserError

KINDS = {
    "archive": "whole runs, to be imported elsewhere (default)",
    "adapter": "after as a peft adapter with a model card",
    "merged": "the whole model with the adapter merged, as a folder",
    "gguf-f16": "the same for llama.cpp and Ollama, as a folder, asked again",
    "gguf-q8_0": "the same with weights in 8 bits",
    "notebook": "a notebook that loads the adapter, asks and plots, as a folder",
    "hub": "what a push of adapter and card to the hub (-o ORGANISATION/NAME) would send; nothing is sent",
    "csv": "all tables for spreadsheets",
    "parquet": "all tables for programs",
    "comparator": "answers for LLM Comparator",
    "card": "card.json alone",
}
"""what `export` writes"""


def options(command: argparse.ArgumentParser) -> None:
    """Add the options of `export`."""
    several_runs(command)
    command.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="the file to write (a folder for merged, gguf and notebook)"
    )
    what = "; ".join(f"{kind}: {words}" for kind, words in KINDS.items())
    command.add_argument("--as", dest="kind", choices=list(KINDS), default="archive", metavar="KIND", help=what)


def import_options(command: argparse.ArgumentParser) -> None:
    """Add what `import` takes."""
    command.add_argument("file", metavar="FILE")


def export(given: argparse.Namespace) -> int:
    """Write runs as an archive, or one run's model, tables, answers or card. Raises UserError."""
    if given.kind == "archive":
        return _archive(given)
    if len(given.ids) != 1:
        raise UserError(f"--as {given.kind} takes one run.", "Export one after the other, or all of them as an archive.")
    folder = store.runs_folder(given.runs)
    run, target = store.find(given.ids[0], folder), Path(given.output)
    if given.kind == "hub":
        return _hub(given, run, folder)
    if given.kind in export_model.WHOLE:
        result = _whole(run, target, folder, given.kind)
    elif given.kind == "notebook":
        result = {"bytes": notebook.write(run, target, folder)}
    else:
        writers = {
            "adapter": lambda: export_model.adapter_zip(run, folder),
            "card": lambda: export_model.card_json(model_card.model_card(run, folder)),
        }
        write = writers.get(given.kind) or (lambda: export_tables.WRITERS[given.kind][1](run))
        result = {"bytes": files.write_bytes(target, write())}
    words = [str(result.pop("words"))] if "words" in result else []
    output = {"run": run.id, "kind": given.kind, "file": str(target), **result}
    return out(given, output, [f"{target} ({result['bytes'] / 1e6:.1f} MB)", *words])


def _hub(given: argparse.Namespace, run: Run, folder: Path) -> int:
    """Say what a push would send."""
    plan = export_model.hub_push(run, given.output, folder)
    lines = [f"To {plan['repository']}, a dry run: nothing was sent."]
    lines += [f"{name}  {size / 1e6:.2f} MB" for name, size in plan["files"].items()]
    lines.append(f"To send it, unpack `export {run.id} --as adapter`, then: hf upload {plan['repository']} FOLDER --private")
    return out(given, {"run": run.id, "kind": "hub", **plan}, lines)


def _whole(run: Run, target: Path, folder: Path, kind: str) -> dict[str, Any]:
    """Let a worker write the whole model, and wait for it; return what it says of that."""
    work = export_model.start_whole(run, target, folder, kind)
    progress_bar.completed(work)
    return export_model.result(work)


def _archive(given: argparse.Namespace) -> int:
    """Write runs into one archive."""
    runs = [store.find(name, store.runs_folder(given.runs)) for name in given.ids]
    target = archive.export(runs, Path(given.output))
    ids, size = [run.id for run in runs], target.stat().st_size
    output = {"runs": ids, "file": str(target), "bytes": size}
    return out(given, output, [f"{target} holds {', '.join(ids)} ({size / 1e6:.1f} MB)"])


def import_(given: argparse.Namespace) -> int:
    """Take the runs of an archive in, after everything in it was checked."""
    runs = archive.import_(Path(given.file), store.runs_folder(given.runs))
    return out(given, {"runs": [run.id for run in runs]}, [f"Imported {run.id}" for run in runs])
