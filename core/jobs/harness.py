"""lm-evaluation-harness on a run's voices: ARC, MMLU, TruthfulQA and whatever else it knows (`core harness RUN --tasks …`).

An optional extra: `pip install lm-eval` brings the harness, which downloads each task's data from the hub. Ours is only the
wrapper: the model with one adapter after the other is handed over as it is in memory. Results go into harness.json of the
run, task by task as the harness names them. What the harness prints, its progress among it, goes to stderr.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from core.config.run_config import FORMAT
from core.jobs.status_log import Log
from core.jobs.worker import turn
from core.runs import askable
from core.runs.store import Run
from core.runs.voices import SPOKEN
from core.util import failures, files
from core.util.errors import UserError, unknown

INSTALL = "Install it with: pip install lm-eval"


def run(of: Run, tasks: Sequence[str], voices: Sequence[str], limit: int | None) -> dict[str, dict[str, dict[str, float]]]:
    """Wait for the device, evaluate each voice and write harness.json; return voice -> task -> measure -> value.

    limit: examples of each task, None for all. Raises UserError where the harness is missing, for unknown voices and tasks.
    """
    if find_spec("lm_eval") is None:
        raise UserError("lm-evaluation-harness is not installed.", INSTALL)
    for voice in voices:
        if voice not in SPOKEN:
            raise unknown("voice", voice, SPOKEN)
    if "never" in voices and (why := askable.no_never(of)):
        voices = [voice for voice in voices if voice != "never"]
        if not voices:
            raise UserError(f"The voice never cannot be evaluated: {why}.", "Name before or after.")
    place = Run(of.path.parent / ".harness" / of.id)
    try:
        place.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise failures.disk_error(place.path, error) from error
    (place.path / "cancel").unlink(missing_ok=True)
    # The harness prints to stdout; ours is for the result alone.
    with turn(of.config(), Log(place)), contextlib.redirect_stdout(sys.stderr):
        found = _evaluated(of, tasks, voices, limit)
    if not of.bundled:
        known = of.json("harness.json") or {}
        earlier, limits = known.get("results", {}), known.get("limits", {})
        results = {voice: {**earlier.get(voice, {}), **found.get(voice, {})} for voice in {**earlier, **found}}
        limits = {
            v: {t: limit if t in found.get(v, {}) else limits.get(v, {}).get(t) for t in of_} for v, of_ in results.items()
        }
        files.write_json(of.path / "harness.json", {"format": FORMAT, "limit": limit, "limits": limits, "results": results})
    return found


def _evaluated(of: Run, tasks: Sequence[str], voices: Sequence[str], limit: int | None) -> dict[str, Any]:
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    from core.pipeline.finished import open_finished
    from core.pipeline.voices import adapter_of
    from core.serve import client

    opened, found = open_finished(of, make_room=client.leave), {}
    for voice in voices:
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
        found[voice] = {task: _numbers(of_task) for task, of_task in results.items()}
    return found


def _numbers(of_task: dict[str, Any]) -> dict[str, float]:
    """Keep a task's numbers, under their names without the harness's filter: "acc,none" -> acc."""
    return {
        key.removesuffix(",none"): float(value)
        for key, value in of_task.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
