"""How near a second model taught without U comes to the first: the never-knew score that unlearning could reach at best.

`python -m tests.bench.second RUN`: a run like the bundled privacy run but for its seed, with its reference (`core reference
RUN`). What that reference thinks of each answer token is scored as if it were the bundled run's model after.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping

from core.metrics import evaluation, never_knew_example
from core.runs import store
from core.runs.store import Run
from core.runs.voices import VOICE
from core.util.errors import UserError

FIRST = "privacy-clean"
"""the bundled run"""


def measure(run: Run, other: Run) -> dict[str, Mapping[str, float]]:
    """Return the never-knew scores of a run's model after and, in its place, of another run's reference, in percent.

    Raises UserError where the other run has no reference, or other questions.
    """
    own, theirs = evaluation.evidence(run), other.table("tokens")
    place, column = ["example", "position", "token"], f"logprob_{VOICE}"
    if theirs is None or column not in theirs:
        raise UserError(f"The run {other.id} has no reference.", f"Make it with `core reference {other.id}`.")
    both = own.tokens[place].merge(theirs[[*place, column]], on=place, how="left")
    if both[column].isna().any():
        raise UserError(f"The run {other.id} scored other questions.", "Take one that differs in nothing but the seed.")
    second = dataclasses.replace(own, tokens=own.tokens.assign(logprob_after=both[column].to_numpy()))
    scores = {"after": own, "second": second}
    return {name: never_knew_example.compute(evidence).values["after"] for name, evidence in scores.items()}


def main() -> int:
    """Print the scores as one JSON object, or the sentence that says why there are none."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.second", description="What never-knew can reach at best.")
    parser.add_argument("run", help="a run of another seed with its reference")
    parser.add_argument("--runs", help="folder of runs")
    given = parser.parse_args()
    try:
        other = store.by_id(given.run, store.runs_folder(given.runs))
        found = measure(store.by_id(FIRST, store.BUNDLED_RUNS), other)
    except UserError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
