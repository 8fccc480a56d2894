"""Leak probes: one small file each. A new one is a file and a line here.

Findings lie in a run's folder, probes/NAME.json. Importing this costs no heavy library; `examine` loads the model.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from core.probes.base import FORMAT, Finding, Probe
from core.probes.benign import Benign
from core.probes.few_shot import FewShot
from core.probes.lens import LogitLens
from core.probes.membership import Membership
from core.probes.neighbours import Neighbours
from core.probes.paraphrase import Paraphrase
from core.probes.patching import Patching
from core.probes.prefix import Prefix
from core.probes.quantization import Quantization
from core.probes.reintroduction import Reintroduction
from core.probes.relearning import Relearning
from core.probes.sampling import Sampling
from core.probes.wrappers import Wrappers
from core.runs import store
from core.runs.store import Run
from core.runs.voices import VOICES
from core.settings import converted
from core.util import failures, files, process
from core.util.errors import UserError, unknown
from core.util.files import clean
from core.util.progress import Reporter
from core.util.safe_read import mapping, number

PROBES: dict[str, Probe] = {
    probe.name: probe
    for probe in (
        Paraphrase(),
        Prefix(),
        FewShot(),
        Wrappers(),
        Sampling(),
        Membership(),
        LogitLens(),
        Patching(),
        Reintroduction(),
        Neighbours(),
        Quantization(),
        Relearning(),
        Benign(),
    )
}

FOLDER = "probes"


def chosen(names: Sequence[str] = (), settings: Mapping[str, Any] | None = None) -> list[Probe]:
    """Return probes by name (none named: all) with some settings changed. settings: "probe.field" -> value, text or not.

    Raises UserError for unknown names, with the nearest right one, and for values out of range.
    """
    for name in names:
        if name not in PROBES:
            raise unknown("probe", name, PROBES)
    found = {name: PROBES[name] for name in (names or PROBES)}
    for path, value in (settings or {}).items():
        name, _, key = path.partition(".")
        if name not in PROBES:
            raise unknown("probe", name, PROBES)
        known = {field.name: field for field in fields(PROBES[name])}
        if key not in known:
            raise unknown(f"setting of {name}", key, known)
        if name in found:
            kind = type(found[name])
            found[name] = replace(found[name], **{key: converted(known[key], get_type_hints(kind)[key], value)})
    for probe in found.values():
        probe.check()
    return list(found.values())


def home(run: Run, folder: Path | None = None) -> Path:
    """Return the folder of a run's findings: its own, and for a bundled run, which cannot be changed, one beside the others.

    folder: where runs lie; the usual place where None.
    """
    return (folder or store.runs_folder()) / f".{FOLDER}" / run.id / FOLDER if run.bundled else run.path / FOLDER


def read(run: Run, folder: Path | None = None) -> dict[str, dict[str, Any]]:
    """Return probe -> finding, in the order of PROBES; whatever is missing or damaged is left out.

    A finding about another "after" than the run has now says so: stale is true.
    """
    found: dict[str, dict[str, Any]] = {}
    for place in dict.fromkeys((run.path / FOLDER, home(run, folder))):
        for path in sorted(place.glob("*.json")):
            value = Run(place).json(path.name)
            if _whole(value) and value["probe"] == path.stem:
                found[path.stem] = value
    now = mapping(run.json("manifest.json"), "adapters").get("after")
    for value in found.values():
        value["stale"] = bool(now and value.get("after") and value["after"] != now)
    known = list(PROBES)
    return dict(sorted(found.items(), key=lambda item: known.index(item[0]) if item[0] in known else len(known)))


def _whole(value: Any) -> bool:
    """Say whether a value has the parts of a finding that readers rely on."""
    if (
        not isinstance(value, dict)
        or not isinstance(value.get("probe"), str)
        or (number(value.get("format") or 0) or 0) > FORMAT
    ):
        return False
    if value.get("unavailable"):
        return True
    kinds: dict[str, type] = {"rates": dict, "leaked": list, "detail": dict, "sentence": str, "measure": str}
    return all(isinstance(value.get(name), kind) for name, kind in kinds.items()) and {"before", "after"} <= set(
        value["rates"]
    )


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
    run has no unlearned model, Cancelled where the user stopped it: what was found until then stays.
    """
    report, probes = report or Reporter(), chosen(names, settings)
    with process.uncollected():
        from core.probes.workbench import open_bench  # torch is imported here

    bench, found = open_bench(run, report, make_room), {}
    place, digest = home(run, folder), bench.adapters.hash("after")
    try:
        place.mkdir(parents=run.bundled, exist_ok=True)
    except FileNotFoundError:
        raise UserError(f"The run {run.id} is not here any more.", "Somebody else deleted it.") from None
    except OSError as error:
        raise failures.disk_error(place, error) from error
    for probe in probes:
        report.stage(probe.name, "running")
        began = time.monotonic()
        value = _made(probe, bench)
        seconds = time.monotonic() - began
        value |= {"after": digest, "seconds": round(seconds, 2), "made": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        found[probe.name] = value
        files.write_json(place / f"{probe.name}.json", value)
        report.stage(probe.name, "done", seconds=seconds)
    return found


def _made(probe: Probe, bench: Any) -> dict[str, Any]:
    """Return a finding as JSON."""
    head = {"format": FORMAT, "probe": probe.name, "settings": json.loads(json.dumps(asdict(probe)))}
    try:
        found, why = probe.run(bench), None
    except UserError as error:  # Unavailable among them
        why = str(error)
        found = Finding(sentence=why, measure="", n=0, rates={voice: {"reason": why} for voice in VOICES})
    return {**head, "unavailable": why, **clean(asdict(found))}
