"""Planted truth in a real browser: the threshold is dragged, and told at once what lies above it."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect

from core.jobs import planting
from tests.dashboard.planted_made import one_planting, record_of
from tests.e2e.serving import Server, rest

COVERED = """() => {
  const canvas = document.querySelector(".fs-below"), { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  return data.filter((value, i) => i % 4 === 3 && value > 0).length;
}"""
"""how many pixels of the map are painted over"""


@pytest.fixture(scope="module")
def planted(server: Server) -> str:
    """Put a planting into the bundled model among the server's; return the address at which it is open."""
    path = server.runs / ".plantings" / "aaaa" / planting.FILE
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record_of([one_planting(seed, 9.0) for seed in range(2)])))
    return f"{server.url}/?run=privacy-memflex&planted=true"


def test_a_threshold_tells_while_it_is_dragged_what_lies_above_it(planted: str, page: Page) -> None:
    page.goto(planted)
    rest(page)
    told, slider = page.locator(".fs-threshold output"), page.get_by_role("slider", name="Threshold")
    expect(told).to_contain_text("3 of the 3 planted modules, and 0 of the 17 others")
    expect(slider).to_have_attribute("aria-valuetext", told.inner_text())
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 17 / 20, y)
    page.mouse.down()
    page.mouse.move(box["x"] + 1, y, steps=8)
    expect(told).to_contain_text("3 of the 3 planted modules, and 17 of the 17 others")
    page.mouse.move(box["x"] + box["width"] - 1, y, steps=8)
    expect(told).to_contain_text("0 of the 3 planted modules, and 0 of the 17 others")
    page.mouse.up()
    slider.press("ArrowLeft")
    expect(told).to_contain_text("1 of the 3 planted modules, and 0 of the 17 others")
    many = page.evaluate(COVERED)
    for _ in range(10):
        slider.press("ArrowLeft")
    page.wait_for_function(f"many => ({COVERED})() < 0.8 * many", arg=many)


def test_another_score_and_another_planting_begin_where_as_many_are_taken_as_were_planted(planted: str, page: Page) -> None:
    page.goto(planted)
    rest(page)
    told = page.locator(".fs-threshold output")
    field = page.get_by_role("combobox", name="Map of")
    field.scroll_into_view_if_needed()
    field.click()
    page.get_by_role("option", name="Size of the change").click()
    expect(told).to_contain_text("0 of the 3 planted modules, and 3 of the 17 others")
    page.get_by_role("combobox", name="Planting").click()
    page.get_by_role("option", name="draw 2, teaching 1").click()
    rest(page)
    expect(told).to_contain_text("0 of the 3 planted modules, and 3 of the 17 others")
