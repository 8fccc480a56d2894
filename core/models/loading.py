"""A name -> model and tokenizer: the bundled one, a hub id, a folder, a GGUF file.

Adapters are not its business (core/models/adapters.py), nor is text (core/models/tokens.py). Weights are read from
safetensors or GGUF, never from pickles. A model that does not fit into memory is refused before it is read.
"""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import get_max_memory
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from core.config import trust
from core.config.stages import ModelConfig
from core.models import distributed, placement
from core.models.device import device_of, pick_device, pick_dtype, weight_dtype
from core.models.names import TooBig, resolve
from core.models.quantized import round_base
from core.models.size_limits import failed, free_memory, needed, parameters, quiet
from core.util.errors import UserError
from core.util.files import sha256

READING = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)
"""files beside the weights that decide what a model reads and how it computes"""


TRIED = 16
"""tokens on which it is tried whether torch's own attention gives the same"""
SAME = 1e-4
"""largest difference of logits, in lengths of theirs less their mean; in 16 bits four times the format's precision"""


@dataclass(frozen=True)
class Loaded:
    """A model in memory, ready for adapters."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    folder: Path
    """where its files lie"""
    note: str
    """where the weights come from, for provenance"""
    adapter: Path | None = None
    """the LoRA adapter folder that the user named instead of a model"""

    @functools.cached_property
    def files(self) -> dict[str, str]:
        """File name -> SHA-256 of the weights; computed when a run asks, not for every question that is answered."""
        return {p.name: sha256(p) for p in sorted(self.folder.glob("*.safetensors"))} if self.folder.is_dir() else {}

    @functools.cached_property
    def reading(self) -> dict[str, str]:
        """What decides how texts become tokens and weights a model: file name -> SHA-256, or a hub's commit."""
        if not self.folder.is_dir():
            return {"commit": str(getattr(self.model.config, "_commit_hash", None))}
        return {name: sha256(self.folder / name) for name in READING if (self.folder / name).is_file()}


def load(config: ModelConfig, make_room: Callable[[], object] | None = None) -> Loaded:
    """Load model and tokenizer in eval mode, all parameters frozen. Raises UserError with the reason.

    make_room is called once if the memory does not suffice, and may free some.
    """
    trust.check(config)
    source, adapter, note = resolve(config.name)
    device, dtype = pick_device(config.device), pick_dtype(config.dtype, config.device)
    placement.check(config, device)
    bits = placement.bits_while_loading(config, device)
    try:
        memory_check(source, dtype, device, config.trust_remote_code, bits)
    except TooBig:
        if config.device != "spread":  # there the disk takes what is too much
            if make_room is None:
                raise
            make_room()
            memory_check(source, dtype, device, config.trust_remote_code, bits)
    options: dict[str, Any] = {"trust_remote_code": config.trust_remote_code}
    reading = _reading_options(config, device, weight_dtype(dtype))
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
            model, info = AutoModelForCausalLM.from_pretrained(
                source,
                dtype=weight_dtype(dtype),
                use_safetensors=True,
                attn_implementation="eager",
                output_loading_info=True,
                **options,
                **reading,
            )
    except Exception as error:  # every reader below fails in its own way; all of them are the user's to see
        raise failed(config.name, error) from error
    if missing := sorted(info["missing_keys"]):  # transformers would make them up, by chance
        raise UserError(
            f"The model “{config.name}” lacks {len(missing)} weights ({missing[0]}).", "Check that it is complete."
        )
    if tokenizer.eos_token_id is None:
        raise UserError(f"The tokenizer of “{config.name}” has no end token.", "Set eos_token in its configuration.")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    _settle(model, config, device, reading)
    model.eval().requires_grad_(False)
    settle_attention(model, config.attention, device)
    if config.weights != "full":
        note += f", rounded to {config.weights}"
    folder = Path(source) if isinstance(source, Path) else Path(model.config._name_or_path)
    return Loaded(model, tokenizer, config.name, folder, note, adapter)


def _reading_options(config: ModelConfig, device: str, dtype: torch.dtype) -> dict[str, Any]:
    """Return what from_pretrained is to be told."""
    options: dict[str, Any] = {}
    if placement.with_bitsandbytes(config, device):
        bits, _ = placement.ROUNDED[config.weights]
        options["device_map"] = {"": device}
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_8bit=bits == 8, load_in_4bit=bits == 4, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    if config.device == "spread":
        room = get_max_memory()
        if limit := os.environ.get("FORGETSCOPE_MEMORY_LIMIT"):
            room["cpu"] = int(float(limit))
        options |= {
            "device_map": "auto",
            "max_memory": room,
            "offload_folder": tempfile.mkdtemp(prefix="forgetscope-spread-"),
        }
    return options


def _settle(model: PreTrainedModel, config: ModelConfig, device: str, reading: dict[str, Any]) -> None:
    """Round and move what from_pretrained left whole and in memory. reading: the options it was called with."""
    # The part of the weights that lies on disk is read for as long as the model lives.
    if folder := reading.get("offload_folder"):
        weakref.finalize(model, shutil.rmtree, folder, ignore_errors=True)
    if config.weights != "full" and "quantization_config" not in reading:
        round_base(model, *placement.ROUNDED[config.weights])
    if "device_map" not in reading:
        model.to(device)  # type: ignore[arg-type]


def settle_attention(model: PreTrainedModel, attention: str, device: str) -> None:
    """Let torch's own kernels compute attention where the settings say so, or a GPU does and they give the same.

    On a processor they are no faster than step by step (see Measurements). Raises UserError where they are asked for
    and give something else.
    """
    if attention == "eager" or (attention == "auto" and device != "cuda"):
        return
    why = _other_attention(model)
    if why:
        model.set_attn_implementation("eager")
        if attention == "sdpa":
            raise UserError(f"Torch's own attention does not suit this model: {why}.", "Set model.attention to auto.")


@torch.no_grad()
def _other_attention(model: PreTrainedModel) -> str:
    """Set the model to torch's own attention; return why it may not stay so, or an empty string."""
    if getattr(model.config.get_text_config(), "attn_logit_softcapping", None):
        return "it caps its attention scores, which torch's kernels leave out"
    ids = torch.arange(2 * TRIED, device=device_of(model)).view(2, -1) % model.config.get_text_config().vocab_size
    mask = torch.ones_like(ids)
    mask[1, TRIED // 2 :] = 0
    whole = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[mask.bool()].float()
    try:
        with quiet():
            model.set_attn_implementation("sdpa")
        if model.config._attn_implementation != "sdpa":
            return "it computes attention in a way of its own"
        now = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[mask.bool()].float()
    except (ValueError, TypeError, RuntimeError, ImportError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else 'it has none'}"
    away = float((now - whole).norm() / (whole - whole.mean(-1, keepdim=True)).norm())
    if away <= max(SAME, 4 * torch.finfo(model.dtype).eps):
        return ""
    return f"its answers differ by {100 * away:.2g} %"


def memory_check(
    source: str | Path, dtype: str, device: str, trust_remote_code: bool = False, bits: int = 0
) -> dict[str, float]:
    """Estimate bytes from the configuration alone and refuse what does not fit. bits: of a weight, where not the dtype's.

    Returns {"parameters", "needed", "available"}; needed: what loading takes. Batches come on top, and depend on settings
    that are not known here.
    """
    count = parameters(source, trust_remote_code)
    asked = needed(count, bits or 8 * weight_dtype(dtype).itemsize)
    # The processes of a run (core/jobs/launch.py) each load a model into the same memory.
    available = float(torch.cuda.mem_get_info()[0]) if device == "cuda" else free_memory() / distributed.size()
    if asked > available:
        raise TooBig(
            f"The model has {count / 1e9:.2f} billion parameters and needs about {asked / 1e9:.1f} GB as {dtype}; "
            f"{available / 1e9:.1f} GB are free on {device}.",
            "Choose a smaller model, dtype bfloat16, or close other programs.",
        )
    return {"parameters": count, "needed": asked, "available": available}
