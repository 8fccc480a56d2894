"""Another checkpoint as the result: a run that stops where somebody chose, on the same steps that were made already.

The new run has the old one's settings and `unlearn.result_step`; its stages up to unlearning come from the cache, so it
costs answers and evaluation only; of a run made elsewhere the steps are made again. On which questions the choice was made
is a setting too (`unlearn.picked_on`): a step that was picked on val has no honest val score left, and everything that
shows the run can say so. No heavy import.
"""

from __future__ import annotations

import dataclasses

from core.config.run_config import RunConfig
from core.runs.askable import checkpoint
from core.runs.store import Run

STOPPED = " · stopped at step "


def config(run: Run, step: int, picked_on: str) -> RunConfig:
    """Return the settings of a run that takes a step's checkpoint as its result.

    Raises UserError where the run has no checkpoint of that step.
    """
    checkpoint(run, step)
    own = unpicked(run.config())
    name = f"{own.name or run.id}{STOPPED}{step}"
    changed = own.with_setting("name", name[:80]).with_setting("unlearn.result_step", step)
    return changed.with_setting("unlearn.picked_on", picked_on)


def unpicked(config: RunConfig) -> RunConfig:
    """Return the settings without a picked checkpoint, for a run whose steps are others: that step means nothing there."""
    unlearn = dataclasses.replace(config.unlearn, result_step=0, picked_on="")
    return dataclasses.replace(config, unlearn=unlearn, name=config.name.partition(STOPPED)[0])


def words(step: int, kept: int, picked_on: str) -> str:
    """Say in a run's own files whose choice the result is."""
    where = f" on {picked_on}" if picked_on else ""
    return f"the checkpoint of step {step} was picked{where}; the rule had kept that of step {kept}"
