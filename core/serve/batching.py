"""Requests that come at the same time are answered together: one batch for the process that serves one after the other.

A thread takes what waits, puts together what is to be answered in the same way, and hands each piece to whoever asked.
What comes meanwhile waits for the next batch. No heavy import.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from core.runs.store import Run
from core.serve import client
from core.serve.messages import MOST_VOICES
from core.util.errors import UserError

LOG = logging.getLogger("core.serve.batching")
GATHERED = 0.01
"""seconds in which others may join the first of a batch"""
MOST_WAITING = 256
"""answers; whoever comes then is told to come back"""


@dataclass(eq=False)
class Job:
    """One answer that somebody waits for."""

    prompt: dict[str, Any]
    """as core.serve.messages reads it"""
    settings: dict[str, Any]
    """changes to the run's stage answers"""
    seed: int | None
    top: int
    index: int
    """which choice of its request it is"""
    inbox: asyncio.Queue[tuple[int, dict[str, Any]]]
    """where its replies go, as (index, reply); all choices of a request share one"""
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    over: bool = False
    """whether it has ended, or nobody waits for it any more"""

    @property
    def way(self) -> tuple[Any, ...]:
        """What must be equal among answers that are generated together."""
        return tuple(sorted(self.settings.items())), self.seed, self.top

    def tell(self, reply: dict[str, Any]) -> None:
        """Hand on a reply from the thread that has it."""
        with contextlib.suppress(RuntimeError):  # the server is ending, and its loop is closed
            self.loop.call_soon_threadsafe(self.inbox.put_nowait, (self.index, reply))


class Batching:
    """Answers jobs about one run in batches."""

    def __init__(self, run: Run, most: int) -> None:
        """Start the thread. most: answers generated together, the run's own batch size."""
        self.run, self.most = run, most
        self.coming: queue.Queue[Job] = queue.Queue()
        self.waiting: list[Job] = []
        threading.Thread(target=self._work, daemon=True, name="batching").start()

    def submit(self, jobs: Sequence[Job]) -> bool:
        """Let jobs be answered; say whether there was room for them. Called by the server's one thread."""
        if len(self.waiting) + self.coming.qsize() + len(jobs) > MOST_WAITING:
            return False
        for job in jobs:
            self.coming.put(job)
        return True

    def _work(self) -> None:
        while True:
            if not self.waiting:
                self.waiting.append(self.coming.get())
                time.sleep(GATHERED)
            with contextlib.suppress(queue.Empty):
                while True:
                    self.waiting.append(self.coming.get_nowait())
            batch = self._next()
            try:
                self._answer(batch)
            except UserError as error:
                self._fail(batch, {"kind": "error", "what": error.what, "fix": error.fix})
            except Exception:  # whatever it is, those who wait must hear of it, and the thread must live
                LOG.exception("unexpected error")
                self._fail(batch, {"kind": "error", "what": "Answering failed.", "fix": "The log says why."})

    def _next(self) -> list[Job]:
        """Take the first that waits, and those that can be answered together with it."""
        self.waiting = [job for job in self.waiting if not job.over]
        batch: list[Job] = []
        voices: set[str] = set()
        for job in self.waiting:
            voice = job.prompt["voice"]
            if (not batch or job.way == batch[0].way) and len(batch) < self.most and len(voices | {voice}) <= MOST_VOICES:
                batch.append(job)
                voices.add(voice)
        self.waiting = [job for job in self.waiting if job not in batch]
        return batch

    def _answer(self, batch: list[Job]) -> None:
        """Answer a batch; stop when nobody waits for it any more. Raises UserError for what is wrong with all of it."""
        if not batch:
            return
        first, prompts = batch[0], [job.prompt for job in batch]
        asked = client.call("complete", self.run, prompts=prompts, answers=first.settings, seed=first.seed, top=first.top)
        with contextlib.closing(asked) as replies:
            for reply in replies:
                if reply["kind"] == "start":
                    for job, count in zip(batch, reply["tokens"], strict=True):
                        if count:
                            job.tell({"kind": "start", "tokens": count})
                elif reply["kind"] == "prompt_error":
                    batch[reply["index"]].tell(reply)
                for piece in reply.get("pieces", ()):
                    batch[piece["index"]].tell({"kind": "piece", **piece})
                if all(job.over for job in batch):
                    return

    def _fail(self, batch: list[Job], reply: dict[str, Any]) -> None:
        for job in batch:
            job.tell(reply)
