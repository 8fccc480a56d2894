"""ROUGE-L between the generated and the true answer (rouge-score, F-measure, no stemming), in percent.

Words are rouge-score's where the true answer is written in Latin letters; of other scripts it would drop every letter
(core/data/words.py).
"""

from __future__ import annotations

import functools

from core.data.words import splitter
from core.metrics.base import Evidence, Metric, Score, averaged


def of_examples(evidence: Evidence, voice: str) -> dict[str, float]:
    """Return example -> ROUGE-L (%) of a voice's own answer."""
    truth = {e.id: e.answer for e in evidence.examples if e.answer}
    return {i: _rouge(truth[i], text) for i, text in evidence.answers.get(voice, {}).items() if i in truth}


@functools.lru_cache(maxsize=10_000)
def _rouge(truth: str, text: str) -> float:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False, tokenizer=_Words(truth))
    return 100.0 * float(scorer.score(truth, text)["rougeL"].fmeasure)


class _Words:
    """Splits texts as rouge-score wants it done."""

    def __init__(self, truth: str) -> None:
        self.tokenize = splitter(truth)


def recall(truth: str, text: str) -> float:
    """Return ROUGE-L recall, 0 … 1: the share of the true answer's words that a text says in the same order.

    The same number as rouge-score's, by the bit-parallel longest common subsequence (Hyyrö 2004): 20 times as fast, so that
    a page can have it of every answer at once.
    """
    words = splitter(truth)
    wanted = words(truth)
    positions: dict[str, int] = {}
    for position, word in enumerate(wanted):
        positions[word] = positions.get(word, 0) | 1 << position
    full = (1 << len(wanted)) - 1
    # A word that the common subsequence gains turns one more bit of the row to 0, by the carry of the addition.
    row = full
    for word in words(text):
        both = row & positions.get(word, 0)
        row = ((row + both) | (row - both)) & full
    return (len(wanted) - row.bit_count()) / len(wanted) if wanted else 0.0


def compute(evidence: Evidence) -> Score:
    """Return ROUGE-L per voice, scope and split."""
    return averaged(evidence, {voice: of_examples(evidence, voice) for voice in evidence.answers})


ROUGE = Metric("rouge", "%", "overlap of the model's own answer with the true one, in order", "low on U, high on R", compute)
