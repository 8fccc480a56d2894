"""What a process says of the job that it does: status.json (replaced) and events.jsonl (appended) of its folder."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.runs import liveness, store
from core.runs.store import Run
from core.util import failure_sentences, files, logs
from core.util.errors import Cancelled, UserError
from core.util.progress import Pace, Reporter, now, peaks

if TYPE_CHECKING:
    from core.models.distributed import Group


LOG = logging.getLogger("core.jobs.worker")


ROOM = 64 * 1024
"""Bytes that a worker keeps on the disk for its last status and event."""


EVENT_EVERY = 0.2
"""Seconds between two progress events of a stage; the last one is always written."""


class Log(Reporter):
    """Writes a run's status and events. One thread beats the heart; everything else happens in the caller's thread."""

    def __init__(self, run: Run, within: Run | None = None) -> None:
        """Start from the status on disk, so that stage times survive a resume. within: a sweep, seen as a run."""
        self.run, self.within = run, within
        self.group: Group | None = None
        status = run.json("status.json")
        self.status: dict[str, Any] = {**store.fresh_status(), **(status if isinstance(status, dict) else {})}
        self.status |= {**liveness.identity(), "error": "", "stage": "", "state": "queued"}
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._pace, self._last_event = Pace(), 0.0
        self.write()

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Renew the heartbeat in a thread while this context lasts; what is logged meanwhile names the run.

        As long there is room kept on the disk to say how it ended.
        """
        with contextlib.suppress(UserError):  # a disk that is full already is reported by the stage that writes first
            files.write_bytes(self._room, bytes(ROOM))
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
        while not self._stop.wait(liveness.HEARTBEAT):
            # A full disk is reported by the stage that writes next; the heart just misses a beat.
            with contextlib.suppress(UserError):
                self.write()

    def write(self, **values: Any) -> None:
        """Change the status and replace the file."""
        with self._lock:  # else the heart could write an older status over a newer one
            self.status |= values
            self.status["heartbeat"] = time.time()  # other machines compare it with their clock
            if "began" in self.status:
                self.status["seconds"] = round(now() - float(self.status["began"]), 1)
            files.write_json(self.run.path / "status.json", self.status)

    def begin(self, expected: float | None = None) -> None:
        """Say that the work begins: it is its turn. expected: seconds that it should take, where that is known."""
        self.write(state="running", began=now(), expected=expected)

    def event(self, kind: str, **values: Any) -> None:
        """Append one line to events.jsonl, whole or not at all."""
        line = json.dumps({"t": round(now(), 3), "kind": kind, "stage": self.status["stage"], **values}, ensure_ascii=False)
        path, before = self.run.path / "events.jsonl", None
        try:
            with path.open("ab") as file:
                before = file.tell()
                file.write(f"{line}\n".encode())
        except OSError as error:
            if before is not None:  # where it could not even be opened, all of it stays
                with contextlib.suppress(OSError):
                    os.truncate(path, before)  # half a line would spoil the next one too
            raise failure_sentences.disk_error(path, error) from error

    def stage(self, name: str, state: str, **values: Any) -> None:
        """Begin or end a stage."""
        earlier = self.status["stages"]
        # A new dictionary each time: the heart may be writing the old one.
        stages = {**earlier, name: {**(earlier.get(name, {}) if state != "running" else {}), "state": state, **values}}
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
        state = {**pace, **peaks()}
        now = time.monotonic()
        if now - self._last_event < EVENT_EVERY and done < total:
            return
        self._last_event = now
        stages, stage = self.status["stages"], self.status["stage"]
        self.write(stages={**stages, stage: {**stages.get(stage, {"state": "running"}), **state}})
        self.event("progress", **state, **{k: round(v, 5) if isinstance(v, float) else v for k, v in values.items()})

    def check(self) -> None:
        """Raise Cancelled when the file `cancel` is there, in the run or in the sweep that it belongs to.

        Raises also what ended another process of the run.
        """
        if any((run.path / "cancel").exists() for run in (self.run, self.within) if run):
            raise Cancelled
        if self.group:
            self.group.check()
