"""Models without weights: a published configuration, or a folder's, and what it becomes on the meta device.

A tensor there has a shape and no numbers, so a model of 405 billion parameters takes no memory and its adapters can still
be counted, and a step of it run. Importing this file imports torch.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from core.config.stages import TeachConfig
from core.models import adapters, device, names
from core.models.adapters import Adapters
from core.util.errors import UserError
from core.util.paths import given

if TYPE_CHECKING:
    from transformers import PretrainedConfig

KERNELS = "forgetscope_kernels"
"""name of the attention that counts memory as torch's kernels take it"""
PUBLISHED = Path(__file__).with_name("architectures.json")


@functools.cache
def published() -> dict[str, dict[str, Any]]:
    """Return name -> {"source", "parameters", "config"} of models whose numbers are published; several names for one."""
    entries = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    return {name: entry for entry in entries for name in entry["names"]}


def configuration(name: str) -> PretrainedConfig:
    """Return the configuration that a model name stands for; weights need not be there. Raises UserError for unknown
    ones.
    """
    from transformers import AutoConfig

    if name in published():
        values = dict(published()[name]["config"])
        return AutoConfig.for_model(values.pop("model_type"), **values)
    folder = given(name)
    source = folder if (folder / "config.json").is_file() else names.resolve(name)[0]
    try:
        return AutoConfig.from_pretrained(source)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"The configuration of “{name}” cannot be read ({str(error).splitlines()[0][:200]}).",
            f"Give a folder with a config.json, or one of: {', '.join(n for n in published() if '/' not in n)}.",
        ) from None


def shallow(config: PretrainedConfig, layers: int) -> PretrainedConfig:
    """Return the same configuration with so many layers."""
    values = config.to_dict()
    if isinstance(values.get("layer_types"), list):
        values["layer_types"] = values["layer_types"][:layers]
    values[config.attribute_map.get("num_hidden_layers", "num_hidden_layers")] = layers
    return type(config).from_dict(values)


def weightless(config: PretrainedConfig, dtype: str, teach: TeachConfig, *, kernels: bool = False) -> Adapters:
    """Return the model on the meta device with adapter "before" on it, as teaching would attach it.

    kernels: attention holds what it does where torch's own kernels compute it on a GPU, if the model lets them.
    """
    import torch
    from transformers import AutoModelForCausalLM

    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    attention = _kernels() if kernels and not capped else "eager"
    weights = device.weight_dtype(dtype)
    with torch.device("meta"):
        try:
            model = AutoModelForCausalLM.from_config(config, dtype=weights, attn_implementation=attention)
        except (ValueError, KeyError):  # an architecture that computes it in its own way alone
            model = AutoModelForCausalLM.from_config(config, dtype=weights, attn_implementation="eager")
        model.eval().requires_grad_(False)
        # Autocast knows no meta device; its adapters are float32 in any case.
        plain = "float32" if dtype == "autocast" else dtype
        return adapters.attach(model, plain, rank=teach.rank, alpha=teach.alpha, dropout=0.0, seed=0)


@functools.cache
def _kernels() -> str:
    """Make attention known that keeps queries, keys, values and result for the way back, and no scores; return its name."""
    import torch
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    class Kernel(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: torch.Tensor) -> torch.Tensor:
            query, _, value = inputs
            result = query.new_empty(*query.shape[:-1], value.shape[-1])
            ctx.save_for_backward(*inputs, result)
            return result

        @staticmethod
        def backward(ctx: Any, *_: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3])

    def attend(_: Any, query: Any, key: Any, value: Any, *__: Any, **___: Any) -> tuple[Any, None]:
        return Kernel.apply(query, key, value).transpose(1, 2).contiguous(), None

    AttentionInterface.register(KERNELS, attend)
    AttentionMaskInterface.register(KERNELS, eager_mask)
    return KERNELS


@contextlib.contextmanager
def on_meta() -> Iterator[None]:
    """Let libraries switch autocast off for a meta tensor, which torch refuses: there is none to switch off."""
    import torch

    real = torch.autocast

    def patient(device_type: str, *rest: Any, **options: Any) -> Any:
        return real("cpu" if device_type == "meta" else device_type, *rest, **options)

    with mock.patch.object(torch, "autocast", patient):
        yield
