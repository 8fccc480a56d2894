"""Leak probes: other ways to ask for what was to be forgotten, one small file each. A new one is a file and a line here.

A probe is a frozen dataclass whose fields are its settings (base.py); it works through the `ProbeContext` (context.py) that
it is handed, so its file imports no heavy library: pages make forms and lists of the settings. Findings lie in a run's
folder, probes/NAME.json. May use pipeline and everything below it. Begin with base.py and prefix.py; examine.py, which loads
the model, is only for the worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from core.probes.base import FORMAT, Probe
from core.probes.benign import Benign
from core.probes.few_shot import FewShot
from core.probes.logit_lens import LogitLens
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
from core.settings import converted
from core.util.errors import unknown
from core.util.safe_read import json_value, mapping, number

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
    probes = {name: PROBES[name] for name in (names or PROBES)}
    for path, value in (settings or {}).items():
        name, _, key = path.partition(".")
        if name not in PROBES:
            raise unknown("probe", name, PROBES)
        settings_by_name = {field.name: field for field in fields(PROBES[name])}
        if key not in settings_by_name:
            raise unknown(f"setting of {name}", key, settings_by_name)
        if name in probes:
            kind = type(probes[name])
            probes[name] = replace(probes[name], **{key: converted(settings_by_name[key], get_type_hints(kind)[key], value)})
    for probe in probes.values():
        probe.check()
    return list(probes.values())


def home(run: Run, folder: Path | None = None) -> Path:
    """Return the folder of a run's findings: its own, and for a bundled run, which cannot be changed, one beside the others.

    folder: where runs lie; the usual place where None.
    """
    return (folder or store.runs_folder()) / f".{FOLDER}" / run.id / FOLDER if run.bundled else run.path / FOLDER


def files(run: Run, folder: Path | None = None) -> list[Path]:
    """Return the files of a run's findings; of two about one probe the later one counts."""
    homes = dict.fromkeys((run.path / FOLDER, home(run, folder)))
    return [path for home_ in homes for path in sorted(home_.glob("*.json"))]


def read(run: Run, folder: Path | None = None) -> dict[str, dict[str, Any]]:
    """Return probe -> finding, in the order of PROBES; whatever is missing or damaged is left out.

    A finding about another "after" than the run has now says so: stale is true.
    """
    findings: dict[str, dict[str, Any]] = {}
    for path in files(run, folder):
        finding = json_value(path)
        if _whole(finding) and finding["probe"] == path.stem:
            findings[path.stem] = finding
    now = mapping(run.json("manifest.json"), "adapters").get("after")
    for finding in findings.values():
        finding["stale"] = bool(now and finding.get("after") and finding["after"] != now)
    order = list(PROBES)
    return dict(sorted(findings.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))


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
