"""Evidence in a real browser: old links, a count, a row by mouse, an own verdict, Compare, a threshold, probes."""

from __future__ import annotations

import functools
import json
import re
import shutil
from collections.abc import Callable

import pandas as pd
import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect

from core.metrics import verdicts
from core.runs import store
from core.runs.store import Run
from tests.dashboard.evidence.test_page import DETAILS, finding, put
from tests.e2e.serving import Server, rest

RUN = "probed"


@functools.cache
def judged() -> pd.DataFrame:
    """Return the verdicts on what after was asked, by the rules alone."""
    frame = verdicts.of_run(store.bundled_runs()[0])
    return frame[frame["verdict"] != ""]


@pytest.fixture(scope="module")
def probed(server: Server) -> str:
    """Put a copy of the bundled run with findings of two probes into the server's folder; return its id."""
    run = server.runs / RUN
    if not run.exists():
        shutil.copytree(
            store.bundled_runs()[0].path,
            run,
            ignore=shutil.ignore_patterns("probes"),
        )
        put(
            Run(run),
            finding("sampling", 40, detail=DETAILS["sampling"]),
            finding("membership", 60, leaked=[], detail=DETAILS["membership"]),
        )
    return RUN


def test_from_a_tile_to_an_example_to_compare(server: Server, page: Page, probed: str, window: Callable[..., Page]) -> None:
    page.goto(f"{server.url}/probe?run={probed}")  # as it was called once
    rest(page)
    expect(page).to_have_url(re.compile(r"/evidence\?"))
    expect(page.get_by_text(f"{len(judged())} examples, worst first")).to_be_visible()
    page.get_by_role("button", name=re.compile(r"^lost · \d+ of \d+")).click()
    expect(page.get_by_text(re.compile(r"^[1-9]\d? examples, worst first"))).to_be_visible()
    expect(page).to_have_url(re.compile(r"show=retention\.lost"))
    rest(page)
    box = page.get_by_test_id("stDataFrame").first.bounding_box()
    assert box
    page.mouse.click(box["x"] + 20, box["y"] + 55)  # the mark at the left edge of the first row
    expect(page.get_by_role("link", name="Open in Compare")).to_be_visible()
    expect(page).to_have_url(re.compile("example=retention"))
    rest(page)
    second = window()
    second.goto(page.url)
    expect(second.get_by_role("link", name="Open in Compare")).to_be_visible()
    question = page.locator("h4").first.inner_text()
    page.get_by_role("link", name="Open in Compare").click()
    expect(page.get_by_role("heading", name="Ask it, before and after")).to_be_visible()
    expect(page.locator("h3").first).to_contain_text(question)


def test_an_own_verdict_is_kept(server: Server, page: Page, probed: str) -> None:
    told = verdicts.counts(judged())["unlearn"]["leaked"]["after"]
    forgotten = judged()[judged()["verdict"] == "forgotten"]["id"].iloc[0]
    page.goto(f"{server.url}/evidence?run={probed}&among=all&example={forgotten}")
    rest(page)
    # By keyboard: a list that opens while the page still scrolls closes again.
    choice = page.get_by_role("combobox", name="Your verdict")
    choice.focus()
    choice.press_sequentially("leaked")
    page.get_by_role("option", name="leaked").wait_for()
    choice.press("Enter")
    page.get_by_role("textbox", name="Note").fill("the city <b>is</b> said")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("With your 1 own verdict")).to_be_visible()
    expect(page.get_by_text(f"{told['n'] + 1:.0f} of {told['of']:.0f}").first).to_be_visible()
    kept = json.loads((server.runs / probed / "verdicts.json").read_text())["verdicts"]
    assert kept == {forgotten: {"verdict": "leaked", "note": "the city <b>is</b> said"}}


def test_a_threshold_by_keyboard_is_in_the_link(server: Server, page: Page, probed: str) -> None:
    page.goto(f"{server.url}/evidence?run={probed}&part=Rules")
    rest(page)
    expect(page.get_by_text("These are the default rules")).to_be_visible()
    page.get_by_role("slider", name="Facts that make it kept").press("End")
    expect(page.get_by_text(re.compile(rf"of {len(judged())} verdicts differ"))).to_be_visible()
    rest(page)
    expect(page).to_have_url(re.compile("rules=kept_facts"))
    page.get_by_role("radio", name="Every example").click()
    expect(page.get_by_text("The rules were changed")).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_findings_are_shown_as_text_and_fit(server: Server, window: Callable[..., Page], probed: str, width: int) -> None:
    page = window(viewport={"width": width, "height": 900})
    page.goto(f"{server.url}/evidence?run={probed}&part=Leak+probes&leak=sampling")
    rest(page)
    expect(page.get_by_text("Asked again and again").first).to_be_visible()
    expect(page.get_by_text("<script>1</script>").first).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("came back, % over answers sampled"))).to_be_visible()
    assert (
        page.evaluate(
            "() => document.querySelector('[data-testid=\"stMain\"]').scrollWidth - "
            "document.querySelector('[data-testid=\"stMain\"]').clientWidth"
        )
        <= 0
    )
    page.get_by_role("link", name=re.compile("script")).first.click()
    expect(page.get_by_role("heading", name="Ask it, before and after")).to_be_visible()
