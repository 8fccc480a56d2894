from __future__ import annotations

from pathlib import Path

import pytest

from core.methods import METHODS
from core.regions import REGIONS
from dashboard.help import documents
from tests.dashboard.conftest import Open, text_of


def test_a_document_asks_no_other_host() -> None:
    text = (
        "# Title\n\n![x](https://evil.example/x.png) [here](https://evil.example) <script>1</script> :red[r] $a$ "
        "`core sweep`\n\n```\nrun $X < y\n# no heading\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    )
    shown = documents.harmless(text)
    assert "![" not in shown
    assert "](" not in shown
    assert "<script" not in shown
    assert shown.startswith("### Title")
    assert "| 1 | 2 |" in shown
    assert "`core sweep`" in shown
    assert "run $X < y\n# no heading" in shown


def test_a_link_to_another_document_is_its_title() -> None:
    shown = documents.harmless("See [How cost grows](scale.md), [the paper](https://arxiv.org/abs/2407.01920).")
    assert shown == r"See How cost grows, the paper (https\://arxiv.org/abs/2407.01920)."


def test_tables_stand_apart() -> None:
    text = "before\n\n| a | |\n|---|--:|\n| 1 | **2** |\n| 3 | 4 |\n\nafter | no table\n"
    before, table, after = documents.parts(text)
    assert table == [{"a": "1", "  ": "**2**"}, {"a": "3", "  ": "4"}]
    assert isinstance(before, str)
    assert isinstance(after, str)
    assert before.strip() == "before"
    assert after.strip() == "after | no table"


def test_code_stands_apart_and_what_it_holds_is_no_table() -> None:
    text = "before\n\n```bash\nrun --long\n\n| a | b |\n|---|---|\n| 1 | 2 |\n```\n\nafter\n\n```\n```\n\n``` never closed\n"
    before, code, after, empty, rest = documents.parts(text)
    assert code == documents.Listing("run --long\n\n| a | b |\n|---|---|\n| 1 | 2 |", "bash")
    assert empty == documents.Listing("", None)
    assert [str(part).strip() for part in (before, after, rest)] == ["before", "after", "``` never closed"]


@pytest.mark.parametrize("file", documents.files().values(), ids=lambda file: file.stem)
def test_long_lines_of_code_never_scroll_out_of_reach(file: Path, open_page: Open) -> None:
    app = open_page("help", document=next(title for title, known in documents.files().items() if known == file))
    assert not [text.value for text in app.markdown if "```" in text.value]
    assert all(code.proto.wrap_lines for code in app.code)
    assert len(app.code) == file.read_text(encoding="utf-8").count("\n```") // 2


def test_every_document_has_its_page(open_page: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "b.md").write_text("an opening\n\n# How it grows\n\n| users | ms |\n|---|---|\n| 20 | <b>7</b> |\n")
    (tmp_path / "docs" / "untitled.md").write_text("nothing but this")
    monkeypatch.setattr(documents, "ASSETS", tmp_path)
    assert list(documents.files()) == ["What we found", "How it grows", "untitled"]
    app = open_page("help", document="How it grows")
    assert not app.exception
    assert app.selectbox(key="document").value == "How it grows"
    assert "### How it grows" in text_of(app)
    assert list(app.table[0].value.iloc[0]) == ["20", "&lt;b>7&lt;/b>"]
    app.selectbox(key="document").select("untitled").run()
    assert "nothing but this" in text_of(app)


def test_a_document_that_is_no_text_says_so(open_page: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_bytes(b"\xff\xfe")
    monkeypatch.setattr(documents, "ASSETS", tmp_path)
    monkeypatch.setattr(documents, "FINDINGS", tmp_path / "gone.md")
    app = open_page("help")
    assert not app.exception
    assert "a.md cannot be read" in app.info[0].value


def test_methods_can_be_searched(open_page: Open) -> None:
    app = open_page("methods")
    assert len(app.expander) >= len(METHODS) + len(REGIONS)
    app.text_input(key="method_words").set_value("memflex").run()
    assert not app.exception
    assert f"of {len(METHODS)} methods" in text_of(app)
    assert len(app.expander) < len(METHODS)
