"""How a setting is declared: a dataclass field that knows its unit, range and source."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def setting(
    default: Any,
    help: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    source: str = "",
) -> Any:
    """Declare a dataclass field with what a form or a help page needs to know about it."""
    metadata = {"help": help, "unit": unit, "low": low, "high": high, "choices": choices, "source": source}
    return field(default=default, metadata=metadata)
