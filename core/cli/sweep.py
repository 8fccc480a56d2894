"""The verbs of the command line that start many runs: sweep, controls, requests."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from core.cli import grid, sweep_table
from core.cli.terminal import STATUS, cluster, cluster_options, configured, note, one_run, out, run_options, table
from core.cli.waiting import Waiting
from core.config import own_methods
from core.config.run_config import RunConfig
from core.data.corpus import SCOPES
from core.jobs import controls, lifecycle, ray_cluster, sweep_estimate, sweep_scores, tuning, unlearning_series
from core.jobs import sweep as sweep_
from core.jobs.ray_cluster import Resources
from core.jobs.sweep import Member, Sweep, described
from core.jobs.tuning import OBJECTIVES, Trial
from core.methods import own
from core.runs import store
from core.runs.asked import GIBBERISH
from core.util.errors import UserError, unknown
from core.util.progress import duration

DEV_SHARE = 0.2
SAID_HEADS = ("U leaked", f"U {GIBBERISH}", "R kept")
CHOSEN = "Which step of a trial counts was chosen by next-word accuracy on dev, not by asking."


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
    command.add_argument("--objective", metavar="NAME", help="with --refit: asked (default), average or never-knew")
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
        resumed = sweep_.find(given.resume, folder)
        sweep_.reopen(resumed, here=_here(given))
        return _followed(given, resumed)
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
    return _followed(given, sweep_.create("grid", given.name or "sweep", _words(given), members, folder, here=_here(given)))


def _asked(given: argparse.Namespace) -> tuple[RunConfig, grid.Axes]:
    """Separate what all runs share from what is varied."""
    common = argparse.Namespace(**{**vars(given), "method": None, "region": None, "subset": None, "set": [], "name": None})
    base = configured(common, "this-machine")
    methods = [own_methods.named(name) or name for name in grid.methods(given.method or "")]
    return base, grid.Axes(
        methods,
        grid.regions(given.region or ""),
        grid.seeds(given.seeds or ""),
        grid.methods(given.subset or ""),
        grid.settings(given.set, base),
    )


def _here(given: argparse.Namespace) -> bool:
    """Say whether this machine does the runs."""
    return given.backend == "local"


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
    folder = store.runs_folder(given.runs)
    sweep = sweep_.create("tune", given.name or "tune", _words(given), members, folder, here=_here(given))
    if not given.refit:
        return _followed(given, sweep)
    if _follow(sweep, cluster(given)) != "done":
        return _printed(given, sweep)
    for line in _tuning(sweep, {}):
        note(line)
    return _refitted(given, sweep)


def _refitted(given: argparse.Namespace, tuned: Sweep) -> int:
    if tuned.kind != "tune":
        raise UserError(f"The sweep {tuned.id} is no tuning.", "Name one that --list shows as tune.")
    if (state := sweep_.state(tuned)["state"]) != "done":
        raise UserError(
            f"The tuning {tuned.id} is {state}: its methods have not had as many trials each.",
            f"Finish it first: `python -m core sweep --resume {tuned.id}`.",
        )
    objective = given.objective or next(iter(OBJECTIVES))
    if objective not in OBJECTIVES:
        raise unknown("objective", objective, OBJECTIVES)
    best = tuning.winners(tuning.read(tuned), objective)[: given.refit]
    seeds = list(dict.fromkeys(grid.seeds(given.seeds or "0")))
    members = [member for trial in best for member in tuning.refit(trial, seeds)]
    members.sort(key=lambda member: member.config.seed)
    asked = {**_words(given), "of": tuned.id, "objective": objective}
    folder, name = store.runs_folder(given.runs), given.name or f"refit {objective}"
    sweep = sweep_.create("refit", name, asked, members, folder, here=_here(given))
    return _followed(given, sweep)


def of_run(given: argparse.Namespace) -> int:
    """Start the controls of a finished run, or go on with those that were begun, and say what they show."""
    folder = store.runs_folder(given.runs)
    run = store.find(given.id, folder)
    if not run.bundled:
        folder = run.path.parent  # a run that was named by its path has its controls beside it
    sweep = controls.find(run, folder)
    if sweep is None or given.anew:
        sweep = controls.create(run, folder)
        _follow(sweep)
    elif sweep_.state(sweep)["state"] != "done":
        sweep_.reopen(sweep)
        _follow(sweep)
    return _printed(given, sweep)


def requests(given: argparse.Namespace) -> int:
    """Forget one subject after the other, and ask for all of them each time."""
    folder = store.runs_folder(given.runs)
    if given.resume:
        sweep = sweep_.find(given.resume, folder)
        sweep_.reopen(sweep)
    else:
        sweep = unlearning_series.create(
            configured(given), grid.methods(given.subjects or ""), folder, given.name or "requests"
        )
    _follow(sweep)
    return _printed(given, sweep)


def _request_lines(sweep: Sweep, output: dict[str, Any]) -> list[str]:
    series = unlearning_series.read(sweep)
    sentences = unlearning_series.sentences(series)
    output |= {"subjects": series["subjects"], "states": series["states"], "sentences": sentences}
    return [*table(unlearning_series.table(series)), *sentences]


def _control_lines(sweep: Sweep, output: dict[str, Any]) -> list[str]:
    outcome = controls.result(sweep)
    output |= {
        "sentence": outcome.sentence,
        "said": outcome.said and dataclasses.asdict(outcome.said),
        "next_word": outcome.next_word and dataclasses.asdict(outcome.next_word),
        "on_average": outcome.on_average and dataclasses.asdict(outcome.on_average),
        "p": outcome.p,
        "verdict": outcome.verdict,
        "rows": outcome.rows,
    }
    rows: list[list[Any]] = [["", *SAID_HEADS, "U-val", "R-val", "average", "never-knew", GIBBERISH]]
    for row in outcome.rows:
        low_high = row["interval"]
        average = None if low_high is None else f"{low_high[0]:.1f} ({low_high[1]:.1f} to {low_high[2]:.1f})"
        said = [sweep_scores.said(row, name) for name in sweep_scores.SAID]
        scores = [row[name].get("val") for name in ("unlearn", "retention")]
        control = f"{row['control']} ✖ diverged" if row["diverged"] else row["control"]
        rows.append([control, *said, *scores, average, row["never_knew"].get("val"), row["degenerate"].get("val")])
    return [*table(rows), *([outcome.sentence] if outcome.sentence else [])]


def _followed(given: argparse.Namespace, sweep: Sweep) -> int:
    _follow(sweep, cluster(given))
    return _printed(given, sweep)


def _follow(sweep: Sweep, ray: Resources | None = None) -> str:
    note(f"Sweep {sweep.id}: {len(sweep.entries())} runs")
    runs = [entry.run for entry in sweep.entries() if entry.run.status().get("state") != "done"]
    waiting = [run.config() for run in runs if not run.problem()]
    if waiting and ray is None:  # what this machine's rate says of others is nothing
        estimate = sweep_estimate.from_runs(waiting, sweep.folder, sweep.seconds)
        if estimate is None:
            note("Measuring how long one run takes …")
            estimate = sweep_estimate.measured(waiting, sweep.folder, sweep.seconds, Waiting())
        note(str(estimate) if estimate else "How long it takes could not be measured.")
    sweep_.refresh(sweep)
    lifecycle.start("sweep", sweep.as_run, ray)
    return sweep_table.follow(sweep)


def _listed(given: argparse.Namespace) -> int:
    sweeps = [(sweep, sweep_.state(sweep)) for sweep in sweep_.list_sweeps(store.runs_folder(given.runs))]
    values = [{"sweep": sweep.id, "name": sweep.name, "kind": sweep.kind, **state} for sweep, state in sweeps]
    rows: list[list[Any]] = [["sweep", "kind", "state", "runs", "name"]]
    rows += [[v["sweep"], v["kind"], v["state"], f"{v['counts'].get('done', 0)} of {v['total']}", v["name"]] for v in values]
    return out(given, {"sweeps": values}, table(rows) if values else ["No sweeps yet."])


def _printed(given: argparse.Namespace, sweep: Sweep) -> int:
    """Print a sweep's result; the exit status is 1 where a run failed, except for trials, whose failure is a result."""
    state, rows = sweep_.state(sweep), sweep_scores.rows(sweep)
    output: dict[str, Any] = {"sweep": sweep.id, "kind": sweep.kind, "name": sweep.name, **state, "rows": rows}
    output["overhead"] = sweep_scores.overhead(sweep)
    failed = [row for row in rows if row["state"] == "failed"]
    output["failed"] = [{"run": row["run"], "error": row["error"]} for row in failed]
    if sweep.kind == "tune":
        lines = _tuning(sweep, output)
    elif sweep.kind == "requests":
        lines = _request_lines(sweep, output)
    elif sweep.kind == "controls":
        lines = _control_lines(sweep, output)
    else:
        output["groups"] = sweep_scores.over_seeds(rows)
        lines = _groups(output["groups"])
    lines += [f"failed: {row['run']}: {row['error']}" for row in failed]
    if output["overhead"]:
        spent = {name: duration(output["overhead"][name]) for name in ("wall", "work", "shared")}
        lines.append("{wall}: {work} of unlearning, answers and scores, {shared} of what they share".format(**spent))
    if state["state"] != "done":
        lines.append(f"{state['state']}: {state['error']} Resume with `python -m core sweep --resume {sweep.id}`.")
    out(given, output, lines)
    if state["state"] != "done":
        return STATUS.get(str(state["state"]), 1)
    return int(bool(failed) and (sweep.kind != "tune" or len(failed) == len(rows)))


def _groups(groups: list[dict[str, Any]]) -> list[str]:
    shown = (*SAID_HEADS, "U", "R", "average", "never-knew", GIBBERISH)
    names = ("unlearn", "retention", "average", "never_knew", "degenerate")
    rows: list[list[Any]] = [["", "runs", *shown]]
    for group in sorted(groups, key=_balance, reverse=True):
        # Of one run how many of how many, of several seeds the mean of their shares.
        one = group["count"] == 1
        said = [sweep_scores.said(_one(group), name) if one else _cell(group, name) for name in sweep_scores.SAID]
        cells = [*said, *(_cell(group, name) for name in names)]
        diverged = f" ✖ {group['diverged']} diverged" if group["diverged"] else ""
        rows.append([described(group["coordinates"]) + diverged, group["count"], *cells])
    return table(rows)


def _balance(group: dict[str, Any]) -> float:
    """Return what groups are sorted by, the best first: what their runs say; those that were not asked come last."""
    mean = sweep_scores.first(group["balance"])
    return float("-inf") if mean is None else float(mean[0])


def _one(group: dict[str, Any]) -> dict[str, Any]:
    """Return a group of one run as that run's row, as far as what it says goes."""
    return {"n": group["n"], **{name: {kind: mean for kind, (mean, _) in group[name].items()} for name in sweep_scores.SAID}}


def _cell(group: dict[str, Any], name: str) -> str | None:
    """Return a mean with its interval over seeds or, of a single run, over examples, where there is one."""
    split = next(iter(group[name]), None)
    if split is None:
        return None
    mean, half = group[name][split]
    over = group.get("intervals", {}).get(name, {}).get(split)
    if half is not None:
        return f"{mean:.1f} ± {half:.1f}"
    return f"{mean:.1f} ({over[0]:.1f} to {over[1]:.1f})" if over else f"{mean:.1f}"


def _tuning(sweep: Sweep, output: dict[str, Any]) -> list[str]:
    trials = tuning.read(sweep)
    output["calibration"] = sweep.record().get("calibration", {})
    output["trials"] = [plain(trial) for trial in trials]
    output["winners"] = {name: [plain(trial) for trial in tuning.winners(trials, name)] for name in OBJECTIVES}
    lines: list[str] = []
    for objective, what in OBJECTIVES.items():
        lines += [f"Best by {what}, on dev:", *_trials(tuning.winners(trials, objective)), ""]
    ordered = sorted(trials, key=lambda trial: trial.rank(next(iter(OBJECTIVES))), reverse=True)
    return [*lines, "All trials, by what they say on dev:", *_trials(ordered), CHOSEN]


def _trials(trials: list[Trial]) -> list[str]:
    heads = ("U", "R", "average", "never-knew", GIBBERISH, "× fluent", "steps", "kept", "settings")
    rows: list[list[Any]] = [["", *SAID_HEADS, *heads]]
    for t in trials:
        settings = " ".join(f"{key}={setting:g}" for key, setting in t.settings.items())
        if t.average is None:
            settings += f" ({t.state} {t.error})"
        mark = None if t.fluent is None else f"{t.fluent:.1f}{'' if t.qualifies else ' (R too low)'}"
        rows.append(
            [
                described(t.entry.coordinates),
                *([t.forget.in_words("leaked"), t.forget.in_words("noise")] if t.forget else [None, None]),
                t.keep.in_words("kept") if t.keep else None,
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


def _said(trial: Trial) -> dict[str, dict[str, float]]:
    """Return what a trial says on dev: scope -> outcome -> percent, and n."""
    scopes = zip(SCOPES, (trial.forget, trial.keep), strict=True)
    return {scope: {"n": said.n, **{o: said.percent(o) for o in said.shares}} for scope, said in scopes if said}


def plain(trial: Trial) -> dict[str, Any]:
    """Return a trial as plain values, with all objectives."""
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
        "asked": _said(trial),
        "objectives": {"asked": trial.balance, "average": trial.average, "never-knew": trial.fluent},
        "qualifies": trial.qualifies,
    }
