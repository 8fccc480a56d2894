"""Whether the head of a GGUF file is one of a model, found out before a library reads it.

A head says how many values, names and tensors follow, and how long each is; libraries believe it. Sixty bytes that promise
2^60 numbers would fill the memory. So it is read here first, against the file's own size. Layout: docs/gguf.md of ggml.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from core.models.size_limits import MOST_LAYERS
from core.util.errors import UserError

MOST_VALUES, MOST_TENSORS = 10_000, 100_000
MOST_ITEMS = 2**21
"""items of one list; the largest vocabularies have a quarter of a million"""
LONGEST = 2**20
"""bytes of one text; templates of conversations have some thousand"""
LARGEST_HEAD = 2**27
"""bytes before the first tensor; large vocabularies take a tenth"""
MOST_DIMENSIONS = 4
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""kind of a value -> bytes, where that is fixed"""
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 10: "Q", 11: "q"}
"""kind of a whole number -> how struct reads it"""
TEXT, LIST = 8, 9


@dataclass(frozen=True)
class Head:
    """What a sound head says."""

    numbers: dict[str, int] = field(default_factory=dict)
    """name -> whole number, of the values that are one"""
    names: tuple[str, ...] = ()
    """of tensors"""
    elements: int = 0
    """of all tensors"""


def read(path: Path) -> Head:
    """Read a GGUF file's head. Raises UserError where it is none, promises more than the file holds, or is no model's."""
    try:
        with path.open("rb") as file:
            head = _Reader(file, path.stat().st_size).head()
    except OSError as error:
        raise UserError(f"{path.name} cannot be read ({error.strerror}).", "Check its permissions.") from None
    except _Wrong as error:
        raise UserError(f"{path.name} cannot be read as GGUF ({error}).", "Check that the file is complete.") from None
    return head


class _Wrong(Exception):
    """What is wrong with a head."""


class _Reader:
    """Reads a head from its beginning, never more than is there."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size

    def head(self) -> Head:
        magic, version, tensors, values = self._take("<4sIQQ")
        if magic != b"GGUF" or version not in (2, 3):
            raise _Wrong("not a GGUF file of version 2 or 3")
        if values > MOST_VALUES or tensors > MOST_TENSORS:
            raise _Wrong(f"{values} values and {tensors} tensors")
        numbers: dict[str, int] = {}
        seen: set[str] = set()
        for _ in range(values):
            name = self._text()
            if name in seen:
                raise _Wrong(f"the value {name} stands in it twice")
            seen.add(name)
            (kind,) = self._take("<I")
            value = self._value(kind)
            if isinstance(value, int):
                numbers[name] = value
        align = numbers.get("general.alignment", 32)
        if align < 1 or align & (align - 1) or align > 2**20:
            raise _Wrong(f"an alignment of {align}")
        placed = [self._tensor() for _ in range(tensors)]
        begin = -(-self.file.tell() // align) * align
        for name, _, offset, length in placed:
            if begin + offset + length > self.size:
                raise _Wrong(f"the tensor {name} lies beyond its end")
        names = tuple(name for name, *_ in placed)
        self._blocks(numbers, names)
        return Head(numbers, names, sum(count for _, count, _, _ in placed))

    def _take(self, form: str) -> Any:
        return struct.unpack(form, self._bytes(struct.calcsize(form)))

    def _bytes(self, count: int) -> bytes:
        position = self.file.tell()
        if count > self.size - position:
            raise _Wrong("it ends too early")
        if position + count > LARGEST_HEAD:
            raise _Wrong(f"a head of more than {LARGEST_HEAD // 2**20} MB")
        return self.file.read(count)

    def _text(self) -> str:
        (length,) = self._take("<Q")
        if length > LONGEST:
            raise _Wrong(f"a text of {length} bytes")
        try:
            return self._bytes(length).decode("utf-8")
        except UnicodeDecodeError:
            raise _Wrong("a name that is not UTF-8") from None

    def _value(self, kind: int) -> int | None:
        """Pass over a value; return it where it is a whole number."""
        if kind == TEXT:
            (length,) = self._take("<Q")
            if length > LONGEST:
                raise _Wrong(f"a text of {length} bytes")
            self._bytes(length)
        elif kind == LIST:
            self._list()
        elif kind in NUMBERS:
            return int(self._take("<" + NUMBERS[kind])[0])
        elif kind in SIZES:
            self._bytes(SIZES[kind])
        else:
            raise _Wrong(f"a value of kind {kind}")
        return None

    def _list(self) -> None:
        kind, count = self._take("<IQ")
        if count > MOST_ITEMS or kind == LIST:  # no model has lists of lists, and readers recurse
            raise _Wrong(f"a list of {count} items of kind {kind}")
        if kind in SIZES:
            self._bytes(SIZES[kind] * count)
            return
        for _ in range(count):
            self._value(kind)

    def _tensor(self) -> tuple[str, int, int, int]:
        """Return a tensor's name, number of elements, place among the tensors, and bytes."""
        import gguf

        name = self._text()
        (dimensions,) = self._take("<I")
        if dimensions > MOST_DIMENSIONS:
            raise _Wrong(f"a tensor of {dimensions} dimensions")
        shape = self._take(f"<{dimensions}Q")
        kind, offset = self._take("<IQ")
        try:
            block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]
        except (ValueError, KeyError):
            raise _Wrong(f"a tensor of kind {kind}") from None
        count = math.prod(shape)
        if not shape or not count or shape[0] % block:
            raise _Wrong(f"the tensor {name} has the shape {list(shape)}")
        return name, count, offset, count // block * size

    def _blocks(self, numbers: dict[str, int], names: tuple[str, ...]) -> None:
        """Refuse more layers than there are tensors for: each one is built before its weights are looked for."""
        if len(set(names)) < len(names):
            raise _Wrong("a tensor stands in it twice")
        there = {match[1] for name in names if (match := re.match(r"blk\.(\d+)\.", name))}
        for name, number in numbers.items():
            if name.endswith(".block_count") and number > min(MOST_LAYERS, len(there)):
                raise _Wrong(f"{number} layers, and tensors of {len(there)}")
