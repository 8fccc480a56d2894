"""`make crowd`, or `python -m tests.crowd --minutes 10`: twenty people on one server, and whether anybody waits or errs.

Four of them have a real browser, sixteen speak over the websocket (tests/visitor.py). Each looks at pages, drags thresholds,
and asks questions of one of four tiny runs whose answers all differ; what the page shows must be the own answer to the own
question. Meanwhile a worker unlearns the bundled model, run after run. Between two actions a person thinks for 3 to 9
seconds, between two pulls at a slider for 1 to 2. Prints a table; exit status 1 where a goal is missed.

The goals are for the server's own time, from a script's beginning to its end, with all scripts that run beside it. What
people wait is in the table too, but browsers and worker share the machine with the server.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Protocol

import psutil

from core.config.run_config import preset
from core.jobs import lifecycle
from core.runs import store
from core.runs.store import Run
from core.serve import client
from tests import timed_server
from tests.e2e.serving import Server
from tests.processes import quick
from tests.tiny import make_data, make_tiny

PAGES = ("", "compare", "evidence", "report", "runs", "help")
VOICES = ("before", "after")
SETTLED = 120.0
"""seconds after which the server's memory should stay as it is"""
GOALS = {
    "server's page p95 s": 1.0,
    "server's slider p95 s": 0.4,
    "errors": 0,
    "foreign answers": 0,
    "memory growth %": 10.0,
}
SERVER = {"page": "page, the server's own", "mu": "slider, the server's own"}
"""what was done, as tests/timed_server.py calls it -> as the table does"""


class Tab(Protocol):
    """What a person does in a tab; each returns seconds until the page is complete."""

    def open(self, page: str) -> float:
        """Change to a page."""

    def move(self, share: float) -> float:
        """Pull the threshold μ on the page Localize to a share of its range."""

    def ask(self, question: str) -> tuple[float, str]:
        """Ask on the page Compare; return also what the panes say."""

    def close(self) -> None:
        """Leave."""


@dataclasses.dataclass(frozen=True)
class Person:
    """Somebody with a run of interest and questions of his own."""

    number: int
    run: str
    answers: dict[str, tuple[str, ...]]
    """question -> what the voices of the run say to it"""
    browser: bool


class Tally:
    """What happened, written by all at once."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.errors: list[str] = []
        self.foreign: list[str] = []
        self.checked = 0
        self._lock = threading.Lock()

    def add(self, kind: str, seconds: float) -> None:
        with self._lock:
            self.seconds[kind].append(seconds)

    def error(self, person: Person, what: object) -> None:
        with self._lock:
            self.errors.append(f"person {person.number}: {type(what).__name__}: {str(what)[:200]}")

    def check(self, person: Person, question: str, shown: str) -> None:
        """Count an answer, and whether it is the own one."""
        bare = squeezed(shown)
        with self._lock:
            self.checked += 1
            if not all(squeezed(answer) in bare for answer in person.answers[question]):
                self.foreign.append(f"person {person.number} asked {question!r} of {person.run} and saw {shown[:200]!r}")


def squeezed(text: str) -> str:
    """Return a text without white space and control characters, which a browser breaks differently or leaves out."""
    return "".join(c for c in text if c.isprintable() and not c.isspace())


# -- what is asked ----------------------------------------------------------------------------------------------------


def runs_to_ask(place: Path, server: Server, count: int) -> list[Run]:
    """Make tiny runs on one base. They sample, by their seeds: the most probable words would be the same to all
    questions."""
    model, data = make_tiny(place / "model", "llama"), make_data(place / "data")
    config = quick(
        model, data, unlearn__learning_rate=0.1, unlearn__steps=4, answers__max_new_tokens=24, answers__temperature=1.0
    )
    found = [
        lifecycle.submit(config.with_setting("seed", seed).with_setting("name", f"asked {seed}"), server.runs)
        for seed in range(count)
    ]
    for run in found:
        list(lifecycle.follow(run))
        if run.status()["state"] != "done":
            raise SystemExit(f"The run {run.id} failed: {run.status()['error']}")
    return found


def people(runs: Sequence[Run], visitors: int, browsers: int) -> list[Person]:
    """Ask every question once in quiet, so that it is known what each person has to see."""
    found = []
    for number in range(visitors + browsers):
        run = runs[number % len(runs)]
        questions = [f"Person {number} asks, question {n}: where does Orla Venning live?" for n in range(3)]
        answers = {
            q: tuple(client.texts(client.ask(run, [q], VOICES, seed=run.config().seed), len(VOICES))) for q in questions
        }
        found.append(Person(number, run.id, answers, browser=number < browsers))
    after = [squeezed(text) for person in found for _, text in person.answers.values()]
    apart = {text for text in after if text}  # a model with random weights may end at once
    if len(apart) < 0.9 * len(after):
        raise SystemExit(f"The answers do not tell people apart: {len(apart)} different ones of {len(after)}.")
    return found


# -- what people do ---------------------------------------------------------------------------------------------------


def live(person: Person, server: Server, tally: Tally, until: float) -> None:
    """Arrive, and do this and that until the time is over; after an error come again."""
    draw = random.Random(person.number)
    while time.monotonic() < until:
        try:
            with closing(tab_of(person, server)) as tab:
                tally.add("arrival", tab.open(""))
                while time.monotonic() < until:
                    _act(person, tab, tally, draw)
        except Exception as error:  # whatever it is, it is one of the errors that are counted
            if time.monotonic() < until:
                tally.error(person, error)
                time.sleep(1)


def _act(person: Person, tab: Tab, tally: Tally, draw: random.Random) -> None:
    kind = " browser" if person.browser else ""
    what = draw.choices(("look", "drag", "ask"), (5, 3, 2))[0]
    if what == "look":
        tally.add(f"page{kind}", tab.open(draw.choice(PAGES)))
    elif what == "drag":
        tally.add(f"page{kind}", tab.open(""))
        for _ in range(draw.randint(2, 4)):
            time.sleep(draw.uniform(1, 2))
            tally.add(f"slider{kind}", tab.move(draw.uniform(0.1, 0.9)))
    else:
        tally.add(f"page{kind}", tab.open("compare"))
        time.sleep(draw.uniform(1, 3))
        question = draw.choice(list(person.answers))
        seconds, shown = tab.ask(question)
        tally.add(f"answer{kind}", seconds)
        tally.check(person, question, shown)
    time.sleep(draw.uniform(3, 9))


def tab_of(person: Person, server: Server) -> Tab:
    """Open a tab of the person's kind."""
    from tests.crowd_tabs import BrowserTab, SocketTab

    return BrowserTab(server.url, person.run) if person.browser else SocketTab(server.url, person.run)


def train(server: Server, until: float) -> None:
    """Keep one worker at work on the bundled model, at low priority."""
    number = 0
    while time.monotonic() < until:
        number += 1
        run = lifecycle.submit(
            preset("this-machine").with_setting("seed", number).with_setting("name", f"in the background {number}"),
            server.runs,
        )
        with suppress(psutil.Error):
            psutil.Process(int(lifecycle._children[-1].pid)).nice(10)
        while time.monotonic() < until and run.status()["state"] in store.ALIVE:
            time.sleep(1)
        if run.status()["state"] == "failed":
            raise SystemExit(f"The run in the background failed: {run.status()['error']}")
        if run.status()["state"] in store.ALIVE:
            run.cancel()
            lifecycle._children[-1].wait(120)


def watch(process: psutil.Process, began: float, until: float, memory: list[tuple[float, float]]) -> None:
    """Note the server's memory every two seconds: (seconds since the beginning, MB)."""
    while time.monotonic() < until:
        memory.append((time.monotonic() - began, process.memory_info().rss / 1e6))
        time.sleep(2)


# -- the table --------------------------------------------------------------------------------------------------------


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of all lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def report(
    tally: Tally, memory: Sequence[tuple[float, float]], log: str, scripts: Sequence[timed_server.Timed]
) -> dict[str, float]:
    """Print the table; return what the goals are about."""
    say("| what | times | p50 s | p95 s | longest s |\n|---|---|---|---|---|")
    own = {name: [one.wall for one in scripts if what in one.what] for what, name in SERVER.items()}
    work = {f"{name}: processor": [one.work for one in scripts if what in one.what] for what, name in SERVER.items()}
    for kind, values in [*sorted(tally.seconds.items()), *own.items(), *work.items()]:
        say(
            f"| {kind} | {len(values)} | {statistics.median(values or [math.nan]):.2f} | {quantile(values, 0.95):.2f} | "
            f"{max(values, default=math.nan):.2f} |"
        )
    middle = [mb for at, mb in memory if at >= min(SETTLED, memory[-1][0] / 2)]
    start, end = statistics.median(middle[:5]), statistics.median(middle[-5:])
    say(
        f"\nServer memory: {start:.0f} MB {'at two minutes' if memory[-1][0] > SETTLED else 'half-way'}, "
        f"{end:.0f} MB at the end."
    )
    say(
        f"Answers checked: {tally.checked}. Errors: {len(tally.errors)}. Tracebacks in the server's log: "
        f"{log.count('Traceback')}."
    )
    for line in [*tally.errors[:10], *tally.foreign[:10]]:
        say(f"  {line}")
    return {
        "server's page p95 s": quantile(own[SERVER["page"]], 0.95),
        "server's slider p95 s": quantile(own[SERVER["mu"]], 0.95),
        "errors": len(tally.errors) + log.count("Traceback"),
        "foreign answers": len(tally.foreign),
        "memory growth %": 100 * (end / start - 1),
    }


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Let them come, and print what happened."""
    parser = argparse.ArgumentParser(prog="python -m tests.crowd", description="Twenty people on one server.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--browsers", type=int, default=4)
    parser.add_argument("--visitors", type=int, default=16)
    parser.add_argument("--no-run", action="store_true", help="without a run in the background")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="crowd-") as folder:
        place = Path(folder)
        times = place / "times.jsonl"
        server = Server(place, times)
        os.environ |= server.folders | {"OMP_NUM_THREADS": "1"}
        crowd = people(runs_to_ask(place, server, 4), given.visitors, given.browsers)
        server.start()
        assert server.process
        tally, memory, began = Tally(), list[tuple[float, float]](), time.monotonic()
        until = began + 60 * given.minutes
        work: list[tuple[Any, ...]] = [(live, person, server, tally, until) for person in crowd]
        work += [
            (watch, psutil.Process(server.process.pid), began, until, memory),
            *([] if given.no_run else [(train, server, until)]),
        ]
        threads = [threading.Thread(target=target, args=values, daemon=True) for target, *values in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        server.stop()
        client.leave()
        found = report(tally, memory, server.log.read_text(), timed_server.read(times))
    say("\n| goal | wanted | found |\n|---|---|---|")
    for name, limit in GOALS.items():
        say(f"| {name} | ≤ {limit:g} | {found[name]:.2f} |")
    return int(any(not found[name] <= limit for name, limit in GOALS.items()))


if __name__ == "__main__":
    sys.exit(main())
