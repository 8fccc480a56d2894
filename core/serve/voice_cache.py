"""Voices in memory: each one that is asked becomes an adapter on the one base, and goes when others need its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from core.models import adapter_files
from core.models.adapters import Adapters
from core.runs.askable import checkpoint, find, misfit, unlearned
from core.runs.store import Run
from core.runs.voices import VOICE, Voice, cells_of
from core.util.errors import UserError

KEPT = 8
"""Adapters kept beside before and after: enough for a page's panes, and bounded however many checkpoints are tried."""


class Speakers:
    """The adapters of one run on its base, and of other runs that fit the same base."""

    def __init__(self, adapters: Adapters, run: Run, folder: Path) -> None:
        """Take over adapters "before" and "after" of a run; other runs are looked for in `folder`."""
        self.adapters, self.run, self.folder = adapters, run, folder
        self.hashes: dict[str, str] = {}
        self._names: dict[str, str] = {}
        """voice -> name of its adapter, least recently used first; peft allows no dots in names"""
        self._stamps: dict[str, float] = {}
        """voice -> when the run that it is of was unlearned"""
        self._count = 0

    def adapter(self, voice: Voice, keep: frozenset[str] = frozenset()) -> str | None:
        """Return the adapter that speaks as a voice, made if needed; None is the base with adapters off.

        keep: voices (in their grammar) that must stay in memory meanwhile. Raises UserError for what does not exist
        or does not fit.
        """
        if voice.kind == "never":
            if voice.run:
                self._fitting(voice.run)
            return None
        if not voice.run and voice.kind in self.adapters.names:
            return voice.kind
        source, key = self._fitting(voice.run) if voice.run else self.run, str(voice)
        if self._stamps.get(key) != (stamp := _changed(source) if voice.run else 0.0) and key in self._names:
            self._drop(key)  # that run was resumed since it was asked last
        self._stamps[key] = stamp
        if key in self._names:
            self._names[key] = self._names.pop(key)
            return self._names[key]
        ends = ("before", "after") if not voice.run else self._ends(voice, keep | {key})
        return self._make(key, keep, lambda name: self._fill(name, voice, source, ends))

    def hash(self, voice: Voice) -> str:
        """Return the SHA-256 of a voice's weights; for the base, that its adapters are off."""
        name = self.adapter(voice)
        if name is None:
            return "adapter off"
        if name not in self.hashes:
            self.hashes[name] = self.adapters.hash(name)
        return self.hashes[name]

    def _ends(self, voice: Voice, keep: frozenset[str]) -> tuple[str, str]:
        """Bring before and after of another run into memory, as far as the voice is made of them."""
        wanted = {"before": (), VOICE: (), "after": ("before",), "step": ("before",)}.get(voice.kind, ("before", "after"))
        names = {}
        for kind in wanted:
            end = Voice(kind, voice.run)
            keep |= {str(end)}
            names[kind] = str(self.adapter(end, keep))
        return names.get("before", ""), names.get("after", "")

    def _fill(self, name: str, voice: Voice, source: Run, ends: tuple[str, str]) -> None:
        before, after = ends
        if voice.kind == "blend":
            self.adapters.blend(name, voice.percent / 100, before, after)
        elif voice.kind == "without":
            grid = [(cell.name, cell.layer, cell.module) for cell in self.adapters.cells]
            self.adapters.revert(name, cells_of(voice.parts, grid), before, after)
        elif voice.kind in ("before", VOICE):
            self.adapters.copy("before", name)
            self.adapters.set(name, adapter_files.read_adapter(source.path / voice.kind))
        else:
            path = checkpoint(source, voice.step) if voice.kind == "step" else unlearned(source)
            values = adapter_files.read_tensors(path)
            self.adapters.copy(before, name)
            self.adapters.set(name, values)

    def _make(self, key: str, keep: frozenset[str], fill: Callable[[str], None]) -> str:
        for old in [voice for voice in self._names if voice not in keep][: max(0, len(self._names) - KEPT + 1)]:
            self._drop(old)
        self._count += 1
        name = f"voice{self._count}"
        self._names[key] = name
        try:
            fill(name)
        except BaseException:  # a client that hangs up included: half an adapter must not answer later
            self._drop(key)
            raise
        return name

    def _drop(self, key: str) -> None:
        name = self._names.pop(key)
        self.hashes.pop(name, None)
        self.adapters.drop(name)

    def _fitting(self, name: str) -> Run:
        """Return another run whose adapters fit this base. Raises UserError that says what differs."""
        other = find(name, self.run, self.folder)
        difference = misfit(self.run, other)
        if difference:
            raise UserError(
                f"The run {name} cannot be asked beside this one: {difference}.", "Make it the current run instead."
            )
        return other


def _changed(run: Run) -> float:
    path = run.path / "after" / "region.safetensors"
    return path.stat().st_mtime if path.exists() else 0.0
