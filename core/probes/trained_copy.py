"""An adapter that is trained further, and dropped again: the run's own adapters are never trained.

Imports torch; probes reach it through their context.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from functools import partial

import torch

from core.models.adapters import Adapters
from core.models.likelihood import answer_logits, mean_loss
from core.models.micro_batches import MicroBatches
from core.models.tokens import Encoded, collate, epochs
from core.util.errors import UserError

COPY = "relearnt"
"""name of the adapter that is trained"""


class TrainedCopy:
    """A copy of a voice, which speaks as the voice `name`; trained by AdamW on true answers."""

    name = COPY

    def __init__(
        self,
        adapters: Adapters,
        examples: Sequence[Encoded],
        learning_rate: float,
        batch_size: int,
        seed: int,
        micro: MicroBatches,
    ) -> None:
        """Prepare to train on batches of the examples, in epochs whose order the seed decides."""
        self._adapters, self._micro = adapters, micro
        self._batches = epochs(examples, batch_size, torch.Generator().manual_seed(seed))
        parameters = list(adapters.tensors(COPY).values())
        self._optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)

    def step(self) -> float:
        """Make one step on a batch's mean loss; return it. Raises UserError where it is not finite."""
        members = next(self._batches)
        value = self._micro.made(partial(self._gradients, members), len(members), self._optimizer.zero_grad)
        # Before the step: after it the weights would be no numbers either.
        if not math.isfinite(value):
            raise UserError(
                "The copy that is trained diverged: its loss is not a number.", "Lower the probe's learning_rate."
            )
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return value

    def _gradients(self, members: Sequence[Encoded]) -> float:
        """Add up the gradients of a batch's mean loss; return that."""
        whole = 0.0
        with self._adapters.active(COPY) as model, self._micro.keeping(self._adapters):
            for part in self._micro.cut(members):
                batch = collate(part, self._adapters.device)
                loss = mean_loss(answer_logits(model, batch), batch) * (len(part) / len(members))
                loss.backward()
                whole += float(loss.detach())
        return whole


@contextlib.contextmanager
def training(
    adapters: Adapters,
    voice: str,
    examples: Sequence[Encoded],
    *,
    learning_rate: float,
    batch_size: int,
    seed: int,
    micro: MicroBatches,
) -> Iterator[TrainedCopy]:
    """Within this context there is a copy of a voice that can be trained; afterwards all is as it was."""
    try:
        add_copy(adapters, voice, seed)
        with adapters.trainable(COPY, [cell.name for cell in adapters.cells]):
            yield TrainedCopy(adapters, examples, learning_rate, batch_size, seed, micro)
    finally:
        adapters.drop(COPY)
        adapters.unmerged.discard(COPY)


def add_copy(adapters: Adapters, voice: str, seed: int) -> None:
    """Make the adapter that is trained: equal to the voice's, or for never fresh, which changes nothing yet (B = 0).

    A fresh one has the rank of after, so that it can learn as much.
    """
    adapters.copy("after" if voice == "never" else voice, COPY)
    if voice != "never":
        return
    adapters.unmerged.add(COPY)  # where what was taught is merged into the base, it begins from the base as it was
    source = torch.Generator().manual_seed(seed)
    for cell in adapters.cells:
        parameter = adapters.tensor(COPY, cell.name)
        # As peft begins (kaiming uniform with a = √5): uniform within ± 1 / √in.
        edge = 1 / math.sqrt(parameter.shape[1]) if cell.factor == "A" else 0.0
        parameter.data.copy_((2 * torch.rand(parameter.shape, generator=source) - 1) * edge)
