"""What the project says of itself: short, with links that lead somewhere, and with the counts of the runs that ship."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from core.util.paths import ASSETS, ROOT
from tests import said

README = ROOT / "README.md"
FINDINGS = ASSETS / "findings.md"
ALL = (README, FINDINGS, *sorted((ASSETS / "docs").glob("*.md")))
PLAIN = tuple(file for file in ALL if file.stem != "changelog")
"""those that are held to short sentences: all but the history"""
MOST_LINES, MOST_WORDS = 90, 22
OLD_WORDS = re.compile(r"\b(noise|noisy|degenerate)\b", re.IGNORECASE)
"""what files call an answer without words; a reader is told gibberish"""


def sentences(text: str) -> list[str]:
    """Return the sentences of a document's prose, and of its tables' cells, without its code."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    blocks = re.split(r"\n\s*\n|\n(?=[-#|]|\d+\. )|\s\|\s|\s·\s", text)
    return [each for block in blocks for each in re.split(r"(?<=[.?!])\s+", " ".join(block.split()))]


@pytest.mark.parametrize("file", [README, FINDINGS], ids=lambda file: file.stem)
def test_a_page_is_a_page(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_what_was_planted_is_what_the_record_that_ships_counted() -> None:
    text = FINDINGS.read_text(encoding="utf-8")
    assert said.written(text, said.planted()) == text, "python -m tests.said --write"


@pytest.mark.parametrize("file", PLAIN, ids=lambda file: file.stem)
def test_sentences_are_short(file: Path) -> None:
    assert [s for s in sentences(file.read_text(encoding="utf-8")) if len(s.split()) > MOST_WORDS] == []


@pytest.mark.parametrize("file", ALL, ids=lambda file: file.stem)
def test_links_lead_to_files(file: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", re.sub(r"```.*?```", "", file.read_text(encoding="utf-8"), flags=re.DOTALL))
    assert [link for link in links if "://" not in link and not (file.parent / link).exists()] == []


@pytest.mark.parametrize("file", said.TABLES, ids=lambda file: file.stem)
def test_what_is_said_is_what_the_runs_that_ship_counted(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert said.written(text, said.table(said.TABLES[file])) == text, "python -m tests.said --write"


@pytest.mark.parametrize("file", PLAIN, ids=lambda file: file.stem)
def test_gibberish_has_one_name(file: Path) -> None:
    text = re.sub(r"`[^`]*`", "", file.read_text(encoding="utf-8"))  # names of tests and files stay what they are
    assert [line for line in text.splitlines() if OLD_WORDS.search(line)] == []


def test_no_text_of_the_program_has_another_name_for_gibberish() -> None:
    found = []
    for file in (*(ROOT / "core").rglob("*.py"), *(ROOT / "dashboard").rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        # A word alone is a key in a file; what is shown is a title or a sentence.
        found += [
            (file.name, node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docs
            and (" " in node.value or node.value[:1].isupper())
            and OLD_WORDS.search(node.value)
        ]
    assert found == []


def test_the_readme_names_every_room() -> None:
    rooms = {f"{path.name}/" for path in (ROOT / "core").iterdir() if (path / "__init__.py").exists()}
    assert rooms <= set(re.findall(r"^  (\w+/)", README.read_text(encoding="utf-8"), re.MULTILINE))
