"""ROUGE-L between the generated and the true answer (rouge-score, F-measure, no stemming), in percent."""

from __future__ import annotations

from core.metrics.base import Evidence, Metric, Score, averaged


def compute(evidence: Evidence) -> Score:
    """Return ROUGE-L per voice, scope and split."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    truth = {e.id: e.answer for e in evidence.examples}
    return averaged(
        evidence,
        {
            voice: {i: 100.0 * scorer.score(truth[i], text)["rougeL"].fmeasure for i, text in answers.items() if i in truth}
            for voice, answers in evidence.answers.items()
        },
    )


ROUGE = Metric("rouge", "%", "overlap of the model's own answer with the true one, in order", "low on U, high on R", compute)
