"""Where the model keeps what it is to forget, and the region that a rule picks from that."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from core import regions
from core.data.corpus import SCOPES, SPLITS, Corpus
from core.localization.facts import Flags, fact_flags
from core.models import quantized
from core.models.micro_batches import MicroBatches
from core.pipeline.localize import localize
from core.pipeline.state import State
from core.runs import region_file


def located(state: State, folder: Path) -> None:
    """Compute the gradients of both scopes at before; write the tables that follow from them."""
    config = state.config.localize
    among = state.corpus.sample(config.most)
    of = {(scope, split): state.voices.known(among.select(scope, split)) for scope in SCOPES for split in SPLITS}
    unlearn, retention = (state.voices.known(among.select(scope, config.splits)) for scope in SCOPES)
    result = localize(
        state.adapters,
        unlearn,
        retention,
        config,
        held={split: (of["unlearn", split], of["retention", split]) for split in SPLITS if split != "train"},
        words=state.words(),
        facts=facts(state, among) if config.scores else None,
        seed=state.config.seed + config.seed_offset,
        report=state.report,
        group=state.group,
        micro=MicroBatches.of(state.config.model, state.report),
    )
    result.table.to_parquet(folder / "localization.parquet")
    result.contributions.to_parquet(folder / "contributions.parquet")
    result.separability.to_parquet(folder / "separability.parquet")
    np.savez_compressed(folder / "detail.npz", **{name: _smaller(array) for name, array in result.detail.items()})  # type: ignore[arg-type]


def facts(state: State, among: Corpus) -> Flags:
    """Mark the fact tokens of the questions whose gradients are taken; what is public is read off all that is taught."""
    train = [e for scope in SCOPES for e in among.select(scope, state.config.localize.splits)]
    return fact_flags(state.loaded.tokenizer, state.corpus.examples, state.voices.known(train))


def _smaller(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float64 else array


def chosen(state: State, folder: Path) -> None:
    """Pick the region by the run's rule; write region.json."""
    table, rule = pd.read_parquet(folder / "localization.parquet"), state.config.region
    state.region = regions.choose(rule, table)
    elements = dict(zip(table["name"], (table["rows"] * table["columns"]).tolist(), strict=True))
    region_file.write(
        state.run,
        {"name": rule.name, **asdict(rule)},
        state.region,
        elements,
        quantized.parameters(state.loaded.model),
        limits=rule.limits(table) if isinstance(rule, regions.Located) else None,
        with_gradient=int(table["has_gradient"].sum()),
    )
