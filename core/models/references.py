"""What a model that is held on to thinks of examples: the taught model, or the base, beside the one that is being trained.

Computed once for each example. Kept are the hidden states at answer positions, from which the output layer gives the logits
again: a hundredth of the room that a whole vocabulary takes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from core.models.adapters import Adapters
from core.models.likelihood import answer_positions_only
from core.models.micro_batches import MicroBatches
from core.models.prefix import Prefix
from core.models.tokens import Batch, Encoded, by_length, collate


def run(adapters: Adapters, batch: Batch, layers: dict[int, torch.Tensor], prefix: Prefix | None = None) -> torch.Tensor:
    """Return logits (N, vocabulary) of the model as it is now.

    layers: layer -> anything; it is replaced by the hidden states (N, width) after that layer.
    prefix: what is known of the layers below; of no use where hidden states are asked for of a layer that it leaves out.
    """
    model = adapters.model

    def keep(layer: int) -> Any:
        def after(_: torch.nn.Module, __: Any, output: Any) -> None:
            states = output[0] if isinstance(output, tuple) else output
            layers[layer] = states[batch.rows, batch.columns].float()

        return after

    with contextlib.ExitStack() as stack:
        if prefix is not None and all(layer >= prefix.layer - 1 for layer in layers):
            stack.enter_context(prefix.over(batch))  # first: it may run the model itself, which no hook should see
        for layer in list(layers):
            handle = adapters.block(layer).register_forward_hook(keep(layer))
            stack.callback(handle.remove)
        stack.enter_context(answer_positions_only(model, batch))
        output = model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
    return output.logits[0]  # type: ignore[no-any-return]


class References:
    """Reference models on one base, each computed once for each example."""

    def __init__(self, adapters: Adapters, prefix: Prefix | None = None, micro: MicroBatches | None = None) -> None:
        """Begin with nothing computed. prefix: of what is trained; it serves adapters that are the same below."""
        self.adapters, self.prefix, self.micro = adapters, prefix, micro or MicroBatches()
        self._kept_of: dict[tuple[str, int | None, str], torch.Tensor] = {}
        self._whole_logits: bool | None = None

    def of(self, voice: str, members: Sequence[Encoded], layer: int | None = None) -> torch.Tensor:
        """Return what a reference model has at the members' answer positions, without gradients.

        voice: an adapter, or never. layer None: logits (N, vocabulary); else the hidden states after it (N, width).
        """
        missing = [m for m in members if (voice, layer, m.id) not in self._kept_of]
        if missing:
            self._compute(voice, missing, layer)
        kept = torch.cat([self._kept_of[voice, layer, m.id] for m in members])
        if layer is not None or self._whole_logits:
            return kept
        with torch.no_grad():
            return self.adapters.model.get_output_embeddings()(kept)  # type: ignore[no-any-return]

    @torch.no_grad()
    def _compute(self, voice: str, members: Sequence[Encoded], layer: int | None) -> None:
        head = self.adapters.model.get_output_embeddings()
        prefix = self.prefix if self.prefix and voice != "never" and self.prefix.serves(voice) else None
        with self.adapters.active(None if voice == "never" else voice):
            for group in by_length(members, self.micro.within(32)):
                batch = collate(group, self.adapters.device)
                layers: dict[int, torch.Tensor] = {} if layer is None else {layer: torch.empty(0)}
                seen: list[torch.Tensor] = []
                # Registered first, so it sees the hidden states of all positions; last those of the pass itself.
                handle = head.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
                try:
                    logits = run(self.adapters, batch, layers, prefix)
                finally:
                    handle.remove()
                states = (
                    layers[layer] if layer is not None else self._kept(head, seen[-1][batch.rows, batch.columns], logits)
                )
                for member, mine in zip(group, states.split([len(m.answer) for m in group]), strict=True):
                    # A clone: a view would keep the whole batch's tensor in memory.
                    self._kept_of[voice, layer, member.id] = mine.clone()

    def _kept(self, head: torch.nn.Module, states: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Return what to keep of a reference: hidden states, or logits where the model changes them after its head."""
        if isinstance(head, BaseTunerLayer):  # what it makes of the states depends on which adapter is on
            self._whole_logits = True
        # Some models cap or scale what their head gives (Gemma 2, Cohere): of them states alone do not give logits again.
        if self._whole_logits is None:
            again = head(states)
            close = max(1e-5, torch.finfo(logits.dtype).eps)
            self._whole_logits = not torch.allclose(again.float(), logits.float(), rtol=close, atol=close)
        return logits if self._whole_logits else states
