"""Requests to the answering process, checked before anything is computed: types, sizes, ranges.

No heavy import: the client builds them, the server reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.runs import store
from core.runs.store import Run
from core.runs.voices import LONGEST as LONGEST_VOICE
from core.runs.voices import STRONGEST
from core.util.errors import UserError

MOST_QUESTIONS = 500
LONGEST_TEXT = 20_000
"""characters of one question or answer"""
MOST_VOICES = 6
MOST_GROUPS = 5_000
"""a model of 80 layers with 14 tensors each has 1,120 cells"""
LARGEST_SAMPLE = 200
MOST_PROMPTS = 1024
"""of `complete`: as many as are ever generated together"""
MOST_TURNS = 200
MOST_ALTERNATIVES = 20
ALTERNATIVES = 8
"""likeliest tokens that a page shows at each place"""
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Prompt:
    """What one voice is to go on from: turns of a conversation, or a text as it stands."""

    voice: str
    turns: tuple[tuple[str, str], ...] = ()
    """(role, text), written by the model's chat template; empty where there is a text"""
    text: str = ""
    draw: int | None = None
    """of sampling, in place of the one that follows from the text: other random numbers for the same question"""


@dataclass(frozen=True)
class Asked:
    """A request whose types and sizes are right."""

    run: Run
    folder: Path
    """where other runs are looked for"""
    questions: tuple[str, ...] = ()
    voices: tuple[str, ...] = ()
    """in the grammar of core.runs.voices; each is read when it speaks, so that a wrong one costs only itself"""
    answers: Mapping[str, Any] = field(default_factory=dict)
    """changes to the run's settings of the stage answers"""
    seed: int | None = None
    """of sampling; None: the run's own"""
    truth: str = ""
    """the true answer to the first question"""
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """of hold: (name, parts in the grammar of `without`)"""
    strengths: tuple[float, ...] = ()
    """of dial: percent"""
    sample: int = 12
    """of dial: questions of each scope"""
    prompts: tuple[Prompt, ...] = ()
    """of complete"""
    top: int = 0
    """of ask and complete: likeliest tokens that are told at each place"""


NEEDS = {
    "load": (),
    "ask": ("questions", "voices"),
    "score": ("questions", "voices", "truth"),
    "lens": ("questions", "voices", "truth"),
    "hold": ("questions", "truth", "groups"),
    "dial": ("strengths",),
    "complete": ("prompts",),
}
"""operation -> fields that must not be empty"""


def read(values: Mapping[str, Any]) -> Asked:
    """Check a request. Raises UserError that names the field and its limit."""
    run = values.get("run")
    if not isinstance(run, str) or not run:
        raise UserError("The request names no run.", "Send its path.")
    folder = values.get("folder")
    truth = _text(values.get("truth") or "", "true answer")
    asked = Asked(
        run=Run(Path(run)),
        folder=Path(folder) if isinstance(folder, str) and folder else store.runs_folder(),
        questions=_texts(values.get("questions"), "questions", MOST_QUESTIONS, LONGEST_TEXT),
        voices=_texts(values.get("voices"), "voices", MOST_VOICES, LONGEST_VOICE),
        answers=_answers(values.get("answers")),
        seed=None if values.get("seed") is None else _whole(values["seed"], "seed", 0, 2**31 - 1),
        truth=truth,
        groups=_groups(values.get("groups")),
        strengths=_strengths(values.get("strengths")),
        sample=_whole(values.get("sample", 12), "sample", 1, LARGEST_SAMPLE),
        prompts=tuple(_prompt(value) for value in _list(values.get("prompts"), "prompts", MOST_PROMPTS)),
        top=_whole(values.get("top", 0), "top", 0, MOST_ALTERNATIVES),
    )
    for name in NEEDS.get(str(values.get("op")), ()):
        if not getattr(asked, name):
            raise UserError(f"The request has no {name}.", "Give at least one.")
    if len(set(asked.voices)) < len(asked.voices):
        raise UserError("A voice is asked twice.", "Name each once.")
    if truth and not asked.questions:
        raise UserError("A true answer needs its question.", "Give both.")
    return asked


def _prompt(value: Any) -> Prompt:
    if not isinstance(value, dict):
        raise UserError("A prompt must be an object with a voice, and turns or a text.", "")
    voice = _text(value.get("voice"), "voices", LONGEST_VOICE, blank=False)
    draw = None if value.get("draw") is None else _whole(value["draw"], "draw", 0, 2**48 - 1)
    if value.get("turns") is None:
        return Prompt(voice, text=_text(value.get("text"), "prompts", blank=False), draw=draw)
    turns = []
    for turn in _list(value["turns"], "turns", MOST_TURNS):
        if not isinstance(turn, list | tuple) or len(turn) != 2 or turn[0] not in ROLES:
            raise UserError("A turn must be a role and a text.", f"The roles are {', '.join(ROLES)}.")
        turns.append((str(turn[0]), _text(turn[1], "turns")))
    if not turns:
        raise UserError("A conversation has no turns.", "Give at least one of the role user.")
    return Prompt(voice, tuple(turns), draw=draw)


def _answers(value: Any) -> dict[str, Any]:
    if value is not None and not (isinstance(value, dict) and all(isinstance(key, str) for key in value)):
        raise UserError("The settings of answers must be an object.", "See `python -m core show RUN --json`.")
    return dict(value or {})


def _list(value: Any, name: str, most: int) -> list[Any]:
    if value is not None and not isinstance(value, list | tuple):
        raise UserError(f"The field {name} must be a list.", "")
    entries = list(value or [])
    if len(entries) > most:
        raise UserError(f"The request has {len(entries)} {name}, more than {most}.", "Send fewer at once.")
    return entries


def _texts(value: Any, name: str, most: int, longest: int) -> tuple[str, ...]:
    return tuple(_text(text, name, longest, blank=False) for text in _list(value, name, most))


def _text(value: Any, name: str, longest: int = LONGEST_TEXT, *, blank: bool = True) -> str:
    if not isinstance(value, str) or not (blank or value.strip()):
        raise UserError(f"Something among the {name} is not a text, or empty.", "")
    if len(value) > longest:
        raise UserError(f"Something among the {name} has {len(value)} characters, more than {longest}.", "Shorten it.")
    # JSON can spell half a character, and no file or socket could then take the text.
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise UserError(f"Something among the {name} holds half a character, which is not text.", "Write it again.")
    return value


def _whole(value: Any, name: str, low: int, high: int) -> int:
    # To Python, True is a whole number.
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UserError(f"{name} cannot be {str(value)[:40]}.", f"Give a whole number from {low} to {high}.")
    return value


def _groups(value: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    groups = []
    for group in _list(value, "groups", MOST_GROUPS):
        if not isinstance(group, dict):
            raise UserError("A group of cells must be an object with name and cells.", "")
        parts = _texts(group.get("cells"), "cells", MOST_GROUPS, 400)
        if not parts:
            raise UserError("A group of cells is empty.", "")
        groups.append((_text(group.get("name"), "names of groups", 400, blank=False), parts))
    return tuple(groups)


def _strengths(value: Any) -> tuple[float, ...]:
    strengths = _list(value, "strengths", 50)
    for number in strengths:
        if not isinstance(number, int | float) or isinstance(number, bool) or not 0 <= number <= STRONGEST:
            raise UserError(f"A strength cannot be {str(number)[:40]}.", f"Give percent from 0 to {STRONGEST}.")
    return tuple(float(number) for number in strengths)
