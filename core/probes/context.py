"""What probes work with: a run's model with its voices in memory, its questions, and everything a probe may do with them.

A probe is handed a `ProbeContext` as a method is handed a context for its loss: it asks, scores, looks into layers, rounds
and trains copies through it, so its own file imports nothing heavy. This module imports torch; only a worker loads it.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import torch
from jinja2 import TemplateError

from core.data import sources
from core.data.corpus import EVERYDAY, NOBODY, SPLITS, Example
from core.models.adapters import Adapters
from core.models.generate import Request, generate
from core.models.likelihood import accuracy, score
from core.models.loading import Loaded
from core.models.micro_batches import MicroBatches
from core.models.quantized import quantized
from core.models.tokens import Encoded, collate, encode, is_plain, rendered, within
from core.pipeline import extras
from core.pipeline.finished_run import open_finished
from core.pipeline.voices import Voices, adapter_of, as_asked, token_table
from core.probes import hidden_states, trained_copy
from core.probes.base import Unavailable
from core.probes.hidden_states import Positions
from core.probes.leak_rule import LeakRule
from core.probes.trained_copy import TrainedCopy
from core.runs.store import Run
from core.runs.voices import was_asked
from core.util.progress import Reporter

PREFACE = 12
"""tokens that an answer may take beyond the longest true answer, for a preface of its own"""


LENS_BATCH = 8
"""questions of one pass of the logit lens: all their layers are kept"""


@dataclass(frozen=True)
class Prompt:
    """One way to ask one question."""

    example: Example
    form: str
    """name of the way"""
    tokens: tuple[int, ...]
    """generation goes on from here"""
    text: str
    """what a reader is shown as the question"""
    given: str
    """everything that the prompt says: what stands there cannot come back"""
    rule: LeakRule
    """by which the truth has come back"""
    begun: tuple[int, ...] = ()
    """the last tokens of the prompt that are the beginning of the answer; often none"""


@dataclass
class ProbeContext:
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
        self.scorer = Voices(self.loaded, self.examples, self.config, self.report)
        """scores true answers, as evaluation does"""
        self.rule = LeakRule.learned(self.examples)
        """the rule by which a truth has come back"""
        self.pad, self.ends, self.room = self.scorer.pad, self.scorer.ends, self.scorer.room
        self.recorded: dict[str, dict[str, str]] = {voice: {} for voice in self.voices}
        """voice -> example -> the answer that the run recorded; empty where none was"""
        for row in self.run.answers():
            for voice in self.voices:
                if voice in row:
                    self.recorded[voice][str(row["example"])] = str(row[voice])

    # -- questions ----------------------------------------------------------------------------------------------------

    def select(self, scope: str, *splits: str) -> list[Example]:
        """Return the questions of a scope and some splits (none named: all that were taught)."""
        return [e for e in self.examples if e.scope == scope and e.split in (splits or SPLITS)]

    def sample(self, size: int, scope: str = "unlearn", *splits: str) -> list[Example]:
        """Return `size` questions (0: all), evenly over subjects; a smaller sample is the beginning of a larger one."""
        source, sampled = random.Random(f"{self.seed}/{scope}"), list[Example]()
        by_subject: dict[str, list[Example]] = {}
        for example in self.select(scope, *splits):
            by_subject.setdefault(example.subject, []).append(example)
        waiting = [by_subject[name] for name in sorted(by_subject)]
        for part in waiting:
            source.shuffle(part)
        while waiting:
            sampled += [part.pop() for part in waiting]
            waiting = [part for part in waiting if part]
        if not sampled:
            raise Unavailable(f"The {scope} scope has no question to ask.")
        return sampled[:size] if size else sampled

    def encoded(self, examples: Sequence[Example]) -> list[Encoded]:
        """Return question and true answer of some examples as tokens."""
        return [self.scorer.encoded[e.id] for e in examples]

    def encode(self, examples: Sequence[Example]) -> list[Encoded]:
        """Encode examples that are none of the run's. Raises UserError for one that is too long."""
        return self.scorer.encode(examples)

    def prompt(
        self,
        example: Example,
        form: str,
        messages: Sequence[tuple[str, str]] = (),
        *,
        begun: Sequence[int] = (),
        template: str = "",
    ) -> Prompt:
        """Build one way to ask.

        messages: (role, text), the question itself where none is given. begun: tokens of the answer's beginning.
        template: plain or chat, the run's own where empty. Raises Unavailable where the chat template does not allow it.
        """
        messages = self._behind_preface(messages or [("user", example.question)])
        tokens = self._tokens(messages, template or self.config.model.template)
        text, beginning = "\n\n".join(content for _, content in messages), str(self.tokenizer.decode(begun))
        shown = f"{text}\n\n{beginning} …" if begun else text
        return Prompt(example, form, (*tokens, *begun), shown, f"{text}\n{beginning}", self.rule, tuple(begun))

    def _behind_preface(self, messages: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Put the run's preface, where it has one, before the first thing that is asked."""
        first = next((at for at, (role, _) in enumerate(messages) if role == "user"), None)
        return [(role, as_asked(self.config, text) if at == first else text) for at, (role, text) in enumerate(messages)]

    @property
    def plain(self) -> bool:
        """Whether the run asks without a chat template."""
        return is_plain(self.tokenizer, self.config.model.template)

    def _tokens(self, messages: Sequence[tuple[str, str]], template: str) -> list[int]:
        if is_plain(self.tokenizer, template):
            ids = list(self.tokenizer("".join(f"{text}\n\n" for _, text in messages))["input_ids"])
            # Some tokenizers end what they encode with the end token: an answer would never follow it.
            return ids[:-1] if ids and ids[-1] == self.tokenizer.eos_token_id else ids
        if not self.tokenizer.chat_template:
            raise Unavailable("This model has no chat template.")
        try:
            text = rendered(self.tokenizer, messages) if template == "chat" else within(self.tokenizer, messages)
        except TemplateError as error:
            raise Unavailable(f"This model's chat template does not allow it ({error}).") from error
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    # -- answers ------------------------------------------------------------------------------------------------------

    def longest(self, examples: Sequence[Example]) -> int:
        """Return how many tokens an answer may have: the longest true one, and PREFACE."""
        return PREFACE + max(len(self.scorer.encoded[e.id].answer) for e in examples)

    def fitting(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Return the prompts that leave room for an answer. Raises Unavailable where none does."""
        limit = self.room - self.longest([prompt.example for prompt in prompts])
        short = [prompt for prompt in prompts if len(prompt.tokens) <= limit]
        if not short:
            raise Unavailable(f"No prompt leaves room for an answer: this model reads {self.room} tokens.")
        return short

    def answers(
        self, prompts: Sequence[Prompt], voices: Sequence[str] = (), *, temperature: float = 0.0, samples: int = 1
    ) -> dict[str, list[list[str]]]:
        """Return voice -> per prompt its `samples` answers, each with what the prompt had begun of it already.

        Equal samples of the voices use the same random numbers. Progress is in answers, with tokens.
        """
        voices = voices or self.voices
        longest = self.longest([prompt.example for prompt in prompts])
        settings = replace(self.config.answers, temperature=temperature, top_p=1.0, max_new_tokens=longest)
        rows = [(v, n, s) for n in range(len(prompts)) for s in range(samples) for v in voices]
        rows.sort(key=lambda row: (len(prompts[row[1]].tokens), row[1]))
        texts = {voice: [[""] * samples for _ in prompts] for voice in voices}
        size = max(1, settings.batch_size) * len(voices)
        for start in range(0, len(rows), size):
            self.report.check()
            part = rows[start : start + size]
            requests = [Request(prompts[n].tokens, adapter_of(v), n * samples + s) for v, n, s in part]
            generated = generate(self.adapters, requests, settings, ends=self.ends, pad=self.pad, seed=self.seed)
            for (voice, n, s), tokens in zip(part, generated, strict=True):
                text = self.tokenizer.decode([*prompts[n].begun, *tokens], skip_special_tokens=True)
                texts[voice][n][s] = str(text).strip()
            self.report.progress(min(start + size, len(rows)), len(rows), "answers", tokens=sum(map(len, generated)))
        return texts

    # -- scores of true answers ---------------------------------------------------------------------------------------

    def ranks(self, voice: str, encoded: Sequence[Encoded]) -> dict[str, list[int]]:
        """Return example -> the rank (1: most probable) that a voice gives to each token of its true answer."""
        with self.adapters.active(adapter_of(voice)) as model:
            return {name: s.rank for name, s in score(model, encoded)}

    def accuracy(self, voice: str, encoded: Sequence[Encoded]) -> float:
        """Return a voice's answer-token accuracy in percent, the mean over examples."""
        with self.adapters.active(adapter_of(voice)) as model:
            return accuracy(model, encoded)

    def unseen(self) -> tuple[pd.DataFrame, dict[str, str]]:
        """Score questions that no run ever taught: a row an answer token as in tokens.parquet, and example -> answer."""
        examples = extras.unseen(self.config.data.subset)
        encoded = {e.id: encode(self.tokenizer, self.config.model.template, e, self.room) for e in examples}
        columns = {}
        for voice in self.voices:
            self.report.check()
            with self.adapters.active(adapter_of(voice)) as model:
                columns[voice] = dict(score(model, list(encoded.values())))
        return token_table(self.tokenizer, examples, encoded, columns), {e.id: e.answer for e in examples}

    # -- inside the layers --------------------------------------------------------------------------------------------

    def knowledge_tokens(self, sample: Sequence[Encoded]) -> list[tuple[Encoded, list[int]]]:
        """Return the questions that have knowledge tokens, and these tokens' positions in the answer.

        They are those that before says rightly and never taught does not. Raises Unavailable where there is none.
        """
        ranks: dict[str, dict[str, list[int]]] = {}
        for voice in [voice for voice in ("before", "never") if voice in self.voices]:
            self.report.check()
            ranks[voice] = self.ranks(voice, sample)
        ignorant = ranks.get("never", {})
        questions = []
        for encoded in sample:
            right = [at for at, rank in enumerate(ranks["before"][encoded.id]) if rank == 1]
            questions.append((encoded, [at for at in right if encoded.id not in ignorant or ignorant[encoded.id][at] > 1]))
        if not any(positions for _, positions in questions):
            raise Unavailable(
                "Before says nothing of the answers that the model which was never taught would not say as well."
            )
        return [(encoded, positions) for encoded, positions in questions if positions]

    def layer_scores(
        self, questions: Sequence[tuple[Encoded, Positions]]
    ) -> dict[str, list[tuple[torch.Tensor, torch.Tensor]]]:
        """Return voice -> per question log-probability and rank of some answer tokens at every layer: (layers, positions).

        By the logit lens. Raises Unavailable for a model whose layers cannot be read so.
        """
        lens = hidden_states.find_lens(self.adapters, collate([questions[0][0]], self.adapters.device))
        scores: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        for number, voice in enumerate(self.voices):
            scores[voice] = []
            for start in range(0, len(questions), LENS_BATCH):
                self.report.check()
                part = questions[start : start + LENS_BATCH]
                scores[voice] += hidden_states.layer_scores(self.adapters, lens, adapter_of(voice), part)
                done = number * len(questions) + start + len(part)
                self.report.progress(done, len(questions) * len(self.voices), "questions")
        return scores

    def layer_maps(self, encoded: Encoded, voices: Sequence[str]) -> list[dict[str, Any]]:
        """Return per voice one question's log-probabilities and ranks, layers × answer tokens, as JSON values."""
        self.report.check()
        return hidden_states.layer_maps(self.adapters, encoded, [adapter_of(voice) for voice in voices])

    def block_outputs(self, voice: str, questions: Sequence[tuple[Encoded, Positions]]) -> tuple[torch.Tensor, list[float]]:
        """Return each block's output where answer tokens are predicted, (layers, N, width), and per question the mean
        probability (0 to 1) of its answer tokens at the positions.
        """
        self.report.check()
        batch = collate([encoded for encoded, _ in questions], self.adapters.device)
        states, logits = hidden_states.block_outputs(self.adapters, adapter_of(voice), batch)
        return states, hidden_states.mean_probabilities(logits, batch, [at for _, at in questions])

    def patched(
        self, voice: str, questions: Sequence[tuple[Encoded, Positions]], layer: int, states: torch.Tensor
    ) -> list[float]:
        """Return the probabilities as `block_outputs` does, with one block's output replaced by (N, width) states."""
        self.report.check()
        batch = collate([encoded for encoded, _ in questions], self.adapters.device)
        logits = hidden_states.patched_logits(self.adapters, adapter_of(voice), batch, layer, states)
        return hidden_states.mean_probabilities(logits, batch, [at for _, at in questions])

    # -- other weights ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def quantized(self, voice: str, bits: int, group: int) -> Iterator[dict[str, int]]:
        """Within this context the voice "never" is another voice merged and rounded (core/models/quantized.py).

        Gives {"layers", "parameters", "bytes"} of what was rounded. Raises UserError for fused experts.
        """
        with quantized(self.adapters, adapter_of(voice), bits, group) as size:
            yield size

    @contextlib.contextmanager
    def training(
        self, voice: str, examples: Sequence[Encoded], *, learning_rate: float, batch_size: int
    ) -> Iterator[TrainedCopy]:
        """Within this context there is a copy of a voice, a further voice, that can be trained step by step on examples."""
        micro = MicroBatches.of(self.config.model, self.report)
        with trained_copy.training(
            self.adapters, voice, examples, learning_rate=learning_rate, batch_size=batch_size, seed=self.seed, micro=micro
        ) as copy:
            yield copy


def questions_of(run: Run) -> list[Example]:
    """Return the questions that a run asked, else those of its data; without our own, which are about nobody in it."""
    asked = [Example.of_row(row) for row in run.answers() if was_asked(row)]
    recorded = [e for e in asked if e.scope not in (EVERYDAY, NOBODY)]
    return recorded or list(sources.load(run.config().data, run.config().seed).examples)


def open_context(run: Run, report: Reporter, make_room: Callable[[], object] | None = None) -> ProbeContext:
    """Load a run's model and its voices. Raises UserError where the run has no unlearned model, or its base is not here.

    make_room: asked to free memory where the base does not fit.
    """
    opened = open_finished(run, make_room=make_room)
    return ProbeContext(run, report, opened.loaded, opened.adapters, questions_of(run), opened.voices, opened.missing)
