"""What probes work with: a run's model with its voices in memory, its questions, and generation in batches."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jinja2 import TemplateError

from core.data import sources
from core.data.corpus import Example
from core.models.adapters import Adapters
from core.models.generate import Request, generate
from core.models.loading import Loaded
from core.models.tokens import Encoded, rendered
from core.pipeline.finished import open_finished
from core.pipeline.voices import Voices, adapter_of
from core.probes.back import Back
from core.probes.base import Unavailable
from core.runs.store import Run
from core.util.progress import Reporter

SLACK = 12
"""tokens that an answer may take beyond the longest true answer, for a preface of its own"""


@dataclass(frozen=True)
class Asked:
    """One way to ask one question."""

    example: Example
    form: str
    """name of the way"""
    prompt: tuple[int, ...]
    """tokens; generation goes on from here"""
    text: str
    """what a reader is shown as the question"""
    given: str
    """everything that the prompt says: what stands there cannot come back"""
    rule: Back
    """by which the truth has come back"""
    said: tuple[int, ...] = ()
    """the last tokens of the prompt that are the beginning of the answer; often none"""


@dataclass
class Bench:
    """A run's model in memory with its adapters "before" and "after"."""

    run: Run
    report: Reporter
    loaded: Loaded
    adapters: Adapters
    examples: list[Example]
    """all questions of both scopes"""
    voices: tuple[str, ...]
    """before, after, and never where there is a model that was never taught"""
    reasons: dict[str, str] = field(default_factory=dict)
    """voice -> why it is not there"""

    def __post_init__(self) -> None:
        """Encode the questions. Raises UserError for one that is too long."""
        self.config = self.run.config()
        self.seed = self.config.seed
        self.tokenizer: Any = self.loaded.tokenizer
        self.words = Voices(self.loaded, self.examples, self.config, self.report)
        """scores true answers, as evaluation does"""
        self.back = Back.of(self.examples)
        """the rule by which a truth has come back"""
        self.pad, self.ends, self.room = self.words.pad, self.words.ends, self.words.room
        self.recorded: dict[str, dict[str, str]] = {voice: {} for voice in self.voices}
        """voice -> example -> the answer that the run recorded; empty where none was"""
        for row in self.run.answers():
            for voice in self.voices:
                if voice in row:
                    self.recorded[voice][str(row["example"])] = str(row[voice])

    # -- questions ----------------------------------------------------------------------------------------------------

    def select(self, scope: str, *splits: str) -> list[Example]:
        """Return the questions of a scope and some splits (none named: all)."""
        return [e for e in self.examples if e.scope == scope and (not splits or e.split in splits)]

    def sample(self, size: int, scope: str = "unlearn", *splits: str) -> list[Example]:
        """Return `size` questions (0: all), evenly over subjects; a smaller sample is the beginning of a larger one."""
        source, found = random.Random(f"{self.seed}/{scope}"), list[Example]()
        by_subject: dict[str, list[Example]] = {}
        for example in self.select(scope, *splits):
            by_subject.setdefault(example.subject, []).append(example)
        waiting = [by_subject[name] for name in sorted(by_subject)]
        for part in waiting:
            source.shuffle(part)
        while waiting:
            found += [part.pop() for part in waiting]
            waiting = [part for part in waiting if part]
        if not found:
            raise Unavailable(f"The {scope} scope has no question to ask.")
        return found[:size] if size else found

    def encoded(self, examples: Sequence[Example]) -> list[Encoded]:
        """Return question and true answer of some examples as tokens."""
        return [self.words.encoded[e.id] for e in examples]

    def asked(
        self,
        example: Example,
        form: str,
        messages: Sequence[tuple[str, str]] = (),
        *,
        said: Sequence[int] = (),
        template: str = "",
    ) -> Asked:
        """Build one way to ask.

        messages: (role, text), the question itself where none is given. said: tokens of the answer's beginning.
        template: plain or chat, the run's own where empty. Raises Unavailable where the chat template does not allow it.
        """
        messages = messages or [("user", example.question)]
        prompt = self._prompt(messages, template or self.config.model.template)
        text, begun = "\n\n".join(content for _, content in messages), str(self.tokenizer.decode(said))
        shown = f"{text}\n\n{begun} …" if said else text
        return Asked(example, form, (*prompt, *said), shown, f"{text}\n{begun}", self.back, tuple(said))

    def _prompt(self, messages: Sequence[tuple[str, str]], template: str) -> list[int]:
        if template == "plain":
            ids = list(self.tokenizer("".join(f"{text}\n\n" for _, text in messages))["input_ids"])
            # Some tokenizers end what they encode with the end token: an answer would never follow it.
            return ids[:-1] if ids and ids[-1] == self.tokenizer.eos_token_id else ids
        if not self.tokenizer.chat_template:
            raise Unavailable("This model has no chat template.")
        try:
            text = rendered(self.tokenizer, messages)
        except TemplateError as error:
            raise Unavailable(f"This model's chat template does not allow it ({error}).") from error
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    # -- answers ------------------------------------------------------------------------------------------------------

    def longest(self, examples: Sequence[Example]) -> int:
        """Return how many tokens an answer may have: the longest true one, and SLACK."""
        return SLACK + max(len(self.words.encoded[e.id].answer) for e in examples)

    def fitting(self, asked: Sequence[Asked]) -> list[Asked]:
        """Return the prompts that leave room for an answer. Raises Unavailable where none does."""
        limit = self.room - self.longest([a.example for a in asked])
        found = [a for a in asked if len(a.prompt) <= limit]
        if not found:
            raise Unavailable(f"No prompt leaves room for an answer: this model reads {self.room} tokens.")
        return found

    def answers(
        self, asked: Sequence[Asked], voices: Sequence[str] = (), *, temperature: float = 0.0, samples: int = 1
    ) -> dict[str, list[list[str]]]:
        """Return voice -> per prompt its `samples` answers, each with what the prompt had said of it already.

        Equal samples of the voices use the same random numbers. Progress is in answers, with tokens.
        """
        voices = voices or self.voices
        settings = replace(
            self.config.answers, temperature=temperature, top_p=1.0, max_new_tokens=self.longest([a.example for a in asked])
        )
        rows = [(v, n, s) for n in range(len(asked)) for s in range(samples) for v in voices]
        rows.sort(key=lambda row: (len(asked[row[1]].prompt), row[1]))
        texts = {voice: [[""] * samples for _ in asked] for voice in voices}
        size = max(1, settings.batch_size) * len(voices)
        for start in range(0, len(rows), size):
            self.report.check()
            part = rows[start : start + size]
            requests = [Request(asked[n].prompt, adapter_of(v), n * samples + s) for v, n, s in part]
            made = generate(self.adapters, requests, settings, ends=self.ends, pad=self.pad, seed=self.seed)
            for (voice, n, s), tokens in zip(part, made, strict=True):
                text = self.tokenizer.decode([*asked[n].said, *tokens], skip_special_tokens=True)
                texts[voice][n][s] = str(text).strip()
            self.report.progress(min(start + size, len(rows)), len(rows), "answers", tokens=sum(map(len, made)))
        return texts


def questions_of(run: Run) -> list[Example]:
    """Return a run's questions: as it recorded them, else from its data."""
    fields = ("example", "question", "truth", "scope", "split", "subject")
    found = [Example(*(str(row.get(name, "")) for name in fields)) for row in run.answers()]
    return found or list(sources.load(run.config().data, run.config().seed).examples)


def open_bench(run: Run, report: Reporter, make_room: Callable[[], object] | None = None) -> Bench:
    """Load a run's model and its voices. Raises UserError where the run has no unlearned model, or its base is not here.

    make_room: asked to free memory where the base does not fit.
    """
    opened = open_finished(run, make_room=make_room)
    why = {"never": opened.why_no_never} if opened.why_no_never else {}
    return Bench(run, report, opened.loaded, opened.adapters, questions_of(run), opened.voices, why)
