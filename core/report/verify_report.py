"""Is a report, or a site, whole, and are its numbers those of its run?

A report carries its data with their SHA-256, and is drawn from them alone. So it is drawn again and compared, byte for byte:
whoever changes a number in the text only, or in the data only, is found. Whoever changes both consistently is found where
the run is at hand. A site is checked the same way: it lists the SHA-256 of its files, and is drawn again from its data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from core.report import assets, html_page, report_data, site
from core.report.verify_run import MATCH, MISMATCH, NOTE, SKIPPED, Check
from core.runs import store
from core.runs.store import Run
from core.util import files, paths
from core.util.errors import UserError
from core.util.safe_read import mapping

LARGEST = 64 * 2**20
"""bytes; a report has at most 3 MB"""
GROWS = ("controls", "probes", "missing", "by_hand", "came_back")
"""parts to which later work on a run adds"""


def read(path: Path) -> tuple[str, str, dict[str, Any] | None]:
    """Return a report's text, its data block, and the data (None where the block is damaged).

    Raises UserError for a file that is no report at all.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path.name} is larger than any report.", "Give the file that `report` wrote.")
        # Every byte counts: a byte that is no UTF-8 must not look like another one.
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).", "Give the file that `report` wrote.") from None
    block = html_page.ISLAND.search(text)
    if block is None:
        raise UserError(
            f"{path.name} has no data block, so it is no report of Forgetscope or is damaged.",
            "Give the file that `report` wrote.",
        )
    try:
        data = json.loads(block[1])
    except (ValueError, RecursionError):
        data = None
    return text, block[1], data if isinstance(data, dict) and data.get("kind") == report_data.KIND else None


def verify(path: Path, folder: Path) -> Iterator[Check]:
    """Yield whether a report is whole, and whether it says what its run says. Raises UserError for what is no report."""
    text, block, data = read(path)
    seal = html_page.SEAL.search(text)
    if data is None:
        yield Check("data", MISMATCH, "The data block of the report is damaged.")
        return
    if seal is None or seal[1] != html_page.seal_of(block):
        yield Check("data", MISMATCH, "The data block does not have the SHA-256 that stands in the report.")
    else:
        yield Check("data", MATCH, "The data block has the SHA-256 that stands in the report.")
    yield _drawn(text, data)
    run = run_of(data, folder)
    if run is None:
        yield Check("numbers", SKIPPED, "The report's run is not here, so its numbers were compared with nothing.")
        return
    yield from _numbers(run, data, folder)


def verify_site(target: Path, folder: Path) -> Iterator[Check]:
    """Yield whether a site's files are those that were written, and whether they say what its runs say."""
    known, there = site.listing(target), site.present(target)
    if known is None:
        yield Check("files", MISMATCH, f"{site.LIST} is damaged, so nobody can say what belongs to the site.")
        return
    listed = {str(name): str(digest) for name, digest in known["files"].items()}
    if wrong := sorted(name for name, digest in listed.items() if _sha256(target, name) != digest):
        yield Check("files", MISMATCH, f"Changed or missing: {_named(wrong)}.")
    else:
        yield Check("files", MATCH, f"All {len(listed)} files have the SHA-256 that {site.LIST} has.")
    if extra := sorted(there - {*listed, site.LIST}):
        yield Check("files", MISMATCH, f"The site does not know {_named(extra)}: nobody vouches for that.")
    read = site.datas(target)
    if damaged := [name for name, data in read if data is None]:
        yield Check("data", MISMATCH, f"The data are damaged in {_named(damaged)}.")
        return
    data = [value for _, value in read if value]
    yield _drawn_site(target, known, data)
    for one in data:
        run = run_of(one, folder)
        if run is None:
            name = mapping(one, "run").get("id")
            yield Check("numbers", SKIPPED, f"The run {name} is not here, so its numbers were compared with nothing.")
        else:
            yield from _numbers(run, one, folder)


def runs_of(target: Path, folder: Path) -> list[Run]:
    """Return the runs of a site that are here."""
    found = (run_of(data, folder) for _, data in site.datas(target) if data)
    return [run for run in found if run]


def _drawn_site(target: Path, known: Mapping[str, Any], data: list[dict[str, Any]]) -> Check:
    """Draw a site again from its data."""
    if known.get("maker") != assets.maker():
        return Check("page", SKIPPED, "The site was made by another version of Forgetscope, so it cannot be drawn again.")
    try:
        again = {name: hashlib.sha256(content).hexdigest() for name, content in site.draw(data).items()}
    except UserError as error:
        return Check("page", MISMATCH, error.what)
    if wrong := sorted(name for name, digest in again.items() if _sha256(target, name) != digest):
        return Check("page", MISMATCH, f"Drawn again from the data, other than here: {_named(wrong)}.")
    return Check("page", MATCH, "Drawn again from its data, the site is the same, byte for byte.")


def _sha256(target: Path, name: str) -> str:
    """Return the SHA-256 of a site's file, empty where it cannot be read or lies elsewhere."""
    path = paths.inside(target, name)
    try:
        return files.sha256(path) if path else ""
    except OSError:
        return ""


def _named(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def run_of(data: Mapping[str, Any], folder: Path) -> Run | None:
    """Return the run that a report is about, None where it is not here; one without names leaves out what its id says."""
    name, there = str(mapping(data, "run").get("id") or ""), [*store.bundled_runs(), *store.list_runs(folder)]
    nameless = data.get("redacted") or data.get("pseudonyms")
    redacted = [run for run in there if nameless and store.nameless(run.id) == name]
    return next(iter([*(run for run in there if run.id == name), *redacted]), None)


def _drawn(text: str, data: Mapping[str, Any]) -> Check:
    """Draw the report again from its data."""
    if data.get("maker") != assets.maker():
        return Check(
            "page",
            SKIPPED,
            "The report was made by another version of Forgetscope, so its page cannot be drawn again; only its data count.",
        )
    try:
        again = html_page.render(data)
    except UserError as error:
        return Check("page", MISMATCH, error.what)
    if again == text:
        return Check("page", MATCH, "Drawn again from its data, the report is the same, byte for byte.")
    position = next(
        (i for i, (character, other) in enumerate(zip(text, again, strict=False)) if character != other),
        min(len(text), len(again)),
    )
    return Check(
        "page",
        MISMATCH,
        f"Drawn again from its data, the report differs from character {position} on: it was changed by hand.",
    )


def _without_news(data: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
    """Return data without what versions differ in: remarks on metrics, and voices whose verdicts an earlier one did not
    count.

    Nor membership: which attack speaks for it has changed, and the values of all of them are among the metrics. Nor the
    questions that the slides show: they are among the answers.
    """
    reported = report.get("answers")
    voices = (
        {row.get("voice") for row in reported.get("counts", ()) if isinstance(row, dict)}
        if isinstance(reported, dict)
        else set()
    )
    left_out = {"membership", "path", *({"asked", "pseudonyms"} - report.keys())}
    comparable = {key: part for key, part in data.items() if key not in left_out}
    for key in ("success", "main", "scopes"):  # what parts are called has changed, and kinds are finer than splits
        if isinstance(comparable.get(key), list):
            comparable[key] = [_unnamed(row, "name") for row in comparable[key]]
    if isinstance(comparable.get("asked"), dict):  # its rows say the same in numbers
        comparable["asked"] = _unnamed(comparable["asked"], "sentences", "answer", "kept_by")
    if report.get("redacted"):  # an earlier version left other names out
        comparable |= {
            "run": mapping(data, "run") | {"id": "", "name": ""},
            "manifest": mapping(data, "manifest").get("sha256"),
        }
    answers = comparable.get("answers")
    if isinstance(answers, dict) and isinstance(answers.get("counts"), list):
        rows = [row for row in answers["counts"] if isinstance(row, dict) and row.get("voice") in voices]
        examples = answers.get("examples")
        examples = [_uncovered(example) for example in examples] if isinstance(examples, list) else examples
        comparable["answers"] = {**answers, "counts": list(map(_unnamed, rows)), "examples": examples}
    if isinstance(comparable.get("metrics"), list):
        comparable["metrics"] = [
            {**_unnamed(row, "help", "better"), "notes": [], "rows": list(map(_unnamed, row["rows"]))}
            if isinstance(row, dict) and "notes" in row and isinstance(row.get("rows"), list)
            else row
            for row in comparable["metrics"]
        ]
    return comparable


NAMES = ("part", "kind", "split")
"""fields of rows that name what they are of, which versions do otherwise"""


def _unnamed(row: Any, *words: str) -> Any:
    """Return a row without its names. words: further fields that hold words which versions choose otherwise."""
    return {key: value for key, value in row.items() if key not in (*NAMES, *words)} if isinstance(row, dict) else row


def _uncovered(example: Any) -> Any:
    """Return an example with its texts whole: which words are covered has changed."""
    if not isinstance(example, dict):
        return example
    told: dict[str, Any] = _unnamed(example, "why")
    return told | {key: "".join(str(piece[0]) for piece in text) for key, text in told.items() if isinstance(text, list)}


def _numbers(run: Run, data: Mapping[str, Any], folder: Path) -> Iterator[Check]:
    """Gather the run's numbers again and compare."""
    try:
        redact, names = bool(data.get("redacted")), not data.get("pseudonyms")
        now = report_data.collect(run, redact=redact, names=names, folder=folder, whole="thresholds" in data)
    except UserError as error:
        yield Check("numbers", MISMATCH, f"The run cannot be read: {error.what}")
        return
    now = json.loads(html_page.island(now))
    if data.get("maker") != assets.maker():
        now, data = _without_news(now, data), _without_news(data, data)
    different = sorted(
        key for key in now.keys() | data.keys() if key not in ("made", "maker") and now.get(key) != data.get(key)
    )
    if serious := [key for key in different if key not in GROWS]:
        yield Check(
            "numbers", MISMATCH, f"The report does not say what the run {run.id} says now: {', '.join(serious)[:200]}."
        )
    else:
        yield Check("numbers", MATCH, f"All numbers are those of the run {run.id}, gathered again.")
    if later := [key for key in different if key in GROWS]:
        yield Check(
            "numbers",
            NOTE,
            f"The run and the report differ in {', '.join(later)}: was something added since the report was made?",
        )
