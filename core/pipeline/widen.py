"""TODO say what this is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from core.data.corpus import Example
from core.data.widen import FurtherQuestions

if TYPE_CHECKING:
    from core.models.adapters import Adapters
    from core.pipeline.voices import Voices
    from core.util.progress import Reporter


def longest(voices: Voices) -> int:
    """Return how many tokens an answer may have: as many as the longest train answer, with its end."""
    return max(len(voices.encoded[e.id].answer) for e in voices.examples if e.split == "train")


def answered(asked: FurtherQuestions, voices: Voices, adapters: Adapters, report: Reporter) -> list[Example]:
    """Let the taught model answer, greedily; what is empty or does not end within the longest train answer is left out."""
    from core.models.generate import Request, generate
    from core.models.tokens import prompt_ids

    c, tokenizer = voices.config, voices.tokenizer
    ordered = sorted(asked.examples, key=lambda e: (len(e.question), e.id))
    greedy = replace(c.answers, temperature=0.0, max_new_tokens=longest(voices))
    size, found = 2 * c.answers.batch_size, []
    for start in range(0, len(ordered), size):
        report.check()
        part = ordered[start : start + size]
        prompts = [tuple(prompt_ids(tokenizer, c.model.template, e.question)) for e in part]
        made = generate(adapters, [Request(p, "before") for p in prompts], greedy, ends=voices.ends, pad=voices.pad)
        for example, prompt, tokens in zip(part, prompts, made, strict=True):
            text = tokenizer.decode(tokens, skip_special_tokens=True).strip()
            again = len(tokenizer(text, add_special_tokens=False)["input_ids"])
            if again and len(tokens) < greedy.max_new_tokens and len(prompt) + again < min(c.data.max_tokens, voices.room):
                found.append(replace(example, answer=text))
        report.progress(min(start + size, len(ordered)), len(ordered), "further questions", tokens=sum(map(len, made)))
    return sorted(found, key=lambda e: (e.scope, int(e.id.rpartition("/")[2])))
