"""One question and what was answered to it: kept in the browser session, shown by panes, listed in the history."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from core.config.run_config import RunConfig
from core.config.stages import AnswersConfig
from core.report.export_answers import Record
from core.runs import askable
from core.runs.store import Run
from core.runs.voices import SPOKEN, Voice, parse
from core.serve import client, messages
from core.util import safe_read
from core.util.errors import UserError
from dashboard.text import duration
from dashboard.widgets import current_run, scope_names

LONGEST_QUESTION = 4000
"""characters of a question that are sent"""
MOST = 500
"""exchanges that a session remembers"""
SETTINGS = ("max_new_tokens", "temperature", "top_p")


@dataclass(frozen=True)
class Decoding:
    """How answers are generated."""

    answers: AnswersConfig
    seed: int

    def values(self) -> dict[str, Any]:
        """Return what matters for the text of an answer."""
        settings = {name: getattr(self.answers, name) for name in SETTINGS}
        return {**settings, "seed": self.seed} if self.answers.temperature else settings

    def key(self) -> tuple[Any, ...]:
        """Return the same as a key."""
        return tuple(self.values().items())


def decoding_within(values: Mapping[str, Any], own: Decoding) -> Decoding:
    """Return the decoding that some values say, within what is allowed; where they say nothing, a run's own."""

    def value(name: str, fallback: float, low: float, high: float) -> float:
        given = safe_read.number(values.get(name))
        return min(max(fallback if given is None else given, low), high)

    base = own.answers
    return Decoding(
        AnswersConfig(
            max_new_tokens=int(value("max_new_tokens", base.max_new_tokens, 1, 2048)),
            temperature=float(value("temperature", base.temperature, 0.0, 5.0)),
            top_p=float(value("top_p", base.top_p, 0.01, 1.0)),
            batch_size=base.batch_size,
        ),
        int(value("seed", own.seed, 0, 2**31 - 1)),
    )


@dataclass
class Answer:
    """What one voice said."""

    text: str = ""
    state: str = "streaming"
    """recorded, streaming, done, stopped or error"""
    digest: str = ""
    """SHA-256 of the adapter's weights"""
    tokens: int = 0
    seconds: float = 0.0
    first: float = 0.0
    """seconds from sending the question to the first token"""
    said: list[dict[str, Any]] = field(default_factory=list)
    """its tokens: text, logprob, and top where it is known; empty where only the text was recorded"""
    cut: bool = False
    """whether it may have gone on: no end token came"""
    what: str = ""
    fix: str = ""

    @property
    def rate(self) -> float:
        """Tokens per second; 0 where nothing was measured."""
        return self.tokens / self.seconds if self.seconds else 0.0


@dataclass
class Exchange:
    """A question to one run under one way of decoding."""

    question: str
    run: str
    decoding: Decoding
    own: Decoding
    """the run's own way, in which its answers were recorded"""
    changed: float = 0.0
    """of the run's recorded answers: when they were, which tells one state of the run from the next"""
    truth: str = ""
    tags: tuple[str, ...] = ()
    """scope and kind of a question of the run's data"""
    example: str = ""
    prompt: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    scores: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """voice -> the true answer's tokens: text, logprob, rank, top"""
    holds: dict[str, dict[str, Any]] = field(default_factory=dict)
    """layers, modules or cells -> what the process told about each, put back alone"""
    dial: dict[str, Any] = field(default_factory=dict)
    live: set[str] = field(default_factory=set)
    """voices that the model itself was asked to answer for, whatever was recorded"""
    error: tuple[str, str] = ("", "")
    star: bool = False
    note: str = ""
    voices: list[str] = field(default_factory=list)
    """those that a page shows side by side"""

    def missing(self, voices: Iterable[str]) -> list[str]:
        """Return the voices that have yet to answer; one that was interrupted starts again."""
        return [v for v in voices if v not in self.answers or self.answers[v].state == "streaming"]

    def stop(self, voices: Iterable[str]) -> None:
        """Keep what was said so far as all that there is."""
        for voice in self.missing(voices):
            self.answers.setdefault(voice, Answer()).state = "stopped"

    def again(self, voices: Iterable[str]) -> None:
        """Forget what some voices said, so that they are asked anew."""
        self.error = ("", "")
        for voice in voices:
            self.answers.pop(voice, None)
            self.live.add(voice)

    def finished(self, voice: str) -> bool:
        """Say whether a voice's text will not change any more."""
        return voice in self.answers and self.answers[voice].state in ("recorded", "done", "stopped")

    def record(self) -> Record:
        """Return what is exported."""
        answers = {v: a for v, a in self.answers.items() if a.state in ("recorded", "done", "stopped")}
        return Record(
            question=self.question,
            run=self.run,
            texts={v: a.text for v, a in answers.items()},
            truth=self.truth,
            hashes={v: a.digest for v, a in answers.items() if a.digest},
            settings=self.decoding.values(),
            sources={v: {"done": "asked"}.get(a.state, a.state) for v, a in answers.items()},
            totals={v: sum(t["logprob"] for t in tokens) for v, tokens in self.scores.items() if tokens},
            tags=self.tags,
            star=self.star,
            note=self.note,
        )


def decoding_of(config: RunConfig) -> Decoding:
    """Return the way in which a run's answers were recorded."""
    return Decoding(config.answers, config.seed)


def remembered() -> dict[tuple[Any, ...], Exchange]:
    """Return all exchanges of this browser session, oldest first."""
    exchanges: dict[tuple[Any, ...], Exchange] = st.session_state.setdefault("exchanges", {})
    return exchanges


def open_exchange(run: Run, question: str, decoding: Decoding, own: Decoding, rows: Sequence[Mapping[str, Any]]) -> Exchange:
    """Return the exchange of a question, a new one with what was recorded where there is none yet."""
    # With the time of the file: a run that was evaluated again has other recorded answers to the same question.
    exchanges, changed = remembered(), current_run.stamp(run, "answers.jsonl")
    key = (str(run.path), changed, question, decoding.key())
    if key not in exchanges:
        row: Mapping[str, Any] = next((row for row in rows if row.get("question") == question), {})
        exchange = Exchange(question, run.id, decoding, own, changed, tags=tags_of(row))
        exchange.truth, exchange.example = str(row.get("truth", "")), str(row.get("example", ""))
        exchanges[key] = exchange
        for old in list(exchanges)[:-MOST]:
            del exchanges[old]
    return exchanges[key]


def tags_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return scope and, where it has one, kind of a line of a run's answers; nothing of what is none."""
    return tuple(filter(None, (str(row["scope"]), scope_names.kind(row)))) if {"scope", "split"} <= set(row) else ()


def fill(exchange: Exchange, run: Run, voices: Iterable[str]) -> None:
    """Give voices that have not answered what was recorded, if it was recorded under these settings."""
    if exchange.decoding.key() != exchange.own.key():
        return
    for text in voices:
        if text not in exchange.answers and text not in exchange.live:
            answer = recorded(run, exchange, text)
            if answer:
                exchange.answers[text] = answer
    template = (run.json("config.json") or {}).get("model", {}).get("template")
    exchange.prompt = exchange.prompt or (f"{exchange.question}\n\n" if template == "plain" else "")


def recorded(run: Run, exchange: Exchange, text: str) -> Answer | None:
    """Return a voice's recorded answer, also one of another run that was recorded in the same way."""
    try:
        voice = parse(text)
        source = current_run.known_runs()[voice.run] if voice.run else run
        if voice.kind not in SPOKEN or decoding_of(source.config()).key() != exchange.decoding.key():
            return None
    except (UserError, KeyError):
        return None
    row = next((row for row in current_run.answers(source) if row.get("question") == exchange.question), {})
    if voice.kind not in row:
        return None
    hashes = (source.json("manifest.json") or {}).get("adapters", {})
    return Answer(str(row[voice.kind]), "recorded", str(hashes.get(voice.kind, "")))


def label(text: str) -> str:
    """Return a voice's heading; text that is no voice heads its own pane."""
    try:
        return parse(text).label
    except UserError:
        return text[:80]


def kind(text: str) -> Voice | None:
    """Return what a voice's text says, None where it is no voice."""
    try:
        return parse(text)
    except UserError:
        return None


def ask(run: Run, exchange: Exchange, voices: Sequence[str]) -> Generator[Mapping[str, Any]]:
    """Let voices answer; yield each reply once the exchange holds it. What goes wrong becomes the exchange's error.

    Closing it ends the work.
    """
    sent = time.monotonic()
    exchange.again(voices)
    try:
        askable.askable(run)
        how = exchange.decoding
        replies = client.ask(run, [exchange.question], voices, how.answers, how.seed, messages.ALTERNATIVES)
        with contextlib.closing(replies):
            for reply in replies:
                take(exchange, voices, reply, sent)
                yield reply
    except UserError as error:
        exchange.stop(voices)
        exchange.error = (error.what, error.fix)


def waited_for(reply: Mapping[str, Any]) -> str:
    """Say what is being waited for."""
    if reply["kind"] == "waiting":
        return f"Waiting for the model: {duration(float(reply['seconds']))}. The first time it has to be loaded."
    return "Loading the model …" if reply["kind"] == "loading" else "Answering …"


def take(exchange: Exchange, voices: Sequence[str], reply: Mapping[str, Any], sent: float) -> None:
    """Put a reply of the process into the exchange; voices are those that were asked, in their order."""
    if reply["kind"] == "start":
        exchange.prompt = str(reply["prompts"][0])
        for voice, digest in reply["hashes"].items():
            exchange.answers[voice] = Answer(digest=str(digest))
    elif reply["kind"] == "voice_error":
        exchange.answers[str(reply["voice"])] = Answer(state="error", what=str(reply["what"]), fix=str(reply["fix"]))
    for piece in reply.get("pieces", ()):
        answer = exchange.answers[voices[piece["index"] % len(voices)]]
        answer.first = answer.first or time.monotonic() - sent
        answer.text = (answer.text + piece["text"]).lstrip()
        answer.said.append({"text": piece["word"], "logprob": piece["logprob"], "top": piece["top"]})
        answer.tokens, answer.seconds = answer.tokens + 1, float(reply.get("seconds", 0.0))
        if piece["last"]:
            answer.cut = not piece.get("ended", True)
            answer.state, answer.text = "done", answer.text.rstrip()
