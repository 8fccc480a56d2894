"""Answer-token accuracy: the paper's measure, from which Unlearn and Retention Success follow.

Per example the share of answer tokens (end token included) that are the model's most probable next token,
teacher-forced; then the mean over examples. Unlearn Success = 100 − accuracy(U), Retention Success = accuracy(R)
(arXiv 2407.01920, section 4.1). A model that was never taught has an Unlearn Success far above 0: always read it
beside that reference.
"""

from __future__ import annotations

from core.metrics.base import Evidence, Metric, Score, averaged


def compute(evidence: Evidence) -> Score:
    """Return accuracy per voice, scope and split."""
    grouped = evidence.tokens.groupby("example", sort=False)
    values = {}
    for voice in evidence.voices():
        shares = grouped[f"rank_{voice}"].agg(lambda ranks: (ranks == 1).mean())
        values[voice] = {str(example): 100.0 * float(share) for example, share in shares.items()}
    return averaged(evidence, values)


ACCURACY = Metric(
    "accuracy",
    "%",
    "share of answer tokens that are the model's first choice (Unlearn Success is 100 − this on the unlearn scope)",
    "low on the unlearn scope but not below never-taught; high on the retention scope",
    compute,
)
