"""What the server gives back of its memory, and that it starts where the C library cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from dashboard.server import memory

HELD = """
import sys
from pathlib import Path
from dashboard.server import memory
if sys.argv[1] == "given back":
    memory.keep_little()
held = lambda: int(Path("/proc/self/statm").read_text().split()[1]) * 4096
bytearray(16 << 20)  # freed at once: from here on glibc takes blocks of this size from memory that it keeps
began = held()
blocks = [bytearray(b"x") * (1 << 20) for _ in range(64)]
last = bytearray(b"x") * (1 << 20)  # lies above all others, so that what is freed below it is no end that can be cut off
blocks.clear()
print(held() - began)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own setting")
def test_large_blocks_that_were_dropped_are_given_back() -> None:
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", HELD, how], capture_output=True, text=True, check=True).stdout)
        for how in ("kept", "given back")
    )
    assert given_back < 8 << 20 < kept


def test_a_library_without_the_call_is_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARROW_DEFAULT_MEMORY_POOL", raising=False)
    monkeypatch.setattr("ctypes.CDLL", lambda name: SimpleNamespace())
    memory.keep_little()
    assert os.environ["ARROW_DEFAULT_MEMORY_POOL"] == "system"
