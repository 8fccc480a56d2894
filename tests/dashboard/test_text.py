from __future__ import annotations

import pytest

from dashboard.text import chart_text, cited, duration, marked, md, number, shorten
from dashboard.widgets import literature

HOSTILE = "<script>alert(1)</script> **bold** :red[x] $x^2$ ![i](http://e.example/i.png) `code` :material/home: # head"


def test_markdown_is_escaped_character_by_character() -> None:
    escaped = md(HOSTILE)
    for special in (
        "\\<script\\>",
        "\\*\\*bold",
        "\\:red\\[x\\]",
        "\\$x",
        "\\!\\[i\\]\\(",
        "\\`code\\`",
        "\\:material\\/home\\:",
    ):
        assert special in escaped


def test_papers_are_links_that_are_marked_and_the_rest_stays_text() -> None:
    said = cited("Ours *and* arXiv 2410.16454 (see arXiv:2607.02513).")
    assert said == (
        r"Ours \*and\* [arXiv 2410.16454 ↗](https://arxiv.org/abs/2410.16454) \(see "
        r"[arXiv 2607.02513 ↗](https://arxiv.org/abs/2607.02513)\)\."
    )
    assert cited(HOSTILE) == md(HOSTILE)


def test_every_doubt_leads_to_its_paper() -> None:
    for doubt in literature.DOUBTS.values():
        assert "](https://arxiv.org/abs/" in cited(doubt)


def test_markdown_cannot_begin_a_new_block() -> None:
    assert "\n" not in md("a\n\n# b")


def test_marked_escapes_equal_and_differing_words() -> None:
    html = marked("<b>same</b> <i>new</i>", "<b>same</b> old", "color:red")
    assert "<b>" not in html
    assert "<i>" not in html
    assert html == '&lt;b&gt;same&lt;/b&gt; <mark style="color:red">&lt;i&gt;new&lt;/i&gt;</mark>'


def test_marked_marks_only_what_the_other_lacks() -> None:
    assert "<mark" not in marked("one two", "one two", "")
    assert marked("one two three", "one three", "s").count("<mark") == 1


def test_chart_text_keeps_plotly_from_reading_tags() -> None:
    assert chart_text("<a href='x'>y</a>") == "&lt;a href='x'&gt;y&lt;/a&gt;"


@pytest.mark.parametrize(("seconds", "words"), [(48.2, "48 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(("value", "words"), [(0.0, "0"), (0.5, "0.5"), (0.00064, "6.40·10⁻⁴"), (123456.0, "1.23·10⁵")])
def test_numbers(value: float, words: str) -> None:
    assert number(value) == words


def test_shorten_cuts_at_a_word() -> None:
    assert shorten("one two three", 9) == "one two…"
    assert shorten("short") == "short"


def test_a_number_that_was_not_measured_is_a_dash() -> None:
    assert [number(float(value)) for value in ("nan", "inf", "-inf")] == ["–"] * 3
