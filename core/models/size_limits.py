"""What a model's configuration asks for, looked at before anything is built: layers without end, more memory than there is.

Also what every reading of a model needs: silence of the libraries, and one sentence where they fail.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from core.util import failure_sentences
from core.util.errors import UserError
from core.util.masking import masked

MOST_LAYERS = 1000
"""of layers, or of experts in a layer; the largest models have some hundred. Each is built one by one, also without
weights"""
LIBRARIES = 0.6e9
"""bytes that torch and its like take before there is any model"""
BESIDE = 1.1
"""weights with what stands beside them, over weights alone: a tenth for adapters and their gradients"""
_REPEATED = re.compile(r"n(um)?_(\w+_)?(layers?|experts)|depth")
"""settings that say how often something is repeated, as the families of models call them"""


def parameters(source: str | Path, trust_remote_code: bool = False, **options: Any) -> int:
    """Count the parameters that a configuration asks for, without making them. Raises UserError with the reason.

    options: as from_pretrained takes them, for example gguf_file.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

    try:
        with quiet():
            values, _ = PretrainedConfig.get_config_dict(source, **options)
            few(values)
            config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code, **options)
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except UserError:
        raise
    except Exception as error:  # an unknown architecture, a broken file, no network: one sentence each
        raise failed(str(source), error) from error
    return sum(p.numel() for p in model.parameters())


def needed(count: int, bits: int) -> float:
    """Return the bytes that loading so many weights of so many bits takes; what batches take comes on top."""
    return count * bits / 8 * BESIDE + LIBRARIES


def free_memory() -> float:
    """Return the bytes that a model on the CPU may take."""
    return float(os.environ.get("FORGETSCOPE_MEMORY_LIMIT") or psutil.virtual_memory().available)


def failed(name: str, error: Exception) -> UserError:
    """Build the error for a model that a library could not load: machine and network come before what it makes of them."""
    if explanation := failure_sentences.explained(
        error, Path("The folder of fetched models")
    ) or failure_sentences.network_error(name, error):
        return explanation
    first = (masked(str(error)).strip().splitlines() or [type(error).__name__])[0][:300]
    return UserError(f"The model “{name}” could not be loaded: {first}", _hint(error))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' own progress bars and notices off the terminal; ours are shown instead."""
    from transformers.utils import logging as hf_logging

    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()


def few(values: Any) -> None:
    """Raise UserError for a configuration with more layers or experts than any model has."""
    for name, value in values.items():
        if isinstance(value, dict):
            few(value)
        elif isinstance(value, int) and value > MOST_LAYERS and _REPEATED.fullmatch(str(name)):
            raise UserError(
                f"The model's configuration asks for {name} = {value}, more than {MOST_LAYERS}.", "It is damaged."
            )


def _hint(error: Exception) -> str:
    text = f"{type(error).__name__} {error}".lower()
    if "safetensor" in text or "header" in text:
        return "The weights are damaged or incomplete: fetch them again."
    if "trust_remote_code" in text:
        return "It ships its own code; --trust-remote-code allows that, if you trust its authors."
    if any(word in text for word in ("connect", "offline", "resolve", "internet", "not a valid model", "repository")):
        return "Check the name and the network, or give a local folder."
    return "Check the folder, or try the bundled model."
