"""Metrics: from recorded tokens and answers to scores, intervals and verdicts. One small file a metric.

May use runs and below; no torch: nothing here needs the model, so anybody can compute a run's scores again. Begin with
`base` (what a metric sees and returns) and `accuracy`; `evaluation` computes them all and writes metrics.json, which
core.runs.scores reads. A new metric is a file and a line in METRICS. What became of each single answer: `verdicts`, by the
thresholds of `verdict_rules` and the words of `verdict_words`; `own_verdicts` are a person's.
"""

from core.metrics.accuracy import ACCURACY
from core.metrics.asked import ASKED
from core.metrics.base import Evidence, Metric, Score
from core.metrics.choices import CHOICES
from core.metrics.degenerate import DEGENERATE
from core.metrics.extraction import EXTRACTION
from core.metrics.forget_quality import FORGET_QUALITY
from core.metrics.general import GENERAL
from core.metrics.kfr import KFR
from core.metrics.kl import KL
from core.metrics.krr import KRR
from core.metrics.membership import MEMBERSHIP
from core.metrics.model_utility import MODEL_UTILITY
from core.metrics.never_knew import NEVER_KNEW
from core.metrics.never_knew_example import NEVER_KNEW_EXAMPLE
from core.metrics.perplexity import PERPLEXITY
from core.metrics.probability import PROBABILITY
from core.metrics.refusal import REFUSAL
from core.metrics.rouge import ROUGE
from core.metrics.truth_ratio import TRUTH_RATIO
from core.metrics.verbatim import VERBATIM

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        ASKED,
        ACCURACY,
        NEVER_KNEW,
        NEVER_KNEW_EXAMPLE,
        PERPLEXITY,
        PROBABILITY,
        EXTRACTION,
        VERBATIM,
        ROUGE,
        DEGENERATE,
        REFUSAL,
        KFR,
        KRR,
        TRUTH_RATIO,
        MODEL_UTILITY,
        FORGET_QUALITY,
        MEMBERSHIP,
        GENERAL,
        KL,
        CHOICES,
    )
}

__all__ = ["METRICS", "Evidence", "Metric", "Score"]
