"""axe-core finds no serious barrier on any page, in light and in dark, wide and on a telephone; nor in what opens there.

On a telephone no page scrolls sideways.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest

pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python")
from playwright.sync_api import Browser, Page, WebSocketRoute, expect  # noqa: E402

from core.runs import store  # noqa: E402
from dashboard import pages  # noqa: E402
from dashboard.widgets import glossary  # noqa: E402
from dashboard.widgets.tour import TOURS  # noqa: E402
from tests.e2e.serving import Server, drawn_in, rest  # noqa: E402
from tests.screenshots import HEIGHT, SCHEMES, WIDTHS, views  # noqa: E402

SCRIPT = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
FINDINGS = """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
  .filter((found) => ["serious", "critical"].includes(found.impact))
  .flatMap((found) => found.nodes.map((node) => `${found.id}: ${node.html.slice(0, 200)} (${node.target})`))"""


WIDER = """() => [document.scrollingElement, document.querySelector('[data-testid="stMain"]')]
  .map((box) => box.scrollWidth - box.clientWidth)"""
LOOKED = 400
"""milliseconds within which dashboard/widgets/theme.py has mended what Streamlit has just drawn"""


def address_of(page: pages.Page) -> str:
    """Return a page's address; the first one's is empty."""
    return "" if page is pages.LOCALIZE else page.address


def opened() -> dict[str, tuple[str, list[str]]]:
    """Return name -> address of what is not open on a page at first, and the buttons that open more of it."""
    run = store.bundled_runs()[0].id
    typed = urlencode({"run": run, "view": "New run", "new.data": "Upload"})
    term = urlencode({"document": glossary.DOCUMENT, glossary.PARAMETER: "region"})
    tours = {
        f"tour {name} {number}": (f"/{address_of(step.page)}?run={run}&tour={name}&step={number}", [])
        for name, steps in TOURS.items()
        for number, step in enumerate(steps, 1)
    }
    return {
        "scale and overlay": (f"/?run={run}", ["Scale and overlay"]),
        "planted truth and controls": (f"/?run={run}&planted=true&controls=true", []),
        "glossary": (f"/help?{term}", []),
        "real names": (f"/report?run={run}&names=true", []),
        "upload": (f"/runs?{typed}", []),
        "what a preset changes": (f"/runs?{typed}", ["What it changes"]),
        **tours,
    }


def findings(page: Page) -> list[str]:
    """Return what axe finds on a page as it is: on a telephone and wide, in the dark and in light."""
    page.evaluate(SCRIPT)
    page.mouse.move(0, 0)  # what a pointer lies on changes its colour, and is looked at in the middle of that
    found = []
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        drawn_in(page, scheme)
        for width in WIDTHS[::-1]:
            page.set_viewport_size({"width": width, "height": HEIGHT})
            rest(page)
            page.wait_for_timeout(LOOKED)
            found += [f"{scheme}, {width}: {finding}" for finding in page.evaluate(FINDINGS)]
    return found


@pytest.fixture
def telephone(window: Callable[..., Page]) -> Page:
    """A narrow window that is touched."""
    return window(viewport={"width": WIDTHS[-1], "height": 844}, has_touch=True)


@pytest.mark.parametrize("name", views())
def test_nothing_scrolls_sideways_on_a_telephone_and_there_is_no_serious_finding(
    server: Server, telephone: Page, name: str
) -> None:
    telephone.goto(server.url + views()[name])
    rest(telephone)
    expect(telephone.get_by_role("heading", level=1)).to_be_visible()
    wider = telephone.evaluate(WIDER)
    assert max(wider) <= 0, wider
    assert findings(telephone) == []


@pytest.mark.parametrize("name", opened())
def test_no_serious_finding_in_what_opens(server: Server, telephone: Page, name: str) -> None:
    address, clicks = opened()[name]
    telephone.goto(server.url + address)
    rest(telephone)
    for button in clicks:
        telephone.get_by_role("button", name=button).first.click()
        rest(telephone)
    assert findings(telephone) == []


def test_a_switch_to_dark_that_is_lost_on_its_way_is_told_again(server: Server, browser: Browser) -> None:
    lost: list[object] = []
    listening = True

    def between(socket: WebSocketRoute) -> None:
        there = socket.connect_to_server()
        socket.on_message(lambda message: there.send(message) if listening or lost else lost.append(message))

    with browser.new_context(color_scheme="light") as context:
        page = context.new_page()
        page.route_web_socket(re.compile("_stcore/stream"), between)
        page.goto(server.url)
        drawn_in(page, "light")
        listening = False
        page.emulate_media(color_scheme="dark")
        drawn_in(page, "dark")
    assert lost
