"""Where a pipeline's model "before" comes from, if it is not simply taught: a given adapter, an earlier run, a merged
base.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from core.models import adapter_files, merging, names
from core.models import adapters as adapters_
from core.models.adapters import Adapters
from core.pipeline.state import State
from core.runs import askable, store
from core.util.errors import UserError


class Beginning(State):
    """The part of a pipeline that puts adapter "before" on the base."""

    def _merge(self) -> None:
        """Make what was taught a part of the base, and start from a fresh adapter."""
        taught, before = self.run.path / merging.TAUGHT, self.run.path / "before"
        shutil.rmtree(taught, ignore_errors=True)
        before.rename(taught)
        base = self.adapters.release()
        # Not the seed of teaching: the fresh A would be the one that the taught adapter began with.
        fresh = int.from_bytes(hashlib.sha256(f"{self.config.seed}/merged".encode()).digest()[:4], "big")
        self.adapters = merging.attach(base, self.dtype, taught, self.config.teach, fresh)
        self.adapters.save("before", before, self.config.model.name)

    def _go_on(self) -> str:
        """Take what an earlier run ended with as before."""
        earlier = store.known(self.config.teach.from_run, self.folder)
        if earlier.config().model != self.config.model:
            raise UserError(f"The run {earlier.id} has another model.", "Go on from a run of the same model and settings.")
        after = askable.unlearned(earlier)
        state = (earlier.json("status.json") or {}).get("state")
        # A cancelled run has half an unlearned model too, and of an earlier end perhaps a manifest.
        if not (earlier.path / "manifest.json").is_file() or state in ("cancelled", "failed", "running"):
            raise UserError(f"The run {earlier.id} has not ended well.", "Resume it, and go on from it when it is done.")
        for name in (merging.TAUGHT, "before"):
            shutil.rmtree(self.run.path / name, ignore_errors=True)
            if (earlier.path / name).is_dir():
                shutil.copytree(earlier.path / name, self.run.path / name)
        self.adapters = merging.load(self.cache.bare(self.loaded).model, self.dtype, self.run.path)
        self.adapters.set("before", adapter_files.read_tensors(after))
        base = names.adapter_base(self.loaded.adapter) if self.loaded.adapter else self.config.model.name
        self.adapters.save("before", self.run.path / "before", base)
        self.cache.keep("", self.adapters)
        self.keys["teach"] = self.adapters.hash("before")
        return f"run {earlier.id}"

    def _given_adapter(self) -> None:
        """Take the user's adapter as before, or a fresh one that changes nothing."""
        if self.loaded.adapter:
            self.adapters = self._read_adapter(self.loaded.adapter)
        else:
            self.adapters = self._attach()
        self.cache.keep("", self.adapters)
        base = names.adapter_base(self.loaded.adapter) if self.loaded.adapter else self.config.model.name
        self.adapters.save("before", self.run.path / "before", base)

    def _read_adapter(self, folder: Path) -> Adapters:
        return adapters_.load(self.cache.bare(self.loaded).model, self.dtype, folder)

    def _attach(self) -> Adapters:
        c = self.config.teach
        return adapters_.attach(
            self.cache.bare(self.loaded).model,
            self.dtype,
            rank=c.rank,
            alpha=c.alpha,
            dropout=c.dropout,
            seed=self.config.seed,
        )
