"""One stream's examples of a step, and what a method may ask about their answer tokens.

E is the number of examples, N that of their answer tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from core.models.likelihood import per_example, soft_nll, token_nll
from core.models.tokens import Encoded
from core.util.errors import UserError

if TYPE_CHECKING:
    from core.pipeline.step_context import Context


class Part:
    """One stream's examples in the batch."""

    def __init__(self, context: Context, place: int, start: int, stop: int) -> None:
        """Cut examples start … stop out of the batch; it is the stream number `place` of the step."""
        self.context, self.place, self.examples = context, place, slice(start, stop)
        self.members = context.batch.members[start:stop]
        first = sum(len(m.answer) for m in context.batch.members[:start])
        self.tokens = slice(first, first + sum(len(m.answer) for m in self.members))

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.members)

    @property
    def targets(self) -> torch.Tensor:
        """(N,) the true answer tokens."""
        return self.context.batch.targets[self.tokens]

    @property
    def owners(self) -> torch.Tensor:
        """(N,) which of these examples each token belongs to."""
        return self.context.batch.owners[self.tokens] - self.examples.start

    @property
    def logits(self) -> torch.Tensor:
        """(N, vocabulary) of the model now, in its number format."""
        return self.context.split_logits[self.place]

    @property
    def nll(self) -> torch.Tensor:
        """(N,) −log p of the true answer tokens."""
        kept = self.context.losses
        if self.place not in kept:
            kept[self.place] = token_nll(self.logits, self.targets)
        return kept[self.place]

    def nll_of(self, targets: torch.Tensor) -> torch.Tensor:
        """(N,) −log p of other tokens at the same positions."""
        return token_nll(self.logits, targets)

    def soft_nll(self, target: torch.Tensor, shift: float = 0.0) -> torch.Tensor:
        """(N,) −Σ softmax(target) log softmax(now), the true tokens' logits in the (N, V) target changed by `shift`."""
        return soft_nll(self.logits, target, self.targets if shift else None, shift)

    def hidden(self, layer: int) -> torch.Tensor:
        """(N, width) hidden states after a layer."""
        return self.context.hidden(layer)[self.tokens]

    def loss(self, ceiling: float = 0.0) -> torch.Tensor:
        """Return (E,): cross-entropy of each example, averaged over its answer tokens.

        With a ceiling, tokens whose cross-entropy is above it count as the ceiling and have no gradient.
        """
        return self.mean(self.nll.clamp(max=ceiling) if ceiling else self.nll)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Average (N,) token values within each example: (E,)."""
        return per_example(values, self.owners, len(self))

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum (N,) token values within each example: (E,)."""
        return torch.zeros(len(self), dtype=values.dtype, device=values.device).index_add_(0, self.owners, values)

    def reference_logits(self, voice: str = "before") -> torch.Tensor:
        """(N, vocabulary) of the taught model ("before") or of the base that was never taught ("never")."""
        return self.context.reference(voice, self.members)

    def reference_nll(self, voice: str = "before") -> torch.Tensor:
        """(N,) −log p of the true answer tokens under a reference model."""
        return self.once(
            f"nll of {voice}", lambda members, targets: token_nll(self.context.reference(voice, members), targets).detach()
        )

    def preference(self, margin: torch.Tensor, beta: float) -> torch.Tensor:
        """(E,) −(2/β) log σ(β · margin): pushes each example's margin up, and lets go once it is large."""
        return -2 / beta * torch.nn.functional.logsigmoid(beta * margin)

    def once(self, name: str, compute: Callable[[Sequence[Encoded], torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """(N,) what `compute(members, their answer tokens)` gives, computed once for each example and remembered."""
        cache = self.context.memory.setdefault(name, {})
        missing = [m for m in self.members if m.id not in cache]
        if missing:
            targets = torch.tensor([t for m in missing for t in m.answer], device=self.context.device)
            values = compute(missing, targets).split([len(m.answer) for m in missing])
            cache.update(zip((m.id for m in missing), values, strict=True))
        return torch.cat([cache[m.id] for m in self.members])

    def reference_hidden(self, layer: int, voice: str = "before") -> torch.Tensor:
        """(N, width) hidden states of a reference model after a layer."""
        return self.context.reference(voice, self.members, layer)

    def kl_from(self, voice: str = "before") -> torch.Tensor:
        """(N,) KL(reference ‖ now) over the whole vocabulary at each answer position."""
        return soft_nll(self.logits, self.reference_logits(voice), divergence=True)

    def random_labels(self) -> torch.Tensor:
        """(N,) tokens drawn anew, uniformly over all that are not special. Raises UserError where there are none."""
        words = self.context.supply.words
        if words is None:
            raise UserError("Random labels need the vocabulary.", "Report this as a bug.")
        drawn = torch.randint(len(words), (len(self.targets),), generator=self.context.random)
        return words[drawn].to(self.context.device)
