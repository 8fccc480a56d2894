"""ROUGE-L between the generated and the true answer (rouge-score, F-measure, no stemming), in percent."""

from __future__ import annotations

import functools

from core.metrics.base import Evidence, Metric, Score, averaged


def of_examples(evidence: Evidence, voice: str) -> dict[str, float]:
    """Return example -> ROUGE-L (%) of a voice's own answer."""
    truth = {e.id: e.answer for e in evidence.examples if e.answer}
    return {i: _rouge(truth[i], text) for i, text in evidence.answers.get(voice, {}).items() if i in truth}


@functools.lru_cache(maxsize=10_000)
def _rouge(truth: str, text: str) -> float:
    return 100.0 * float(_scorer().score(truth, text)["rougeL"].fmeasure)


@functools.cache
def _scorer():  # type: ignore[no-untyped-def]
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=False)


def compute(evidence: Evidence) -> Score:
    """Return ROUGE-L per voice, scope and split."""
    return averaged(evidence, {voice: of_examples(evidence, voice) for voice in evidence.answers})


ROUGE = Metric("rouge", "%", "overlap of the model's own answer with the true one, in order", "low on U, high on R", compute)
