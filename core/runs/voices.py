"""Who can answer: one small grammar for voices, written in links and requests alike.

    voice = ["run:" ID "/"] own
    own   = "before" | "after" | "never" | "retrained" | "step:" N | "blend:" PERCENT | "without:" PART {"," PART}
    PART  = tensor name | "layer=" N | "module=" PATH

`step` is a checkpoint of unlearning, `blend` lies PERCENT of the way from before to after, `without` is after with
some cells put back to before. Importing this file costs no heavy library.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from core.util.errors import UserError

STRONGEST = 150
"""percent; a blend beyond after shows where the update leads, far beyond it is only noise"""
LONGEST = 20_000
"""characters of a voice: a hand-picked region can be long, a mistake is longer"""
VOICE = "retrained"
"""the base that was taught all but what was to be forgotten (core/pipeline/retrained.py)"""
SPOKEN = ("before", "after", "never", VOICE)
"""voices of a run's own, which its files record and which can be asked without a number: the taught model, the same after
unlearning, the base that was never taught (adapter off), and the retrained one"""
VOICE_NAMES = {"before": "Before", "after": "After", "never": "Never taught", VOICE: "Taught without U"}
"""what a reader is told instead"""
WITHIN = {voice: name[:1].lower() + name[1:] for voice, name in VOICE_NAMES.items()}
"""the same within a sentence"""
REFERENCES = ("never", VOICE)
"""those of SPOKEN that never learned what is to be forgotten"""

FIX = "Use before, after, never, retrained, step:N, blend:PERCENT or without:CELLS, with run:ID/ in front for another run."
_RUN = re.compile(r"run:([A-Za-z0-9][A-Za-z0-9._-]{0,199})/(.*)", re.DOTALL)
_PART = re.compile(r"layer=\d{1,5}|module=[\w.-]{1,200}|[\w.-]{1,300}")


def was_asked(row: Mapping[str, object]) -> bool:
    """Say whether a row of answers.jsonl holds an answer: of what was taught only a sample is asked."""
    return any(voice in row for voice in SPOKEN)


@dataclass(frozen=True)
class Voice:
    """One way to answer; `str` gives it back in the grammar, in one canonical spelling."""

    kind: str
    """before, after, never, retrained, step, blend or without"""
    run: str = ""
    """id of another run; empty: the run that is asked"""
    step: int = 0
    """of kind step: the optimizer step"""
    percent: float = 100.0
    """of kind blend: 0 is before, 100 is after"""
    parts: tuple[str, ...] = ()
    """of kind without: tensor names, layer=N, module=PATH"""

    def __str__(self) -> str:
        """Write it in the grammar."""
        own = {
            "step": f"step:{self.step}",
            "blend": f"blend:{self.percent:g}",
            "without": f"without:{','.join(self.parts)}",
        }.get(self.kind, self.kind)
        return f"run:{self.run}/{own}" if self.run else own

    @property
    def label(self) -> str:
        """A few words for a heading; the run's id and tensor names in it are as hostile as any text."""
        own = {
            **VOICE_NAMES,
            "step": f"After step {self.step}",
            "blend": f"Blend {self.percent:g} %",
            "without": f"After, without {self.what}",
        }[self.kind]
        return f"{own} of {self.run}" if self.run else own

    @property
    def what(self) -> str:
        """What was put back, in a few words."""
        if len(self.parts) > 2:
            return f"{len(self.parts)} cells"
        return " and ".join(part.replace("=", " ").replace("module ", "all ") for part in self.parts)


def parse(text: str) -> Voice:
    """Read a voice. Raises UserError for anything that the grammar does not allow."""
    if len(text) > LONGEST:
        raise UserError(f"This voice has {len(text)} characters, more than {LONGEST}.", FIX)
    match = _RUN.fullmatch(text)
    run, own = (match[1], match[2]) if match else ("", text)
    kind, colon, value = own.partition(":")
    if kind in SPOKEN and not colon:
        return Voice(kind, run)
    if kind == "step" and re.fullmatch(r"\d{1,7}", value):
        return Voice(kind, run, step=int(value))
    if kind == "blend":
        return Voice(kind, run, percent=_percent(value))
    parts = tuple(dict.fromkeys(value.split(",")))
    if kind == "without" and all(_PART.fullmatch(part) for part in parts):
        return Voice(kind, run, parts=parts)
    raise UserError(f"There is no voice “{text[:80]}”.", FIX)


def cells_of(parts: Iterable[str], cells: Iterable[tuple[str, int, str]]) -> list[str]:
    """Return the tensors that parts name, in grid order; cells are (name, layer, module).

    Raises UserError for a part that names none.
    """
    grid = list(cells)
    chosen: set[str] = set()
    for part in parts:
        mine = {name for name, layer, module in grid if part in (name, f"layer={layer}", f"module={module}")}
        if not mine:
            raise UserError(f"This model has no cell “{part}”.", "Name a tensor, layer=N or module=PATH.")
        chosen |= mine
    return [name for name, _, _ in grid if name in chosen]


def _percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan  # as a text “nan” is: it fails the comparison below
    if not 0 <= value <= STRONGEST:
        raise UserError(
            f"A blend cannot be “{text[:20]}”.", f"Give percent from 0 (before) over 100 (after) to {STRONGEST}."
        )
    return value
