"""The one assertion of the whole corpus: a sentence or a result, in bounded time and memory, with nothing else touched."""

from __future__ import annotations

import hashlib
import os
import re
import resource
import threading
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from core.util.errors import TURNING, UserError

TAKEN = ""
"""in place of a word of the refusal: the input is no mistake, and gives a result"""
SECONDS = 10.0
"""processor time: the most that one input may cost, the first one's imports included"""
PATIENCE = 60.0
"""seconds of wall clock: wide enough for a busy machine, and an input that makes somebody wait is found all the same"""
MEMORY = 300 * 2**20
"""bytes by which one input may raise the peak of the process"""
LONGEST = 810
"""characters of a sentence and its advice"""


@dataclass(frozen=True)
class Around:
    """A folder in which an input may write, and a tree around it in which it may not."""

    folder: Path
    outside: Path

    @classmethod
    def make(cls, place: Path) -> Around:
        """Lay out files of somebody else beside and above the folder."""
        folder = place / "home" / "work" / "here"
        folder.mkdir(parents=True)
        for name in (
            "secret.json",
            "home/secret.json",
            "home/work/secret.json",
            "home/work/config.json",
            "home/work/unlearn.json",
        ):
            (place / name).write_text('{"mine": true}', encoding="utf-8")
        return cls(folder, place)

    def snapshot(self) -> dict[str, str]:
        """Return path -> kind and content of all that lies outside of the folder, links not followed."""
        found = {}
        for path in self.outside.rglob("*"):
            if self.folder in (path, *path.parents):
                continue
            link = path.is_symlink()
            content = os.readlink(path).encode() if link else path.read_bytes() if path.is_file() else b""
            found[str(path.relative_to(self.outside))] = hashlib.sha256(content).hexdigest()
        return found


def says(error: UserError) -> str:
    """Return an error's text, after a look at its form: one line, no traceback, nothing that a terminal would obey."""
    text = str(error)
    assert error.what, "a refusal without a sentence"
    assert len(text) <= LONGEST, f"{len(text)} characters: {text[:200]}"
    assert "Traceback" not in text
    assert not re.search(r'File ".*", line \d', text)
    odd = sorted(
        {unicodedata.name(c, repr(c)) for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in TURNING}
    )
    assert not odd, f"{odd} in {text!r}"
    return text


def calm(
    act: Callable[[], Any], word: str, around: Around | None = None, also: Callable[[Any], object] | None = None
) -> Any:
    """Do something with an input and compare what comes of it with the corpus; return the result, None where it was
    refused."""
    before = around.snapshot() if around else {}
    children, threads = {p.pid for p in psutil.Process().children(recursive=True)}, threading.active_count()
    peak, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    begun, result = time.monotonic(), None
    try:
        result = act()
    except UserError as error:
        said = says(error)
        assert word, f"refused although it is harmless: {said}"
        assert word.lower() in said.lower(), f"{word!r} is not in {said!r}"
    else:
        assert word == TAKEN, f"not refused: {str(result)[:200]}"
    waited = time.monotonic() - begun
    seconds, grown = time.process_time() - started, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024
    assert seconds < SECONDS, f"{seconds:.1f} s"
    assert waited < PATIENCE, f"{waited:.1f} s of waiting"
    assert grown < MEMORY, f"{grown / 2**20:.0f} MB"
    assert {p.pid for p in psutil.Process().children(recursive=True)} <= children, "a process was left behind"
    assert threading.active_count() <= threads + 4, "threads were left behind"
    if around:
        assert around.snapshot() == before, "something outside of the folder was touched"
    return result
