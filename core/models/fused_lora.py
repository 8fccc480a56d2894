"""A LoRA linear layer as one autograd node: the same mathematics in fewer, larger operations.

peft computes y = W x + s·B(A x) as separate nodes, casts between number formats and keeps every intermediate.
Here forward and backward are written out, so that the only tensors kept are the input and A x:

    y = x Wᵀ + (x Aᵀ)(s B)ᵀ          g_x = g W + (g s B) A
    g_A = (g s B)ᵀ x                  g_B = s · gᵀ (x Aᵀ)

`fused` swaps it in for the linear layers of one adapter without dropout; all else stays with peft. A frozen weight that
is not in memory as it is multiplied (kept as integers, or on disk) is made anew for forward and for backward, never kept.
`mixed` lets several adapters answer in one batch without gradients: the base computes every row once, and each
adapter adds its part to its own slice of rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear

from core.models.placement import on_disk

Weight = torch.Tensor | Callable[[], torch.Tensor]
"""a frozen weight (out, in), or what makes it when it is multiplied"""


def _made(weight: Weight) -> torch.Tensor:
    return weight if isinstance(weight, torch.Tensor) else weight()


class _LoraLinear(torch.autograd.Function):
    """x (…, in), weight (out, in), a (r, in), b (out, r), bias (out,) or None -> (…, out)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        source: Weight,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """Multiply in the weight's number format; adapters are kept in float32 and cast here."""
        weight = _made(source)
        flat = x.reshape(-1, x.shape[-1]).to(weight.dtype)
        low_a, low_b = a.to(weight.dtype), (b * scale).to(weight.dtype)
        inner = flat @ low_a.t()
        y = flat @ weight.t() if bias is None else torch.addmm(bias, flat, weight.t())
        y.addmm_(inner, low_b.t())
        ctx.save_for_backward(flat, inner, low_a, low_b)
        ctx.source = source
        ctx.scale, ctx.shape, ctx.dtype = scale, x.shape, x.dtype
        # Not a view in autograd's eyes: Falcon adds to this output in place.
        return torch.ops.aten._unsafe_view(y, [*x.shape[:-1], y.shape[-1]])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        """Compute only the gradients that are asked for."""
        flat, inner, low_a, low_b = ctx.saved_tensors
        g = gradient.reshape(-1, gradient.shape[-1]).to(flat.dtype)
        wants_x, wants_a, wants_b = ctx.needs_input_grad[0], ctx.needs_input_grad[3], ctx.needs_input_grad[4]
        g_inner = g @ low_b if wants_x or wants_a else None
        g_x = g_a = g_b = None
        if wants_x and g_inner is not None:
            g_x = (g @ _made(ctx.source)).addmm_(g_inner, low_a).view(ctx.shape).to(ctx.dtype)
        if wants_a and g_inner is not None:
            g_a = (g_inner.t() @ flat).float()
        if wants_b:
            g_b = (g.t() @ inner).float().mul_(ctx.scale)
        return g_x, None, None, g_a, g_b, None


def _forward(
    layer: LoraLinear, weight: Weight, bias: torch.Tensor | None, name: str, x: torch.Tensor, *_: Any, **__: Any
) -> torch.Tensor:
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    return _LoraLinear.apply(x, weight, bias, a, b, layer.scaling[name])  # type: ignore[no-any-return]


def suits(layer: torch.nn.Module, name: str) -> bool:
    """Say whether a layer is a plain LoRA linear layer without active dropout."""
    if not isinstance(layer, LoraLinear) or name not in layer.lora_A or layer.merged:
        return False
    dropout = layer.lora_dropout[name]
    active = isinstance(dropout, torch.nn.Dropout) and dropout.p > 0 and dropout.training
    plain = isinstance(layer.base_layer, torch.nn.Linear) and not layer.use_dora[name] and not layer.lora_bias[name]
    return plain and not active


@contextlib.contextmanager
def fused(model: torch.nn.Module, name: str, dtype: str) -> Iterator[None]:
    """Route the suitable layers of adapter `name` through the fused node; restore peft's forward at the end.

    With dtype autocast the frozen weights are cast to bfloat16 once, not at every call.
    """
    layers = [layer for layer in model.modules() if suits(layer, name)]
    outer = [layer.__dict__.get("forward") for layer in layers]
    try:
        for layer in layers:
            base: Any = layer.base_layer
            weight, bias = _frozen(base, dtype == "autocast")
            layer.forward = partial(_forward, layer, weight, bias, name)  # type: ignore[method-assign]
        yield
    finally:
        restore(layers, outer)


def _frozen(base: Any, autocast: bool) -> tuple[Weight, torch.Tensor | None]:
    """Return a layer's weight and bias; in bfloat16 for autocast, else in their own number format."""
    integers = "weight" not in dict(base.named_parameters(recurse=False))  # core/models/quantized.py
    dtype = torch.bfloat16 if autocast else base.dtype if integers else base.weight.dtype
    bias = None if base.bias is None else base.bias.detach().to(dtype)
    if integers:
        return lambda: base.weight.to(dtype), bias
    if not on_disk(base):
        return base.weight.detach().to(dtype), bias
    hook = base._hf_hook  # accelerate's: it knows where the weights of this layer lie
    weights, device = hook.weights_map, hook.execution_device
    bias = None if base.bias is None else weights["bias"].to(device, dtype)
    return lambda: weights["weight"].to(device, dtype), bias


@contextlib.contextmanager
def unfused(model: torch.nn.Module) -> Iterator[None]:
    """Let peft's own forward run, also inside `fused`: only it knows that adapters are switched off."""
    layers = [layer for layer in model.modules() if isinstance(layer, LoraLinear)]
    outer = [layer.__dict__.pop("forward", None) for layer in layers]
    try:
        yield
    finally:
        restore(layers, outer)


def restore(layers: Sequence[torch.nn.Module], forwards: Sequence[Any]) -> None:
    """Put back what stood there before: a context may be entered inside another one."""
    for layer, forward in zip(layers, forwards, strict=True):
        if forward is None:
            layer.__dict__.pop("forward", None)
        else:
            layer.forward = forward


def _mixed_forward(
    layer: LoraLinear, parts: Sequence[_Part], count: int, x: torch.Tensor, *_: Any, **__: Any
) -> torch.Tensor:
    y: torch.Tensor = layer.base_layer(x)
    # OPT flattens rows and positions before its feed-forward layers, so rows are told apart here.
    x_rows, y_rows = x.reshape(count, -1, x.shape[-1]), y.view(count, -1, y.shape[-1])
    for rows, a, b in parts:
        piece = x_rows[rows].to(a.dtype)
        y_rows[rows] += ((piece @ a) @ b).to(y.dtype)
    return y


_Part = tuple[slice, torch.Tensor, torch.Tensor]


@contextlib.contextmanager
def mixed(model: torch.nn.Module, groups: Sequence[tuple[str | None, slice]]) -> Iterator[None]:
    """Within this context rows in each slice are computed with that adapter; None is the base alone.

    Only for models whose LoRA layers are all linear, and only for generation.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, LoraLinear)]
    outer = [layer.__dict__.get("forward") for layer in layers]
    count = max(rows.stop for _, rows in groups)
    try:
        for layer in layers:
            dtype: Any = layer.get_base_layer().weight.dtype
            parts = [
                (
                    rows,
                    layer.lora_A[name].weight.detach().t().to(dtype),
                    (layer.lora_B[name].weight.detach().t() * layer.scaling[name]).to(dtype),
                )
                for name, rows in groups
                if name is not None and rows.stop > rows.start
            ]
            layer.forward = partial(_mixed_forward, layer, parts, count)  # type: ignore[method-assign]
        yield
    finally:
        restore(layers, outer)
