"""The verbs of the command line that start many runs: sweep, controls, requests."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from core.cli import grid, sweep_table
from core.cli.terminal import STATUS, cluster, cluster_options, configured, note, one_run, out, run_options, table
from core.config import own_methods
from core.config.run_config import RunConfig
from core.jobs import controls, lifecycle, ray_cluster, sweep_estimate, sweep_scores, tuning, unlearning_series
from core.jobs import sweep as sweep_
from core.jobs.ray_cluster import Resources
from core.jobs.sweep import Member, Sweep, described
from core.jobs.tuning import OBJECTIVES, Trial
from core.methods import own
from core.runs import store
from core.util.errors import UserError, unknown

DEV_SHARE = 0.2


def options(command: argparse.ArgumentParser) -> None:
    """Add the options of `sweep`."""
    run_options(command)
    cluster_options(command)
    command.add_argument("--seeds", metavar="0,1,2", help="one run for each, taught anew")
    command.add_argument("--tune", action="store_true", help="search settings on dev: as many trials for every method")
    command.add_argument("--trials", metavar="N", type=int, default=8, help="with --tune: per method and region (8)")
    command.add_argument("--seconds", metavar="S", type=float, help="with --tune: of unlearning per trial (default: steps)")
    command.add_argument("--dev-share", metavar="X", type=float, default=DEV_SHARE, help="of train, held out (.2)")
    command.add_argument(
        "--refit", metavar="K", type=int, help="run the K best pairs of method and region on all of train, score val"
    )
    command.add_argument("--of", metavar="SWEEP", help="with --refit: an earlier tuning")
    command.add_argument("--objective", metavar="NAME", help="with --refit: average (default) or never-knew")
    command.add_argument("--resume", metavar="SWEEP", help="go on with what is not done")
    command.add_argument("--show", metavar="SWEEP", help="print an earlier sweep")
    command.add_argument("--list", action="store_true", help="list all sweeps")


def control_options(command: argparse.ArgumentParser) -> None:
    """Add the options of `controls`."""
    one_run(command)
    command.add_argument("--anew", action="store_true", help="make them again where they exist")


def request_options(command: argparse.ArgumentParser) -> None:
    """Add the options of `requests`."""
    run_options(command)
    command.add_argument("--subjects", metavar="A,B,C", help="in the order of the requests")
    command.add_argument("--resume", metavar="SWEEP", help="go on with what is not done")


def sweep(given: argparse.Namespace) -> int:
    """Start, resume, list or show a sweep."""
    folder = store.runs_folder(given.runs)
    cluster(given)  # what is wrong with it is said before anything is made
    if given.list:
        return _listed(given)
    if given.show:
        return _printed(given, sweep_.find(given.show, folder))
    if given.resume:
        found = sweep_.find(given.resume, folder)
        sweep_.reopen(found)
        return _followed(given, found)
    if given.refit is not None and given.refit < 1:
        raise UserError(f"The {given.refit} best are none.", "Give --refit at least 1.")
    if given.of and not given.refit:
        raise UserError("--of names a tuning whose best are run on all of train.", "Say how many: --refit K.")
    if given.refit and given.of:
        return _refitted(given, sweep_.find(given.of, folder))
    if given.refit and not given.tune:
        raise UserError("--refit needs a tuning.", "Name one with --of SWEEP, or make one with --tune.")
    if given.tune:
        return _tuned(given)
    base, axes = _asked(given)
    members = [Member(config, coordinates) for config, coordinates in grid.expand(base, axes)]
    return _followed(given, sweep_.create("grid", given.name or "sweep", _words(given), members, folder))


def _asked(given: argparse.Namespace) -> tuple[RunConfig, grid.Axes]:
    """Separate what all runs share from what is varied."""
    common = argparse.Namespace(**{**vars(given), "method": None, "region": None, "subset": None, "set": [], "name": None})
    base = configured(common)
    methods = [own_methods.named(name) or name for name in grid.methods(given.method or "")]
    return base, grid.Axes(
        methods,
        grid.regions(given.region or ""),
        grid.seeds(given.seeds or ""),
        grid.methods(given.subset or ""),
        grid.settings(given.set, base),
    )


def _words(given: argparse.Namespace) -> dict[str, Any]:
    """Return what was asked for, as it goes into sweep.json."""
    left_out = ("run", "verb", "json", "runs", "list", "resume", "show", "backend", "cpus", "gpus")
    return {key: value for key, value in vars(given).items() if key not in left_out and value not in (None, [], False)}


def _tuned(given: argparse.Namespace) -> int:
    if given.trials < 1:
        raise UserError(f"{given.trials} trials are none.", "Give --trials at least 1.")
    if given.seconds is not None and given.seconds <= 0:
        raise UserError(f"{given.seconds:g} seconds are no time.", "Give --seconds more.")
    if not 0 < given.dev_share <= 0.5:
        raise UserError("Tuning needs questions to choose on.", "Give --dev-share between 0 and 0.5.")
    if given.seconds is not None and cluster(given):
        raise ray_cluster.no_seconds()
    if given.objective and given.objective not in OBJECTIVES:
        raise unknown("objective", given.objective, OBJECTIVES)
    base, axes = _asked(given)
    if any(isinstance(method, own.OwnMethod) for method in axes.methods):
        # Ranges stand in its class, which only a worker imports.
        note("Of a method from a file only the learning rate is tuned: compare it with others that are tuned as little.")
    axes = dataclasses.replace(axes, seeds=axes.seeds[:1])  # settings are chosen once; all seeds are refitted with them
    members = tuning.members(grid.expand(base, axes), given.trials, given.dev_share)
    made = sweep_.create("tune", given.name or "tune", _words(given), members, store.runs_folder(given.runs))
    if not given.refit:
        return _followed(given, made)
    if _follow(made, cluster(given)) != "done":
        return _printed(given, made)
    for line in _tuning(made, {}):
        note(line)
    return _refitted(given, made)


def _refitted(given: argparse.Namespace, of: Sweep) -> int:
    if of.kind != "tune":
        raise UserError(f"The sweep {of.id} is no tuning.", "Name one that --list shows as tune.")
    if (state := sweep_.state(of)["state"]) != "done":
        raise UserError(
            f"The tuning {of.id} is {state}: its methods have not had as many trials each.",
            f"Finish it first: `python -m core sweep --resume {of.id}`.",
        )
    objective = given.objective or OBJECTIVES[0]
    if objective not in OBJECTIVES:
        raise unknown("objective", objective, OBJECTIVES)
    best = tuning.winners(tuning.read(of), objective)[: given.refit]
    seeds = list(dict.fromkeys(grid.seeds(given.seeds or "0")))
    members = [member for trial in best for member in tuning.refit(trial, seeds)]
    members.sort(key=lambda member: member.config.seed)
    asked = {**_words(given), "of": of.id, "objective": objective}
    made = sweep_.create("refit", given.name or f"refit {objective}", asked, members, store.runs_folder(given.runs))
    return _followed(given, made)


def of_run(given: argparse.Namespace) -> int:
    """Start the controls of a finished run, or go on with those that were begun, and say what they show."""
    folder = store.runs_folder(given.runs)
    run = store.find(given.id, folder)
    if not run.bundled:
        folder = run.path.parent  # a run that was named by its path has its controls beside it
    made = controls.find(run, folder)
    if made is None or given.anew:
        made = controls.create(run, folder)
        _follow(made)
    elif sweep_.state(made)["state"] != "done":
        sweep_.reopen(made)
        _follow(made)
    return _printed(given, made)


def requests(given: argparse.Namespace) -> int:
    """Forget one subject after the other, and ask for all of them each time."""
    folder = store.runs_folder(given.runs)
    if given.resume:
        made = sweep_.find(given.resume, folder)
        sweep_.reopen(made)
    else:
        made = unlearning_series.create(
            configured(given), grid.methods(given.subjects or ""), folder, given.name or "requests"
        )
    _follow(made)
    return _printed(given, made)


def _request_lines(made: Sweep, value: dict[str, Any]) -> list[str]:
    found = unlearning_series.read(made)
    said = unlearning_series.sentences(found)
    value |= {"subjects": found["subjects"], "states": found["states"], "sentences": said}
    return [*table(unlearning_series.table(found)), *said]


def _control_lines(made: Sweep, value: dict[str, Any]) -> list[str]:
    found = controls.result(made)
    value |= {"sentence": found.sentence, "difference": found.difference, "interval": found.interval, "rows": found.rows}
    rows: list[list[Any]] = [["", "U-val", "R-val", "average", "never-knew", "degenerate"]]
    for one in found.rows:
        low_high = one["interval"]
        average = None if low_high is None else f"{low_high[0]:.1f} ({low_high[1]:.1f} to {low_high[2]:.1f})"
        scores = [one[name].get("val") for name in ("unlearn", "retention")]
        control = f"{one['control']} ✖ diverged" if one["diverged"] else one["control"]
        rows.append([control, *scores, average, one["never_knew"].get("val"), one["degenerate"].get("val")])
    return [*table(rows), *([found.sentence] if found.sentence else [])]


def _followed(given: argparse.Namespace, made: Sweep) -> int:
    _follow(made, cluster(given))
    return _printed(given, made)


def _follow(made: Sweep, ray: Resources | None = None) -> str:
    note(f"Sweep {made.id}: {len(made.entries())} runs")
    runs = [entry.run for entry in made.entries() if entry.run.status().get("state") != "done"]
    waiting = [run.config() for run in runs if not run.problem()]
    if waiting and ray is None:  # what this machine's rate says of others is nothing
        seconds = made.value().get("asked", {}).get("seconds") if made.kind == "tune" else None
        found = sweep_estimate.from_runs(waiting, made.folder, seconds)
        if found is None:
            note("Measuring how long one run takes …")
            found = sweep_estimate.measured(waiting, made.folder, seconds)
        note(str(found) if found else "How long it takes could not be measured.")
    sweep_.refresh(made)
    lifecycle.start("sweep", made.place, ray)
    return sweep_table.follow(made)


def _listed(given: argparse.Namespace) -> int:
    found = [(item, sweep_.state(item)) for item in sweep_.list_sweeps(store.runs_folder(given.runs))]
    values = [{"sweep": item.id, "name": item.name, "kind": item.kind, **state} for item, state in found]
    rows: list[list[Any]] = [["sweep", "kind", "state", "runs", "name"]]
    rows += [[v["sweep"], v["kind"], v["state"], f"{v['counts'].get('done', 0)} of {v['total']}", v["name"]] for v in values]
    return out(given, {"sweeps": values}, table(rows) if values else ["No sweeps yet."])


def _printed(given: argparse.Namespace, made: Sweep) -> int:
    """Print a sweep's result; the exit status is 1 where a run failed, except for trials, whose failure is a result."""
    state, rows = sweep_.state(made), sweep_scores.rows(made)
    value: dict[str, Any] = {"sweep": made.id, "kind": made.kind, "name": made.name, **state, "rows": rows}
    value["overhead"] = sweep_scores.overhead(made)
    failed = [one for one in rows if one["state"] == "failed"]
    value["failed"] = [{"run": one["run"], "error": one["error"]} for one in failed]
    if made.kind == "tune":
        lines = _tuning(made, value)
    elif made.kind == "requests":
        lines = _request_lines(made, value)
    elif made.kind == "controls":
        lines = _control_lines(made, value)
    else:
        value["groups"] = sweep_scores.over_seeds(rows)
        lines = _groups(value["groups"])
    lines += [f"failed: {one['run']}: {one['error']}" for one in failed]
    if value["overhead"]:
        spent = {name: sweep_estimate.duration(value["overhead"][name]) for name in ("wall", "work", "shared")}
        lines.append("{wall}: {work} of unlearning, answers and scores, {shared} of what they share".format(**spent))
    if state["state"] != "done":
        lines.append(f"{state['state']}: {state['error']} Resume with `python -m core sweep --resume {made.id}`.")
    out(given, value, lines)
    if state["state"] != "done":
        return STATUS.get(str(state["state"]), 1)
    return int(bool(failed) and (made.kind != "tune" or len(failed) == len(rows)))


def _groups(groups: list[dict[str, Any]]) -> list[str]:
    shown = ("U", "R", "average", "never-knew", "degenerate")
    names = ("unlearn", "retention", "average", "never_knew", "degenerate")
    rows: list[list[Any]] = [["", "runs", *shown]]
    for group in groups:
        cells = [_cell(group, name) for name in names]
        diverged = f" ✖ {group['diverged']} diverged" if group["diverged"] else ""
        rows.append([described(group["coordinates"]) + diverged, group["count"], *cells])
    return table(rows)


def _cell(group: dict[str, Any], name: str) -> str | None:
    """Return a mean with its interval over seeds or, of a single run, over examples, where there is one."""
    split = next((split for split in ("val", "dev", "train") if split in group[name]), None)
    if split is None:
        return None
    mean, half = group[name][split]
    over = group.get("intervals", {}).get(name, {}).get(split)
    if half is not None:
        return f"{mean:.1f} ± {half:.1f}"
    return f"{mean:.1f} ({over[0]:.1f} to {over[1]:.1f})" if over else f"{mean:.1f}"


def _tuning(made: Sweep, value: dict[str, Any]) -> list[str]:
    trials = tuning.read(made)
    value["calibration"] = made.value().get("calibration", {})
    value["trials"] = [plain(trial) for trial in trials]
    value["winners"] = {name: [plain(trial) for trial in tuning.winners(trials, name)] for name in OBJECTIVES}
    lines: list[str] = []
    for objective in OBJECTIVES:
        lines += [f"Best by {objective}, on dev:", *_trials(tuning.winners(trials, objective)), ""]
    ordered = sorted(trials, key=lambda trial: trial.rank(OBJECTIVES[0]), reverse=True)
    return [*lines, "All trials, by average success on dev:", *_trials(ordered)]


def _trials(trials: list[Trial]) -> list[str]:
    rows: list[list[Any]] = [["", "U", "R", "average", "never-knew", "degenerate", "× fluent", "steps", "kept", "settings"]]
    for t in trials:
        settings = " ".join(f"{key}={setting:g}" for key, setting in t.settings.items())
        if t.average is None:
            settings += f" ({t.state} {t.error})"
        mark = None if t.fluent is None else f"{t.fluent:.1f}{'' if t.qualifies else ' (R too low)'}"
        rows.append(
            [
                described(t.entry.coordinates),
                t.unlearn,
                t.retention,
                t.average,
                t.knew,
                t.degenerate,
                mark,
                t.steps,
                t.kept,
                settings,
            ]
        )
    return table(rows)


def plain(trial: Trial) -> dict[str, Any]:
    """Return a trial as plain values, with both objectives."""
    return {
        "run": trial.entry.run.id,
        "coordinates": dict(trial.entry.coordinates),
        "state": trial.state,
        "error": trial.error,
        "settings": dict(trial.settings),
        "steps": trial.steps,
        "kept": trial.kept,
        "seconds": trial.seconds,
        "unlearn": trial.unlearn,
        "retention": trial.retention,
        "never_knew": trial.knew,
        "degenerate": trial.degenerate,
        "objectives": {"average": trial.average, "never-knew": trial.fluent},
        "qualifies": trial.qualifies,
    }
