"""Runs -> a site without a server: four pages a run and a list of all, which any web space serves and a folder opens.

Its pages are drawn from a run's data by the report's own templates, style and script; what all of them need stands in it
once. No page asks for another file but by its tags, for from a folder (`file://`) browsers read nothing else: the data are a
script that sets one variable. The same data give the same bytes, so that `verify_site.py` can draw it again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.report import html_page, report_data, slides
from core.report.assets import PLOTLY, maker
from core.runs.store import Run
from core.util import files, paths, safe_read
from core.util.errors import UserError

KIND = "forgetscope-site"
FORMAT = 1
LIST = "site.json"
"""lists the runs, and the SHA-256 of all other files"""
SHARED = "shared"
DATA = "data.js"
BEFORE, AFTER = "window.forgetscopeData = JSON.parse(", ");\n"
"""what stands around the data, a text in JavaScript: so that no key in them means anything to it"""
PAGES = {"localize.html": "Localize", "compare.html": "Compare", "evidence.html": "Evidence", "report.html": "Report"}
POLICY = (
    # For a page in a folder, some browsers call nothing 'self'; no page of a web space can load from file:.
    "default-src 'none'; script-src 'self' file:; "
    f"style-src 'self' file: 'sha256-{html_page.EMPTY_STYLE}'; font-src data:; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)


@dataclass(frozen=True)
class Place:
    """Where a page stands in its site."""

    here: str = ""
    """its own file among `pages`"""
    shared: str = f"{SHARED}/"
    """address of what all pages share"""
    pages: Mapping[str, str] = field(default_factory=dict)
    """address -> name of the pages that it leads to"""
    scripts: Sequence[str] = ()
    """addresses, in the order in which they run"""


def write(
    runs: Sequence[Run], target: Path, *, redact: bool = False, names: bool = False, folder: Path | None = None
) -> int:
    """Write a site about finished runs in one step; return its bytes.

    Raises UserError for a run that is not finished, and for a place that holds anything else or cannot be written.
    """
    runs = list({run.id: run for run in runs}.values())
    for run in runs:
        if (state := run.status().get("state")) != "done":
            raise UserError(f"The run {run.id} is {state}, so there is no whole result to show.", "Wait, or resume it.")
    target = paths.given(str(target)).resolve()
    check(target)
    data = [report_data.collect(run, redact=redact, names=names, folder=folder, whole=True) for run in runs]
    made = draw([json.loads(html_page.island(one)) for one in data])
    with _replaced(target) as place:
        for name, content in made.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
    return sum(map(len, made.values()))


def check(target: Path) -> None:
    """Refuse a place that holds anything but a site: what is replaced must be ours. Raises UserError."""
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} is a file, not a folder.", "Name a new folder.")
    there, known = present(target), listing(target)
    if there and known is None:
        raise UserError(f"{target} is not empty, and no site of ours.", "Name a new folder.")
    if known and (others := sorted(there - {LIST, *known["files"]})):
        raise UserError(f"{target} also holds {others[0]}, which is not of the site.", "Move it away, or name a new folder.")


def present(target: Path) -> set[str]:
    """Return the names of all files below a folder; of none where it is not there. Raises UserError."""
    try:
        return {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_symlink() or not path.is_dir()}
    except OSError as error:
        raise UserError(f"{target} cannot be read ({error.strerror}).", "Name a new folder.") from None


def listing(target: Path) -> dict[str, Any] | None:
    """Return what a site says that it holds, None for what is no site."""
    value = safe_read.json_value(target / LIST)
    whole = isinstance(value, dict) and value.get("kind") == KIND
    return value if whole and isinstance(value.get("files"), dict) and isinstance(value.get("runs"), list) else None


def draw(data: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """Return path -> content of a site's files, from its runs' data. Raises UserError for data that are no report's."""
    with html_page.of_report():
        texts, listed = _shared(), list[dict[str, Any]]()
        for folder, one in zip(_folders(data), data, strict=True):
            listed.append({"folder": folder, "data": one, "slides": slides.content(one)})
            texts |= {f"{folder}/{name}": text for name, text in _of_run(one).items()}
        index = html_page.environment().get_template("index.html")
        texts["index.html"] = index.render(runs=listed, place=Place(), policy=POLICY, island="")
    made = {name: text.encode("utf-8") for name, text in texts.items()}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(made.items())}
    runs = [{"id": entry["data"]["run"]["id"], "folder": entry["folder"]} for entry in listed]
    known = {"kind": KIND, "format": FORMAT, "maker": maker(), "runs": runs, "files": hashes}
    return made | {LIST: files.json_text(known).encode("utf-8")}


def _of_run(data: Mapping[str, Any]) -> dict[str, str]:
    """Return the files about one run."""
    block, up = html_page.island(data), f"../{SHARED}/"
    scripts = {"localize.html": ("plotly.js", "pages.js", "site.js"), "report.html": ("plotly.js", "pages.js")}
    # A report is printed: it has some of the questions, the site has all.
    answers = data["answers"] and data["answers"] | {"examples": report_data.some(data["answers"]["examples"])}
    texts = {DATA: f"{BEFORE}{json.dumps(block)}{AFTER}"}
    for name in PAGES:
        place = Place(
            here=name,
            shared=up,
            pages={"../index.html": "All runs"} | PAGES,
            scripts=[DATA, *(up + script for script in scripts.get(name, ("pages.js", "site.js")))],
        )
        shown = dict(data) | {"answers": answers} if name == "report.html" else data
        texts[name] = html_page.page(name, shown, POLICY, html_page.seal_of(block), place=place)
    return texts


def _shared() -> dict[str, str]:
    """Return what all pages of a site share."""
    asset = html_page.asset
    return {
        f"{SHARED}/plotly.js": PLOTLY.read_text(encoding="utf-8"),
        f"{SHARED}/style.css": html_page.style() + asset("threshold.css") + asset("site.css"),
        f"{SHARED}/pages.js": asset("slides.js") + asset("report.js"),
        f"{SHARED}/site.js": asset("threshold.js") + asset("site.js"),
    }


def _folders(data: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a folder's name for each run: of its id what means nothing to an address, with a number where that is taken."""
    names: list[str] = []
    for one in data:
        plain = name = re.sub(r"[^A-Za-z0-9._-]+", "-", str(one["run"]["id"])).strip(".-") or "run"
        taken, number = {other.lower() for other in (*names, SHARED, "index.html", LIST)}, 1  # some disks know no case
        while name.lower() in taken:
            number += 1
            name = f"{plain}~{number}"
        names.append(name)
    return names


@contextlib.contextmanager
def _replaced(target: Path) -> Iterator[Path]:
    """Yield a new folder that takes the target's place at the end; what was there stays until then."""
    old = target.with_name(f".{target.name}.old")
    try:
        with files.whole_folder(target) as place:
            yield place
            if target.exists():
                shutil.rmtree(old, ignore_errors=True)
                target.rename(old)
    except UserError as error:
        raise UserError(error.what, "Free space, or name another folder.") from error
    finally:
        if old.exists() and not target.exists():  # the new one could not take its place
            old.rename(target)
        shutil.rmtree(old, ignore_errors=True)


def read(target: Path, folder: str) -> dict[str, Any] | None:
    """Return the data of a run in a site, None where they are damaged or no report's."""
    path = paths.inside(target, f"{folder}/{DATA}")
    try:
        text = path.read_text(encoding="utf-8") if path else ""
        inner = json.loads(text.removeprefix(BEFORE).removesuffix(AFTER))
        data = json.loads(inner)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return data if isinstance(data, dict) and data.get("kind") == report_data.KIND else None


def datas(target: Path) -> list[tuple[str, dict[str, Any] | None]]:
    """Return (folder, data) of each run that a site lists."""
    named = [str(entry.get("folder")) for entry in (listing(target) or {"runs": []})["runs"] if isinstance(entry, dict)]
    return [(name, read(target, name)) for name in named]
