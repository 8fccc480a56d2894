"""A person's own verdicts and notes on single answers, and how often the rules agree with them.

They lie apart from what was measured: in the run's verdicts.json, or beside the user's runs for a bundled run, which is
read-only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.metrics.verdict_rules import VERDICTS
from core.runs import store
from core.runs.store import Run
from core.util import access, failure_sentences, files
from core.util.errors import UserError, unknown

if TYPE_CHECKING:
    import pandas as pd

FILE = "verdicts.json"
FORMAT = 1
ENOUGH = 10
"""own verdicts from which on the rules are compared with them"""
LONGEST_NOTE = 2000


def verdicts_path(run: Run) -> Path:
    """Return where a person's own verdicts on a run lie: in its folder, or beside the user's runs for a bundled one."""
    return store.runs_folder() / ".verdicts" / f"{run.id}.json" if run.bundled else run.path / FILE


def own(run: Run) -> dict[str, dict[str, str]]:
    """Return example -> {verdict, note} as a person gave them; whatever is damaged is passed over."""
    return {example: given for example, given in remarks(run).items() if given["verdict"]}


def remarks(run: Run) -> dict[str, dict[str, str]]:
    """Return the same with notes of people who leave the verdict to the rules: theirs is empty."""
    file = verdicts_path(run)
    # Read as a run's own files are: what is damaged is as if it were not there.
    values = Run(file.parent).json(file.name)
    entries = values.get("verdicts") if isinstance(values, dict) else None
    return {
        str(example): {"verdict": given["verdict"], "note": str(given.get("note") or "")[:LONGEST_NOTE]}
        for example, given in (entries.items() if isinstance(entries, dict) else ())
        if isinstance(given, dict) and given.get("verdict") in ("", *VERDICTS)
    }


def give(run: Run, example: str, verdict: str, note: str = "") -> None:
    """Keep a person's verdict and note on an example; without either, nothing is kept. Raises UserError where it cannot be
    written.
    """
    from filelock import FileLock

    access.changing()
    if verdict and verdict not in VERDICTS:
        raise unknown("verdict", verdict, VERDICTS)
    if not run.path.is_dir():
        raise UserError(f"The run {run.id} is not here any more.", "Reload the page.")
    file = verdicts_path(run)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Two pages may write at once: read again under the lock, neither verdict is lost.
        with FileLock(file.with_name(f".{file.name}.lock")):
            verdicts: dict[str, Any] = remarks(run)
            verdicts.pop(example, None)
            if verdict or note.strip():
                verdicts[example] = {"verdict": verdict, "note": note.strip()[:LONGEST_NOTE]}
            files.write_json(file, {"format": FORMAT, "made": time.strftime("%Y-%m-%dT%H:%M:%S"), "verdicts": verdicts})
    except OSError as error:
        raise failure_sentences.disk_error(file, error) from error


def confusion(frame: pd.DataFrame, given: Mapping[str, Mapping[str, str]]) -> pd.DataFrame | None:
    """Return how often the rules said what a person said: rows the person's verdicts, columns the rules'.

    None below ENOUGH examples that both have judged.
    """
    import pandas as pd

    rules = frame.set_index("id")["verdict"] if "verdict" in frame else pd.Series(dtype=str)
    pairs = [(remark["verdict"], rules[i]) for i, remark in given.items() if i in rules.index and rules[i]]
    if len(pairs) < ENOUGH:
        return None
    table = pd.DataFrame(0, index=pd.Index(VERDICTS, name="you"), columns=pd.Index(VERDICTS, name="rules"))
    for person, rule in pairs:
        table.loc[person, rule] += 1
    used = [verdict for verdict in VERDICTS if table.loc[verdict].any() or table[verdict].any()]
    return table.loc[used, used]
