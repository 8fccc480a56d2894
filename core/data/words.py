"""Words of a text in any script: what ROUGE compares, and what can be too long to be one."""

from __future__ import annotations

import re
from collections.abc import Callable

SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""characters of scripts that write no spaces between words (Thai, Lao, Burmese, Khmer, kana, Han), for a character class"""
_OTHER = re.compile(r"[^\W\d_\u0000-\u024f]")
_PUBLISHED = re.compile(r"[a-z0-9]+")
_ANY = re.compile(rf"[{SPACELESS}]|[^\W_{SPACELESS}]+")


def splitter(truth: str) -> Callable[[str], list[str]]:
    """Return what splits a true answer, and whatever is compared with it, into lower-case words.

    rouge-score's own rule (runs of a to z and digits), so that numbers compare with published ones; where the truth is in
    another script than Latin, of which that rule would keep nothing, runs of any letters, and single characters where no
    spaces are written.
    """
    rule = _ANY if _OTHER.search(truth) else _PUBLISHED
    return lambda text: rule.findall(text.lower())
