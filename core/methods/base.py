"""What a method is, and what it may look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    import torch


class Losses(Protocol):
    """A batch's losses, on demand."""

    def __call__(self, ceiling: float = 0.0) -> torch.Tensor:
        """Return (examples,): cross-entropy of each example, averaged over its answer tokens.

        With a ceiling, tokens whose cross-entropy is above it count as the ceiling and have no gradient.
        """


@dataclass
class Context:
    """What one step offers to a method's loss. Computed lazily: a method pays only for what it reads."""

    forget: Losses
    """of the unlearn batch"""
    retain: Losses
    """of the retention batch"""


@dataclass(frozen=True)
class Method:
    """A frozen dataclass whose fields are its settings; subclasses override `loss`."""

    name: ClassVar[str]
    uses_retain: ClassVar[bool] = True
    """False for methods that never look at the retention scope: its forward pass is then left out."""

    def loss(self, context: Context) -> torch.Tensor:
        """Return the scalar to be minimised."""
        raise NotImplementedError
