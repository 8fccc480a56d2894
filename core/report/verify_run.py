"""Is a run what it says? Its files against its manifest, its adapters against its region, its scores against its answers.

Each check says in one sentence what was compared. Everything but the last needs neither torch nor the model; with the model
(core/report/rescore.py) a random sample of examples is scored again. A manifest that was rewritten together with the files
is found where numbers no longer follow from each other, but nobody can find a run that was made up from the beginning: it
has no signature.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.metrics import evaluation
from core.models import plain_tensors
from core.runs import manifest as manifests
from core.runs.scores import Scores
from core.runs.store import Run
from core.util import files, paths
from core.util.errors import UserError

MATCH, MISMATCH, SKIPPED, NOTE = "match", "mismatch", "skipped", "note"
OF_TEXTS = ("asked", "degenerate", "kfr", "krr", "never_knew_example", "refusal", "rouge", "truth_ratio")
"""metrics by rules for texts, which are improved now and then"""
WITH_END = ("exact_memorization", "extraction_strength", "membership")
"""metrics that counted the end token until they were made what was published"""
BY_RULES = (*OF_TEXTS, *WITH_END)
"""metrics of which a difference alone does not mean that a file was changed"""
CLOSE = 1e-6
"""relative: what another version of numpy may change in a mean"""
NAMED = 4
"""names in a sentence, at most"""


@dataclass(frozen=True)
class Check:
    """What one check found."""

    name: str
    state: str
    """match, mismatch, skipped (could not be done) or note (worth knowing, nothing wrong)"""
    says: str
    """one sentence"""


def verify(run: Run) -> Iterator[Check]:
    """Yield what the checks of a run find, one after the other; none of them changes anything."""
    manifest = run.json("manifest.json")
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        yield Check("manifest", MISMATCH, "There is no readable manifest.json, so no file can be compared with anything.")
        return
    checks: tuple[tuple[str, Callable[[Run, Mapping[str, Any]], Iterator[Check]]], ...] = (
        ("files", check_files),
        ("settings", check_settings),
        ("adapters", check_adapters),
        ("region", check_region),
        ("changes", check_changes),
        ("scores", check_scores),
    )
    for name, check in checks:
        try:
            yield from check(run, manifest)
        except UserError as error:
            yield Check(name, MISMATCH, str(error))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, OSError) as error:  # a damaged file, in any way
            yield Check(
                name,
                MISMATCH,
                f"A file of the run cannot be read as what it is ({type(error).__name__}: {str(error)[:120]}).",
            )


def check_files(run: Run, manifest: Mapping[str, Any]) -> Iterator[Check]:
    """Compare every file's SHA-256 with the manifest's."""
    listed = {str(name): str(digest) for name, digest in manifest["files"].items()}
    missing, changed = [], []
    for name, digest in listed.items():
        # Large files of bundled runs are links to those of one beside it.
        path = paths.inside(run.path.parent, f"{run.id}/{name}") if run.bundled else paths.inside(run.path, name)
        if path is None or not path.is_file():
            missing.append(name)
        elif files.sha256(path) != digest:
            changed.append(name)
    if missing:
        yield Check("files", MISMATCH, f"{_these(missing)} of the manifest {_verb(missing, 'is', 'are')} missing.")
    if changed:
        yield Check(
            "files", MISMATCH, f"{_these(changed)} {_verb(changed, 'is', 'are')} not what the manifest says (SHA-256)."
        )
    if not missing and not changed:
        yield Check("files", MATCH, f"All {len(listed)} files have the SHA-256 of the manifest.")
    if extra := sorted({p.relative_to(run.path).as_posix() for p in manifests.listed(run)} - set(listed)):
        yield Check(
            "files", NOTE, f"The manifest does not know {_these(extra)}: nobody vouches for {_verb(extra, 'it', 'them')}."
        )


def check_settings(run: Run, manifest: Mapping[str, Any]) -> Iterator[Check]:
    """Compare the configuration with what the manifest says of it."""
    config = run.config()
    if manifest.get("seed") != config.seed or (manifest.get("model") or {}).get("name") != config.model.name:
        yield Check("settings", MISMATCH, "Seed or model of config.json are not those of the manifest.")
    else:
        yield Check("settings", MATCH, f"Model and seed ({config.seed}) of config.json are those of the manifest.")


def check_adapters(run: Run, manifest: Mapping[str, Any]) -> Iterator[Check]:
    """Compute the hashes of both adapters' contents again."""
    before = plain_tensors.raw(run.path / "before" / "adapter_model.safetensors")
    wrong = []
    for name, tensors in (("before", before), ("after", plain_tensors.after(run.path))):
        digest = plain_tensors.content_hash(plain_tensors.arrays(plain_tensors.cells(tensors)))
        if digest != (manifest.get("adapters") or {}).get(name):
            wrong.append(name)
    if wrong:
        yield Check("adapters", MISMATCH, f"The weights of {' and '.join(wrong)} are not those whose hash the manifest has.")
    else:
        yield Check(
            "adapters",
            MATCH,
            "The weights before and after have the hashes of the manifest, computed again from their numbers.",
        )


def check_region(run: Run, manifest: Mapping[str, Any]) -> Iterator[Check]:
    """Check that after, and every checkpoint, differs from before only in tensors of the region."""
    chosen = set(map(str, run.json("region.json")["tensors"]))
    before = plain_tensors.arrays(plain_tensors.cells(plain_tensors.raw(run.path / "before" / "adapter_model.safetensors")))
    states = [run.path / "after" / "region.safetensors", *sorted(run.path.glob("checkpoints/*.safetensors"))]
    outside: dict[str, list[str]] = {}
    for path in states:
        for name, tensor in plain_tensors.arrays(plain_tensors.raw(path)).items():
            if name not in before or (name not in chosen and not np.array_equal(tensor, before[name])):
                outside.setdefault(path.name, []).append(name)
    for file, names in outside.items():
        yield Check("region", MISMATCH, f"{file} differs from before outside of the region: {_these(names)}.")
    if not outside:
        count = f"and {len(states) - 1} checkpoints differ" if len(states) > 1 else "differs"
        yield Check("region", MATCH, f"After {count} from before only in the {len(chosen)} tensors of the region.")


def check_changes(run: Run, manifest: Mapping[str, Any]) -> Iterator[Check]:
    """Measure again how far each tensor moved."""
    table = run.table("changes")
    if table is None:
        damaged = (run.path / "changes.parquet").exists()
        yield Check(
            "changes", MISMATCH if damaged else SKIPPED, f"The run has no {'readable ' if damaged else ''}changes.parquet."
        )
        return
    before, after = (
        plain_tensors.arrays(plain_tensors.cells(tensors))
        for tensors in (plain_tensors.before(run.path, plain_tensors.slots(run.path)), plain_tensors.after(run.path))
    )
    recorded = dict(zip(table["name"].astype(str), table["norm_change"].astype(float), strict=True))
    wrong = sorted(set(before) ^ set(recorded))
    for name in set(before) & set(recorded):
        # In float64: between numbers that are nearly equal, little else is left of float32's digits.
        moved = float(np.linalg.norm(after[name].astype(np.float64) - before[name].astype(np.float64)))
        if not math.isclose(moved, recorded[name], rel_tol=CLOSE, abs_tol=1e-12):
            wrong.append(name)
    if wrong:
        yield Check(
            "changes",
            MISMATCH,
            f"Measured again, {_these(sorted(wrong))} moved by another amount than changes.parquet says.",
        )
    else:
        yield Check("changes", MATCH, f"Measured again, all {len(recorded)} tensors moved by what changes.parquet says.")


def check_scores(run: Run, manifest: Mapping[str, Any]) -> Iterator[Check]:
    """Compute all metrics again from the recorded tokens and answers, and compare."""
    measured = Scores.read_once(run)
    if not measured.metrics:
        raise UserError("metrics.json holds no scores.")
    recorded = {metric: measured.recorded(metric) for metric in measured.metrics}
    with tempfile.TemporaryDirectory() as folder:
        again = _measured(run, Path(folder))
    # Older runs recorded less than some metrics need: these have no value now, with the reason.
    gone = sorted(
        name for name, fields in recorded.items() if fields.get("values") and not again.get(name, {}).get("values")
    )
    wrong = {name for name, fields in recorded.items() if name not in gone and not _close(fields, again.get(name, {}))}
    new_rules = sorted(wrong & set(BY_RULES))
    if serious := sorted(wrong - set(BY_RULES)):
        yield Check(
            "scores",
            MISMATCH,
            (
                f"Computed again from tokens and answers, {_these(serious)} {_verb(serious, 'comes', 'come')} out "
                "otherwise than metrics.json says."
            ),
        )
    else:
        same = len(recorded) - len(new_rules) - len(gone)
        yield Check(
            "scores",
            MATCH,
            f"Computed again from tokens and answers, {same} of {len(recorded)} metrics come out as metrics.json says.",
        )
    if new_rules:
        yield Check(
            "scores",
            NOTE,
            (
                f"{_these(new_rules)} {_verb(new_rules, 'comes', 'come')} out otherwise by today's rules; "
                "the file itself is compared by its hash."
            ),
        )
    if gone:
        yield Check(
            "scores",
            NOTE,
            (
                f"{_these(gone)} cannot be computed again: the run recorded too little for today's metrics; the file itself "
                "is compared by its hash."
            ),
        )


def _measured(run: Run, folder: Path) -> dict[str, dict[str, Any]]:
    """Compute a run's scores again in another folder."""
    for name in ("tokens.parquet", "answers.jsonl", "recorded.json", "unseen.parquet"):
        if (run.path / name).is_file():
            (folder / name).symlink_to((run.path / name).absolute())
    evaluation.measure(Run(folder))
    measured = Scores.read_once(Run(folder))
    return {metric: measured.recorded(metric) for metric in measured.metrics}


def _close(first: Any, second: Any) -> bool:
    """Say whether two values are equal, numbers nearly; keys that only the second has do not count."""
    if isinstance(first, dict) and isinstance(second, dict):
        return all(key in second and _close(value, second[key]) for key, value in first.items())
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_close, first, second))
    if isinstance(first, int | float) and isinstance(second, int | float):
        return math.isclose(first, second, rel_tol=CLOSE, abs_tol=1e-9)
    return bool(first == second)


def _these(names: list[str]) -> str:
    shown = ", ".join(name[:80] for name in names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"


def _verb(names: list[str], singular: str, plural: str) -> str:
    return singular if len(names) == 1 else plural
