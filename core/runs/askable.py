"""Which runs and checkpoints can be asked side by side on one base. No heavy import: pages list them from here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from core.config.stages import ModelConfig
from core.runs import audit, store
from core.runs.store import Run
from core.runs.voices import VOICE
from core.util.errors import UserError, unknown
from core.util.safe_read import mapping

NOT_TAUGHT = "this run did not teach the model, so there is no model that never knew the data"
NOT_RETRAINED = "this run did not teach a second model without what is to be forgotten (teach.retrain)"


def find(name: str, run: Run, folder: Path) -> Run:
    """Return a run by its id: from the runs folder, from beside another run, or a bundled one."""
    runs = {r.id: r for r in [*store.bundled_runs(), *store.list_runs(run.path.parent), *store.list_runs(folder)]}
    if name not in runs:
        raise unknown("run", name, runs)
    return runs[name]


def unlearned(run: Run) -> Path:
    """Return the file of a run's region after unlearning. Raises UserError where there is none yet."""
    if audit.whole(run):
        raise UserError(
            f"{run.id} compares two whole models: they share no base on which anything could be blended or put back.",
            "Audit two adapters of one base for that.",
        )
    path = run.path / "after" / "region.safetensors"
    if not path.exists() or not (run.path / "before").is_dir():
        raise UserError(f"The run {run.id} has no unlearned model yet.", "Wait until it has finished unlearning.")
    return path


def to_go_on(run: Run, model: ModelConfig) -> Path:
    """Return the file of what a run ended with, for one of this model that goes on from it. Raises UserError where it
    cannot.
    """
    if run.config().model.in_memory != model.in_memory:
        raise UserError(f"The run {run.id} has another model.", "Go on from a run of the same model and settings.")
    after = unlearned(run)
    status = mapping(run.json("status.json")).get("state")
    # A cancelled run has half an unlearned model too, and of an earlier end perhaps a manifest.
    if not (run.path / "manifest.json").is_file() or status in ("cancelled", "failed", "running"):
        raise UserError(f"The run {run.id} has not ended well.", "Resume it, and go on from it when it is done.")
    return after


def no_never(run: Run) -> str:
    """Say why the base without its adapter is not the model that never knew; empty where it is."""
    if audit.read(run):
        return audit.no_never(run)
    before = run.json("before/adapter_config.json")
    whole = isinstance(before, dict) and before.get("base_model_name_or_path") == run.config().model.name
    # Where an adapter was given, the model without it did not know what the adapter was made for.
    return NOT_TAUGHT if whole and not run.config().teach.enabled else ""


def no_retrained(run: Run) -> str:
    """Say why there is no model that was taught all but what was to be forgotten; empty where there is one."""
    return "" if (run.path / VOICE).is_dir() else NOT_RETRAINED


def askable(run: Run) -> None:
    """Raise UserError where a run has no model that could be asked."""
    if not audit.whole(run):
        unlearned(run)


def checkpoint(run: Run, step: int) -> Path:
    """Return the file of a checkpoint. Raises UserError that names those there are."""
    path = run.path / "checkpoints" / f"step-{step:05d}.safetensors"
    if not path.exists():
        there = ", ".join(map(str, checkpoints(run))) or "none"
        raise UserError(f"The run {run.id} has no checkpoint of step {step}.", f"Its checkpoints: {there}.")
    return path


def checkpoints(run: Run) -> list[int]:
    """Return the steps of which a run has a checkpoint, in order."""
    names = [path.name for path in run.path.glob("checkpoints/step-*.safetensors")]
    return sorted(int(match[1]) for name in names if (match := re.fullmatch(r"step-(\d+)\.safetensors", name)))


def misfit(run: Run, other: Run) -> str:
    """Say why the adapters of two runs do not fit one base, an empty string where they do."""
    mine, theirs = _base(run.config().model), _base(other.config().model)
    if mine != theirs:
        return f"it has another base model ({theirs[0]}, not {mine[0]})"
    weights = [mapping(r.json("manifest.json"), "model").get("weights") for r in (run, other)]
    if all(weights) and weights[0] != weights[1]:
        return "its base model has the same name and other weights"
    if len({_merged(r) for r in (run, other)}) > 1:
        return "what was taught is merged into its base"
    for name, pair in zip(("rank", "alpha", "targets"), zip(*map(_shape, (run, other)), strict=True), strict=True):
        if pair[0] != pair[1]:
            return f"its adapters have another {name}"
    return ""


def _merged(run: Run) -> str:
    """Return the key of the taught adapter that is merged into a run's base, an empty string where none is."""
    taught = mapping(run.json("manifest.json"), "stages", "teach")
    return str(taught.get("key")) if (run.path / "taught").is_dir() else ""


def _base(config: ModelConfig) -> tuple[Any, ...]:
    return config.name, config.dtype, config.device, config.weights


def _shape(run: Run) -> tuple[Any, ...]:
    """Return rank, alpha and targets of a run's adapters. Raises UserError where there are none."""
    values = run.json("before/adapter_config.json")
    if not isinstance(values, dict) or not isinstance(values.get("target_modules"), list):
        raise UserError(f"The run {run.id} has no readable adapter.", "Choose one that has been taught.")
    parameters = values.get("target_parameters")
    targets = sorted(map(str, [*values["target_modules"], *(parameters if isinstance(parameters, list) else ())]))
    return values.get("r"), values.get("lora_alpha"), targets
