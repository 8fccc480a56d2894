"""Exact memorization: answers of which every single token is the model's first choice; the end token does not count.

Greedy decoding then gives the true answer word for word (Carlini et al. 2023, "discoverable memorization"), whether or not
it goes on afterwards. What OpenUnlearning calls exact memorization is the share of *tokens* that are the first choice, end
token left out; our `accuracy`, the paper's, counts the end token too.
"""

from __future__ import annotations

from core.metrics.base import Evidence, Metric, Score, averaged, without_end


def compute(evidence: Evidence) -> Score:
    """Return the share of answers known word for word, per voice, scope and split."""
    tokens = without_end(evidence.tokens, evidence.unended)
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
    "answers that the model would recite word for word (OpenUnlearning has the share of tokens)",
    "0 on the unlearn scope; high on the retention scope",
    compute,
)
