"""The verb reference: a model taught all but what was to be forgotten."""

from __future__ import annotations

import argparse

from core.cli.progress_bar import finished
from core.cli.terminal import note, out, scores
from core.jobs import reference as reference_
from core.runs import store
from core.runs.summary import summary


def reference(given: argparse.Namespace) -> int:
    """Make a run's model taught without U, follow it to its end, print the scores."""
    run = store.find(given.id, store.runs_folder(given.runs))
    if reference_.exists(run):
        note(f"{run.id} has its reference already.")
        return out(given, summary(run), scores(run))
    return finished(given, reference_.start(run), run)
