"""What a method is, and what it may look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import torch


@dataclass
class Context:
    """What one step offers to a method's loss. Computed lazily: a method pays only for what it reads."""

    forget: Callable[[], torch.Tensor]
    """() -> (unlearn examples,) cross-entropy of each, averaged over its answer tokens."""
    retain: Callable[[], torch.Tensor]
    """() -> (retention examples,) the same of the retention batch."""


@dataclass(frozen=True)
class Method:
    """A frozen dataclass whose fields are its settings; subclasses override `loss`."""

    name: ClassVar[str]
    uses_retain: ClassVar[bool] = True
    """False for methods that never look at the retention scope: its forward pass is then left out."""

    def loss(self, context: Context) -> torch.Tensor:
        """Return the scalar to be minimised."""
        raise NotImplementedError
