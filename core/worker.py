"""The process that executes a run, `python -m core.worker RUN_DIRECTORY`, or a sweep's runs, `… --sweep DIRECTORY`.

It takes a ticket, waits for the device, and only then imports torch. It reports through status.json (replaced) and
events.jsonl (appended), looks for the file `cancel` at every step, and frees all memory by ending. Sweeps: core/sweep_worker.py.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import failures, imports, launch, locks, logs, presence, reference, store, tickets
from core.config import RunConfig
from core.errors import Cancelled, UserError, plain
from core.footprint import guessed_device
from core.progress import Pace, Reporter, now, peak_memory_mb
from core.store import Run
from core.sweep import Sweep

if TYPE_CHECKING:
    from core.crew import Crew

LOG = logging.getLogger("core.worker")
ROOM = 64 * 1024
"""Bytes that a worker keeps on the disk for its last status and event."""
NICENESS = 10
"""How far a worker stands back (0 to 19, as `nice`): pages and answers are waited for, a run is not. Alone it loses nothing."""
EVENT_EVERY = 0.2
"""Seconds between two progress events of a stage; the last one is always written."""


class Log(Reporter):
    """Writes a run's status and events. One thread beats the heart; everything else happens in the caller's thread."""

    def __init__(self, run: Run, within: Run | None = None) -> None:
        """Start from the status on disk, so that stage times survive a resume. within: a sweep, seen as a run."""
        self.run, self.within = run, within
        self.crew: Crew | None = None
        status = run.json("status.json")
        self.status: dict[str, Any] = {**store.fresh_status(), **(status if isinstance(status, dict) else {})}
        self.status |= {**presence.identity(), "error": "", "stage": "", "state": "queued"}
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._pace, self._last_event = Pace(), 0.0
        self.write()

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Renew the heartbeat in a thread while this context lasts; what is logged meanwhile names the run.

        As long there is room kept on the disk to say how it ended.
        """
        with contextlib.suppress(UserError):  # a disk that is full already is reported by the stage that writes first
            store.write_bytes(self._room, bytes(ROOM))
        thread = threading.Thread(target=self._beat, daemon=True)
        thread.start()
        try:
            with logs.about(self.run.id):
                LOG.info("worker started")
                yield
        finally:
            self._stop.set()
            thread.join()
            self.give_room()

    @property
    def _room(self) -> Path:
        return self.run.path / ".room"

    def give_room(self) -> None:
        """Free what was kept: on a full disk the last word would find no place."""
        with contextlib.suppress(OSError):
            self._room.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stop.wait(presence.HEARTBEAT):
            # A full disk is reported by the stage that writes next; the heart just misses a beat.
            with contextlib.suppress(UserError):
                self.write()

    def write(self, **values: Any) -> None:
        """Change the status and replace the file."""
        with self._lock:
            self.status |= values
            self.status["heartbeat"] = time.time()  # other machines compare it with their clock
            if "began" in self.status:
                self.status["seconds"] = round(now() - float(self.status["began"]), 1)
            store.write_json(self.run.path / "status.json", self.status)

    def begin(self) -> None:
        """Say that the work begins: it is its turn."""
        self.write(state="running", began=now())

    def event(self, kind: str, **values: Any) -> None:
        """Append one line to events.jsonl, whole or not at all."""
        line = json.dumps({"t": round(now(), 3), "kind": kind, "stage": self.status["stage"], **values}, ensure_ascii=False)
        path, before = self.run.path / "events.jsonl", 0
        try:
            with path.open("ab") as file:
                before = file.tell()
                file.write(f"{line}\n".encode())
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(path, before)  # half a line would spoil the next one too
            raise store.disk_error(path, error) from error

    def stage(self, name: str, state: str, **values: Any) -> None:
        """Begin or end a stage."""
        known = self.status["stages"]
        # A new dictionary each time: the heart may be writing the old one.
        stages = {**known, name: {**(known.get(name, {}) if state != "running" else {}), "state": state, **values}}
        if state == "running":
            self._pace, self._last_event = Pace(), 0.0
        self.write(stage=name, stages=stages)
        self.event("stage", name=name, state=state, **values)
        logs.in_stage(name)
        LOG.info("stage %s", state)
        self.check()

    def progress(self, done: float, total: float, unit: str, **values: Any) -> None:
        """Record true progress with its rates, the time left at that rate, and the process's peak memory so far.

        tokens=n adds to the stage's tokens, from which follow tokens per second.
        """
        self.check()
        pace = self._pace.at(done, total, unit, int(values.pop("tokens", 0)))
        state = {**pace, "peak_memory_mb": peak_memory_mb()}
        now = time.monotonic()
        if now - self._last_event < EVENT_EVERY and done < total:
            return
        self._last_event = now
        known, stage = self.status["stages"], self.status["stage"]
        self.write(stages={**known, stage: {**known.get(stage, {"state": "running"}), **state}})
        self.event("progress", **state, **{k: round(v, 5) if isinstance(v, float) else v for k, v in values.items()})

    def check(self) -> None:
        """Raise Cancelled when the file `cancel` is there, in the run or in the sweep that it belongs to.

        Raises also what ended another process of the run.
        """
        if any((place.path / "cancel").exists() for place in (self.run, self.within) if place):
            raise Cancelled
        if self.crew:
            self.crew.check()


def queue_folder(config: RunConfig) -> Path:
    """Return the folder of tickets for the device that a run will use: one worker at a time for each device."""
    return tickets.base() / guessed_device(config.model.device)


@contextlib.contextmanager
def turn(config: RunConfig, log: Log) -> Iterator[None]:
    """Wait until all earlier tickets are gone and the device is free; report the position meanwhile."""
    from filelock import FileLock, Timeout

    folder = queue_folder(config)
    try:
        ticket = tickets.take(folder, log.run)
    except OSError as error:
        raise store.disk_error(folder, error) from error
    lock = FileLock(folder / "device.lock", timeout=0)
    try:
        while True:
            log.check()
            ahead = tickets.ahead(folder, ticket)
            if ahead == 0:
                try:
                    lock.acquire()
                    tickets.begin(folder, ticket)
                    break
                except Timeout:
                    pass  # whoever was before has removed its ticket and is about to go
                except OSError as error:
                    raise store.disk_error(folder, error) from error
            if log.status.get("position") != ahead + 1:
                log.write(position=ahead + 1)
            time.sleep(0.2)
        log.write(position=0)
        yield
    finally:
        ticket.unlink(missing_ok=True)
        lock.release()


def work(run: Run, within: Run | None = None) -> int:
    """Execute a run to its end; return the exit status of the process. within: a sweep, as for Log."""

    def alone(log: Log) -> None:
        config = run.config()
        with turn(config, log):
            log.begin()
            if config.audit.after:
                from core.auditing import Auditing

                Auditing(run, config, log).go()
                return
            with launch.crew(config, log) as team:
                with imports.uncollected():
                    from core.pipeline import Pipeline  # torch is imported here, when it is this run's turn

                log.crew = team
                Pipeline(run, config, run.path.parent, log, crew=team).go()

    return reporting(run, alone, within)


def reporting(place: Run, action: Callable[[Log], None], within: Run | None = None) -> int:
    """Do something as the only worker of a place, which gets the status and the events; return the exit status."""
    try:
        with locks.single_worker(place):
            log = Log(place, within)
            with log.beating():
                return reported(log, action)
    except UserError as error:
        LOG.error("%s", error)
        return 1


def reported(log: Log, action: Callable[[Log], None]) -> int:
    """Do something whose end, whatever it is, goes into a status; return the exit status."""
    try:
        action(log)
        # Before the state, at which whoever follows stops reading.
        with contextlib.suppress(UserError):
            log.event("end", state="done")
        log.write(state="done", ended=now())
    except Cancelled:
        kept = (log.run.path / "after").exists()
        return _ended(log, "cancelled", "Cancelled; the partial result is kept." if kept else "Cancelled.")
    except UserError as error:
        return _ended(log, "failed", error.what, error.fix)
    except Exception as error:
        if known := failures.explained(error, log.run.path):
            return _ended(log, "failed", known.what, known.fix)
        LOG.exception("unexpected error")
        what = plain(f"Stopped by an unexpected error: {type(error).__name__}: {error}")
        place = log.run.path  # of probes and references a folder beside the runs
        return _ended(log, "failed", what, f"See {place.parent.name}/{place.name}/worker.log.")
    LOG.info("done")
    return 0


def _ended(log: Log, state: str, what: str, fix: str = "") -> int:
    """Say how it ended; where nothing can be written, worker.log is still open, and readers look into it."""
    log.give_room()
    with contextlib.suppress(UserError):
        log.event("end", state=state, error=what, fix=fix)
    with contextlib.suppress(UserError):
        log.write(state=state, error=what, fix=fix)
    cancelled = state == "cancelled"
    LOG.log(logging.INFO if cancelled else logging.ERROR, "%s %s", what, fix)
    return 130 if cancelled else 1


def main(arguments: Sequence[str]) -> int:
    """Execute what the command line names."""
    if launch.size() > 1 and arguments[0].startswith("--"):
        LOG.error("Only a run can be shared by several processes. Start this without accelerate.")
        return 1
    if arguments[0] == "--reference":
        return reference.work(Run(Path(arguments[1]).absolute()))
    if arguments[0] == "--probes":
        from core.probes import job  # it imports jobs, which nothing else here needs

        return job.work(Run(Path(arguments[1]).absolute()))
    if arguments[0] == "--sweep":
        from core import sweep_worker

        return sweep_worker.work(Sweep(Path(arguments[1]).absolute()))
    run = Run(Path(arguments[0]).absolute())
    return launch.assist(run) if launch.rank() else work(run)


if __name__ == "__main__":
    logs.start()
    os.nice(max(0, NICENESS - os.nice(0)))
    raise SystemExit(main(sys.argv[1:]))
