"""The answers to generated questions that widen both scopes: the taught model gives them, once for all methods."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from core.data import widened_questions
from core.data.corpus import Example
from core.data.widened_questions import WidenedQuestions
from core.models.adapters import Adapters
from core.models.generate import Request, generate
from core.models.tokens import prompt_ids
from core.pipeline import inputs
from core.pipeline.stage import Stage, bring
from core.pipeline.state import State
from core.pipeline.voices import Voices
from core.util.progress import Reporter


def longest(voices: Voices) -> int:
    """Return how many tokens an answer may have: as many as the longest train answer, with its end."""
    return max(len(voices.encoded[e.id].answer) for e in voices.examples if e.split == "train")


def answered(asked: WidenedQuestions, voices: Voices, adapters: Adapters, report: Reporter) -> list[Example]:
    """Let the taught model answer, greedily; what is empty or does not end within the longest train answer is left out."""
    c, tokenizer = voices.config, voices.tokenizer
    ordered = sorted(asked.examples, key=lambda e: (len(e.question), e.id))
    greedy = replace(c.answers, temperature=0.0, max_new_tokens=longest(voices))
    size, examples = 2 * c.answers.batch_size, []
    for start in range(0, len(ordered), size):
        report.check()
        part = ordered[start : start + size]
        prompts = [tuple(prompt_ids(tokenizer, c.model.template, e.question)) for e in part]
        answers = generate(adapters, [Request(p, "before") for p in prompts], greedy, ends=voices.ends, pad=voices.pad)
        for example, prompt, tokens in zip(part, prompts, answers, strict=True):
            text = tokenizer.decode(tokens, skip_special_tokens=True).strip()
            again = len(tokenizer(text, add_special_tokens=False)["input_ids"])
            if again and len(tokens) < greedy.max_new_tokens and len(prompt) + again < min(c.data.max_tokens, voices.room):
                examples.append(replace(example, answer=text))
        report.progress(min(start + size, len(ordered)), len(ordered), "further questions", tokens=sum(map(len, answers)))
    return sorted(examples, key=lambda e: (e.scope, int(e.id.rpartition("/")[2])))


def _answer_all(state: State, folder: Path) -> None:
    assert state.further is not None
    widened_questions.write(folder / "widened.jsonl", answered(state.further, state.voices, state.adapters, state.report))


WIDENED = Stage(
    "widened",
    _answer_all,
    inputs=(inputs.before, inputs.data, inputs.widening, inputs.max_tokens, inputs.batch_of_answers),
    code=2,
    reads=("adapters",),
    writes=("widened.jsonl",),
    together=False,
)
"""a part of unlearn that only the taught model and the data decide, so every method and region takes it from the cache"""


def widened(state: State, further: WidenedQuestions) -> dict[str, list[Example]]:
    """Return the generated examples of each scope, from the cache if these were made before."""
    bring(WIDENED, state)
    examples = widened_questions.read(state.run.path / "widened.jsonl")
    state.report.event("widened", **widened_questions.account(further, examples))
    return examples
