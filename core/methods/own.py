"""A method from a file of the user's own, as a setting: which file and class, its hash, and values not checked yet."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from core.methods.base import Method
from core.util.errors import UserError


@dataclass(frozen=True)
class OwnMethod(Method):
    """Names a class in a file; the class itself is found by `resolved`, in the worker."""

    name: ClassVar[str] = "own"
    formula: ClassVar[str] = "what its file says"
    source: ClassVar[str] = "own file: --method path/to/file.py:Class"
    file: str = ""
    """the file's name, without its folder"""
    kind: str = ""
    """the class"""
    sha256: str = ""
    """of the source text"""
    settings: str = "{}"
    """JSON: setting -> value, not checked before the class is known"""

    @property
    def label(self) -> str:
        """What lists show."""
        return f"{self.kind} ({self.file})"

    def with_setting(self, key: str, value: Any) -> OwnMethod:
        """Return a copy with one more setting of the class."""
        return replace(self, settings=json.dumps({**settings_of(self.settings), key: value}, sort_keys=True))


def settings_of(text: str) -> dict[str, Any]:
    """Return recorded settings as values; empty where the text is no JSON object."""
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise UserError("The settings of an own method are no JSON object.", "Name the method again.")
    return values
