"""What a method is. No torch here: forms, lists and configurations read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context

FORGET, RETAIN, GENERAL, REFUSAL, QUESTION = "forget", "retain", "general", "refusal", "question"


@dataclass(frozen=True)
class Method:
    """A frozen dataclass whose fields are its settings; a method overrides `loss`, and the rest where it needs to.

    Methods have no state: what must be remembered between steps goes into `context.memory`.
    """

    name: ClassVar[str] = ""
    """what the command line and the page call it; a method of one's own may do without"""
    formula: ClassVar[str] = ""
    """the loss in one line"""
    source: ClassVar[str] = ""
    """where it was published"""
    known_for: ClassVar[str] = ""
    """what it is good and bad at: only from cited text or from our own tables"""
    streams: ClassVar[tuple[str, ...]] = (FORGET, RETAIN)
    """What a step runs through the model, of forget, retain, general, refusal and question (the questions of forget as texts
    of their own). Only these parts of the context exist."""
    refusals: ClassVar[str] = ""
    """which refusals the stream refusal holds: plain, or named (they name the subject); see core/data/refusals.py"""

    mixes: ClassVar[bool] = False
    """whether its loss is a sum over examples, so that a step may mix them in any numbers (unlearn.mixed)"""
    continues: ClassVar[bool] = False
    """whether it uses the updates of the requests that a run goes on from"""

    @property
    def label(self) -> str:
        """What lists show."""
        return self.name or type(self).__name__

    @property
    def follows(self) -> str:
        """The reference that it follows on U beside before: never (the base), invented (core/data/invented.py) or none."""
        return ""

    @property
    def apart(self) -> bool:
        """Whether it asks for the gradients of streams one by one: they then go through the model one by one."""
        return False

    def prepare(self, context: Context) -> None:
        """Do what is needed once, before the first step."""

    def loss(self, context: Context) -> torch.Tensor:
        """Return the scalar to be minimised."""
        raise NotImplementedError

    def backward(self, context: Context) -> None:
        """Put the gradients into the parameters. Overridden only where one loss is not enough."""
        self.loss(context).backward()

    def mask(self, context: Context, name: str, gradient: torch.Tensor) -> torch.Tensor:
        """Return the gradient that a tensor of the region is to follow."""
        return gradient

    def update(self, context: Context) -> None:
        """Do what is needed after each step of the optimizer."""

    def result(self, before: torch.Tensor, trained: torch.Tensor) -> torch.Tensor:
        """Return what a tensor of the region becomes, from its values before and after all steps."""
        return trained
