"""What a run needs before its first stage: data, model, voices. What is wrong with them is refused here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from core import regions
from core.config import own_methods
from core.config.run_config import RunConfig
from core.data import everyday, general_text, refusals, sources, widened_questions
from core.data.corpus import Corpus, Example
from core.data.findings import asked_splits, findings, no_general_text
from core.data.widened_questions import WidenedQuestions
from core.methods.base import GENERAL, REFUSAL, Method
from core.models import adapters, device, names
from core.models.distributed import ALONE, Group
from core.models.loading import Loaded
from core.models.model_cache import ModelCache
from core.models.tokens import Encoded
from core.pipeline.state import State
from core.pipeline.voices import Voices
from core.runs.store import Run
from core.util.progress import Reporter


def set_up(
    run: Run,
    config: RunConfig,
    folder: Path,
    report: Reporter,
    *,
    cache: ModelCache | None = None,
    group: Group = ALONE,
    make_room: Callable[[], object] | None = None,
) -> State:
    """Load data and model, the latter from the cache if it is there. Raises UserError for what is wrong with either.

    folder: of all runs. group: the processes that do the run together. make_room: asked to free memory where a model does
    not fit.
    """
    method = own_methods.resolved(config.unlearn.method)
    own_methods.record(config.unlearn.method, run.path)
    whole, corpus = _corpora(config)
    for finding in [*findings(corpus), *no_general_text(config.data.general, GENERAL in method.streams)]:
        report.event("finding", text=finding)
    dtype = device.pick_dtype(config.model.dtype, config.model.device)
    cache = cache or ModelCache()
    loaded = cache.load(config.model, make_room=make_room)
    if config.unlearn.slots and adapters.fused_experts(loaded.model):  # known now, and not after an hour of teaching
        raise adapters.no_room()
    besides = everyday.examples() if config.evaluate.extras else []
    voices = Voices(loaded, corpus.examples, config, report, group, besides)
    spoken = _of(corpus.sample(config.evaluate.most).examples, voices, loaded)
    among = [e for e in spoken.examples if not config.evaluate.splits or e.split in config.evaluate.splits]
    further, general = _looked_for(config, corpus, method, voices)
    taught = config.teach.enabled and not loaded.adapter
    state = State(
        run=run,
        config=config,
        folder=folder,
        report=report,
        group=group,
        cache=cache,
        method=method,
        whole=whole,
        corpus=corpus,
        loaded=loaded,
        dtype=dtype,
        voices=voices,
        spoken=spoken,
        asked=_of(among, spoken, loaded),
        further=further,
        general_text=general,
        taught=taught,
        # What a given adapter knows, the base without it is taken not to know.
        has_never=taught or loaded.adapter is not None,
    )
    _say_what_is_given(state)
    config.unlearn.check(method, has_never=state.has_never)
    return state


def _corpora(config: RunConfig) -> tuple[Corpus, Corpus]:
    """Return everything that is taught, and the same with dev held out and of U only what is to be forgotten.

    Raises UserError for data that cannot be unlearned or asked about.
    """
    # Teaching is on everything: what is held out or forgotten must not enter its key.
    whole = sources.load(dataclasses.replace(config.data, dev_share=0.0, forget=()), config.seed)
    corpus = whole.with_dev(config.data.dev_share, config.seed, config.data.dev_pick).forgetting(config.data.forget)
    sources.both(corpus)
    asked_splits(corpus, config.evaluate.splits)
    return whole, corpus


def _looked_for(
    config: RunConfig, corpus: Corpus, method: Method, voices: Voices
) -> tuple[WidenedQuestions | None, list[Encoded]]:
    """Return further questions and general text, as far as the run uses them.

    Looked for now, refusals too, so that what is missing or too long is known before anything is taught.
    """
    further = widened_questions.questions(corpus, config.data.widen, config.seed) if config.data.widen else None
    general = voices.encode(general_text.examples(config.data.general), later=True) if GENERAL in method.streams else []
    if REFUSAL in method.streams:
        voices.encode(refusals.refused(corpus.select("unlearn", "train"), method.refusals))
    return further, general


def _of(examples: Sequence[Example], voices: Voices, loaded: Loaded) -> Voices:
    """Return the voices over some of their examples."""
    if len(examples) == len(voices.examples):
        return voices
    return Voices(loaded, examples, voices.config, voices.report, voices.group, voices.besides)


def _say_what_is_given(state: State) -> None:
    """Report what a user should know about the adapter and the region that they named."""
    config, adapter = state.config, state.loaded.adapter
    texts = [names.finding(adapter)] if adapter else []
    if config.teach.enabled and not state.taught:
        texts.append("Nothing is taught: the given adapter is taken as the model that knows.")
    if isinstance(config.region, regions.Located):
        texts.append(config.region.borrowed(state.base_name, config.data.subset))
    for text in filter(None, texts):
        state.report.event("finding", text=text)
