"""What a leak probe is, and what it finds. No torch here: pages, lists and reports read it.

A probe asks in another way for what was to be forgotten, and compares three voices: before, after, and the model that was
never taught (adapter off). What the last one says too was not remembered, so every rate stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from core.util.errors import UserError

if TYPE_CHECKING:
    from core.probes.context import ProbeContext

FORMAT = 1
MOST_LEAKED = 200
"""questions that a finding lists"""


UNITS = {
    "facts": "facts came back, %",
    "tokens": "answer tokens, %",
    "pairs": "pairs told apart (AUC), %",
    "kept": "still answered, %",
}
"""what rates count -> the name of their axis, short enough for a telephone"""


class Unavailable(UserError):
    """A probe cannot be made with this model or run; the message is one sentence that says why."""


@dataclass(frozen=True)
class Finding:
    """What a probe found, in plain JSON values."""

    sentence: str
    """the result in one plain sentence"""
    measure: str
    """what the rates are, in words, with their unit"""
    n: int
    """questions, or whatever the rates are over"""
    rates: Mapping[str, Mapping[str, Any]]
    """before, after, never -> {"value", "low", "high"} in percent, or {"reason"}"""
    leaked: Sequence[Mapping[str, Any]] = ()
    """what came back after: id, question (as asked), answer, truth, form"""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """whatever else the probe knows: curves, rates per form, maps"""


@dataclass(frozen=True)
class Probe:
    """A frozen dataclass whose fields are its settings; a probe overrides `run`."""

    name: ClassVar[str]
    title: ClassVar[str]
    what: ClassVar[str]
    """one plain sentence"""
    cost: ClassVar[str] = "seconds"
    """seconds or minutes, on two cores with the bundled model"""
    kind: ClassVar[str] = "leak"
    """leak: what came back is a leak; use: it is contextual use; look: it looks inside, and nothing is a leak"""
    both_ways: ClassVar[bool] = False
    """whether a rate far below the never-taught model's tells as much as one far above it"""
    unit: ClassVar[str] = "facts"
    """what its rates count, a key of UNITS: rates of different units stand on no common axis"""
    floor: ClassVar[float | None] = 0.0
    """rate (%) of a model that knows nothing, for runs without one that was never taught; None: only such a model could
    tell"""
    source: ClassVar[str] = ""
    """where it was published"""

    def check(self) -> None:
        """Raise UserError for settings that cannot work together, before a model is loaded."""

    def run(self, context: ProbeContext) -> Finding:
        """Do it. Raises Unavailable where the model or the run does not allow it, Cancelled where the user stopped it."""
        raise NotImplementedError
