"""What each verb of the command line does. Returns exit statuses; prints through `say` (stdout) and `note` (stderr)."""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from core import answerer, archive, checkup, config, jobs, migration, own_method, ray_backend, store, trust, widen
from core import reference as reference_
from core.config import RunConfig
from core.errors import UserError, visible
from core.overview import differences
from core.ray_backend import Resources
from core.regions import parse
from core.store import Run
from core.summary import clean, summary

STATUS = {"done": 0, "cancelled": 130}


def say(text: str) -> None:
    """Print a result; answers and names in it obey nobody, so that no terminal obeys them."""
    sys.stdout.write(visible(text) + "\n")


def note(text: str) -> None:
    """Print a message."""
    sys.stderr.write(visible(text) + "\n")


def out(given: argparse.Namespace, value: Any, lines: Iterator[str] | Sequence[str]) -> int:
    """Print a value as JSON where that is asked for, else its lines."""
    if given.json:
        say(json.dumps(clean(value), ensure_ascii=False))
    else:
        for line in lines:
            say(line)
    return 0


def table(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Align columns of text; the first row is the head."""
    text = [
        ["–" if cell is None else f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows
    ]
    widths = [max(len(row[i]) for row in text) for i in range(len(text[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in text]


def configured(given: argparse.Namespace) -> RunConfig:
    """Make a configuration of preset or file, and options. Raises UserError for anything unknown."""
    if given.config and given.preset:
        raise UserError("--config and --preset exclude each other.", "A configuration file holds all settings.")
    chosen = config.load(Path(given.config)) if given.config else config.preset(given.preset or "this-machine")
    for path, value in (
        ("model.name", given.model), ("data.source", given.data), ("data.subset", given.subset),
        ("unlearn.method", own_method.named(given.method or "") or given.method), ("name", given.name),
    ):  # fmt: skip
        if value is not None:
            chosen = chosen.with_setting(path, value)
    if given.region:
        chosen = dataclasses.replace(chosen, region=parse(given.region, chosen.region))
    for setting in given.set:
        path, separator, value = setting.partition("=")
        if not separator:
            raise UserError(f"“{setting}” is not a setting.", "Write it as --set stage.key=value.")
        chosen = chosen.with_setting(path.strip(), value.strip())
    return trust.given(chosen, given.trust_remote_code)


def cluster(given: argparse.Namespace) -> Resources | None:
    """Return what each run takes of the Ray cluster, None for this machine. Raises UserError where none can be reached."""
    if given.backend != "ray":
        if given.cpus is not None or given.gpus is not None:
            raise UserError("--cpus and --gpus are reserved on a cluster.", "Add --backend ray, or leave them out.")
        return None
    resources = Resources(1.0 if given.cpus is None else given.cpus, given.gpus)
    ray_backend.check()
    return resources


def run(given: argparse.Namespace) -> int:
    """Start a run, follow it to its end, print its scores."""
    from core import progress_bar

    folder = store.runs_folder(given.runs)
    if given.resume:
        started = store.find(given.resume, folder)
        jobs.resume(started)
    else:
        chosen = configured(given)
        if given.processes is not None:
            chosen = chosen.with_setting("processes", given.processes)
        started = jobs.submit(chosen, folder, cluster(given))
    note(f"Run {started.id}")
    state = progress_bar.follow(started)
    status = started.status()
    if state != "done":
        note(f"{state.capitalize()}: {status.get('error', '')} {status.get('fix', '')}".strip())
    found = summary(started)
    if state == "failed":
        found |= {"error": status.get("error", ""), "fix": status.get("fix", "")}
    out(given, found, scores(started) if state == "done" else [])
    return STATUS.get(state, 1)


def scores(of: Run) -> list[str]:
    """Return a run's score table as lines."""
    found = summary(of)
    rows: list[list[Any]] = [["", "U-train", "U-val", "R-train", "R-val"]]
    for key, label in (("before", "before"), ("after", "after"), ("never_taught", "never taught")):
        if "reason" in found[key]:
            rows.append([f"{label}: {found[key]['reason']}", "", "", "", ""])
            continue
        unlearned, kept = found[key]["unlearn_success"], found[key]["retention_success"]
        rows.append([label, unlearned.get("train"), unlearned.get("val"), kept.get("train"), kept.get("val")])
    lines = [f"{of.id}", "Unlearn Success (U) and Retention Success (R), percent:", *table(rows)]
    knew, located = found["never_knew"], found["located"]
    if "reason" in knew:
        lines.append(f"Never-knew score: {knew['reason']}")
    else:
        lines.append(
            "Never-knew score: " + ", ".join(f"{key} {value:.1f}" for key, value in knew.items() if value is not None)
        )
    if found["degenerate"] is not None:
        lines.append(f"Degenerate answers on U-val: {found['degenerate']:.1f} %")
    if located["count"]:
        share = located["share_of_parameters"]
        lines.append(f"Region: {located['count']} of {located['total']} tensors, {share:.1f} % of the adapter's parameters")
    lines.append("Seconds: " + ", ".join(f"{name} {seconds:.0f}" for name, seconds in found["seconds"].items()))
    return lines


def runs(given: argparse.Namespace) -> int:
    """List runs, bundled ones last; unreadable ones with the reason. With --check, say what is wrong with them."""
    if given.check or given.repair:
        return _checked(given)
    if given.migrate:
        return _migrated(given)
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
    problems = list(checkup.examine(folder))
    mended, failed = checkup.repair(problems) if given.repair else (0, [])
    left = list(checkup.examine(folder)) if mended else problems
    lines = [f"{p.where}: {p.says} {p.advice}" for p in (problems if not given.repair else left)]
    count = len(store.list_runs(folder))
    lines.append(
        f"{count} runs examined, {len(problems)} problems"
        + (f", {mended} mended, {len(left)} left." if given.repair else ".")
    )
    value = [{"where": p.where, "says": p.says, "advice": p.advice, "mendable": p.mend is not None} for p in problems]
    out(given, {"runs": count, "problems": value, "mended": mended, "left": len(left), "failed": failed}, [*lines, *failed])
    return 1 if left else 0


def _migrated(given: argparse.Namespace) -> int:
    """Bring the runs of earlier formats to today's; exit status 1 where one could not be."""
    folder = store.runs_folder(given.runs)
    changed, failed = {}, []
    for item in migration.outdated(folder):
        try:
            changed[item.id] = migration.migrate(item)
        except UserError as error:
            failed.append(f"{item.id}: {error}")
    lines = [
        f"{name}: {', '.join(files)} changed; as they were, they lie in {folder / migration.KEPT / name}."
        for name, files in changed.items()
    ]
    lines.append(f"{len(store.list_runs(folder))} runs examined, {len(changed)} migrated to format {config.FORMAT}.")
    out(given, {"format": config.FORMAT, "migrated": changed, "failed": failed}, [*lines, *failed])
    return 1 if failed else 0


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
    texts = answerer.texts(answerer.ask(item, given.ask, voices), len(given.ask) * len(voices))
    rows = [
        {"question": question, **{voice: texts[i * len(voices) + k] for k, voice in enumerate(voices)}}
        for i, question in enumerate(given.ask)
    ]
    lines = [line for row in rows for line in (*(f"{key + ':':10}{text}" for key, text in row.items()), "")]
    return out(given, {"run": item.id, "answers": rows}, lines[:-1])


def reference(given: argparse.Namespace) -> int:
    """Make a run's model taught without U, follow it to its end, print the scores."""
    from core import progress_bar

    item = store.find(given.id, store.runs_folder(given.runs))
    if reference_.made(item):
        note(f"{item.id} has its reference already.")
        return out(given, summary(item), scores(item))
    work = reference_.start(item)
    state = progress_bar.follow(work)
    status = work.status()
    if state != "done":
        note(f"{state.capitalize()}: {status.get('error', '')} {status.get('fix', '')}".strip())
    failed = {"error": status.get("error", ""), "fix": status.get("fix", "")} if state == "failed" else {}
    out(given, summary(item) | failed, scores(item) if state == "done" else [])
    return STATUS.get(state, 1)


def harness(given: argparse.Namespace) -> int:
    """Evaluate a run's voices on lm-evaluation-harness tasks."""
    from core.harness import run as evaluate

    item = store.find(given.id, store.runs_folder(given.runs))
    voices = [name for name in given.voices.split(",") if name]
    found = evaluate(item, [name for name in given.tasks.split(",") if name], voices, given.limit)
    measures = sorted({(task, name) for of in found.values() for task, values in of.items() for name in values})
    rows = [
        [task, name, *(f"{found[v].get(task, {}).get(name, float('nan')):.4f}" for v in voices)] for task, name in measures
    ]
    return out(given, {"run": item.id, "results": found}, table([["task", "measure", *voices], *rows]))


def export(given: argparse.Namespace) -> int:
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


def doctor(given: argparse.Namespace) -> int:
    """Say what is installed and what is wrong; exit 1 if anything is."""
    import psutil

    from core.models import bundled_gguf, cache_folder

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
        from core.models import pick_device, pick_dtype

        device = f"{pick_device('auto')} ({pick_dtype('auto', 'auto')})"
    if bundled_gguf() is None:
        wrong.append("The bundled model is missing: run `make install`.")
    memory = psutil.virtual_memory()
    for folder in (store.runs_folder(given.runs), cache_folder()):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            store.write_text(folder / ".doctor", "")
            (folder / ".doctor").unlink()
        except (OSError, UserError) as error:
            wrong.append(f"{folder} cannot be written ({error}).")
    value = {
        "python": platform.python_version(), "versions": versions, "device": device,
        "memory_gb": {"total": memory.total / 1e9, "free": memory.available / 1e9},
        "bundled_model": bundled_gguf() is not None, "cache": str(cache_folder()),
        "runs": str(store.runs_folder(given.runs)), "wrong": wrong,
    }  # fmt: skip
    lines = [f"{key}: {item}" for key, item in value.items() if key not in ("wrong", "versions", "memory_gb")]
    lines += [f"{name}: {version or 'missing'}" for name, version in versions.items()]
    lines.append(f"memory: {memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free")
    lines += [f"WRONG: {line}" for line in wrong] or ["Nothing is wrong."]
    out(given, value, lines)
    return 1 if wrong else 0


def bench(given: argparse.Namespace) -> int:
    """Measure; each figure is a ratio of two things measured in this very run."""
    from core.bench import measure

    found = measure(given.only, note)
    return out(given, found, [f"{key}: {value}" for key, value in found.items()])
