"""Forget quality (TOFU, arXiv 2401.06121, section 2.2): can the model be told from one that was never taught U?

The p-value of a two-sample Kolmogorov–Smirnov test between the truth ratios on the unlearn scope of a voice and of a model
that was taught without U. Small: the distributions differ, forgetting is seen. Few examples give large
p-values whatever the model does, so it says little without the number of examples; before's value beside it shows whether
the test could have seen anything at all.
"""

from __future__ import annotations

from core.metrics.base import Evidence, Metric, Score, parts
from core.metrics.truth_ratio import of_examples, voices

WHY = "no model taught without U was made: python -m core reference RUN"


def compute(evidence: Evidence) -> Score:
    """Return the p-value per voice and split of the unlearn scope."""
    from scipy.stats import ks_2samp

    standard = of_examples(evidence, "retrained")
    if not standard:
        has_retrained = "retrained" in evidence.voices()
        why = "the model taught without U has no truth ratios: wrong answers were not recorded" if has_retrained else WHY
        return Score({}, reasons={"all": why})
    score = Score({}, reasons=dict(evidence.missing))
    for voice in voices(evidence):
        ratios = of_examples(evidence, voice)
        if voice == "retrained":
            continue
        score.values[voice] = {
            part: float(ks_2samp([ratios[i] for i in ids], [standard[i] for i in ids]).pvalue)
            for part, ids in parts(evidence, ratios.keys() & standard.keys())
            if part.startswith("unlearn")
        }
    counts = {part: len(ids) for part, ids in parts(evidence, standard) if part.startswith("unlearn")}
    score.notes.extend(f"{part}: {count} examples on each side" for part, count in counts.items())
    return score


FORGET_QUALITY = Metric(
    "forget_quality",
    "p",
    "p-value of a Kolmogorov–Smirnov test of truth ratios on the unlearn scope against a model taught without U (TOFU)",
    "high, where before's is low",
    compute,
)
