"""Planted truth in a model: which score finds facts in the modules into which they were taught (`core plant`)?

Each planting (a draw of modules and facts, and a seed) is made once: RUNS/.plantings/KEY/PLACE-SEED/planting.json. What
all of them show stands in planted.json beside these folders. KEY names model, data and settings, but not how many
plantings: more of them go on from those that are there. The work is done by a process that waits for the device like any
other (core/jobs/job_functions.py). No heavy import.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.config.run_config import FORMAT, RunConfig
from core.data import sources
from core.data.corpus import Corpus
from core.jobs import lifecycle
from core.localization import plantings
from core.plan import model_memory
from core.runs.layout import KINDS
from core.runs.store import Run
from core.util import files, paths, safe_read
from core.util.errors import UserError

FILE, ONE = "planted.json", "planting.json"
ASKED = {"localize": ("perturbation", "copies", "batch_size"), "teach": ("rank", "alpha")}
"""the settings of these stages that a planting depends on"""
SHIPPED = paths.ASSETS / "planted" / "bundled.json"
"""planted.json of the bundled model, which ships with the project"""


@dataclass(frozen=True)
class Settings:
    """What is planted, and how often."""

    plants: int = 3
    """draws of modules and facts"""
    seeds: int = 2
    """teachings of each"""
    cells: int = 10
    """modules that learn U, and as many that learn R"""
    facts: int = 6
    """of each set of modules"""
    steps: int = 45
    """of teaching"""
    batch_size: int = 3
    """facts of each set in a step"""
    learning_rate: float = 2.5e-3
    size: float = 0.05
    """‖ΔW‖ / ‖W‖ that no module may pass"""

    def check(self) -> None:
        """Raise UserError for numbers that make no planting."""
        for name, low, high in (("plants", 1, 100), ("seeds", 1, 100), ("cells", 2, 1000), ("facts", 4, 1000)):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"--{name} cannot be {getattr(self, name)}.", f"Give a number from {low} to {high}.")

    @property
    def all(self) -> list[tuple[int, int]]:
        """The plantings: (plant, seed), all plants once before any is taught again."""
        return [(plant, seed) for seed in range(self.seeds) for plant in range(self.plants)]


FEW = Settings(plants=1, seeds=1)
"""what a model of one's own gets where nothing is asked for"""


def job_folder(config: RunConfig, settings: Settings, folder: Path) -> Run:
    """Return where plantings of this kind lie, whether or not there are any. folder: of all runs."""
    own = {key: value for key, value in dataclasses.asdict(settings).items() if key not in ("plants", "seeds")}
    kept = {key: config.to_json()[key] for key in ("model", "data", "seed")}
    kept |= {stage: {key: config.to_json()[stage][key] for key in keys} for stage, keys in ASKED.items()}
    key = hashlib.sha256(json.dumps([own, kept], sort_keys=True).encode()).hexdigest()[:16]
    return Run(folder / KINDS["plant"].folder / key)


def start(config: RunConfig, settings: Settings, folder: Path) -> Run:
    """Start the worker that makes the plantings that are not there yet; return the folder where it reports.

    Raises UserError for settings and data that cannot be planted, and while it is being done.
    """
    settings.check()
    plantings.fact_sets(_whole(config), 3, settings.facts, 0)
    at = job_folder(config, settings, folder)
    if not lifecycle.begin("plant", at, config, dataclasses.asdict(settings)):
        raise UserError("These facts are being planted already.", "Wait for it, or cancel it.")
    return at


def made(at: Run, settings: Settings, data: str = "") -> list[dict[str, Any]]:
    """Return the plantings that are there, of those that settings ask for, and of the data as they are.

    data: their fingerprint; without it they are read for it. Plantings of earlier versions do not say of which they are.
    """
    read = (Run(at.path / f"{plant}-{seed}").json(ONE) for plant, seed in settings.all)
    there = [one for one in read if isinstance(one, dict) and one.get("format") == FORMAT]
    if any("data" in one for one in there):
        data = data or _whole(at.config()).fingerprint()
    return [one for one in there if one.get("data", data) == data]


def _whole(config: RunConfig) -> Corpus:
    """Return the data that facts are planted from: all, whatever a run would hold out or forget of them."""
    return sources.load(dataclasses.replace(config.data, dev_share=0.0, forget=()), config.seed)


def write(at: Run, settings: Settings, about: dict[str, Any], data: str) -> None:
    """Write planted.json from the plantings that are there.

    about: model, versions and whatever else is known. data: fingerprint of what the facts are from.
    """
    done = made(at, settings, data)
    record = {"format": FORMAT, **about, "settings": dataclasses.asdict(settings), "created": time.time()}
    record |= {"seconds": sum(sum(one["seconds"].values()) for one in done), "scores": plantings.together(done)}
    files.write_json(at.path / FILE, files.clean(record | {"plantings": done}))


def result(at: Run) -> dict[str, Any]:
    """Return planted.json, empty where there is none that can be read."""
    return _read(at.path / FILE)


def _read(path: Path) -> dict[str, Any]:
    record = safe_read.json_value(path)
    return record if isinstance(record, dict) and record.get("format") == FORMAT else {}


def latest(folder: Path) -> Run:
    """Return the folder with the newest planted.json. Raises UserError where there is none."""
    made_here = _made_here(folder)
    if not made_here:
        raise UserError("Nothing has been planted yet.", "Run `python -m core plant`.")
    return Run(made_here[0].parent)


def _made_here(folder: Path) -> list[Path]:
    return sorted((folder / KINDS["plant"].folder).glob(f"*/{FILE}"), key=safe_read.stamp, reverse=True)


def records(folder: Path) -> list[Path]:
    """Return every planted.json that there is: those made here, newest first, then the one that ships. folder: of runs."""
    return [*_made_here(folder), SHIPPED]


def of_model(name: str, files: Sequence[Path]) -> dict[str, Any]:
    """Return the first of some planted.json that is about a model and can be read, empty where there is none.

    name: as a configuration has it (model.name).
    """
    found = map(_read, files)
    there = (record for record in found if record.get("model") == name and plantings.readable(record))
    return next(map(plantings.renewed, there), {})


SPEED = 0.35
"""Share of this machine's speed in large products that these passes are taken to reach: a guess, until one is timed here."""
TOKENS = 40
"""of a question with its answer, about"""


def seconds(config: RunConfig, settings: Settings, folder: Path) -> tuple[float, str] | None:
    """Return what the plantings that are still to be made will take, and what that is worked out from.

    From plantings of this kind that are there, else from the size of the model and how fast this machine multiplies. None
    where the model is not here.
    """
    at = job_folder(config, settings, folder)
    done = made(at, settings)
    left = len(settings.all) - len(done)
    if done:
        each = sum(sum(one["seconds"].values()) for one in done) / len(done)
        return left * each, f"from {len(done)} planting{'s' * (len(done) > 1)} made here"
    parameters, layers = (count(config.model.name) for count in (model_memory.parameter_count, model_memory.layer_count))
    if parameters is None or layers is None:
        return None
    return left * operations(config, settings, parameters, layers) / (SPEED * speed()), "from the speed of this machine"


def operations(config: RunConfig, settings: Settings, parameters: int, layers: int) -> float:
    """Return about how many operations one planting takes: two a parameter and token for each pass, forward or back."""
    modules = 7 * layers  # of attention four, of the feed-forward layers three
    sets = plantings.fact_sets(_whole(config), modules // settings.cells, settings.facts, 0)
    size = len(sets[0])
    taught = settings.steps * settings.batch_size * len(sets) * 2
    checked = 5 * len(sets) * size
    # Of each module's pass, half the layers lie below it.
    tried = modules * 2 * size / 2
    return 2.0 * parameters * TOKENS * (taught + checked + tried + 2 * size * 4)


def speed() -> float:
    """Measure how many operations a second this machine does in products of matrices."""
    matrix = np.ones((1024, 1024), dtype=np.float32)
    matrix @ matrix
    began = time.perf_counter()
    for _ in range(4):
        matrix @ matrix
    return float(4 * 2 * 1024**3 / (time.perf_counter() - began))
