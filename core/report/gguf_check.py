"""Whether a model can be written as a GGUF file that computes and reads as the model does: said before anything is begun.

llama.cpp computes an architecture in one way, and splits text before it merges bytes in one of the ways that it has names
for. A model that does either in another way would be another model there, and nobody would see it, so it is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.models import names
from core.util.errors import UserError

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2"}
"""transformers' model_type -> llama.cpp's architecture"""
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {f"{_WORDS}\\p{{N}}{_REST}": "qwen2", f"{_WORDS}\\p{{N}}{{1,3}}{_REST}": "llama-bpe"}
"""expression by which a tokenizer splits text -> llama.cpp's name for it (src/llama-vocab.cpp)"""
ELSE = "Export the merged model instead."


def check(name: str) -> None:
    """Raise UserError where a model cannot be written, as far as files on this machine tell without reading weights."""
    if names.kind(name) not in ("folder", "adapter"):
        return  # the bundled one can; what is on the hub the worker sees first
    source = Path(names.resolve(name)[0])
    if (source / "config.json").is_file():
        check_architecture(json.loads((source / "config.json").read_text(encoding="utf-8")))
    if (source / "tokenizer.json").is_file():
        splits(json.loads((source / "tokenizer.json").read_text(encoding="utf-8")))


def check_architecture(values: dict[str, Any]) -> None:
    """Raise UserError for a model's configuration of which llama.cpp would compute something else."""
    kind = str(values.get("model_type"))
    if kind not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UserError(f"A model of the architecture {kind} cannot be written as GGUF here, but {known} can.", ELSE)
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise UserError("This model scales its positions, which cannot be written as GGUF here.", ELSE)


def splits(values: dict[str, Any]) -> str:
    """Return llama.cpp's name for how a tokenizer (the content of tokenizer.json) splits text.

    Raises UserError where it has none.
    """
    # Llama 3's takes a word that is a token whole, whatever its merges say; llama.cpp does so by the name.
    whole = bool(values["model"].get("ignore_merges"))
    if values["model"].get("type") == "BPE" and (values.get("normalizer") or {"type": "NFC"})["type"] == "NFC":
        first = values.get("pre_tokenizer") or {}
        steps = first.get("pretokenizers", [first])
        match [step.get("type") for step in steps]:
            case ["ByteLevel"] if _bytes(steps[0], words=True) and not whole:
                return "gpt-2"
            case ["Digits", "ByteLevel"] if steps[0].get("individual_digits") and _bytes(steps[1], words=True):
                return "smollm"
            case ["Split", "ByteLevel"] if _bytes(steps[1], words=False) and steps[0].get("behavior") == "Isolated":
                name = SPLITS.get(str(steps[0]["pattern"].get("Regex")))
                if name and whole == (name == "llama-bpe"):
                    return name
    raise UserError("This model's tokenizer splits text in a way that cannot be written as GGUF here.", ELSE)


def _bytes(step: dict[str, Any], *, words: bool) -> bool:
    """Say whether a step turns text into bytes and adds no blank. words: whether it is to split words as GPT-2 does."""
    return not step.get("add_prefix_space") and bool(step.get("use_regex", True)) == words
