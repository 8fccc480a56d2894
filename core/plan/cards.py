"""Which settings fit on one GPU: the same plan with batches that are cut, layers that keep less, and rounded weights."""

from __future__ import annotations

from dataclasses import dataclass

from core.config.run_config import RunConfig
from core.plan import run_plan

CARDS = 24, 40, 80
"""GiB of one GPU"""
CUTS = ((0, False), (0, True), (4, False), (4, True), (1, False), (1, True))
"""micro-batch (0: none), and whether layers keep their input alone"""


@dataclass(frozen=True)
class Fit:
    """What one GPU would have to hold with some settings."""

    weights: str
    micro_batch: int
    checkpointing: bool
    needed: float
    """bytes, in the fullest stage"""
    stage: str

    @property
    def cards(self) -> tuple[int, ...]:
        """Those of CARDS that hold it."""
        return tuple(card for card in CARDS if self.needed <= card * 2**30)

    @property
    def settings(self) -> str:
        """The settings, as they are given on the command line; empty where nothing need be set."""
        given = [f"model.weights={self.weights}"] if self.weights != "full" else []
        given += [f"model.micro_batch={self.micro_batch}"] if self.micro_batch else []
        given += ["model.checkpointing=true"] if self.checkpointing else []
        return " ".join(f"--set {setting}" for setting in given)


def fits(config: RunConfig) -> list[Fit]:
    """Return for each of CUTS and each way to keep the weights what one GPU would hold. Raises UserError as `make` does."""
    found = []
    for micro, keeps in CUTS:
        cut = config.with_setting("model.micro_batch", micro).with_setting("model.checkpointing", keeps)
        plan = run_plan.make(cut, gpu=True)
        parts = plan.memory[plan.fullest]
        beside = sum(parts.values()) - parts["weights"]
        for weights, size in plan.weights.items():
            found.append(Fit(weights, micro, keeps, beside + size, plan.fullest))
    return found


def plainest(found: list[Fit], card: int) -> Fit | None:
    """Return the first that a card holds: whole weights before rounded ones, then the least cut; None where none fits."""
    order = list(dict.fromkeys(fit.weights for fit in found))
    return next((fit for fit in sorted(found, key=lambda fit: order.index(fit.weights)) if card in fit.cards), None)
