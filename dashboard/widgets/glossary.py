"""Words of the pages, one click from what they mean: the glossary of assets/docs/concepts.md."""

from __future__ import annotations

import functools
import re
from urllib.parse import urlencode

from core.util.paths import ASSETS
from dashboard import pages

FILE, DOCUMENT = ASSETS / "docs" / "concepts.md", "Concepts"
"""where the glossary is, and what the list of documents calls it"""
PARAMETER = "term"
TERMS = {
    "unlearn": "unlearn scope",
    "retention": "retention scope",
    "other": "another fact",
    **dict.fromkeys(("train", "untaught", "free"), "wording"),
    **dict.fromkeys(("val", "dev"), "val"),
}
"""scope or kind of question -> the term that the glossary explains it by"""
_ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


@functools.cache
def meanings() -> dict[str, str]:
    """Return term -> what it means; of a row with several terms, each. Empty where there is no glossary."""
    if not FILE.exists():
        return {}
    _, _, text = FILE.read_text(encoding="utf-8").partition("## Glossary\n")
    rows = _ROW.findall(text.partition("\n## ")[0])
    return {term: meaning for terms, meaning in rows[1:] for term in re.sub(r" \(\w+\)", "", terms).split(", ")}


def link(term: str, shown: str = "") -> str:
    """Return, as Markdown, a link that opens what a term means. shown: what stands there, empty for the term."""
    return f"[{shown or term}]({pages.DOCUMENTS.address}?{urlencode({'document': DOCUMENT, PARAMETER: term})})"


def help_text(*terms: str) -> str:
    """Return what terms mean, a line each, every term with its link: for the help of a control."""
    return "  \n".join(f"{link(term)}: {meanings().get(term, '')}" for term in terms)
