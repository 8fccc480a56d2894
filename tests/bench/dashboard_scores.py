"""How fast the scores of Evidence are: a first visit, and a switch until the table shows the other questions."""

from __future__ import annotations

import itertools
import statistics
import time
from typing import Any

REPEAT = 5
PATIENCE = 60_000
"""milliseconds"""
TABLE = ".fs-numbers tbody td"
SWITCHES = ("Taught wording (train)", "Another fact (val)")

REPAINTED = """() => {
  const table = () => document.querySelector(".fs-numbers tbody")?.innerText, old = table(), start = performance.now();
  window.table = 0;
  const watch = new MutationObserver(() => {
    if (!table() || table() === old) return;
    window.table = performance.now() - start;
    watch.disconnect();
  });
  watch.observe(document.body, { subtree: true, childList: true, characterData: true });
}"""


def measure(browser: Any, url: str, address: str) -> dict[str, float]:
    """Return medians. address: of the page with the runs that stand side by side."""
    first = [_visit(browser, url + address) for _ in range(REPEAT)]
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(url + address)
    page.wait_for_selector(TABLE, timeout=PATIENCE)
    page.wait_for_timeout(2000)
    table = []
    for name in itertools.islice(itertools.cycle(SWITCHES), 2 * REPEAT):
        page.evaluate(REPAINTED)
        page.get_by_role("radio", name=name).click()
        page.wait_for_function("() => window.table", timeout=PATIENCE)
        table.append(page.evaluate("window.table"))
        page.wait_for_timeout(900)
    page.close()
    names = ("first paint, s", "first table, s")
    found = {name: round(statistics.median(values), 2) for name, values in zip(names, zip(*first, strict=True), strict=True)}
    return found | {"switch to table, ms": round(statistics.median(table))}


def _visit(browser: Any, address: str) -> tuple[float, float]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    started = time.monotonic()
    page.goto(address)
    page.wait_for_selector(TABLE, timeout=PATIENCE)
    table = time.monotonic() - started
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") / 1000
    context.close()
    return paint, table
