"""A finished run's model in memory: its base, with the adapters "before" and "after"."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from core.config.run_config import RunConfig
from core.models import adapter_files, device, loading, merging
from core.models.adapters import Adapters
from core.models.loading import Loaded
from core.runs.askable import no_never, no_retrained, unlearned
from core.runs.store import Run
from core.runs.voices import SPOKEN, VOICE


@dataclass(frozen=True)
class Finished:
    """A run that has ended well, ready to be asked."""

    run: Run
    config: RunConfig
    loaded: Loaded
    adapters: Adapters

    @functools.cached_property
    def why_no_never(self) -> str:
        """Why the base without adapter is not a model that never knew the data; empty where it is."""
        recorded = ((self.run.json("recorded.json") or {}).get("missing") or {}).get("never", "")
        return str(recorded) or no_never(self.run)

    @property
    def voices(self) -> tuple[str, ...]:
        """The voices that can be asked: before, after and, where there is such a model, never and retrained."""
        return tuple(voice for voice in SPOKEN if voice not in self.missing)

    @functools.cached_property
    def missing(self) -> dict[str, str]:
        """Voice -> why it cannot be asked."""
        reasons = {"never": self.why_no_never, VOICE: no_retrained(self.run)}
        return {voice: why for voice, why in reasons.items() if why}


def open_finished(
    run: Run, *, make_room: Callable[[], object] | None = None, base: Loaded | None = None, dtype: str = ""
) -> Finished:
    """Load a run's model and put its adapters on. Raises UserError where it has no unlearned model, or no base is here.

    base: the run's bare base, where it is in memory already. dtype: the number format of computing, where it is not the
    one that the settings name. make_room: asked to free memory where the base does not fit.
    """
    config, after = run.config(), unlearned(run)
    loaded = base or loading.load(config.model, make_room)
    dtype = dtype or device.pick_dtype(config.model.dtype, config.model.device)
    adapters = merging.both(loaded.model, dtype, run.path, after)
    if not no_retrained(run):
        adapters.copy("before", VOICE)
        adapters.set(VOICE, adapter_files.read_adapter(run.path / VOICE))
        adapters.unmerged.add(VOICE)
    return Finished(run, config, loaded, adapters)
