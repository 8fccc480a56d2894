"""Tokens of the hub never leave a process: what is logged, shown or kept as an error has them covered.

They are read by the hub's own library, from the environment or its own file; we never handle them. But a server or a library
may repeat one in a message, so every sentence for a user (core/util/errors.py) and every line of a log (core/util/logs.py)
comes through here.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""environment variables from which the hub's library takes a token"""
COVER = "(token)"
SHORTEST = 8
"""characters; what is shorter is no token, and covering it would tear words apart"""
_LIKE_ONE = re.compile(r"\bhf_[A-Za-z0-9]{20,}|(?<=Bearer )[^\s'\"]+")


def masked(text: str) -> str:
    """Return a text with this machine's hub tokens, and all that looks like one, covered."""
    for token in _tokens():
        text = text.replace(token, COVER)
    return _LIKE_ONE.sub(COVER, text)


def _tokens() -> list[str]:
    """Return the tokens that the hub's library would find here."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    file = Path(os.environ.get("HF_TOKEN_PATH") or Path(home) / "token")
    texts = [os.environ.get(name, "") for name in VARIABLES]
    # Where nobody has signed in, or has no home, or the file is no text, there is nothing to cover.
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        texts.append(file.expanduser().read_text(encoding="utf-8"))
    return [token for text in texts if len(token := text.strip()) >= SHORTEST]
