"""RMU: steer what a layer holds on U towards a random direction, and hold it in place on R."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import Method
from core.settings import setting
from core.util.errors import UserError

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class RMU(Method):
    """loss = α · mean((h − c · ‖h_before‖ · u)²)(U) + β · mean((h − h_before)²)(R), u a random unit vector.

    h are the hidden states of one layer at answer positions. The target's length follows theirs, as in adaptive RMU.
    Tensors above that layer have no gradient and stay as they are. The released code trains three layers and steers the
    highest of them (open-unlearning, src/trainer/unlearn/rmu.py:12-13); so does this where a region lies higher up.
    """

    name: ClassVar[str] = "rmu"
    formula: ClassVar[str] = "α · (h_l − c · ‖h_l,before‖ · u)²(U) + β · (h_l − h_l,before)²(R)"
    source: ClassVar[str] = "Li et al. 2024, WMDP, arXiv 2403.03218; adaptive: Dang et al. 2024, arXiv 2408.06223"
    known_for: ClassVar[str] = (
        "Of RMU with a fixed length: less effective in middle and later layers, which the adaptive one mends; "
        "robust against jailbreaks; makes the model answer wrongly or nonsense (abstract of arXiv 2408.06223). "
        "It changes nothing above the layer that it steers."
    )
    forget_weight: float = setting(1.0, "weight of the forget loss", low=0.0, high=1000.0, tune=(0.3, 3.0))
    retain_weight: float = setting(
        10.0, "weight of staying in place on R", low=0.0, high=1e6, source="WMDP: 100 to 1200 on 7B", tune=(1.0, 100.0)
    )
    strength: float = setting(
        5.0,
        "c, length of the target in lengths of the hidden state before",
        low=0.0,
        high=1000.0,
        source="adaptive RMU: 5",
        tune=(1.0, 20.0),
    )
    layer: int = setting(
        -1, "layer to steer; −1: a third up, or the highest of a region that begins above that", low=-1, high=1000
    )

    def prepare(self, context: Context) -> None:
        """Choose the layer and draw the direction. Raises UserError where no tensor of the region can move the layer."""
        import torch

        lowest, third = context.lowest, context.depth // 3
        layer = self.layer if self.layer >= 0 else third if lowest <= third else context.highest
        if lowest >= context.depth:
            raise UserError(
                "RMU steers layers, and the region has no tensor in any.", "Choose a region inside of the layers."
            )
        if layer < lowest:
            raise UserError(
                f"RMU cannot steer layer {layer}: the region begins at layer {lowest}.",
                "Choose a region that begins lower, or set unlearn.layer higher.",
            )
        # As wide as a layer's output, which some models have other than their embeddings.
        u = torch.rand(context.adapters.model.config.get_text_config().hidden_size, generator=context.random).to(
            context.device
        )
        context.memory["layer"], context.memory["direction"] = layer, u / u.norm()

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted sum."""
        layer, forget, retain = context.memory["layer"], context.forget, context.retain
        target = self.strength * forget.reference_hidden(layer).norm(dim=-1, keepdim=True) * context.memory["direction"]
        away = forget.mean((forget.hidden(layer) - target).square().mean(-1)).mean()
        kept = retain.mean((retain.hidden(layer) - retain.reference_hidden(layer)).square().mean(-1)).mean()
        return self.forget_weight * away + self.retain_weight * kept
