"""How a setting is declared, a dataclass field that knows its unit, range and source; and how a value becomes one."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import Field, field
from typing import Any, get_args, get_origin

from core.util.errors import UserError, unknown

LONGEST = 20_000
"""characters of a setting; paths and lists of tensors are much shorter"""


def setting(
    default: Any,
    help: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    source: str = "",
    tune: tuple[float, float] | tuple[float, float, str] | None = None,
) -> Any:
    """Declare a dataclass field with what a form or a help page needs to know about it.

    tune: (low, high) or (low, high, "log" or "linear"): where the tuner looks, on a logarithmic scale unless it says
    otherwise.
    """
    where = None if tune is None else (*tune[:2], tune[2] if len(tune) == 3 else "log")
    metadata = {"help": help, "unit": unit, "low": low, "high": high, "choices": choices, "source": source, "tune": where}
    return field(default=default, metadata=metadata)


def converted(of: Field[Any], hint: Any, value: Any) -> Any:
    """Convert a value, text for instance, to a field's type, and check it against the field's choices and range.

    Raises UserError that names the field.
    """
    key = of.name
    found = _typed(hint, key, value)
    meta = of.metadata
    choices, low, high = meta.get("choices", ()), meta.get("low"), meta.get("high")
    if choices and found not in choices:
        raise unknown(f"choice for {key}", str(value), choices)
    if isinstance(found, int | float) and not isinstance(found, bool):
        if (low is not None and found < low) or (high is not None and found > high):
            raise UserError(f"{key} is {str(value)[:80]}, outside its range.", f"Choose a value from {low} to {high}.")
    return found


def _typed(hint: Any, key: str, value: Any) -> Any:
    def wrong() -> UserError:  # only where it is: making the sentence costs more than all the checks
        return UserError(f"{key} cannot be {repr(value)[:80]}.", f"It must be a {getattr(hint, '__name__', 'list')}.")

    if get_origin(hint) is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple):
            raise wrong()
        inner = get_args(hint)[0]
        return tuple(_typed(inner, key, part.strip() if isinstance(part, str) else part) for part in parts if part != "")
    if hint is bool:
        text = str(value).lower()
        if text not in {"true", "false", "1", "0", "yes", "no", "on", "off"}:
            raise wrong()
        return text in {"true", "1", "yes", "on"}
    if hint is str:
        if not isinstance(value, str | int | float):
            raise wrong()
        return _plain(key, str(value))
    if isinstance(value, bool):
        raise wrong()
    try:
        number = hint(value)
    except (TypeError, ValueError, OverflowError):
        raise wrong() from None
    if isinstance(number, float) and not math.isfinite(number):
        raise wrong()
    return number


def _plain(key: str, text: str) -> str:
    """Return a text that can stand in files, lists and on a terminal. Raises UserError for any other."""
    if len(text) > LONGEST:
        raise UserError(f"{key} has {len(text)} characters, more than {LONGEST}.", "Shorten it.")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise UserError(f"{key} holds a control character, or half a character.", "Write it as plain text.")
    return text
