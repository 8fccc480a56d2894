"""Metrics: one small file each. A new one is a file and a line here."""

from core.metrics.accuracy import ACCURACY
from core.metrics.base import Evidence, Metric, Score
from core.metrics.degenerate import DEGENERATE
from core.metrics.general import GENERAL
from core.metrics.never_knew import NEVER_KNEW
from core.metrics.perplexity import PERPLEXITY
from core.metrics.rouge import ROUGE

METRICS: dict[str, Metric] = {m.name: m for m in (ACCURACY, NEVER_KNEW, PERPLEXITY, ROUGE, DEGENERATE, GENERAL)}

__all__ = ["METRICS", "Evidence", "Metric", "Score"]
