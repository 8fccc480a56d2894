"""What the project found out with its own runs: assets/findings.md, shown as text and tables and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import streamlit as st

FILE = Path(__file__).resolve().parents[2] / "assets" / "findings.md"
_PICTURE = re.compile(r"!\[([^\]]*)\]\([^)]*\)")
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)[^)]*\)")
_DIRECTIVE = re.compile(r":([a-z-]+)\[")


def there() -> bool:
    """Say whether there is anything to show."""
    return FILE.exists()


def show() -> None:
    """Show the file."""
    try:
        text = FILE.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        st.info("assets/findings.md cannot be read.")
        return
    st.markdown(harmless(text))


def harmless(text: str) -> str:
    """Return Markdown without pictures, links, formulas and colours: a page must not make a browser ask other hosts.

    A heading of the file stands below the page's own.
    """
    text = _PICTURE.sub(r"\1", text)
    text = _LINK.sub(lambda found: f"{found[1]} ({found[2].replace(':', chr(92) + ':')})" if found[2] != found[1] else found[1], text)
    text = _DIRECTIVE.sub(r"\\:\1[", text)
    text = text.replace("$", r"\$").replace("<", "&lt;")
    return re.sub(r"^(#{1,4}) ", r"##\1 ", text, flags=re.MULTILINE)
