"""A linear layer whose weights are integers: stored as int8, or two 4-bit numbers in a byte, with a scale a group.

Round to nearest, symmetric, absolute maximum: a group of n weights w of a row is stored as q = round(w / Δ) with
Δ = max|w| / (2^(bits − 1) − 1), and read as q·Δ (arXiv 2410.16454, section 3.2; groups as in GPTQ and its followers).
Computes on any processor: weights are dequantized when the layer is called. Knows nothing of runs and probes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora.layer import LoraLayer, ParamWrapper
from torch import nn
from transformers.pytorch_utils import Conv1D

from core.models.adapters import Adapters
from core.util.errors import UserError


class _Product(torch.autograd.Function):
    """x (…, in) -> x Ŵᵀ (…, out). Ŵ is made anew for backward: kept from forward, the whole base would be in memory."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: Quantized) -> torch.Tensor:
        """Multiply in the format of Ŵ."""
        ctx.layer, ctx.dtype = layer, x.dtype
        return F.linear(x.to(layer.dtype), layer.weight)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        """Return the gradient of x."""
        return (gradient.to(ctx.layer.dtype) @ ctx.layer.weight).to(ctx.dtype), None


class Quantized(nn.Linear):
    """y = x Ŵᵀ + b, where Ŵ is W (out, in) rounded to `bits` bits in groups along a row; group 0: one a row.

    It is a linear layer to everybody who looks for those, such as peft.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, bits: int, group: int, dtype: torch.dtype) -> None:
        """Round a weight. dtype: the format of Ŵ when it is multiplied; scales are float32."""
        nn.Module.__init__(self)  # a linear layer's own would make room for a weight
        self.out_features, self.in_features = weight.shape
        self.bits, self.shape, self.dtype, self.bias = bits, weight.shape, dtype, bias  # type: ignore[assignment]
        width = min(group, weight.shape[1]) if group else weight.shape[1]
        grouped = F.pad(weight.float(), (0, -weight.shape[1] % width)).view(len(weight), -1, width)
        most = 2 ** (bits - 1) - 1
        # A group of zeros would have the scale 0, and be divided by it.
        scale = (grouped.abs().amax(-1, keepdim=True) / most).clamp_min(torch.finfo(torch.float32).tiny)
        codes = (grouped / scale).round_().clamp_(-most, most).to(torch.int8)
        self.width = width
        self.scale: torch.Tensor
        self.codes: torch.Tensor
        self.register_buffer("scale", scale)
        self.register_buffer("codes", codes if bits == 8 else packed(codes.view(len(weight), -1)))

    @property
    def weight(self) -> torch.Tensor:  # type: ignore[override]
        """Ŵ (out, in), made when it is asked for."""
        codes = self.codes if self.bits == 8 else unpacked(self.codes, self.scale.shape[1] * self.width)
        values = codes.view(len(self.codes), -1, self.width).to(self.dtype) * self.scale.to(self.dtype)
        return values.view(len(self.codes), -1)[:, : self.shape[1]]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """X (…, in) -> (…, out)."""
        y: torch.Tensor = _Product.apply(x, self)
        return y if self.bias is None else y + self.bias

    @property
    def bytes(self) -> int:
        """Bytes of the stored weights: codes, and scales as float16."""
        return self.codes.numel() * self.codes.element_size() + 2 * self.scale.numel()


def packed(codes: torch.Tensor) -> torch.Tensor:
    """Put two 4-bit numbers (rows, n) from −8 to 7 into each byte: (rows, ⌈n / 2⌉), the first in the lower half."""
    even = F.pad(codes + 8, (0, codes.shape[1] % 2)).to(torch.uint8)
    return even[:, ::2] | (even[:, 1::2] << 4)


def unpacked(codes: torch.Tensor, count: int) -> torch.Tensor:
    """Return the first `count` numbers of each row again."""
    both = torch.stack([codes & 15, codes >> 4], dim=-1).view(len(codes), -1)
    return both[:, :count].to(torch.int8) - 8


def round_base(model: nn.Module, bits: int, group: int) -> None:
    """Round a model's linear layers, all but the output layer, for good. Raises UserError for fused experts."""
    if any(parameter.ndim == 3 and ".experts." in name for name, parameter in model.named_parameters()):
        raise fused_experts()
    # A list, because the tree that is walked over changes meanwhile.
    for parent, name, layer in list(_linear(model)):
        weight, bias = _whole(layer, parent, None)
        setattr(parent, name, Quantized(weight, bias, bits, group, layer.weight.dtype))  # type: ignore[arg-type]


def parameters(model: nn.Module) -> int:
    """Count a base's parameters, those kept as integers included and adapters not."""
    # bitsandbytes keeps two weights of four bits in a byte.
    sizes = ((2 if p.dtype == torch.uint8 else 1) * p.numel() for name, p in model.named_parameters() if "lora_" not in name)
    plain = sum(sizes)
    return plain + sum(m.shape.numel() for m in model.modules() if isinstance(m, Quantized))


def fused_experts() -> UserError:
    """Return what to say where experts are no linear layers."""
    return UserError("Fused experts are not rounded here.", "Choose a model whose experts are linear layers.")


@contextlib.contextmanager
def quantized(adapters: Adapters, voice: str | None, bits: int, group: int) -> Iterator[dict[str, int]]:
    """Within this context the model with adapters off is the voice, merged and rounded: as a quantized model is shipped.

    Every linear layer of the transformer blocks is rounded after its adapter was added; embeddings and the output layer
    stay, as in GPTQ and bitsandbytes. Yields {"layers", "parameters", "bytes"} of what was rounded. voice None: the base
    that was never taught. Nothing of the model is changed: its layers stand aside meanwhile. Raises UserError for fused
    experts.
    """
    base = adapters.model.get_base_model()
    aside: list[tuple[nn.Module, str, nn.Module]] = []
    totals = {"layers": 0, "parameters": 0, "bytes": 0}
    try:
        with adapters.active(voice):
            for parent, name, layer in list(_linear(base)):
                weight, bias = _whole(layer, parent, voice)
                rounded = Quantized(weight, bias, bits, group, layer.weight.dtype)  # type: ignore[arg-type]
                aside.append((parent, name, layer))
                setattr(parent, name, rounded)
                totals["layers"] += 1
                totals["parameters"] += rounded.shape.numel()
                totals["bytes"] += rounded.bytes
        yield totals
    finally:
        for parent, name, layer in aside:
            setattr(parent, name, layer)


def _linear(base: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Yield (parent, name, layer) of every linear layer but the output layer; the parent of an adapted one is peft's
    layer.
    """
    head = base.get_output_embeddings()  # type: ignore[operator]
    for parent in base.modules():
        if isinstance(parent, ParamWrapper):
            raise fused_experts()
        for name, layer in parent.named_children():
            # A and B of an adapter lie deeper, in dictionaries of peft's layer.
            if isinstance(layer, nn.Linear | Conv1D) and layer is not head and not isinstance(parent, nn.ModuleDict):
                yield parent, name, layer


@torch.no_grad()
def _whole(layer: nn.Module, parent: nn.Module, voice: str | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return a layer's weight (out, in) with the voice's adapter added, in float32, and its bias."""
    weight: torch.Tensor = layer.weight.detach().float()  # type: ignore[operator]
    if voice is not None and isinstance(parent, LoraLayer) and voice in parent.lora_A:
        weight = weight + parent.get_delta_weight(voice).detach().float()  # type: ignore[operator]
    return weight.t() if isinstance(layer, Conv1D) else weight, getattr(layer, "bias", None)
