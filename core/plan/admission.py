"""What is refused before a run takes its place in the queue: model, data, settings, and a disk that is too full. No torch.

The worker looks again, with the same words: a file may change while a run waits, and some mistakes show only in a loaded
model. Nothing here loads one, or asks the hub. Begin with `check`; the form of a new run asks for the parts one by one.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from core import regions
from core.config import own_methods, trust
from core.config.run_config import RunConfig
from core.config.stages import DataConfig, ModelConfig
from core.data import general_text, sources, widened_questions
from core.data.corpus import Corpus
from core.data.findings import asked_splits
from core.methods.base import GENERAL
from core.methods.own import OwnMethod, settings_of
from core.models import device, names, placement
from core.plan import model_memory
from core.regions import Cells, Layers, Modules
from core.regions.base import amount_of
from core.regions.top_layers import TopLayers
from core.runs import askable, store
from core.util.errors import UserError, unknown
from core.util.failure_sentences import DISK
from core.util.paths import given
from core.util.safe_read import mapping

if TYPE_CHECKING:
    import pandas as pd


def check(config: RunConfig, folder: Path, *, here: bool = True) -> None:
    """Raise UserError for what would end a run before it has done anything.

    folder: of all runs. here: whether this machine does the run, and not a node of a cluster.
    """
    check_all([config], folder, here=here)


def check_all(configs: Sequence[RunConfig], folder: Path, *, here: bool = True, coming: Collection[str] = ()) -> None:
    """Look at several runs as `check` does at one; what they share is looked at once.

    coming: ids of runs that will have ended when it is the turn of those that go on from them.
    """
    for model in dict.fromkeys(model for config in configs for model in _models(config)):
        check_model(model, here=here)
    corpora = {key: _loaded(*key) for key in dict.fromkeys((config.data, config.seed) for config in configs)}
    for config in configs:
        check_examples(config, corpora[config.data, config.seed])
    made = [config for config in configs if not config.audit.after]  # an audit changes nothing, so it has no use for these
    for config in made:
        check_method(config)
        if config.teach.from_run not in coming:
            check_earlier(config, folder)
    for config in {(config.region, config.model.name): config for config in made}.values():
        check_region(config, folder)
    check_disk(made, folder)


def _models(config: RunConfig) -> Iterable[ModelConfig]:
    """Return the models that a run loads: one, or those that an audit's models are or lie on. Raises UserError, as `check`
    does.
    """
    if not config.audit.after:
        return [config.model]
    audited = [name for name in (config.audit.before, config.audit.after, config.audit.never) if name]
    for name in audited:
        names.check(name)
    # Code of its own is allowed to the base, which is what is loaded.
    bases = [names.adapter_base(given(name)) if names.kind(name) == "adapter" else name for name in audited]
    return [config.with_setting("model.name", base).model for base in bases]


def check_model(model: ModelConfig, *, here: bool = True) -> None:
    """Raise UserError for a name that stands for no model, damaged weights, and a model that can never fit here."""
    names.check(model.name)
    if not here:
        return
    trust.check(model)
    if not device.may_be_there(model.device):
        raise device.not_there(model.device)
    placement.check(model, device.guessed_device(model.device))
    need = model_memory.model_memory(model)
    if need is None or need.available is None or need.device == "cuda":
        return
    # Not what is free now: whoever has the device at the moment will have given its memory back.
    room = float(os.environ.get("FORGETSCOPE_MEMORY_LIMIT") or psutil.virtual_memory().total)
    if need.needed > room:
        raise names.TooBig(
            f"The model has {need.parameters / 1e9:.2f} billion parameters and needs about {need.needed / 1e9:.1f} GB as "
            f"{need.dtype}; this machine has {room / 1e9:.1f} GB.",
            "Choose a smaller model, or dtype bfloat16.",
        )


def _loaded(data: DataConfig, seed: int) -> Corpus | None:
    """Return the examples of a run, None for those that are fetched from the hub. Raises UserError for what is wrong."""
    if data.source not in sources.HUBS:
        return sources.load(data, seed)
    if data.subset not in sources.HUBS[data.source]:
        raise unknown("subset", data.subset, sources.HUBS[data.source])
    return None


def check_examples(config: RunConfig, corpus: Corpus | None) -> None:
    """Raise UserError for settings that these examples, or further texts, cannot serve.

    corpus: as a run has it, dev held out; None where it is fetched by the run.
    """
    if corpus is not None:
        asked_splits(corpus, config.evaluate.splits)
        if config.data.widen:
            widened_questions.questions(corpus, config.data.widen, config.seed)
    if GENERAL in config.unlearn.method.streams:
        general_text.examples(config.data.general)


def check_method(config: RunConfig) -> None:
    """Raise UserError for a method that cannot be run with the other settings, and for one's own that nobody named here."""
    method = config.unlearn.method
    if isinstance(method, OwnMethod):  # its class is known to the worker only
        own_methods.source_of(method)
        settings_of(method.settings)
    else:
        # What a given adapter knows, its base is taken not to know.
        config.unlearn.check(method, has_never=config.teach.enabled or names.kind(config.model.name) == "adapter")


def check_earlier(config: RunConfig, folder: Path) -> None:
    """Raise UserError for a run that cannot be gone on from."""
    if config.teach.from_run:
        askable.to_go_on(store.by_id(config.teach.from_run, folder), config.model)


def check_region(config: RunConfig, folder: Path) -> None:
    """Raise UserError for a region that this model does not have, as far as its layers and tensors are known here."""
    rule, name = config.region, config.model.name
    rule.check()
    if isinstance(rule, Layers | TopLayers):
        count = model_memory.layer_count(name)
        if count and isinstance(rule, TopLayers):
            amount_of(rule.amount, count, "layers")
        elif count and isinstance(rule, Layers) and rule.first >= count:
            raise UserError(
                f"The region begins at layer {rule.first}, and the model has {count}, from 0 to {count - 1}.",
                "Choose layers among these.",
            )
    elif isinstance(rule, Modules | Cells):
        # What has no gradient shows only in the run itself.
        if (table := _tensors(name, folder)) is not None:
            regions.choose(rule, table.assign(has_gradient=True))


def _tensors(name: str, folder: Path) -> pd.DataFrame | None:
    """Return the table of a model's tensors from a run that was localized before, None where there is none."""
    for run in [*store.bundled_runs(), *store.list_runs(folder)]:
        values = run.json("config.json")
        if mapping(values, "model").get("name") == name and (table := run.table("localization")) is not None:
            return table
    return None


def check_disk(configs: Sequence[RunConfig], folder: Path) -> None:
    """Raise UserError where the disk cannot hold even the adapters that are taught."""
    sizes = [model_memory.adapter_bytes(config.model.name, config.teach.rank) or 0 for config in configs]
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if sizes and max(sizes) > (free := shutil.disk_usage(there).free):
        raise UserError(
            f"The disk of {folder} has {free / 1e6:.1f} MB free; an adapter of this run alone takes "
            f"{max(sizes) / 1e6:.1f} MB.",
            DISK[errno.ENOSPC],
        )
