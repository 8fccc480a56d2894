"""`make chaos`, or `python -m tests.chaos --kills 40`: kill -9 at random moments, then see whether anything was lost.

Each trial starts a run of a tiny model in a folder of its own and kills its worker (every fourth time the dashboard's
server, every tenth time both) in a stage that is drawn, after a part of that stage's time that is drawn; every third kill
comes from within, while the worker writes: at the drawn one of its writes, before the new file takes the place of the old
or a moment after it was opened. Then the run must be listed, shown by the command line, resumable from its last
finished stage, and equal an undisturbed run of the same seed to the bit. Prints one row a trial; exit status 1 if anything
was lost.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.jobs import lifecycle
from core.runs import store
from core.runs.store import Run
from tests.e2e.serving import Server
from tests.processes import PLAIN, command, last_json, quick
from tests.tiny import make_data, make_tiny

LIMIT = 180.0
"""seconds after which a trial counts as hanging"""


@dataclass(frozen=True)
class Plan:
    """What is killed, and when."""

    number: int
    victim: str
    """worker, server or both"""
    stage: str
    part: float
    """how much of the stage's time passes before, 0 to 1"""
    in_write: bool
    """whether the worker dies at one of its writes instead"""


@dataclass(frozen=True)
class Outcome:
    """What a trial showed."""

    plan: Plan
    killed_in: str
    """the stage that the status named after the kill"""
    lost: tuple[str, ...]
    """what is wrong, in words; nothing is what should be there"""
    reused: int
    """stages that the resumed run did not make again"""
    seconds: float


def plans(kills: int, seed: int) -> list[Plan]:
    """Draw the trials: all stages in turn, so that the short ones are hit too."""
    draw = random.Random(seed)
    stages = [stage for _ in range(-(-kills // len(PLAIN))) for stage in draw.sample(PLAIN, len(PLAIN))]
    return [
        Plan(n, "both" if n % 10 == 0 else "server" if n % 4 == 0 else "worker", stages[n - 1], draw.random(), n % 3 == 0)
        for n in range(1, kills + 1)
    ]


@dataclass(frozen=True)
class Ground:
    """What all trials share: the run's settings, and the undisturbed run to compare with."""

    config: RunConfig
    seconds: dict[str, float]
    """how long each stage took undisturbed"""
    expected: dict[str, str]
    """file -> SHA-256, of the files that two undisturbed runs have in common to the bit"""
    timed: tuple[str, ...]
    """files that differ between two undisturbed runs, because they hold times"""
    hook: Path
    """folder of the sitecustomize that all workers load"""
    undisturbed: Path
    """runs folder of the first undisturbed run"""
    writes: int
    """how often an undisturbed worker opens a file of its run to write, or renames one"""


HOOK = """
import os, signal, sys, threading

count = counter = 0

def hook(event, of):
    global count, counter
    if event not in ("open", "os.rename"):
        return
    # Read here: a worker is forked from a process that has loaded this file already, and gets its environment afterwards.
    place, last = os.environ.get("FORGETSCOPE_CHAOS_PLACE"), int(os.environ.get("FORGETSCOPE_CHAOS_WRITE") or 0)
    if not place or not str(of[0]).startswith(place):
        return
    if event == "os.rename":
        die = lambda: os.kill(os.getpid(), signal.SIGKILL)
    elif isinstance(of[1], str) and of[1][0] in "wax":
        die = lambda: threading.Timer(0.001, os.kill, (os.getpid(), signal.SIGKILL)).start()
    else:
        return
    count += 1
    if count == last:
        die()
    if not last:
        counter = counter or os.open(os.environ["FORGETSCOPE_CHAOS_COUNT"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(counter, b".")

sys.addaudithook(hook)
"""
"""sitecustomize of the workers: counts writes, and ends the process with SIGKILL at the one that was drawn"""


def ground(place: Path) -> Ground:
    """Make the tiny model and run it undisturbed twice, in separate folders."""
    model, data = make_tiny(place / "model", "llama"), make_data(place / "data")
    config = quick(model, data, unlearn__steps=60, unlearn__check_every=5, teach__epochs=6, localize__copies=3)
    hook, counter = place / "hook" / "sitecustomize.py", place / "writes"
    hook.parent.mkdir()
    hook.write_text(HOOK)
    os.environ["PYTHONPATH"] = str(hook.parent)
    files, seconds = [], {}
    for name in ("undisturbed", "again"):
        os.environ |= {"FORGETSCOPE_CHAOS_PLACE": str(place / name), "FORGETSCOPE_CHAOS_COUNT": str(counter)}
        run = lifecycle.submit(config, place / name)
        list(lifecycle.follow(run))
        del os.environ["FORGETSCOPE_CHAOS_PLACE"]
        if run.status()["state"] != "done":
            raise SystemExit(f"The undisturbed run failed: {run.status()['error']}")
        files.append(run.json("manifest.json")["files"])
        seconds = {stage: float(of.get("seconds") or 0.1) for stage, of in run.json("manifest.json")["stages"].items()}
    same = {name: hashed for name, hashed in files[0].items() if files[1].get(name) == hashed}
    return Ground(
        config,
        seconds,
        same,
        tuple(sorted(files[0].keys() - same.keys())),
        hook.parent,
        place / "undisturbed",
        counter.stat().st_size // 2,
    )


def trial(plan: Plan, place: Path, on: Ground) -> Outcome:
    """Do one: start, kill, look, resume, compare."""
    began, server = time.monotonic(), None
    if plan.victim != "worker":
        server = Server(place)
        server.start()
    lost: list[str] = []
    if plan.in_write and plan.victim != "server":
        run = _dying(plan, place / "runs", on)
    else:
        run = lifecycle.submit(on.config, place / "runs")
        if not _reach(run, plan, on.seconds):
            lost.append(f"the run never reached {plan.stage}: {run.status()['state']}")
    if server and server.process:
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    if plan.victim != "server":
        _kill(run)
    killed_in = str(run.status().get("stage") or "start")
    lost += _look(run, place, expected="done" if plan.victim == "server" else "failed")
    reused = 0
    if plan.victim != "server":
        reused, problems = _resume(run)
        lost += problems
    lost += different(run, on)
    if server:
        server.start()  # raises with its log where it does not come back
        server.stop()
    return Outcome(plan, killed_in, tuple(lost), reused, time.monotonic() - began)


def _reach(run: Run, plan: Plan, seconds: dict[str, float]) -> bool:
    """Wait for the drawn moment; say whether the run got there alive."""
    end = time.monotonic() + LIMIT
    while (status := run.status())["stage"] != plan.stage or status["stages"].get(plan.stage, {}).get("state") != "running":
        over = status["stages"].get(plan.stage, {}).get("state") in ("done", "reused")
        if over or status["state"] in store.ENDED:  # a stage shorter than our look at it: now is as good a moment
            return status["state"] not in ("failed", "cancelled")
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    time.sleep(plan.part * seconds.get(plan.stage, 0.1))
    return True


def _dying(plan: Plan, runs: Path, on: Ground) -> Run:
    """Start a run whose worker ends itself at one of its writes; return when it has."""
    at = 1 + int(plan.part * on.writes)
    os.environ |= {"FORGETSCOPE_CHAOS_PLACE": str(runs), "FORGETSCOPE_CHAOS_WRITE": str(at)}
    run = lifecycle.submit(on.config, runs)
    del os.environ["FORGETSCOPE_CHAOS_PLACE"], os.environ["FORGETSCOPE_CHAOS_WRITE"]
    lifecycle._children[-1].wait(LIMIT)
    return run


def _kill(run: Run) -> None:
    end = time.monotonic() + 30
    while run.status().get("pid") is None and time.monotonic() < end:
        time.sleep(0.01)
    lifecycle.kill(run)
    for child in list(lifecycle._children):
        child.wait(30)
    lifecycle.reap()


def _look(run: Run, place: Path, expected: str) -> list[str]:
    """Return what the command line does not say of a run after the kill."""
    problems, folder = [], str(place / "runs")
    end = time.monotonic() + LIMIT
    while run.status()["state"] not in store.ENDED and time.monotonic() < end:
        lifecycle.reap()
        time.sleep(0.05)
    listed = command("runs", "--runs", folder, "--json")
    rows = last_json(listed.stdout).get("runs", []) if listed.returncode == 0 else []
    states = {row.get("run") or row.get("id"): row.get("state") for row in rows}
    if run.id not in states:
        problems.append("not listed")
    elif states[run.id] not in (expected, "done"):  # one that had just ended when it was killed is done
        problems.append(f"listed as {states[run.id]}")
    shown = command("show", run.id, "--runs", folder)
    if shown.returncode != 0 or "Traceback" in shown.stderr:
        problems.append("cannot be shown")
    return problems


def _resume(run: Run) -> tuple[int, list[str]]:
    """Go on with a killed run; return how many stages were not made again, and what went wrong."""
    if run.status()["state"] == "done":
        return 0, []
    finished = {name for name, stage in run.status()["stages"].items() if stage.get("state") == "done"}
    lifecycle.resume(run)
    list(lifecycle.follow(run))
    status = run.status()
    if status["state"] != "done":
        return 0, [f"resumed, it {status['state']}: {status['error'][:200]}"]
    made: dict[str, Any] = run.json("manifest.json")["stages"]
    reused = {name for name, stage in made.items() if stage.get("reused")}
    again = sorted((finished & made.keys()) - reused - {"region"})  # the region is a rule, not a stage that is kept
    return len(reused), [f"made again: {', '.join(again)}"] if again else []


def different(run: Run, on: Ground) -> list[str]:
    """Return which files of a finished run are not those of the undisturbed one."""
    manifest = run.json("manifest.json")
    if not isinstance(manifest, dict):
        return ["no manifest"]
    files = manifest["files"]
    other = sorted(name for name, hashed in on.expected.items() if files.get(name) != hashed)
    return [f"other bits: {', '.join(other[:4])}"] if other else []


def row(o: Outcome) -> str:
    """Return a trial as a row of the table."""
    p = o.plan
    return (
        f"| {p.number} | {p.victim} | {o.killed_in} | {'yes' if p.in_write and p.victim != 'server' else ''} | {o.reused} "
        f"| {'; '.join(o.lost) or 'nothing'} | {o.seconds:.0f} |"
    )


HEAD = "| kill | of | in stage | at a write | stages reused | lost | s |\n|---|---|---|---|---|---|---|"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the trials and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Kill -9 at random moments.")
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        place = Path(folder)
        os.environ |= {
            "FORGETSCOPE_QUEUE": str(place / "queue"),
            "FORGETSCOPE_ANSWERER": str(place / "answerer"),
            "OMP_NUM_THREADS": "1",
        }
        on = ground(place)
        _say(
            f"{len(on.expected)} files are compared to the bit; with times in them, so not: "
            f"{', '.join(on.timed) or 'none'}.\n\n{HEAD}"
        )
        outcomes = []
        for plan in plans(given.kills, given.seed):
            outcomes.append(trial(plan, place / f"trial-{plan.number}", on))
            _say(row(outcomes[-1]))
    bad = [o for o in outcomes if o.lost]
    _say(
        f"\n{len(outcomes)} kills, {len(bad)} with a loss, "
        f"{sum(o.plan.in_write and o.plan.victim != 'server' for o in outcomes)} at a write."
    )
    return 1 if bad else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
