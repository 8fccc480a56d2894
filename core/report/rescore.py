"""Ask the model again: a random sample of a run's examples through real forward passes, against what the run recorded.

The base must have the weights that the manifest names. Equal bits are not expected: another batch, another number of threads
or another machine rounds otherwise. What is compared is each example's mean log-probability a token and its accuracy.
Imports torch: a worker does it whose turn it is (core/report/verify_model.py starts that).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.config.run_config import RunConfig
from core.data.corpus import Example
from core.jobs.lifecycle import WANTED
from core.jobs.status_log import Log
from core.models.likelihood import score
from core.pipeline.finished_run import open_finished
from core.pipeline.voices import adapter_of, as_scored
from core.report.verify_model import CHECKS, NOTHING
from core.report.verify_run import MATCH, MISMATCH, SKIPPED, Check
from core.runs.store import Run
from core.serve import client
from core.util import files
from core.util.errors import NoNumbers, UserError
from core.util.progress import Reporter

NATS = {"bfloat16": 0.25, "autocast": 0.25, "float32": 0.01}
"""How far an example's mean log-probability a token may lie from what was recorded, by number format.

Seen in bfloat16, over all examples of both bundled runs in other batches than they were recorded in: 0.11 at most."""
POINTS = {"bfloat16": 5.0, "autocast": 5.0, "float32": 2.0}
"""How many points the answer-token accuracy of a sample may lie off: two tokens that are about as likely change places."""
SWAPS = 3
"""tokens of a sample that may do so, where that is more"""


def work(job_folder: Run, log: Log) -> None:
    """Score again what is wanted; write the checks beside its status."""
    wanted = job_folder.json(WANTED)
    checks = rescore(Run(Path(wanted["run"])), sample=wanted["sample"], seed=wanted["seed"], report=log)
    files.write_json(job_folder.path / CHECKS, [asdict(check) for check in checks])


def rescore(run: Run, *, sample: int = 8, seed: int | None = None, report: Reporter | None = None) -> Iterator[Check]:
    """Yield whether the base is the named one, and whether a sample of examples is scored as it was recorded.

    seed: of the sample; a new one where None, so that nobody knows beforehand which examples will be asked.
    """
    tokens, rows = run.table("tokens"), {str(row.get("example")): row for row in run.answers()}
    if tokens is None or not rows:
        yield NOTHING
        return
    names = sorted(set(tokens["example"].astype(str)) & set(rows))
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    chosen = random.Random(seed).sample(names, min(sample, len(names)))
    try:
        measured = _scored(run, run.config(), [Example.of_row(rows[name]) for name in chosen], report or Reporter())
    except NoNumbers as error:
        yield Check("rescored", MISMATCH, f"Asked again, {error.what[0].lower()}{error.what[1:]}")
        return
    except UserError as error:
        yield Check("model", SKIPPED, f"The model was not asked: {error.what}")
        return
    recorded_weights = ((run.json("manifest.json") or {}).get("model") or {}).get("weights") or {}
    if recorded_weights and measured["weights"] != recorded_weights:
        yield Check("model", MISMATCH, "The base model here has the same name and other weights than the manifest says.")
        return
    yield Check("model", MATCH, f"The base model has the weights of the manifest ({len(recorded_weights)} files).")
    yield _compared(tokens, measured["scores"], measured["dtype"], seed)


def _compared(tokens: pd.DataFrame, scores: Mapping[str, Mapping[str, Any]], dtype: str, seed: int) -> Check:
    """Compare what was recorded with what the model says now: every token's place, every example's mean."""
    room, worst, wrong, count = NATS[dtype], 0.0, [], 0
    by_example = dict(tuple(tokens.groupby("example")))
    tops: dict[str, list[tuple[float, float]]] = {voice: [] for voice in scores}
    for voice, by_name in scores.items():
        if f"logprob_{voice}" not in tokens.columns:
            continue
        for name, again in by_name.items():
            recorded = by_example[name].sort_values("position")[f"logprob_{voice}"].to_numpy(float)
            count += 1
            if len(recorded) != len(again.logprob):
                wrong.append(f"{name} {voice}")
                continue
            # A token that is all but impossible may round far off; the mean of bounded values is what scores are made of.
            distance = abs(float(np.mean(np.maximum(recorded, -20.0)) - np.mean(np.maximum(again.logprob, -20.0))))
            worst = max(worst, distance)
            if not distance <= room:  # not a number is wrong too
                wrong.append(f"{name} {voice}")
            ranks = by_example[name].sort_values("position")[f"rank_{voice}"].to_numpy(float)
            tops[voice].append((100 * float(np.mean(ranks == 1)), 100 * float(np.mean(np.array(again.rank) == 1))))
    intro = f"{len(next(iter(scores.values())))} examples (sample {seed}) scored again by {', '.join(scores)}"
    if wrong:
        return Check(
            "rescored",
            MISMATCH,
            f"{intro}: {len(wrong)} of {count} differ by more than {room} nats a token, e.g. {wrong[0][:80]}.",
        )
    means = {voice: np.mean(pairs, axis=0) for voice, pairs in tops.items() if pairs}
    off = max((abs(float(then - now)) for then, now in means.values()), default=0.0)
    # Of few and short answers a token is worth more than that, and some may change places.
    shortest = min((len(score.rank) for by_name in scores.values() for score in by_name.values()), default=1)
    allowed = max(POINTS[dtype], SWAPS * 100 / shortest / max(1, len(next(iter(scores.values())))))
    if not off <= allowed:
        voice, (then, now) = max(means.items(), key=lambda entry: abs(entry[1][0] - entry[1][1]))
        text = f"{intro}: {voice}'s answer-token accuracy is {now:.1f} %, recorded {then:.1f} %"
        text += f" (allowed: {allowed:.0f} points)."
        return Check("rescored", MISMATCH, text)
    return Check(
        "rescored",
        MATCH,
        f"{intro}: the mean log-probability a token differs by {worst:.3f} nats at most (allowed: {room}), the "
        "accuracy of all "
        f"by {off:.1f} points (allowed: {allowed:.0f}).",
    )


def _scored(run: Run, config: RunConfig, examples: list[Example], report: Reporter) -> dict[str, Any]:
    """Load the run's model and score examples by each voice. Raises UserError where the model is not there."""
    report.stage("rescore", "running")
    recorded = str((run.json("manifest.json") or {}).get("dtype") or "")
    if recorded and recorded not in NATS:
        raise UserError(f"The number format {recorded[:40]} of the manifest is not known.", "")
    opened = open_finished(run, dtype=recorded, make_room=client.leave)
    loaded, adapters = opened.loaded, opened.adapters
    encoded = as_scored(loaded.tokenizer, config, examples)
    scores: dict[str, dict[str, Any]] = {}
    for number, voice in enumerate(opened.voices):
        with adapters.active(adapter_of(voice)) as model:
            scores[voice] = dict(score(model, encoded))
        report.progress(number + 1, len(opened.voices), "voices")
    return {"weights": loaded.files, "scores": scores, "dtype": adapters.dtype}
