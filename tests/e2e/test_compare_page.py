"""Compare in a real browser: own questions outlive a reload, in this browser alone; what was said is coloured."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect

from core.runs import layout
from tests.e2e.serving import Server, rest

QUESTIONS = ("Where does Orla <b>Venning</b> live?", "Who keeps the lighthouse?")
BOX = 'textarea[data-testid="stChatInputTextArea"]'


def ask(page: Page, question: str) -> None:
    """Type a question of one's own, and wait until both have answered."""
    page.locator(BOX).fill(question)
    page.locator(BOX).press("Enter")
    expect(page.get_by_role("heading", name=question)).to_be_visible()
    expect(page.get_by_role("button", name="Ask again")).to_be_visible()
    expect(page.get_by_text("tokens/s")).to_have_count(2)
    rest(page)


def answers(page: Page) -> list[str]:
    """Return what the panes say."""
    return page.locator('[dir="auto"][style*="pre-wrap"]').all_inner_texts()


def test_own_questions_outlive_a_reload_in_this_browser_alone(
    server: Server, window: Callable[..., Page], tiny_run: str
) -> None:
    page = window()
    page.goto(f"{server.url}/compare?run={tiny_run}")
    rest(page)
    said = {}
    for question in QUESTIONS:
        ask(page, question)
        said[question] = answers(page)
        assert len(said[question]) == 2
    (file,) = (server.runs / layout.ASKED / tiny_run).iterdir()
    cookie = next(c["value"] for c in page.context.cookies() if c["name"] == "forgetscope_browser")
    assert cookie not in file.name, "who sees the folder could pass for the visitor"

    page.reload()
    rest(page)
    assert answers(page) == said[QUESTIONS[1]]
    expect(page.get_by_text("tokens/s")).to_have_count(2)
    page.goto(f"{server.url}/compare?run={tiny_run}&view=History")  # as on another day: nothing of it in the address
    rest(page)
    assert QUESTIONS[1] not in page.get_by_role("heading", level=3).all_inner_texts()
    page.get_by_role("button", name=QUESTIONS[0]).click()
    expect(page.get_by_role("heading", name=QUESTIONS[0])).to_be_visible()
    rest(page)
    assert answers(page) == said[QUESTIONS[0]]

    other = window()
    other.goto(f"{server.url}/compare?run={tiny_run}&view=History")
    rest(other)
    for question in QUESTIONS:
        expect(other.get_by_text(question)).to_have_count(0)
    expect(other.get_by_text("Nothing yet.")).to_be_visible()

    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_text("Nothing yet.")).to_be_visible()
    rest(page)
    assert not file.exists()
    page.reload()
    rest(page)
    expect(page.get_by_text("Nothing yet.")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_was_said_is_coloured_and_a_token_tells_what_else_it_could_have_been(
    server: Server, window: Callable[..., Page], tiny_run: str, scheme: str
) -> None:
    page = window(color_scheme=scheme)
    page.goto(f"{server.url}/compare?run={tiny_run}")
    rest(page)
    ask(page, QUESTIONS[0])
    row = page.get_by_role("group", name="Tokens that it said: After")
    token = row.get_by_role("button").first
    expect(token).to_have_attribute("title", re.compile(r"^After: (under )?[\d.]+ %$"))  # not by colour alone
    token.press("Enter")
    expect(page).to_have_url(re.compile(r"said=after\.1"))
    expect(token).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_text(re.compile(r"^It said “.*”: (under )?[\d.]+ %$"))).to_be_visible()
    colours = row.evaluate(
        "row => [...row.querySelectorAll('button')].map(b => getComputedStyle(b)).map(s => [s.color, s.backgroundColor])"
    )
    for pair in colours:
        assert contrast(*pair) >= 4.5


def contrast(*colours: str) -> float:
    """Return WCAG's contrast of two colours as a browser tells them, rgb(r, g, b)."""
    shades = []
    for colour in colours:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        shades.append(0.2126 * r + 0.7152 * g + 0.0722 * b)
    return (max(shades) + 0.05) / (min(shades) + 0.05)
