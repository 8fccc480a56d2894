"""Probes are made: the model is loaded once, each probe writes its finding at once. Imports torch; only for the worker."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.probes import chosen, home
from core.probes.base import FORMAT, Finding, Probe
from core.probes.context import ProbeContext, open_context
from core.runs.store import Run
from core.runs.voices import SPOKEN
from core.util import failure_sentences, files
from core.util.errors import UserError
from core.util.files import clean
from core.util.progress import Reporter


def examine(
    run: Run,
    names: Sequence[str] = (),
    report: Reporter | None = None,
    settings: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    make_room: Callable[[], object] | None = None,
) -> dict[str, dict[str, Any]]:
    """Load the model, make the named probes (none: all) and write each finding at once; return them.

    One that cannot be made says why in `unavailable`, and the rest go on. Raises UserError for unknown names and where the
    run has no unlearned model, Cancelled where the user stopped it: what was found until then stays. make_room: asked to
    free memory where the model does not fit.
    """
    report, probes = report or Reporter(), chosen(names, settings)
    context, findings = open_context(run, report, make_room), dict[str, dict[str, Any]]()
    target, digest = home(run, folder), context.adapters.hash("after")
    try:
        target.mkdir(parents=run.bundled, exist_ok=True)
    except FileNotFoundError:
        raise UserError(f"The run {run.id} is not here any more.", "Somebody else deleted it.") from None
    except OSError as error:
        raise failure_sentences.disk_error(target, error) from error
    for probe in probes:
        report.stage(probe.name, "running")
        began = time.monotonic()
        finding = _made(probe, context)
        seconds = time.monotonic() - began
        finding |= {"after": digest, "seconds": round(seconds, 2), "made": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        findings[probe.name] = finding
        files.write_json(target / f"{probe.name}.json", finding)
        report.stage(probe.name, "done", seconds=seconds)
    return findings


def _made(probe: Probe, context: ProbeContext) -> dict[str, Any]:
    """Return a finding as JSON."""
    head = {"format": FORMAT, "probe": probe.name, "settings": json.loads(json.dumps(asdict(probe)))}
    try:
        finding, why = probe.run(context), None
    except UserError as error:  # Unavailable among them
        why = str(error)
        finding = Finding(sentence=why, measure="", n=0, rates={voice: {"reason": why} for voice in SPOKEN})
    return {**head, "unavailable": why, **clean(asdict(finding))}
