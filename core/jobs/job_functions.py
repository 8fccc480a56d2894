"""What a worker does for each kind of job, once it is its turn. Imports torch: only such a process imports this, by name."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from core.config.run_config import FORMAT, RunConfig
from core.jobs import planting
from core.jobs import reference as reference_
from core.jobs.lifecycle import WANTED
from core.jobs.lm_eval_harness import RESULT, Results
from core.jobs.status_log import Log
from core.localization import planted
from core.localization.ablation import ablation
from core.localization.facts import fact_flags
from core.localization.planted import Planting
from core.localization.plantings import ROLES, fact_sets, found
from core.models.adapters import Adapters
from core.models.distributed import Group
from core.models.merging import TAUGHT
from core.pipeline import model_before, retrained
from core.pipeline.audit_run import Auditing
from core.pipeline.finished_run import open_finished
from core.pipeline.localize import module_scores
from core.pipeline.pipeline import execute
from core.pipeline.setup import set_up
from core.pipeline.state import State
from core.pipeline.voices import adapter_of
from core.plan.measure import BROUGHT, Estimate
from core.probes.examine import examine
from core.runs import locks
from core.runs.store import Run
from core.serve import client
from core.util import files
from core.util.errors import UserError
from core.util.progress import Reporter, duration, now
from core.util.version import version


def whole(run: Run, config: RunConfig, folder: Path, report: Reporter, group: Group) -> None:
    """Do all stages of a run. folder: where runs lie, and their cache."""
    execute(set_up(run, config, folder, report, group=group, make_room=client.leave))


def audit(run: Run, config: RunConfig, log: Log) -> None:
    """Measure two models that were made elsewhere."""
    Auditing(run, config, log, make_room=client.leave).go()


def reference(job_folder: Run, log: Log) -> None:
    """Add the voice of a model taught without U to a run. Raises UserError, as `core.jobs.reference.check` does."""
    run = Run(Path(job_folder.json(WANTED)["run"]))
    reference_.check(run)
    with locks.single_worker(run):
        retrained.execute(set_up(run, run.config(), run.path.parent, log, make_room=client.leave))


def probes(job_folder: Run, log: Log) -> None:
    """Make the probes that are wanted for a run."""
    wanted = job_folder.json(WANTED)
    runs = job_folder.path.parent.parent
    examine(Run(Path(wanted["run"])), wanted["probes"], log, wanted["settings"], runs, client.leave)


def estimate(job_folder: Run, log: Log) -> None:
    """Measure a few steps of each stage of a configuration; write plan.json."""
    began = float(log.status["began"])
    try:
        state = set_up(job_folder, job_folder.config(), job_folder.path.parent.parent, log, make_room=client.leave)
        measured = Estimate(state, began).measure()
        files.write_json(job_folder.path / "plan.json", {**measured, "measured": now(), "seconds": now() - began})
    finally:
        # What re-used stages brought along goes: an estimate is a few numbers.
        for name in (TAUGHT, *(name for stage in BROUGHT for name in stage.writes)):
            path = job_folder.path / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


# -- planted facts ----------------------------------------------------------------------------------------------------


def plant(job_folder: Run, log: Log) -> None:
    """Make the plantings that are wanted and not there yet; write what all of them show after each."""
    settings, config = planting.Settings(**job_folder.json(WANTED)), job_folder.config()
    state = set_up(job_folder, config, job_folder.path.parent.parent, log, make_room=client.leave)
    adapters = model_before.attach(state)
    versions = {"forgetscope": version(), "torch": torch.__version__}
    about = {"model": config.model.name, "data": config.data.source, "dtype": state.dtype, "versions": versions}
    data = state.whole.fingerprint()
    done = {(one["plant"], one["seed"]) for one in planting.made(job_folder, settings, data)}
    for number, (place, seed) in enumerate(settings.all, start=1):
        folder = Run(job_folder.path / f"{place}-{seed}")
        if (place, seed) not in done:
            folder.path.mkdir(exist_ok=True)
            log.stage(f"planting {number} of {len(settings.all)}", "running")
            one = _planted(state, adapters, settings, place, seed)
            files.write_json(folder.path / planting.ONE, files.clean({"format": FORMAT, "data": data, **one}))
            log.stage(f"planting {number} of {len(settings.all)}", "done", seconds=sum(one["seconds"].values()))
        planting.write(job_folder, settings, about, data)
        if number < len(settings.all) and (left := planting.seconds(config, settings, state.folder)):
            log.write(expected=now() - float(log.status["began"]) + left[0])
            log.event("finding", text=f"{number} of {len(settings.all)} plantings are made; {duration(left[0])} left.")


def _planted(state: State, adapters: Adapters, settings: planting.Settings, place: int, seed: int) -> dict[str, Any]:
    """Plant once and ask every score blindly; return what planting.json holds."""
    how = {name: getattr(settings, name) for name in ("steps", "batch_size", "learning_rate", "size")}
    config = Planting(modules=settings.cells, **how, place=place, seed=seed)
    modules = len({cell.name.rsplit(".lora_", 1)[0] for cell in adapters.cells})
    drawn = fact_sets(state.whole, modules // settings.cells, settings.facts, place)
    sets = [state.voices.encode(examples) for examples in drawn]
    facts = fact_flags(state.loaded.tokenizer, state.whole.examples, [m for members in sets for m in members])
    watch = [time.monotonic()]
    truth = planted.plant(adapters, sets, facts, config, state.report)
    watch.append(time.monotonic())
    table = module_scores(adapters, sets[0], sets[1], state.config.localize, state.words(), facts, seed, state.report)
    watch.append(time.monotonic())
    oracle = ablation(adapters, sets[0], sets[1], facts, report=state.report).set_index("name")
    watch.append(time.monotonic())
    table = table.assign(ablation=oracle["difference"])
    return {
        "plant": place,
        "seed": seed,
        "facts": {name: [e.id for e in examples] for name, examples in zip(ROLES, drawn, strict=False)},
        "modules": list(truth.sets),
        "sets": list(truth.sets.values()),
        "check": truth.check.to_dict("index"),
        "holds": truth.holds,
        "sizes": [round(size, 5) for size in truth.sizes],
        "scores": {name: [float(f"{value:.4g}") for value in table[name]] for name in table},
        "found": found(truth.roles, table).to_dict("index"),
        "seconds": dict(zip(("teach", "score", "ablate"), (b - a for a, b in pairwise(watch)), strict=True)),
    }


# -- lm-evaluation-harness: the model with one adapter after the other is handed over as it is in memory --------------------


def harness(job_folder: Run, log: Log) -> None:
    """Evaluate what is wanted; write it to the job's folder, and into the run unless that ships with the project."""
    wanted = job_folder.json(WANTED)
    run, limit = Run(Path(wanted["run"])), wanted["limit"]
    log.stage("harness", "running")
    results = _evaluated(run, wanted["tasks"], wanted["voices"], limit, log)
    if not run.bundled:
        _add_harness(run, results, limit)
    files.write_json(job_folder.path / RESULT, results)


def _add_harness(run: Run, results: Results, limit: int | None) -> None:
    """Put results beside those that earlier evaluations left in harness.json; the same task of a voice is replaced."""
    stored = run.json("harness.json") or {}
    earlier, limits = stored.get("results", {}), stored.get("limits", {})
    merged = {voice: {**earlier.get(voice, {}), **results.get(voice, {})} for voice in {**earlier, **results}}
    limits = {
        voice: {task: limit if task in results.get(voice, {}) else limits.get(voice, {}).get(task) for task in tasks}
        for voice, tasks in merged.items()
    }
    files.write_json(run.path / "harness.json", {"format": FORMAT, "limit": limit, "limits": limits, "results": merged})


def _evaluated(run: Run, tasks: Sequence[str], voices: Sequence[str], limit: int | None, log: Log) -> Results:
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    opened, measured = open_finished(run, make_room=client.leave), {}
    for number, voice in enumerate(voices):
        log.progress(number, len(voices), "voices")
        with opened.adapters.active(adapter_of(voice)) as model:
            size = opened.config.evaluate.batch_size
            handed = HFLM(pretrained=model.get_base_model(), tokenizer=opened.loaded.tokenizer, batch_size=size)
            try:
                results = lm_eval.simple_evaluate(model=handed, tasks=list(tasks), limit=limit)["results"]
            except OSError as error:
                raise UserError(
                    f"The data of {', '.join(tasks)} cannot be fetched ({error}).", "Check the network."
                ) from error
            except (KeyError, ValueError) as error:  # the harness has no error of its own for a task it does not know
                raise UserError(
                    f"The harness refused {', '.join(tasks)}: {error}.", "List its tasks: lm_eval --tasks list"
                ) from error
        measured[voice] = {task: _numbers(of_task) for task, of_task in results.items()}
    return measured


def _numbers(of_task: dict[str, Any]) -> dict[str, float]:
    """Keep a task's numbers, under their names without the harness's filter: "acc,none" -> acc."""
    return {
        key.removesuffix(",none"): float(value)
        for key, value in of_task.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
