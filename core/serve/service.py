"""What the answering process serves: one model in memory, asked, scored and taken apart cell by cell.

Each operation takes a checked request and yields replies, plain JSON values, as they come; whoever stops consuming
them stops the work. A voice that fails costs only its own part: the others go on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config.run_config import RunConfig
from core.config.stages import AnswersConfig, ModelConfig
from core.data import sources
from core.data.corpus import SCOPES, Example
from core.models import names, weight_files
from core.models.generate import Piece, Request, Spelling, drawn, stream
from core.models.likelihood import TokenScores, accuracy, score
from core.models.tokens import Encoded, encode, ends_of_answer, prompt_ids, prompt_text
from core.pipeline.finished_run import open_finished
from core.pipeline.supply import spread
from core.pipeline.voices import as_asked
from core.probes.hidden_states import layer_maps
from core.runs import askable, audit
from core.runs.askable import unlearned
from core.runs.store import Run
from core.runs.voices import VOICE, Voice, cells_of, parse
from core.serve import completions
from core.serve.messages import ALTERNATIVES, Asked, read
from core.serve.two_models import Pair
from core.serve.voice_cache import Speakers
from core.util.errors import UserError, unknown

if TYPE_CHECKING:
    from core.models.adapters import Adapters
    from core.models.loading import Loaded

Replies = Generator[dict[str, Any]]
MOST_TOKENS = 250_000
"""of all answers to one request together: 500 questions to 6 voices with some 80 tokens each; others wait meanwhile"""


class Service:
    """Holds one model with the adapters of one run."""

    def __init__(self) -> None:
        """Load nothing yet: the first request says what."""
        self.stamp: object = None
        self.pair: Pair | None = None
        """in place of the model, while models without a common base are asked"""
        self.model: tuple[ModelConfig, weight_files.Stamp] | None = None
        """the base in memory and its files; None where there is none, or where it may be half changed"""
        self.loaded: Loaded
        self.adapters: Adapters
        self.speakers: Speakers
        self.config: RunConfig

    def serve(self, values: Mapping[str, Any]) -> Replies:
        """Yield the replies to one request. Raises UserError for what is wrong with it."""
        operations: dict[str, Callable[[Asked], Replies]] = {
            "load": self.warm,
            "ask": self.ask,
            "score": self.score,
            "lens": self.lens,
            "hold": self.hold,
            "dial": self.dial,
            "complete": self.complete,
        }
        if values.get("op") not in operations:
            raise unknown("operation", str(values.get("op")), operations)
        asked = read(values)
        yield {"kind": "loading"}
        if audit.whole(asked.run):
            self.clear()
            self.pair = self.pair or Pair(Service)
            yield from self.pair.serve(str(values["op"]), asked)
            return
        if self.pair is not None:
            self.pair = None
            gc.collect()
        self.load(asked.run, asked.folder)
        yield from operations[str(values["op"])](asked)

    # -- operations ---------------------------------------------------------------------------------------------------

    def warm(self, asked: Asked) -> Replies:
        """Compute one token with both voices, so that the first question does not pay for what is set up once."""
        short = dataclasses.replace(asked, questions=("?",), voices=("before", "after"), answers={"max_new_tokens": 1})
        yield from self.ask(short)

    def ask(self, asked: Asked) -> Replies:
        """Let each voice answer each question, in batches, streamed token by token."""
        settings = self.settings(asked.answers)
        prompts, room = self._prompts(asked.questions), self.room
        for question, ids in zip(asked.questions, prompts, strict=True):
            if len(ids) + settings.max_new_tokens > room:
                raise UserError(
                    f"The question “{question[:60]}” has {len(ids)} tokens; with {settings.max_new_tokens} for "
                    "the answer that "
                    f"is more than this model reads ({room}).",
                    "Shorten it, or allow fewer tokens for the answer.",
                )
        if (most := len(prompts) * len(asked.voices) * settings.max_new_tokens) > MOST_TOKENS:
            raise UserError(
                f"These questions may take {most} tokens to answer, more than {MOST_TOKENS}.",
                "Ask fewer at once, or allow fewer tokens for an answer.",
            )
        speaking, failures = self.speaking(asked.voices)
        yield from failures
        yield self._start(asked, speaking)
        started, count = time.monotonic(), 0
        seed = self.config.seed if asked.seed is None else asked.seed
        numbered = list(enumerate(zip(prompts, map(drawn, asked.questions), strict=True)))
        for first in range(0, len(prompts), settings.batch_size):
            part = numbered[first : first + settings.batch_size]
            for pieces in self._batch(part, speaking, asked, settings, seed):
                count += len(pieces)
                yield {"kind": "pieces", "pieces": pieces, "seconds": time.monotonic() - started}
        yield {"kind": "done", "seconds": time.monotonic() - started, "tokens": count}

    def score(self, asked: Asked) -> Replies:
        """Tell what each voice thinks of the true answer, token by token."""
        encoded = self._true_answer(asked)
        speaking, failures = self.speaking(asked.voices)
        yield from failures
        yield self._start(asked, speaking)
        started = time.monotonic()
        for voice, (adapter, _) in speaking.items():
            scores = self._scores(adapter, encoded, ALTERNATIVES)
            tokens = [
                {
                    "text": self.word(token),
                    "logprob": scores.logprob[i],
                    "rank": scores.rank[i],
                    "top": [[self.word(other), logprob] for other, logprob in scores.top[i]],
                }
                for i, token in enumerate(encoded.answer)
            ]
            yield {"kind": "score", "voice": voice, "tokens": tokens, "total": sum(scores.logprob)}
        yield {"kind": "done", "seconds": time.monotonic() - started}

    def lens(self, asked: Asked) -> Replies:
        """Tell what each layer would say of the true answer were it the last: lists of layers × tokens, one reply a
        voice.
        """
        encoded = self._true_answer(asked)
        speaking, failures = self.speaking(asked.voices)
        yield from failures
        yield self._start(asked, speaking)
        started = time.monotonic()
        tokens = [self.word(token) for token in encoded.answer]
        maps = layer_maps(self.adapters, encoded, [adapter for adapter, _ in speaking.values()])
        for voice, layer_map in zip(speaking, maps, strict=True):
            yield {"kind": "lens", "voice": voice, "tokens": tokens, **layer_map}
        yield {"kind": "done", "seconds": time.monotonic() - started}

    def hold(self, asked: Asked) -> Replies:
        """Put each group of cells back to before, alone, and score the true answer: exact, one row a group."""
        encoded = self._true_answer(asked)
        grid = [(cell.name, cell.layer, cell.module) for cell in self.adapters.cells]
        groups = [(name, cells_of(parts, grid)) for name, parts in asked.groups]
        ends = {voice: sum(self._scores(voice, encoded).logprob) for voice in ("before", "after")}
        yield {"kind": "start", "total": len(groups), "tokens": len(encoded.answer), **ends}
        started = time.monotonic()
        with self._trial() as model:
            for done, (name, cells) in enumerate(groups, 1):
                self.adapters.revert("trial", cells)
                logprob = sum(self._scored(model, encoded).logprob)
                yield {
                    "kind": "row",
                    "name": name,
                    "logprob": logprob,
                    "cells": len(cells),
                    "done": done,
                    "total": len(groups),
                }
        yield {"kind": "done", "seconds": time.monotonic() - started}

    def dial(self, asked: Asked) -> Replies:
        """Blend after into before at each strength: both scopes' success on a fixed sample, and the true answer."""
        encoded = self._true_answer(asked) if asked.truth else None
        sample = {scope: self._sample(scope, asked.sample) for scope in SCOPES}
        yield {
            "kind": "start",
            "total": len(asked.strengths),
            "sample": {scope: len(part) for scope, part in sample.items()},
            "quadratic": self._quadratic(),
        }
        started = time.monotonic()
        with self._trial() as model:
            for done, percent in enumerate(asked.strengths, 1):
                self.adapters.blend("trial", percent / 100)
                accuracies = {scope: accuracy(model, part) for scope, part in sample.items()}
                row = {"unlearn": 100 - accuracies["unlearn"], "retention": accuracies["retention"]}
                logprob = sum(self._scored(model, encoded).logprob) if encoded else None
                yield {
                    "kind": "row",
                    "strength": percent,
                    **row,
                    "logprob": logprob,
                    "done": done,
                    "total": len(asked.strengths),
                }
        yield {"kind": "done", "seconds": time.monotonic() - started}

    def complete(self, asked: Asked) -> Replies:
        """Let each voice go on from its own prompt, all of them together, token by token."""
        yield from completions.complete(self, asked)

    # -- what they share ----------------------------------------------------------------------------------------------

    @property
    def pad(self) -> int:
        """The padding token."""
        return int(self.loaded.tokenizer.pad_token_id)

    def load(self, run: Run, folder: Path) -> None:
        """Bring the model and the run's adapters into memory; keep the base where it is the same."""
        after = unlearned(run)
        stamp = (str(run.path), after.stat().st_mtime_ns)  # a run that was resumed has the same path and other weights
        if self.stamp == stamp:
            self.speakers.folder = folder
            return
        self.config = run.config()
        # What fails below may leave what a run was taught merged into the base: then the next run gets a new one.
        kept, self.model, self.stamp = self.model, None, None
        source = names.resolve(self.config.model.name)[0]
        base = dataclasses.replace(self.config.model.in_memory, template=""), weight_files.stamp(source)
        if kept != base:
            self.clear()
            opened = open_finished(run)
        else:
            # A run of another rank does not fit the adapters in memory, so the base is wrapped anew.
            self.adapters.release()
            opened = open_finished(run, base=self.loaded)
        self.loaded, self.adapters = opened.loaded, opened.adapters
        self.speakers = Speakers(self.adapters, run, folder)
        self.model, self.stamp = base, stamp

    def clear(self) -> None:
        """Let the model go, before another one comes."""
        self.model = self.stamp = None
        for name in ("speakers", "adapters", "loaded"):
            self.__dict__.pop(name, None)
        gc.collect()  # models refer to themselves

    def settings(self, given: Mapping[str, Any]) -> AnswersConfig:
        """Return the run's way of answering with some settings changed. Raises UserError for wrong ones."""
        config = self.config
        for key, value in given.items():
            config = config.with_setting(f"answers.{key}", value)
        return config.answers

    def speaking(self, voices: Sequence[str]) -> tuple[dict[str, tuple[str | None, int]], list[dict[str, Any]]]:
        """Return voice -> (adapter, its index among the voices), and a reply for each that cannot speak."""
        keep, speaking, failures = frozenset(voices), {}, []
        for index, text in enumerate(voices):
            try:
                self._must_be_there(parse(text))
                speaking[text] = (self.speakers.adapter(parse(text), keep), index)
            except UserError as error:
                failures.append({"kind": "voice_error", "voice": text, "what": error.what, "fix": error.fix})
        return speaking, failures

    def _must_be_there(self, voice: Voice) -> None:
        """Raise UserError where a run has no model that never knew, or none that was taught without U."""
        mine, folder = self.speakers.run, self.speakers.folder
        if voice.kind not in ("never", VOICE) or audit.whole(mine):
            # Models without a common base have each one of their own, and the pair of them knows whether one was given.
            return
        run = askable.find(voice.run, mine, folder) if voice.run else mine
        if why := askable.no_never(run) if voice.kind == "never" else askable.no_retrained(run):
            raise UserError(f"It cannot be asked: {why}.", "Ask before and after, and see what was recorded.")

    def _start(self, asked: Asked, speaking: Mapping[str, Any]) -> dict[str, Any]:
        tokenizer, template = self.loaded.tokenizer, self.config.model.template
        return {
            "kind": "start",
            "prompts": [prompt_text(tokenizer, template, as_asked(self.config, question)) for question in asked.questions],
            "hashes": {voice: self.speakers.hash(parse(voice)) for voice in speaking},
        }

    def _prompts(self, questions: Sequence[str]) -> list[tuple[int, ...]]:
        tokenizer, template = self.loaded.tokenizer, self.config.model.template
        return [tuple(prompt_ids(tokenizer, template, as_asked(self.config, question))) for question in questions]

    @property
    def room(self) -> int:
        """How many tokens the model can read."""
        config = self.adapters.model.get_base_model().config
        return int(getattr(config, "max_position_embeddings", None) or 2**20)

    def _batch(
        self,
        prompts: Sequence[tuple[int, tuple[tuple[int, ...], int]]],
        speaking: Mapping[str, tuple[str | None, int]],
        asked: Asked,
        settings: AnswersConfig,
        seed: int,
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield the pieces of some questions, step by step; an index is question · voices + voice."""
        tokenizer = self.loaded.tokenizer
        ends = ends_of_answer(tokenizer, self.config.model.template)
        requests, indices = [], []
        for number, (ids, draw) in prompts:
            for adapter, position in speaking.values():
                requests.append(Request(ids, adapter, draw))
                indices.append(number * len(asked.voices) + position)
        spoken = [Spelling(tokenizer) for _ in requests]
        for pieces in stream(self.adapters, requests, settings, ends=ends, pad=self.pad, seed=seed, top=asked.top):
            yield [self.told(p, indices[p.request], spoken[p.request], p.token in ends) for p in pieces]

    def _true_answer(self, asked: Asked) -> Encoded:
        example = Example("asked", asked.questions[0], asked.truth, "", "", "")
        return encode(self.loaded.tokenizer, self.config.model.template, example, self.room)

    @contextlib.contextmanager
    def _trial(self) -> Iterator[Any]:
        """Compute with an adapter "trial" that is changed row by row: switching anew for each costs as much as a row."""
        try:
            self.adapters.copy("after", "trial")
            with self.adapters.active("trial") as model:
                yield model
        finally:
            self.adapters.drop("trial")

    def _scores(self, adapter: str | None, encoded: Encoded, top: int = 0) -> TokenScores:
        with self.adapters.active(adapter) as model:
            return self._scored(model, encoded, top)

    def _scored(self, model: Any, encoded: Encoded, top: int = 0) -> TokenScores:
        return dict(score(model, [encoded], top=top))[encoded.id]

    def told(self, piece: Piece, index: int, spoken: Spelling, ended: bool) -> dict[str, Any]:
        """Return a generated token as a reply tells it; what it completes is taken from what was spoken so far."""
        return {
            "index": index,
            "text": spoken.add(None if ended else piece.token, piece.last),
            "word": self.word(piece.token),
            "logprob": piece.logprob,
            "top": [[self.word(token), logprob] for token, logprob in piece.top],
            "last": piece.last,
            "ended": ended,
        }

    def word(self, token: int) -> str:
        """Write one token."""
        return str(self.loaded.tokenizer.decode([token], clean_up_tokenization_spaces=False))

    def _sample(self, scope: str, size: int) -> list[Encoded]:
        """Return a scope's train questions, evenly over their lengths: the same ones every time."""
        run = self.speakers.run
        rows = [row for row in run.answers() if row.get("scope") == scope and row.get("split") in ("train", "dev")]
        examples = [
            Example(str(r["example"]), str(r["question"]), str(r["truth"]), scope, "", "") for r in rows
        ] or sources.load(self.config.data, self.config.seed).select(scope, ("train", "dev"))
        members = [
            encode(self.loaded.tokenizer, self.config.model.template, e, self.config.data.max_tokens) for e in examples
        ]
        return spread(members, size)

    def _quadratic(self) -> int:
        """Count the modules of which both factors moved: there the product is quadratic in the strength."""
        moved = Counter(name.rsplit(".lora_", 1)[0] for name in self.adapters.moved())
        return sum(factors == 2 for factors in moved.values())
