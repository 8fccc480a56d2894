"""What the project says about itself, assets/findings.md and assets/docs/*.md, shown as text and tables and nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from core.util.paths import ASSETS

FINDINGS = ASSETS / "findings.md"
ORDER = (
    *("tutorial", "concepts", "methods", "commands", "large", "operations", "measurements"),
    *("findings", "earlier", "changelog"),
)
"""names of documents, as they are read; others come last"""
_CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)
_FENCE = re.compile(r"^```(.*)\n((?:(?!```).*\n)*)```[ \t]*$", re.MULTILINE)
_TABLE = re.compile(r"((?:^\|.*\n)^\|[ \t:|-]+\|[ \t]*(?:\n\|.*)*(?:\n|\Z))", re.MULTILINE)
_PICTURE = re.compile(r"!\[([^\]]*)\]\([^)]*\)")
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)[^)]*\)")
_DIRECTIVE = re.compile(r":([a-z-]+)\[")


def files() -> dict[str, Path]:
    """Return title -> file of all documents, as they are read: a file is called what its first heading says."""
    paths = [file for file in (FINDINGS, *(ASSETS / "docs").glob("*.md")) if file.exists()]
    paths.sort(key=lambda file: (ORDER.index(file.stem) if file.stem in ORDER else len(ORDER), file.stem))
    return {_title(file): file for file in paths}


def _title(file: Path) -> str:
    with file.open(encoding="utf-8", errors="replace") as lines:
        return next((line.removeprefix("# ").strip() for line in lines if line.startswith("# ")), file.stem)


def show(file: Path) -> None:
    """Show one document."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        st.info(f"{file.name} cannot be read.")
        return
    for part in parts(text):
        if isinstance(part, str):
            st.markdown(harmless(part))
        elif isinstance(part, Listing):
            # A block in Markdown scrolls sideways, and Streamlit's cannot be reached by keyboard: long lines go on below.
            st.code(part.text, language=part.language, wrap_lines=True)
        else:
            # Streamlit's own table scrolls in itself; one in Markdown would push a telephone's page sideways.
            st.table(
                [{head: harmless(cell) for head, cell in row.items()} for row in part],
                border="horizontal",
                hide_index=True,
                alt="Table: " + ", ".join(head.strip() for head in next(iter(part), {}) if head.strip()),
            )


@dataclass(frozen=True)
class Listing:
    """A fenced block of code; ``language`` is None where the fence names none."""

    text: str
    language: str | None


Table = list[dict[str, str]]


def parts(text: str) -> list[str | Listing | Table]:
    """Split Markdown into text, listings and tables; a table is its rows, head -> cell. What a fence holds is never a
    table.
    """
    pieces: list[str | Listing | Table] = []
    end = 0
    for fence in _FENCE.finditer(text):
        pieces += _text_and_tables(text[end : fence.start()])
        pieces.append(Listing(fence[2].rstrip("\n"), fence[1].strip() or None))
        end = fence.end()
    return pieces + _text_and_tables(text[end:])


def _text_and_tables(text: str) -> list[str | Listing | Table]:
    pieces: list[str | Listing | Table] = []
    for index, part in enumerate(_TABLE.split(text)):
        if index % 2:
            pieces.append(_rows(part))
        elif part.strip():
            pieces.append(part)
    return pieces


def _rows(table: str) -> Table:
    heads, _, *rows = ([cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.strip().splitlines())
    names = [name or " " * (index + 1) for index, name in enumerate(heads)]
    return [dict(zip(names, row, strict=False)) for row in rows]


def harmless(text: str) -> str:
    """Return Markdown without pictures, links, formulas and colours: a page must not make a browser ask other hosts.

    Code stays as it is: nothing in it is more than text. A heading of the file stands below the page's own.
    """
    return "".join(part if index % 2 else _prose(part) for index, part in enumerate(_CODE.split(text)))


def _prose(text: str) -> str:
    text = _PICTURE.sub(r"\1", text)
    # Of a link to another document its title is left, which stands in the list of documents as well.
    text = _LINK.sub(
        lambda link: (
            f"{link[1]} ({link[2].replace(':', chr(92) + ':')})" if "://" in link[2] and link[2] != link[1] else link[1]
        ),
        text,
    )
    text = _DIRECTIVE.sub(r"\\:\1[", text)
    text = text.replace("$", r"\$").replace("<", "&lt;")
    return re.sub(r"^(#{1,4}) ", r"##\1 ", text, flags=re.MULTILINE)
