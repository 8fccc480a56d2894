"""Asking an audit of models that share no base: each base has a service of its own, all in memory if they fit.

A request is passed on voice by voice, and the replies are put together as if one model had given them. What lies
between before and after (blends, single cells) does not exist here.
"""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable
from typing import TYPE_CHECKING

from core.models import device, foreign_adapters, loading
from core.runs import audit
from core.runs.voices import parse
from core.serve.messages import Asked
from core.serve.voice_cache import Speakers
from core.util.errors import UserError

if TYPE_CHECKING:
    from core.serve.service import Replies, Service

BETWEEN = "Two whole models share no base: nothing lies between them, and no cell can be put back."


class Pair:
    """Holds the services of one audit."""

    def __init__(self, service: Callable[[], Service]) -> None:
        """Load nothing yet. service: makes the one that is to hold a base."""
        self.run, self.service = "", service
        self.services: dict[str, Service] = {}
        """base -> the service that holds it"""

    def serve(self, op: str, asked: Asked) -> Replies:
        """Yield the replies to a request. Raises UserError for operations that need one base."""
        if str(asked.run.path) != self.run:
            self.services.clear()
            self.run = str(asked.run.path)
        if op == "load":
            short = dataclasses.replace(asked, questions=("?",), voices=("before",), answers={"max_new_tokens": 1})
            yield from self._each("ask", short)
        elif op in ("ask", "score"):
            yield from self._each(op, asked)
        elif op == "complete":
            yield from self._complete(asked)
        else:
            raise UserError(BETWEEN, "Audit two adapters of one base for that.")

    def _each(self, op: str, asked: Asked) -> Replies:
        """Let the voices speak one after the other."""
        sides = (audit.read(asked.run) or {}).get("sides", {})
        yielded, seconds = False, 0.0
        service: Service | None = None
        for index, voice in enumerate(asked.voices):
            service = None  # the one before must be gone where both do not fit into the memory
            try:
                service = self._service(voice, asked)
            except UserError as error:
                yield {"kind": "voice_error", "voice": voice, "what": error.what, "fix": error.fix}
                continue
            for reply in getattr(service, op)(dataclasses.replace(asked, voices=(voice,))):
                if reply["kind"] == "start":
                    if not yielded:
                        yield reply | {"hashes": {v: sides[v]["hash"] for v in asked.voices if v in sides}}
                    yielded = True
                elif reply["kind"] == "pieces":
                    pieces = [p | {"index": p["index"] * len(asked.voices) + index} for p in reply["pieces"]]
                    yield {"kind": "pieces", "pieces": pieces, "seconds": seconds + reply["seconds"]}
                elif reply["kind"] == "done":
                    seconds += reply["seconds"]
                else:
                    yield reply
        yield {"kind": "done", "seconds": seconds}

    def _complete(self, asked: Asked) -> Replies:
        """Let the voices go on from their prompts one after the other; each says “start” for its own."""
        seconds = 0.0
        service: Service | None = None
        for voice in dict.fromkeys(prompt.voice for prompt in asked.prompts):
            mine = [index for index, prompt in enumerate(asked.prompts) if prompt.voice == voice]
            service = None  # the one before must be gone where both do not fit into the memory
            try:
                service = self._service(voice, asked)
            except UserError as error:
                for index in mine:
                    yield {"kind": "prompt_error", "index": index, "where": "voice", "what": error.what, "fix": error.fix}
                continue
            some = dataclasses.replace(asked, prompts=tuple(asked.prompts[index] for index in mine))
            for reply in service.complete(some):
                if reply["kind"] == "start":
                    counts = dict(zip(mine, reply["tokens"], strict=True))
                    yield {"kind": "start", "tokens": [counts.get(index, 0) for index in range(len(asked.prompts))]}
                elif reply["kind"] == "prompt_error":
                    yield reply | {"index": mine[reply["index"]]}
                elif reply["kind"] == "pieces":
                    pieces = [piece | {"index": mine[piece["index"]]} for piece in reply["pieces"]]
                    yield {"kind": "pieces", "pieces": pieces, "seconds": seconds + reply["seconds"]}
                else:
                    seconds += reply["seconds"]
        yield {"kind": "done", "seconds": seconds}

    def _service(self, voice: str, asked: Asked) -> Service:
        """Return the service that speaks as a voice, with its model in memory. Raises UserError where there is none."""
        spoken, config = parse(voice), asked.run.config()
        if spoken.run or spoken.kind not in ("before", "after", "never"):
            raise UserError(BETWEEN, "Ask before, after or never.")
        group = next((g for g in audit.groups(audit.sides(config.audit)) if any(s.voice == voice for s in g)), None)
        if group is None:
            raise UserError(f"This audit has no such model: {audit.NO_NEVER}.", "Ask before and after.")
        source = group[0].source
        if source not in self.services:
            self.services[source] = self._loaded(group, asked)
        return self.services[source]

    def _loaded(self, group: list[audit.Side], asked: Asked) -> Service:
        """Load a base with its voices; where the memory does not suffice, the others go first."""

        def make_room() -> None:
            self.services.clear()
            gc.collect()

        service, config = self.service(), asked.run.config()
        service.config = dataclasses.replace(config, model=dataclasses.replace(config.model, name=group[0].base))
        service.loaded = loading.load(service.config.model, make_room)
        dtype = device.pick_dtype(config.model.dtype, config.model.device)
        folders = {side.voice: side.adapter for side in group if side.voice != "never"}
        service.adapters = foreign_adapters.attach(service.loaded.model, dtype, folders)
        service.speakers = Speakers(service.adapters, asked.run, asked.folder)
        return service
