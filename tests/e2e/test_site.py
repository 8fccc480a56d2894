"""A site opened from a folder in a real browser: drag, filter, a link to one question, and no barrier on any page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from core.report import site
from tests.e2e.test_report import WATCH
from tests.report.test_site import HOSTILE, small

COUNT = re.compile(r"\d+ of 420 tensors")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    site.write([small(place / "small", question=HOSTILE, before=HOSTILE)], place / "site", folder=place)
    return place / "site"


@pytest.fixture
def sheet(browser: Browser) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.add_init_script(WATCH)
        broken: list[str] = []
        page.on("pageerror", lambda error: broken.append(str(error)))
        yield page
        assert not broken


def barriers(page: Page) -> list[str]:
    """Return what axe calls serious or critical, where no hostile text has run."""
    assert page.evaluate("window.hit ?? null") is None
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html'][:160]}" for one in found if one["impact"] in ("serious", "critical")]


def test_a_site_opens_from_a_folder_drags_filters_and_has_no_barriers(sheet: Page, written: Path) -> None:
    sheet.goto((written / "index.html").as_uri())
    assert not barriers(sheet)
    sheet.get_by_role("link", name="Localize").click()
    expect(sheet.locator("#scatter")).to_have_attribute("data-drawn", "true")
    cut = sheet.locator("#cut")
    own = cut.inner_text()
    assert COUNT.search(own)
    assert not barriers(sheet)

    # Each way to move a threshold counts while it moves, and the outline stays when it is let go.
    line = sheet.locator(".fs-mu")
    line.scroll_into_view_if_needed()
    box = line.bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + 40
    sheet.mouse.move(x, y)
    sheet.mouse.down()
    sheet.mouse.move(x - 60, y, steps=4)
    expect(sheet.locator("#heatmap .fs-cover")).to_be_visible()
    expect(cut).not_to_have_text(own)
    dragged = cut.inner_text()
    sheet.mouse.up()
    expect(sheet.locator("#heatmap .fs-cover")).to_have_count(0)
    expect(cut).to_have_text(dragged)
    inside = "forgetscopeData.picture.inside.flat().filter((one) => one > 0).length"
    assert dragged.split(": ")[1].startswith(f"{sheet.evaluate(inside)} of")
    sheet.locator("#sigma").focus()
    for _ in range(3):
        sheet.keyboard.press("PageUp")
    expect(cut).not_to_have_text(dragged)
    sheet.get_by_role("button", name="Back to the run’s own region").click()
    expect(cut).to_have_text(own)

    sheet.get_by_role("link", name="Evidence").click()
    rows = sheet.locator("tr.example:visible")
    expect(rows.first).to_be_visible()
    sheet.locator("#scope-filter").select_option("retention")
    assert set(rows.evaluate_all("all => all.map((one) => one.dataset.scope)")) == {"retention"}
    sheet.locator("#search").fill("no answer says this")
    expect(rows).to_have_count(0)
    sheet.locator("#search").fill("")
    assert not barriers(sheet)
    question = rows.last.get_by_role("link")
    words = question.inner_text()
    question.click()
    expect(sheet.locator(".example:target")).to_be_visible()
    expect(sheet.locator(".example:target .question")).to_contain_text(words)
    assert not barriers(sheet)
    sheet.get_by_role("link", name="Report").click()
    sheet.get_by_role("button", name="Present").click()
    expect(sheet.locator(".slide.on")).to_contain_text("Is it forgotten?")
    sheet.keyboard.press("Escape")
    assert set(sheet.evaluate("refused")) <= {"style-src-attr inline"}
