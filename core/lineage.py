"""Which base a LoRA adapter was made for. Shapes do not tell: an adapter fits every model of the same size."""

from __future__ import annotations

import re
from pathlib import Path

from core.models import adapter_base


def finding(adapter: Path) -> str:
    """Say that an adapter's configuration and its model card name different bases; empty where they do not.

    The base that is loaded is the one in adapter_config.json, which people edit to make an adapter load. peft writes
    the base of the training into README.md as well. Only names of models are compared, never folders.
    """
    loaded, trained = adapter_base(adapter), _card_base(adapter / "README.md")
    if not (_is_name(loaded) and _is_name(trained)) or loaded.lower() == trained.lower():
        return ""
    return (
        f"The adapter {adapter.name} is put on {loaded}, but its model card says that it was made for {trained}. "
        "Equal shapes do not make it fit: look at what the model knows before you trust this run."
    )


def _card_base(path: Path) -> str:
    """Return base_model of a model card's head, an empty string where there is none or several."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    head = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    line = re.search(r"^base_model:[ \t]*[\"']?([^\s\"']+)", head[1], re.MULTILINE) if head else None
    return line[1] if line else ""


def _is_name(base: str) -> bool:
    """Say whether this is a hub id, or the bundled model, rather than a place on some disk."""
    return base == "bundled" or re.fullmatch(r"[\w.-]*\w/[\w.-]+", base) is not None
