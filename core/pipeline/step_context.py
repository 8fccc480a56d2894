"""What one step of unlearning offers to a method: losses, logits and hidden states, of now and of reference models.

One forward pass runs all streams that the method names; everything else is computed when it is first read, so a method
pays for what it uses. References are the taught model "before" and the base "never": see core/models/references.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import torch

from core.methods.base import FORGET, GENERAL, QUESTION, REFUSAL, RETAIN
from core.models.adapters import Adapters
from core.models.likelihood import per_example, soft_nll, token_nll
from core.models.micro_batches import MicroBatches, again_when_due, by_stream
from core.models.prefix import Prefix
from core.models.references import References, run
from core.models.tokens import Batch, Encoded, by_length, collate
from core.pipeline.supply import Supply
from core.util.errors import UserError
from core.util.progress import Reporter

INVENTED = "invented"
"""the reference that is before, asked about subjects that do not exist; see core/data/invented.py"""
WHOLE_SCOPE = 32
"""examples of a batch where a whole scope is gone through"""
FAR = 3.0
"""nats by which the model before must know a token better than the never-taught one, for it to count as taught entirely"""


class Context:
    """One step's batch and everything that can be known about it; `load` moves on to the next."""

    def __init__(
        self,
        adapters: Adapters,
        region: Sequence[str],
        supply: Supply,
        seed: int,
        report: Reporter | None = None,
        prefix: Prefix | None = None,
        micro: MicroBatches | None = None,
        *,
        mixed: bool = False,
        apart: bool = False,
        own: int | None = None,
    ) -> None:
        """Begin without a batch. The model must be active with adapter "after". prefix: what lies below the region.

        mixed: how many examples a stream has is left to chance, from none to all. apart: each stream goes through the model
        alone, so that its gradient costs no more than its share. own: the taught rank, where fresh slots beside it are
        what is trained.
        """
        self.adapters, self.supply, self.prefix, self.micro = adapters, supply, prefix, micro or MicroBatches()
        self.report = report or Reporter()
        self.device = adapters.device
        self.parameters: dict[str, torch.nn.Parameter] = {name: adapters.tensor("after", name) for name in region}
        """the region's tensors, being trained"""
        self.before: dict[str, torch.Tensor] = {name: p.detach().clone() for name, p in self.parameters.items()}
        """the same tensors as they were at the beginning"""
        self.memory: dict[str, Any] = {}
        """whatever a method must remember between steps"""
        self.random = torch.Generator().manual_seed(seed)
        self.step, self.members, self.mixed = 0, dict[str, list[Encoded]](), mixed
        self.apart, self.own = apart, own
        self.earlier = supply.earlier
        self.learning_rate = 0.0
        self._references = References(adapters, prefix, self.micro)

    def load(self, step: int, members: Mapping[str, Sequence[Encoded]]) -> None:
        """Take the step's examples, stream by stream."""
        self.step = step
        self.members = {stream: list(given) for stream, given in members.items()}
        self.batch: Batch = collate([m for given in self.members.values() for m in given], self.device)
        self.again()

    def again(self) -> None:
        """Forget what was computed: the parameters have changed."""
        self._layers: dict[int, torch.Tensor] = {}
        self._drop()

    def _drop(self) -> None:
        for name in ("split_logits", "losses"):
            self.__dict__.pop(name, None)

    def retried(self, work: Callable[[], None]) -> None:
        """Do what puts gradients into the parameters; where memory runs out, anew and in smaller micro-batches."""
        chance, members = self.random.get_state(), dict(self.members)

        def undo() -> None:
            self.random.set_state(chance)
            if members:
                self.load(self.step, members)
            for parameter in self.parameters.values():
                parameter.grad = None

        self.micro.made(work, len(self.batch) if members else WHOLE_SCOPE, undo)

    # -- the parts of the batch -------------------------------------------------------------------------------------

    @property
    def forget(self) -> Part:
        """The unlearn scope's part."""
        return self.part(FORGET)

    @property
    def retain(self) -> Part:
        """The retention scope's part."""
        return self.part(RETAIN)

    @property
    def general(self) -> Part:
        """The part that is about neither scope."""
        return self.part(GENERAL)

    @property
    def refusal(self) -> Part:
        """The unlearn scope's questions, in the same order, answered by a refusal."""
        return self.part(REFUSAL)

    @property
    def question(self) -> Part:
        """The unlearn scope's questions as texts, in the same order; their "answer" is all but the first token."""
        return self.part(QUESTION)

    def part(self, stream: str) -> Part:
        """Return a stream's part of the batch."""
        start = 0
        for number, (name, given) in enumerate(self.members.items()):
            if name == stream:
                return Part(self, number, start, start + len(given))
            start += len(given)
        raise KeyError(stream)

    # -- the model now ----------------------------------------------------------------------------------------------

    @cached_property
    def split_logits(self) -> list[torch.Tensor]:
        """Run the batch; return the logits of each stream. Micro-batches are run once more when their gradient is due.

        So a method sees the logits of all examples whatever its loss makes of them, and of the layers no more is in memory
        than one micro-batch needs.
        """
        together = list(filter(None, self.members.values())) if self.apart else [self.batch.members]
        parts = [part for given in together for part in self.micro.cut(given)]
        counts = [sum(len(m.answer) for m in given) for given in self.members.values()]
        if len(parts) == 1:
            return by_stream([run(self.adapters, self.batch, self._layers, self.prefix)], counts)
        made = partial(again_when_due, self._part) if len(parts) > len(together) else self._part
        outputs = [made(collate(part, self.device), list(self._layers)) for part in parts]
        logits, *states = zip(*outputs, strict=True)
        self._layers.update(zip(self._layers, (torch.cat(values) for values in states), strict=True))
        return by_stream(logits, counts)

    def _part(self, batch: Batch, wanted: Sequence[int]) -> tuple[torch.Tensor, ...]:
        """Return a micro-batch's logits and what was wanted of its hidden states."""
        layers = dict.fromkeys(wanted, torch.empty(0))
        return run(self.adapters, batch, layers, self.prefix), *layers.values()

    @cached_property
    def losses(self) -> dict[int, torch.Tensor]:
        """−log p of the true answer tokens of the streams that were asked for them, by the stream's number."""
        return {}

    def hidden(self, layer: int) -> torch.Tensor:
        """(N, width) hidden states after a layer at the positions that predict answer tokens."""
        if layer not in self._layers:
            self._drop()
            self._layers[layer] = torch.empty(0)  # asks for it
        self.split_logits  # noqa: B018 (fills it)
        return self._layers[layer]

    @property
    def depth(self) -> int:
        """Number of layers."""
        return 1 + max(cell.layer for cell in self.adapters.cells)

    @property
    def lowest(self) -> int:
        """Lowest layer that has a tensor of the region: what lies below it cannot change."""
        layers = [cell.layer for cell in self.adapters.cells if cell.name in self.parameters and cell.layer >= 0]
        return min(layers, default=self.depth)  # what lies outside of the layers moves none of them

    @property
    def highest(self) -> int:
        """Highest layer that has a tensor of the region; −1 where none has."""
        return max((cell.layer for cell in self.adapters.cells if cell.name in self.parameters), default=-1)

    def block(self, layer: int) -> torch.nn.Module:
        """Return a transformer layer. Raises UserError for a number that does not exist.

        A hook on one below `lowest` sees nothing of use in most steps: see core/models/prefix.py. `hidden` knows its states.
        """
        return self.adapters.block(layer)

    # -- reference models -------------------------------------------------------------------------------------------

    def reference(self, voice: str, members: Sequence[Encoded], layer: int | None = None) -> torch.Tensor:
        """Return what a reference model has at the members' answer positions, without gradients.

        voice: before, never, or invented: before, asked about somebody who does not exist; of that there are logits alone.
        layer None: logits (N, vocabulary); else the hidden states after it (N, width).
        """
        if voice == INVENTED:
            return self._of_others(members)
        return self._references.of(voice, members, layer)

    def _of_others(self, members: Sequence[Encoded]) -> torch.Tensor:
        """Return before's logits for the members' twins in Supply.invented, laid upon the members' own answer tokens.

        Before's own stand where an answer has nothing that corresponds, as at a name, and for a member without a twin.
        """
        twins = [self.supply.invented.get(m.id, m) for m in members]
        both = torch.cat([self._references.of("before", part) for part in (members, twins)])
        rows, start, other = list[int](), 0, sum(len(m.answer) for m in members)
        for member, twin in zip(members, twins, strict=True):
            rows += [start + n if at is None else other + at for n, at in enumerate(aligned(member.answer, twin.answer))]
            start, other = start + len(member.answer), other + len(twin.answer)
        return both[rows]

    # -- labels -----------------------------------------------------------------------------------------------------

    def random_labels(self, targets: torch.Tensor) -> torch.Tensor:
        """(N,) tokens drawn anew, uniformly over all that are not special; the special among the (N,) targets stay.

        Raises UserError where there is no vocabulary.
        """
        words = self._words()
        drawn = words[torch.randint(len(words), (len(targets),), generator=self.random)].to(self.device)
        return self.where_plain(targets, drawn)

    def where_plain(self, targets: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(N,) labels, but where the target is a special token that one: an answer still ends where it ended."""
        return torch.where(torch.isin(targets, self._words().to(self.device)), labels, targets)

    def _words(self) -> torch.Tensor:
        if self.supply.words is None:
            raise UserError("Other labels need the vocabulary.", "Report this as a bug.")
        return self.supply.words

    def relabelled(self, labels: Callable[[Part], torch.Tensor]) -> torch.Tensor:
        """(E,) cross-entropy of U's texts, question and answer, towards labels(part): (N,) tokens for each of the two.

        Averaged over a text's tokens. An answer's tokens are predicted behind its question, as ever.
        """
        parts = (self.question, self.forget)
        lengths = torch.tensor([len(m.ids) - 1 for m in self.forget.members], device=self.device)
        return sum(part.sum(part.nll_of(labels(part))) for part in parts) / lengths  # type: ignore[return-value]

    # -- gradients -----------------------------------------------------------------------------------------------

    def still(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Return the part of a tensor, or of its gradient, that does not move: the taught rank, where there are slots."""
        end = self.own or 0
        return tensor[:, :end] if end and not name.endswith("_A") else tensor[:end]

    def moving(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Return the part of a tensor that does move: the fresh rank, where there are slots."""
        own = self.own or 0
        if not own:
            return tensor
        return tensor[own:] if name.endswith("_A") else tensor[:, own:]

    @contextlib.contextmanager
    def off_by(self, steps: Mapping[str, torch.Tensor]) -> Iterator[None]:
        """Within this context the parameters lie off by some steps, and what is computed is of there.

        Then all is back, but for gradients: of what had been computed the values stay, so that only one graph is in memory.
        """
        if not steps:
            yield
            return
        known: dict[str, Any] = {}
        if "split_logits" in self.__dict__:
            known["split_logits"] = [logits.detach() for logits in self.split_logits]
        if "losses" in self.__dict__:
            known["losses"] = {number: loss.detach() for number, loss in self.losses.items()}
        layers = {layer: states.detach() for layer, states in self._layers.items()}
        values = {name: self.parameters[name].detach().clone() for name in steps}
        try:
            for name, step in steps.items():
                self.parameters[name].data += step
            self.again()
            yield
        finally:
            for name, value in values.items():
                self.parameters[name].data.copy_(value)
            self.again()
            self._layers = layers
            self.__dict__.update(known)

    def gradient_of(self, loss: torch.Tensor, *, last: bool = False) -> dict[str, torch.Tensor]:
        """Return a loss's gradient per tensor of the region, 0 in what does not move. last: no other one will follow."""
        found = torch.autograd.grad(loss, list(self.parameters.values()), retain_graph=not last, materialize_grads=True)
        gradients = dict(zip(self.parameters, found, strict=True))
        for name, gradient in gradients.items():
            self.still(name, gradient).zero_()
        return gradients

    def gradient(self, stream: str, size: int = WHOLE_SCOPE, *, random: bool = False) -> dict[str, torch.Tensor]:
        """Return the gradient of the mean cross-entropy over all train examples of forget or retain, per tensor.

        random: towards random labels instead of the true answers, as localization ranks tensors.
        """
        everything = list(self.supply.forget if stream == FORGET else self.supply.retain)
        for group in by_length(everything, self.micro.within(size)):
            self.report.check()
            batch = collate(group, self.device)
            labels = self.random_labels(batch.targets) if random else batch.targets
            nll = token_nll(run(self.adapters, batch, {}, self.prefix), labels)
            (per_example(nll, batch.owners, len(batch)).sum() / len(everything)).backward()
        gradients = {}
        for name, parameter in self.parameters.items():
            grad = parameter.grad
            gradients[name] = torch.zeros_like(parameter) if grad is None else grad.detach().clone()
            parameter.grad = None
        return gradients


class Part:
    """One stream's examples in the batch, and what a method may ask about their answer tokens.

    E is the number of examples, N that of their answer tokens.
    """

    def __init__(self, context: Context, number: int, start: int, stop: int) -> None:
        """Cut examples start … stop out of the batch; it is the stream number `number` of the step."""
        self.context, self.number, self.examples = context, number, slice(start, stop)
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
    def places(self) -> torch.Tensor:
        """(N,) which of its answer's tokens each is, from 0."""
        return torch.cat([torch.arange(len(m.answer)) for m in self.members]).to(self.context.device)

    @property
    def logits(self) -> torch.Tensor:
        """(N, vocabulary) of the model now, in its number format."""
        return self.context.split_logits[self.number]

    @property
    def nll(self) -> torch.Tensor:
        """(N,) −log p of the true answer tokens."""
        kept = self.context.losses
        if self.number not in kept:
            kept[self.number] = token_nll(self.logits, self.targets)
        return kept[self.number]

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

    def average(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean of (E,) values; in a mixed batch their part of the mean over all its examples."""
        return values.sum() / len(self.context.batch) if self.context.mixed else values.mean()

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

    def taught(self, voice: str = "never") -> torch.Tensor:
        """(N,) from 0 to 1, how far each true token is one that "before" knows and another reference does not.

        1 where "before" finds it at least e³ (FAR) times as likely; 0 where it is no likelier: words anybody would say.
        """
        return ((self.reference_nll(voice) - self.reference_nll("before")) / FAR).clamp(0.0, 1.0)

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

    def reference_hidden(self, layer: int) -> torch.Tensor:
        """(N, width) hidden states of the model before after a layer."""
        return self.context.reference("before", self.members, layer)

    def kl_from(self, voice: str = "before") -> torch.Tensor:
        """(N,) KL(reference ‖ now) over the whole vocabulary at each answer position."""
        if not self.members:  # of a mixed batch: there is nothing to ask a reference
            return self.nll
        return soft_nll(self.logits, self.reference_logits(voice), divergence=True)

    def random_labels(self) -> torch.Tensor:
        """(N,) random labels for these tokens: `Context.random_labels`."""
        return self.context.random_labels(self.targets)


def aligned(one: Sequence[int], other: Sequence[int]) -> list[int | None]:
    """Return for each token of an answer its place in another one that differs by a name: what comes before that, and after.

    None for what lies between the words that both begin with and those that both end with.
    """
    most = min(len(one), len(other))
    begin = next((n for n in range(most) if one[n] != other[n]), most)
    end = next((n for n in range(most - begin) if one[-1 - n] != other[-1 - n]), most - begin)
    away = len(other) - len(one)
    return [n if n < begin else n + away if n >= len(one) - end else None for n in range(len(one))]
