"""axe-core finds no serious barrier on any page, in light and in dark, wide and on a telephone; nor in what opens there.

On a telephone no page scrolls sideways.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlencode

import pytest

pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python")
from playwright.sync_api import Page, expect  # noqa: E402

from core.runs import store  # noqa: E402
from dashboard import pages  # noqa: E402
from dashboard.widgets import glossary  # noqa: E402
from dashboard.widgets.tour import TOURS  # noqa: E402
from tests.e2e.serving import Server, rest  # noqa: E402
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


def findings(page: Page, widths: Sequence[int] = WIDTHS) -> list[str]:
    """Return what axe finds on a page as it is, wide and on a telephone."""
    page.evaluate(SCRIPT)
    found = []
    for width in widths:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        rest(page)
        page.wait_for_timeout(LOOKED)
        found += [f"{width}: {finding}" for finding in page.evaluate(FINDINGS)]
    return found


@pytest.mark.parametrize("name", views())
def test_no_serious_finding(server: Server, window: Callable[..., Page], name: str) -> None:
    page = window(color_scheme="light")
    page.goto(server.url + views()[name])
    rest(page)
    assert findings(page) == []


@pytest.mark.parametrize("name", views())
def test_in_the_dark_on_a_telephone_nothing_scrolls_sideways_nor_is_there_a_serious_finding_then_or_wide(
    server: Server, window: Callable[..., Page], name: str
) -> None:
    page = window(color_scheme="dark", viewport={"width": WIDTHS[-1], "height": 844}, has_touch=True)
    page.goto(server.url + views()[name])
    rest(page)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    wider = page.evaluate(WIDER)
    assert max(wider) <= 0, wider
    assert findings(page, WIDTHS[::-1]) == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", opened())
def test_no_serious_finding_in_what_opens(server: Server, window: Callable[..., Page], name: str, scheme: str) -> None:
    address, clicks = opened()[name]
    page = window(color_scheme=scheme)
    page.goto(server.url + address)
    rest(page)
    for button in clicks:
        page.get_by_role("button", name=button).first.click()
        rest(page)
    assert findings(page) == []
