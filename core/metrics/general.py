"""Perplexity of a small general text of our own (assets/data/general.txt): did unlearning hurt the language itself?"""

from __future__ import annotations

import math

from core.metrics.base import Evidence, Metric, Score


def compute(evidence: Evidence) -> Score:
    """Return the perplexity per voice: exp of minus the mean over lines of the mean log-probability per token."""
    values = {v: {"text": math.exp(-sum(lines) / len(lines))} for v, lines in evidence.general.items() if len(lines)}
    return Score(values, reasons=dict(evidence.missing))


GENERAL = Metric("general", "", "perplexity of everyday sentences that belong to neither scope", "as low as before", compute)
