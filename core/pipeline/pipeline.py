"""One run, from top to bottom: teach → preflight → localize → region → unlearn → retrain → reference → answers → evaluate.

Each stage is a function on the run's state (core/pipeline/state.py), with what its result depends on, what it reads of
earlier stages and what it leaves (core/pipeline/stage.py). A new one is a function and an entry here. Runs in the worker:
everything in this room but `preflight` and `audit` may import torch.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from core.pipeline import evaluate, inputs, model_before, region, unlearn
from core.pipeline.retrained import REFERENCE, RETRAIN
from core.pipeline.stage import Stage, perform, timed
from core.pipeline.state import State
from core.runs import manifest
from core.runs.summary import summary

# The model before: taught, or one that is given, or what an earlier run ended with.
TEACH = Stage(
    "teach",
    model_before.taught,
    inputs=(inputs.taught_data, inputs.max_tokens, inputs.teaching, inputs.kept, inputs.micro_batches),
    code=2,
    leaves=("adapters",),
    writes=("before", "teach.json"),
    take=model_before.take_taught,
    on_bare_base=True,
)
GIVEN = Stage("teach", model_before.given, leaves=("adapters",), writes=("before",))
CONTINUED = Stage("teach", model_before.continued, leaves=("adapters",), writes=("before", "taught"))

# Does it know what it is to forget? What before and never say is recorded here, once for all methods and regions.
PREFLIGHT = Stage(
    "preflight",
    evaluate.reference,
    inputs=(
        inputs.before,
        inputs.data,
        inputs.reference_voices,
        inputs.answering,
        inputs.scoring,
        inputs.max_tokens,
        inputs.own_material,
        inputs.sampling,
    ),
    code=2,
    reads=("adapters",),
    leaves=("reference", "recorded"),
    writes=("reference.parquet", "reference.json", "unseen-before.parquet"),
    found=evaluate.found_reference,
    take=evaluate.take_reference,
)

# Where does it keep that?
LOCALIZE = Stage(
    "localize",
    region.located,
    inputs=(inputs.before, inputs.data, inputs.localizing, inputs.max_tokens, inputs.micro_batches),
    code=5,
    reads=("adapters",),
    writes=("localization.parquet", "contributions.parquet", "separability.parquet", "detail.npz"),
)
REGION = Stage("region", region.chosen, leaves=("region",), writes=("region.json",))

# Make it forget: adapter "after" is before, changed in the region alone.
UNLEARN = Stage(
    "unlearn",
    unlearn.unlearned,
    inputs=(
        inputs.before,
        inputs.data,
        inputs.region,
        inputs.unlearning,
        inputs.never_taught,
        inputs.max_tokens,
        inputs.answer_length,
        inputs.supply,
        inputs.micro_batches,
    ),
    code=8,
    reads=("adapters", "reference", "region"),
    leaves=("watched", "supply"),
    writes=("unlearn.json", "after", "changes.parquet", "checkpoints"),
    prepare=unlearn.gather,
    take=unlearn.take_unlearned,
    together=False,
)

# What does it say now, and how does that score?
ANSWERS = Stage(
    "answers",
    evaluate.answers,
    inputs=(
        inputs.after,
        inputs.data,
        inputs.answering,
        inputs.general_text,
        inputs.splits,
        inputs.sampling,
        inputs.besides,
    ),
    code=2,
    reads=("adapters", "recorded"),
    writes=("after.json",),
    take=evaluate.take_answers,
)
EVALUATE = Stage(
    "evaluate",
    evaluate.scores,
    inputs=(
        inputs.after,
        inputs.before,
        inputs.data,
        inputs.scoring,
        inputs.answering,
        inputs.max_tokens,
        inputs.own_material,
        inputs.splits,
    ),
    code=4,
    reads=("adapters", "reference", "recorded"),
    writes=("after.parquet", "after-extras.json", "unseen-after.parquet"),
    take=evaluate.take_scores,
)


def stages(state: State) -> tuple[Stage, ...]:
    """Return the stages of a run, in order."""
    first = CONTINUED if state.config.teach.from_run else TEACH if state.taught else GIVEN
    compared = (RETRAIN, REFERENCE) if state.config.teach.retrain and first is TEACH else ()
    return first, PREFLIGHT, LOCALIZE, REGION, UNLEARN, *compared, ANSWERS, EVALUATE


def execute(state: State) -> dict[str, Any]:
    """Do all stages; write the manifest and return the run's summary, which only the main process has."""
    done, ahead = {}, stages(state)
    # Whoever watches cannot know them all from the settings: a given adapter is seen only in the model's folder.
    state.report.event("stages", names=[stage.name for stage in ahead])
    for stage in ahead:
        done[stage.name] = timed(stage.name, state.run, state.report, partial(perform, stage, state))
        done[stage.name]["key"] = state.keys.get(stage.name)
    if not state.group.is_main:
        return {}
    size = state.group.size
    manifest.write(state.run, done, state.loaded, state.corpus, state.adapters, state.config.seed, size)
    return summary(state.run)
