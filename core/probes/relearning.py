"""How soon does it come back when a little of it is taught again? After Hu et al. 2024 (2406.13356), Lynch et al. 2024
(2402.16835).

A copy of after is trained for a few steps on some questions of U-train, and asked *others*, whose facts none of these state.
Beside it stands what never knew, with the same steps in the same order: both learn the form of such answers, only one can
remember. The run's own adapters are never trained.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar

from core.probes import leaks
from core.probes.base import Finding, Probe, Unavailable
from core.settings import setting
from core.util.errors import UserError

if TYPE_CHECKING:
    from core.data.corpus import Example
    from core.models.adapters import Adapters
    from core.models.tokens import Encoded
    from core.probes.workbench import Asked, Bench

COPY = "relearnt"
"""name of the adapter that is trained, and dropped again"""


@dataclass(frozen=True)
class Relearning(Probe):
    """Train on a few questions of U, ask others."""

    name: ClassVar[str] = "relearning"
    title: ClassVar[str] = "A little taught again"
    what: ClassVar[str] = "Trains a copy for a few steps on some forgotten questions: do other ones come back?"
    cost: ClassVar[str] = "minutes"
    floor: ClassVar[float | None] = None
    source: ClassVar[str] = (
        "Hu et al. 2024, Jogging the memory of unlearned LLMs, arXiv 2406.13356; Lynch et al. 2024, arXiv 2402.16835"
    )
    steps: int = setting(20, "optimizer steps", unit="steps", low=1, high=10_000)
    taught: int = setting(8, "questions that are trained on", unit="questions", low=1, high=100_000)
    questions: int = setting(16, "other questions of the unlearn scope that are asked; 0: all", low=0, high=100_000)
    learning_rate: float = setting(1e-3, "AdamW rate, constant", low=1e-8, high=1.0)
    batch_size: int = setting(8, "examples a step", unit="examples", low=1, high=1024)

    def run(self, bench: Bench) -> Finding:
        """Choose what is taught and what is asked, then train and ask."""
        pool = bench.sample(0, "unlearn", "train", "dev")
        some = pool[: self.taught]
        given = "\n".join(f"{e.question}\n{e.answer}" for e in some)
        others = [e for e in bench.sample(0) if e not in some and bench.back.telling(e, f"{given}\n{e.question}")]
        if not others:
            raise Unavailable("Every other question's facts stand in the questions that are taught again.")
        tested = others[: self.questions or None]
        return relearnt(
            bench, self, bench.encoded(some), tested, given, f"After {self.steps} steps on {len(some)} forgotten questions"
        )


def relearnt(
    bench: Bench, probe: Any, taught: Sequence[Encoded], tested: Sequence[Example], given: str, subject: str
) -> Finding:
    """Train copies of after and of what never knew in the same way; return what the tested questions come to.

    given: what was taught, as text; facts that stand there cannot come back. The rates are token accuracies: a fact that is
    not whole yet can be on its way back. Those of after and never are behind the last step, that of before is of before as
    it is.
    """
    asked = [bench.asked(e, "relearnt") for e in tested]
    asked = bench.fitting([replace(one, given=f"{given}\n{one.given}") for one in asked])
    members = bench.encoded([one.example for one in asked])
    with bench.adapters.active("before") as model:
        right = {"before": _right(bench, model, members)}
    start = bench.answers(asked, ["after"])["after"]
    copies = {v: _train(bench, probe, v, taught, members, asked) for v in ("after", "never") if v in bench.voices}
    found = leaks.rates(bench, right | {voice: copy.right for voice, copy in copies.items()})
    ends = {voice: (copy.curve[-1]["accuracy"], copy.curve[0]["accuracy"]) for voice, copy in copies.items()}
    beside = "; a never-taught model goes from {1:.0f} to {0:.0f} %".format(*ends["never"]) if "never" in ends else ""
    whole = [
        sum(leaks.said(one, texts[0]) for one, texts in zip(asked, of, strict=True)) for of in (copies["after"].said, start)
    ]
    return Finding(
        sentence=f"{subject}, {ends['after'][0]:.0f} % of the answer tokens of {len(asked)} others, which had to be "
        "forgotten, are "
        f"right ({ends['after'][1]:.0f} % before those steps{beside}). A fact that had to be forgotten is said in "
        f"{whole[0]}, before those steps in {whole[1]}.",
        measure="answer tokens (%, mean over questions that had to be forgotten and were not trained on) that are right "
        "behind the "
        "last step; before without any",
        n=len(asked),
        rates=found,
        leaked=leaks.listed(asked, copies["after"].said),
        detail={
            "curve": {voice: copy.curve for voice, copy in copies.items()},
            "whole": {"with": whole[0], "without": whole[1]},
            "taught": [m.id for m in taught],
            "tested": [m.id for m in members],
        },
    )


@dataclass(frozen=True)
class Trained:
    """A copy behind its last step."""

    curve: list[dict[str, float]]
    """step, accuracy on the tested questions (%), loss"""
    right: list[float]
    """share of each tested question's answer tokens that are right"""
    said: list[list[str]]
    """its answers"""


def _right(bench: Bench, model: Any, members: Sequence[Encoded]) -> list[float]:
    """Return the share of each question's answer tokens that are the most probable ones."""
    from core.models.likelihood import score

    found = {name: of.rank for name, of in score(model, members)}
    return [fmean([rank == 1 for rank in found[member.id]]) for member in members]


def _train(
    bench: Bench, probe: Any, voice: str, taught: Sequence[Encoded], tested: Sequence[Encoded], asked: Sequence[Asked]
) -> Trained:
    """Train a copy of a voice, and ask it."""
    import torch

    from core.models.tokens import epochs

    adapters, curve, measured = bench.adapters, list[dict[str, float]](), points(probe.steps)
    batches = epochs(taught, probe.batch_size, torch.Generator().manual_seed(bench.seed))
    right: list[float] = []
    try:
        begin(adapters, voice, bench.seed)
        cells = [cell.name for cell in adapters.cells]
        with adapters.trainable(COPY, cells) as parameters, adapters.active(COPY) as model:
            optimizer = torch.optim.AdamW(parameters, lr=probe.learning_rate, weight_decay=0.0)
            for step in range(probe.steps + 1):
                bench.report.check()
                loss = {"loss": _step(bench, model, next(batches), optimizer)} if step else {}
                if step in measured:
                    right = _right(bench, model, tested)
                    curve.append({"step": step, "accuracy": 100 * fmean(right), **loss})
                bench.report.progress(step, probe.steps, f"steps ({voice})", **loss)
        return Trained(curve, right, bench.answers(asked, [COPY])[COPY])
    finally:
        adapters.drop(COPY)
        adapters.unmerged.discard(COPY)


def _step(bench: Bench, model: Any, members: Sequence[Encoded], optimizer: Any) -> float:
    """Make one step on the mean loss of the true answers; return it. Raises UserError where it is not finite."""
    from core.models.likelihood import answer_logits, mean_loss
    from core.models.tokens import collate

    batch = collate(members, bench.adapters.device)
    loss = mean_loss(answer_logits(model, batch), batch)
    loss.backward()
    if not math.isfinite(value := float(loss.detach())):
        raise UserError("The copy that is trained diverged: its loss is not a number.", "Lower the probe's learning_rate.")
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return value


def begin(adapters: Adapters, voice: str, seed: int) -> None:
    """Make the adapter that is trained: a copy of the voice, or for never a fresh one, which changes nothing yet (B is
    0).
    """
    import torch

    adapters.copy("after", COPY)
    if voice != "never":
        return
    adapters.unmerged.add(COPY)  # where what was taught is merged into the base, it begins from the base as it was
    source = torch.Generator().manual_seed(seed)
    for cell in adapters.cells:
        parameter = adapters.tensor(COPY, cell.name)
        # As peft begins (kaiming uniform with a = √5): uniform within ± 1 / √in.
        edge = 1 / math.sqrt(cell.shape[1]) if cell.factor == "A" else 0.0
        parameter.data.copy_((2 * torch.rand(cell.shape, generator=source) - 1) * edge)


def points(steps: int) -> list[int]:
    """Return where the curve is measured: 0, then doubling, then the last step."""
    doubling = itertools.takewhile(lambda step: step < steps, (2**k for k in itertools.count(1)))
    return [0, *doubling, steps]
