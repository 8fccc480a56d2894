"""Looking at finished runs: the first visit, links to each view, thresholds dragged, keyboard only, what is seen first."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect

from core.localization.measures import MEASURES
from core.report import in_short
from core.runs import asked, store
from core.runs.scores import Scores
from core.runs.store import Run
from dashboard.localize import region_controls
from tests.dashboard.localize.test_region_controls import made_controls
from tests.e2e.serving import Server, rest
from tests.screenshots import HEIGHT

Window = Callable[..., Page]
LOCATED = "privacy-memflex"
"""the bundled run whose region has thresholds"""
COUNT = re.compile(r"^\d+ of \d+ tensors$")
TABBED = """(wanted) => document.activeElement.matches(wanted)"""


def tab_to(page: Page, wanted: str, most: int = 90) -> None:
    """Press Tab until what is focused fits a selector."""
    for _ in range(most):
        if page.evaluate(TABBED, wanted):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{wanted} cannot be reached with Tab")


def test_first_visit_shows_a_finished_run_and_its_answers(server: Server, page: Page) -> None:
    first = store.bundled_runs()[0]
    region = first.json("region.json")
    page.goto(server.url)
    expect(page.get_by_role("heading", name=MEASURES["held"].heading)).to_be_visible()
    expect(page.locator(".js-plotly-plot .heatmaplayer image").first).to_be_visible()
    expect(page.get_by_role("heading", name=f"{region['count']} of {region['total']} tensors")).to_be_visible()
    assert f"run={first.id}" in page.url
    page.get_by_role("link", name="Compare", exact=True).click()
    expect(page.get_by_text("recorded when the run was evaluated")).to_be_visible()
    question = page.locator("h3").first.inner_text()
    shown = next(row for row in first.answers() if row["question"] == question)
    expect(page.get_by_text(shown["before"]).first).to_be_visible()
    expect(page.get_by_text(shown["after"]).first).to_be_visible()


def test_a_dragged_threshold_recolours_at_once_and_counts_on_release(server: Server, page: Page) -> None:
    page.goto(f"{server.url}/?run={LOCATED}")
    rest(page)
    heading = page.get_by_role("heading", name=COUNT)
    before = heading.inner_text()
    page.locator(".fs-mu").scroll_into_view_if_needed()
    box = page.locator(".fs-mu").bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 40, y, steps=8)
    expect(page.locator(".fs-cover")).to_be_visible()  # what recolours the heatmap, before Python knows
    expect(page.locator(".fs-live")).to_contain_text("of 420 tensors")
    live = page.locator(".fs-live").inner_text()
    assert heading.inner_text() == before
    page.mouse.up()
    expect(heading).not_to_have_text(before)
    expect(heading).to_have_text(live.partition(" · ")[0])
    expect(page.get_by_role("combobox", name="Start from")).to_have_value("Set here")
    assert "region=" in page.url


def test_quick_presses_and_the_way_back_all_count(server: Server, page: Page) -> None:
    page.goto(f"{server.url}/?run={LOCATED}")
    rest(page)
    heading, field = page.get_by_role("heading", name=COUNT), page.get_by_label("Shared below (μ), as a number")
    slider = page.get_by_role("slider", name="Shared below").last  # the first is the line in the scatter
    before, start = heading.inner_text(), float(field.input_value())
    slider.focus()
    for _ in range(12):
        page.keyboard.press("ArrowLeft")
    expect(field).to_have_value(f"{start - 0.012:.3f}")
    rest(page)
    handle = page.locator(".fs-mu")
    line = float(handle.get_attribute("aria-valuenow") or "")
    handle.focus()
    for _ in range(12):
        page.keyboard.press("ArrowLeft")
    page.wait_for_function("line => Math.abs(document.querySelector('.fs-mu').ariaValueNow - line) < 0.005", arg=line - 0.12)
    expect(field).not_to_have_value(f"{start - 0.012:.3f}")
    rest(page)
    # Python's answer stands where the handle was left: none of the twelve is missing.
    assert abs(float(handle.get_attribute("aria-valuenow") or "") - (line - 0.12)) < 0.02
    moved = page.url
    passed = []
    while "region=" in page.url:
        passed.append(float(page.url.partition("quantile%3A")[2].partition("%3A")[0]))
        at = page.url
        page.go_back()
        page.wait_for_function("old => location.href !== old", arg=at)
        rest(page)
    assert passed == sorted(passed), "a step of the history leads back to where the slider had left"
    expect(heading).to_have_text(before)
    expect(field).to_have_value(f"{start:.3f}")
    page.go_forward()
    expect(field).not_to_have_value(f"{start:.3f}")  # of the first presses, the region may be as before
    assert moved.partition("region=")[0] == page.url.partition("region=")[0]


@pytest.mark.parametrize(
    ("address", "link"),
    [
        (f"/?run={LOCATED}&measure=Change", "Compare"),
        (f"/compare?run={LOCATED}&view=Strength", "Localize"),
        (f"/evidence?run={LOCATED}&part=Leak+probes", "Report"),
        (f"/runs?run={LOCATED}&view=Queue+and+sweeps", "Compare"),
        (f"/report?run={LOCATED}&tour=present&step=1", "Next"),
    ],
)
def test_one_step_back_leads_to_the_page_as_it_was(server: Server, page: Page, address: str, link: str) -> None:
    page.goto(server.url + address)
    rest(page)
    title, chosen = (
        page.get_by_role("heading", level=1).inner_text(),
        page.locator("[aria-checked=true], [aria-selected=true]"),
    )
    before, looked = page.url, chosen.all_inner_texts()
    page.get_by_role("link", name=link, exact=True).first.click()
    expect(page.get_by_role("heading", level=1)).not_to_have_text(title)
    rest(page)
    there = page.url
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text(title)
    rest(page)
    assert page.url == before
    assert chosen.all_inner_texts() == looked
    page.go_forward()
    expect(page.get_by_role("heading", level=1)).not_to_have_text(title)
    assert page.url == there


def test_a_step_of_a_tour_and_what_it_is_about_are_seen_together(server: Server, page: Page) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(f"{server.url}/?run={LOCATED}")
    rest(page)
    page.get_by_role("link", name="Explore the map").click()
    for target, words in (
        (".fs-plot", "Click a cell"),
        (".fs-plot", "how far unlearning moved"),
        ("[role=tab]", "put back"),
    ):
        expect(page.get_by_text(words).first).to_be_in_viewport()
        expect(page.locator(target).first).to_be_in_viewport()
        rest(page)
        expect(page.get_by_text(words).first).to_be_in_viewport()
        page.get_by_role("link", name="Next").click()
    expect(page.locator(".st-key-planted_scores")).to_be_in_viewport()
    page.goto(f"{server.url}/compare?run={LOCATED}&tour=probe&step=2&view=Tokens")
    expect(page.get_by_role("tab", name="Tokens")).to_be_in_viewport()
    rest(page)
    expect(page.get_by_role("tab", name="Tokens")).to_be_in_viewport()
    expect(page.get_by_text("word by word")).to_be_in_viewport()


def test_a_first_visit_is_one_step(server: Server, page: Page) -> None:
    page.goto(server.url)
    rest(page)
    assert "run=" in page.url
    page.get_by_role("link", name="Compare", exact=True).click()
    page.wait_for_url(re.compile("/compare"))
    rest(page)
    page.go_back()
    rest(page)
    page.go_back()
    assert page.url == "about:blank"


def same_in_another_browser(window: Window, url: str, *seen: Callable[[Page], object]) -> None:
    other = window()
    other.goto(url)
    for look in seen:
        look(other)


def test_a_link_opens_localize_with_region_cell_and_measure(server: Server, page: Page, window: Window) -> None:
    page.goto(f"{server.url}/?run={LOCATED}")
    rest(page)
    before = page.get_by_role("heading", name=COUNT).inner_text()
    page.get_by_role("radio", name="Pull to forget").click()
    rest(page)
    number = page.get_by_label("Shared below (μ), as a number")
    number.fill("0.4")
    number.press("Enter")
    expect(page.get_by_role("heading", name=COUNT)).not_to_have_text(before)
    module = page.get_by_role("combobox", name="Module")
    module.scroll_into_view_if_needed()  # a list that opens while the page still scrolls closes again
    rest(page)
    module.click()
    page.get_by_role("option", name="up_proj").click()
    expect(page.get_by_text("mlp.up_proj.lora_")).to_be_visible()
    rest(page)
    count = page.get_by_role("heading", name=COUNT).inner_text()
    cell = page.get_by_text("mlp.up_proj.lora_").inner_text()
    same_in_another_browser(
        window,
        page.url,
        lambda other: expect(other.get_by_role("heading", name=COUNT)).to_have_text(count),
        lambda other: expect(other.get_by_text(cell)).to_be_visible(),
        lambda other: expect(other.get_by_role("radio", name="Pull to forget")).to_be_checked(),
    )


def test_a_link_opens_compare_with_question_and_tab(server: Server, page: Page, window: Window) -> None:
    page.goto(f"{server.url}/compare")
    question = page.locator("h3").first
    forget = question.inner_text()
    page.get_by_role("radio", name="To keep").click()
    expect(question).not_to_have_text(forget)
    rest(page)
    page.get_by_role("combobox", name=re.compile("questions of the data")).click()
    page.get_by_role("option").nth(2).click()
    expect(page).to_have_url(re.compile("q="))
    rest(page)  # what the script writes into the address while a tab is opened would take the tab out of it again
    page.get_by_role("tab", name="Many at once").click()
    expect(page).to_have_url(re.compile("Many"))
    rest(page)
    asked = question.inner_text()
    assert f"q={quote(asked.split()[0])}" in page.url
    same_in_another_browser(
        window,
        page.url,
        lambda other: expect(other.locator("h3").first).to_have_text(asked),
        lambda other: expect(other.get_by_role("tab", name="Many at once")).to_have_attribute("aria-selected", "true"),
    )


def test_a_link_opens_run_and_runs_as_they_were(server: Server, page: Page, window: Window) -> None:
    page.goto(f"{server.url}/runs?view=This+run")
    rest(page)
    page.get_by_role("tab", name="Loss", exact=True).click()
    expect(
        page.get_by_role("group", name="Loss on each part of the batch at each step").or_(
            page.get_by_role("img", name="Loss on each part of the batch")
        )
    ).to_be_visible()
    rest(page)
    same_in_another_browser(
        window,
        page.url,
        lambda other: expect(other.get_by_role("heading", name=store.bundled_runs()[0].config().name)).to_be_visible(),
        lambda other: expect(other.get_by_role("tab", name="Loss", exact=True)).to_have_attribute("aria-selected", "true"),
    )
    page.get_by_role("radio", name="All runs").click()
    search, called = page.get_by_role("textbox", name="Search"), store.bundled_runs()[-1].config().name
    search.fill(called)
    search.press("Enter")
    expect(page.get_by_text(re.compile(r"^1 of \d runs$"))).to_be_visible()
    same_in_another_browser(
        window,
        page.url,
        lambda other: expect(other.get_by_text(re.compile(r"^1 of \d runs$"))).to_be_visible(),
        lambda other: expect(other.get_by_role("textbox", name="Search")).to_have_value(called),
    )


def test_keyboard_alone_moves_thresholds_and_asks(server: Server, page: Page, tiny_run: str) -> None:
    page.goto(f"{server.url}/?run={tiny_run}")
    rest(page)
    for handle, key, number in (
        (".fs-mu", "ArrowLeft", "Shared below (μ)"),
        (".fs-sigma", "ArrowUp", "Pull to forget above (σ)"),
    ):
        field = page.get_by_label(f"{number}, as a number")
        before = field.input_value()
        tab_to(page, handle)
        told = page.locator(handle).get_attribute("aria-valuetext")
        for _ in range(25):
            page.keyboard.press(key)
        expect(page.locator(handle)).not_to_have_attribute("aria-valuetext", told or "")
        expect(field).not_to_have_value(before)
        rest(page)
        assert page.evaluate(TABBED, handle), "the handle was drawn anew and let go of the keyboard"
    expect(page.get_by_role("heading", name=COUNT)).not_to_have_text("14 of 28 tensors")
    page.goto(f"{server.url}/?run={tiny_run}")
    rest(page)
    tab_to(page, '[data-testid="stTopNavLink"][href*="compare"], a[href*="compare"]')
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Ask it, before and after")).to_be_visible()
    rest(page)
    tab_to(page, "textarea[placeholder*='Ask both models']")
    page.keyboard.type("Where does Sana Iqbar live?")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Where does Sana Iqbar live?")).to_be_visible()
    expect(page.get_by_text("recorded when the run was evaluated")).to_be_visible()


def test_only_in_the_mode_for_it_a_bar_takes_a_whole_layer_and_undo_gives_it_back(server: Server, page: Page) -> None:
    page.goto(f"{server.url}/?run=privacy-memflex")  # its region holds layers in part
    rest(page)
    heading = page.get_by_role("heading", name=COUNT)
    before = heading.inner_text()
    bar = page.locator(".js-plotly-plot .barlayer .point path").first

    def click() -> None:
        bar.scroll_into_view_if_needed()
        box = bar.bounding_box()
        assert box
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] - 3)
        rest(page)

    click()
    expect(heading).to_have_text(before)
    tab_to(page, "[aria-label='Edit by hand']")
    page.keyboard.press("Space")
    expect(page.get_by_text("A click on a cell, or on a bar, puts it in")).to_be_visible()
    rest(page)
    click()
    expect(heading).not_to_have_text(before)
    undo = page.get_by_role("button", name="Undo")
    undo.focus()
    page.keyboard.press("Enter")
    expect(heading).to_have_text(before)
    expect(undo).to_have_count(0)


def test_a_click_on_a_cell_looks_at_it_and_changes_nothing(server: Server, page: Page) -> None:
    page.goto(server.url)  # a run whose region no thresholds chose
    rest(page)
    heading = page.get_by_role("heading", name=COUNT)
    before = heading.inner_text()
    image = page.locator(".js-plotly-plot .heatmaplayer image").first
    image.scroll_into_view_if_needed()
    box = image.bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] - 4, box["y"] + box["height"] - 4)
    page.wait_for_url(re.compile("cell="))
    rest(page)
    expect(heading).to_have_text(before)
    assert "region=" not in page.url


def decides(run: Run) -> dict[str, list[str]]:
    """Return address, or part of the page before, -> what decides about a run there: verdicts, what random regions did,
    what was lost.
    """
    scores = Scores.read(run)
    said, lost = asked.sentence(scores).partition(". ")[0], in_short.others(scores).partition("; ")[0]
    judged = [each.text.partition("; ")[0] for each in in_short.judgements(scores)]
    doubts = region_controls.sentence(run).partition(" (")[0]
    parts = ("One subject", "Leak probes", "Scores", "Trade-off", "Steps", "Cost", "Metrics", "Rules")
    words = {
        f"/?run={run.id}": [*judged, lost, doubts],
        **{place: [said, lost] for place in (f"/report?run={run.id}", f"/evidence?run={run.id}", *parts)},
        f"/compare?run={run.id}": ["It says the one fact", "the true one has probability"],  # why each has its verdict
        f"/runs?run={run.id}&view=This+run": ["To forget, still said", "To keep, still said"],
    }
    return {address: list(filter(None, each)) for address, each in words.items()}


def test_what_decides_is_seen_without_scrolling(server: Server, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGETSCOPE_RUNS", str(server.runs))
    made_controls("done")  # of the first run; the other one lost something
    first, last = store.bundled_runs()[0], store.by_id(LOCATED, store.BUNDLED_RUNS)
    assert region_controls.sentence(first)
    assert in_short.others(Scores.read(last))
    below = list[str]()
    for run in (first, last):
        for place, words in decides(run).items():
            if place.startswith("/"):
                page.goto(server.url + place)
            else:
                page.get_by_role("radio", name=place, exact=True).click()
                expect(page).to_have_url(
                    re.compile(rf"part={re.escape(quote_plus(place))}(&|$)")
                )  # the server draws that part
            rest(page)
            for text in words:
                for found in page.get_by_text(text).all() or [None]:
                    box = found and found.bounding_box()
                    if not box or box["y"] + box["height"] > HEIGHT:
                        below.append(f"{run.id}, {place}: {text}: {box}")
    assert not below, "\n".join(below)
