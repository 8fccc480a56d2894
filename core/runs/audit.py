"""Audits: two models made elsewhere, asked and measured beside each other as before and after (`core audit`).

Nothing is taught, located or unlearned. The result lies in a run's directory, so that all pages and verbs read it. Two
LoRA adapters on one base (or a base and an adapter on it) become the run's own adapters; models that share no base are
visited one after the other. The work is in core/pipeline/audit_run.py; importing this file costs no heavy library.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.config.stages import AuditConfig
from core.data import sources
from core.models import names
from core.runs.store import Run
from core.util.errors import UserError

FILE = "audit.json"
KIND = "audit"
STAGES = ("answers", "evaluate")
"""those of a run's stages that an audit has"""
NO_HEATMAP = "This is an audit of models made elsewhere: nothing was located here, so there is no region to show."
NO_NEVER = "no model that never knew the data was given: name one with --never"


# -- what is compared ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """A voice of an audit: a whole model, or an adapter on its base."""

    voice: str
    """before, after or never"""
    name: str
    """as the user gave it"""
    base: str
    """name of the model that is loaded: `name`, or the base of an adapter"""
    source: str
    """what identifies the base: a folder or a hub id"""
    adapter: Path | None
    note: str
    """where the weights come from"""


def side(voice: str, name: str) -> Side:
    """Look up a model by name. Raises UserError where it is none, has no weights, or has only pickles."""
    source, adapter, note = names.resolve(name)
    where = str(source.resolve()) if isinstance(source, Path) else source
    return Side(voice, name, names.adapter_base(adapter) if adapter else name, where, adapter, note)


def sides(config: AuditConfig) -> list[Side]:
    """Return before, after and, where there is one, never. Raises UserError for models that cannot be compared."""
    before, after = side("before", config.before), side("after", config.after)
    if before.adapter and after.adapter and before.source != after.source:
        raise UserError(
            f"The two adapters are on different bases: {before.base} and {after.base}.",
            "Give two adapters of one base, or merge each into its base and give the whole models.",
        )
    if config.never:
        never = side("never", config.never)
        if never.adapter:
            raise UserError(f"{config.never} is an adapter.", "Give as --never a whole model that never knew the data.")
        return [before, after, never]
    if before.adapter:
        note = before.note.partition(" on ")[2]
        return [before, after, dataclasses.replace(before, voice="never", name=before.base, adapter=None, note=note)]
    return [before, after]


def groups(voices: Sequence[Side]) -> list[list[Side]]:
    """Put voices on one base together, in the order of their visits: before comes last, since it judges the others."""
    bases = list(dict.fromkeys(side.source for side in voices))
    parts = [[side for side in voices if side.source == base] for base in bases]
    return sorted(parts, key=lambda part: any(side.voice == "before" for side in part))


def configured(config: RunConfig, audit: AuditConfig) -> RunConfig:
    """Return the configuration of an audit, with settings taken from another. Raises UserError for wrong models or data."""
    if not audit.before or not audit.after:
        raise UserError("An audit needs two models.", "Name the one before and the one after.")
    before = sides(audit)[0]
    name = config.name or f"audit of {Path(audit.after).name} against {Path(audit.before).name}"
    audited = dataclasses.replace(
        config,
        name=name,
        audit=audit,
        model=dataclasses.replace(config.model, name=before.base),
        teach=dataclasses.replace(config.teach, enabled=False),
    )
    sources.load(audited.data, audited.seed)  # wrong data is refused before anything is made
    return audited


# -- what such a run says -----------------------------------------------------------------------------------------------


def read(run: Run) -> dict[str, Any] | None:
    """Return what an audit compared, None for a run that is none: see core/pipeline/audit_run.py for the entries."""
    record = run.json(FILE)
    return record if isinstance(record, dict) and isinstance(record.get("sides"), dict) else None


def whole(run: Run) -> bool:
    """Say whether a run is an audit of models that share no base: there is no adapter to blend or to put back."""
    record = read(run)
    return record is not None and bool(record.get("whole"))


def no_never(run: Run) -> str:
    """Say why the base of an audit's adapters is not the model that never knew; empty where it is, or for other runs."""
    record = read(run)
    if record is None:
        return ""
    if "never" not in record["sides"]:
        return NO_NEVER
    same = record["sides"]["never"].get("base") == record["sides"].get("before", {}).get("base")
    return "" if same else "the model that never knew has another base than these adapters"
