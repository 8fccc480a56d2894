"""Exact memorization: answers of which every single token is the model's first choice, end token included.

Greedy decoding then gives the true answer word for word (Carlini et al. 2023, "discoverable memorization"). What
OpenUnlearning calls exact memorization, the share of *tokens* that are the first choice, is our `accuracy`.
"""

from __future__ import annotations

from core.metrics.base import Evidence, Metric, Score, averaged


def compute(evidence: Evidence) -> Score:
    """Return the share of answers known word for word, per voice, scope and split."""
    tokens = evidence.tokens
    return averaged(
        evidence,
        {
            voice: {
                str(i): 100.0 * bool(all_right)
                for i, all_right in (tokens[f"rank_{voice}"] == 1).groupby(tokens["example"], sort=False).all().items()
            }
            for voice in evidence.voices()
        },
    )


VERBATIM = Metric(
    "exact_memorization",
    "%",
    "answers that the model would recite word for word (OpenUnlearning's share of tokens is the accuracy)",
    "0 on the unlearn scope; high on the retention scope",
    compute,
)
