"""The glossary: every term that a page links to is in it, and one click from what it means."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.data.corpus import SCOPES
from core.runs.asked import KIND_NAMES
from core.util.paths import ROOT
from dashboard.help import documents
from dashboard.widgets import glossary
from tests.dashboard.conftest import Open, text_of

PAGES = {
    "": {"region"},
    "compare": {"never taught", "unlearn scope", "wording"},
    "evidence": {"another fact", "gibberish"},
    "report": {"U"},
    "runs": {"R"},
}
"""address -> some of the terms that lead there from its first screen"""


def terms_linked() -> Iterator[tuple[Path, str]]:
    """Yield every term that a page names."""
    for file in (ROOT / "dashboard").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                name, of = node.func.attr, node.func.value
                if isinstance(of, ast.Name) and of.id == "glossary" and name in ("link", "help_text"):
                    given = node.args[:1] if name == "link" else node.args
                    yield from ((file, arg.value) for arg in given if isinstance(arg, ast.Constant))


def test_every_term_that_a_page_names_has_a_meaning() -> None:
    found = list(terms_linked())
    assert len(found) > 20
    assert [(file.name, term) for file, term in found if not glossary.meanings().get(term)] == []


def test_scopes_and_kinds_of_question_are_terms() -> None:
    assert set(glossary.TERMS) == {*SCOPES, *KIND_NAMES}
    assert set(glossary.TERMS.values()) <= set(glossary.meanings())


def test_a_row_of_several_terms_is_found_by_each() -> None:
    meanings = glossary.meanings()
    assert meanings["U"] == meanings["unlearn scope"] != meanings["R"]
    assert {"μ", "σ", "A", "B", "retrained", "another fact", "gibberish", "never taught"} <= set(meanings)
    assert "word" not in meanings


@pytest.mark.parametrize("address", PAGES)
def test_terms_are_one_click_from_what_they_mean(address: str, open_page: Open) -> None:
    app = open_page(address)
    assert not app.exception
    words = "\n".join(str(element.value) for element in (*app.markdown, *app.caption))
    words += "\n".join(
        str(getattr(element.proto, "help", ""))
        for kind in ("toggle", "selectbox", "segmented_control", "title", "subheader")
        for element in getattr(app, kind, [])
    )
    assert PAGES[address] <= {
        term.replace("+", " ") for term in re.findall(r"help\?document=Concepts&term=([^)]+)\)", words)
    }


def test_a_term_stands_above_the_document_that_its_link_opens(open_page: Open) -> None:
    assert glossary.DOCUMENT in documents.files()
    app = open_page("help", document=glossary.DOCUMENT, term="another fact")
    assert not app.exception
    assert app.selectbox(key="document").value == glossary.DOCUMENT
    assert [box.value for box in app.info] == [f"**another fact**: {glossary.meanings()['another fact']}"]
    assert not open_page("help", document=glossary.DOCUMENT, term="nobody's word").info
    assert "Glossary" in text_of(app)
