"""The figures of a site without a server: bytes a run, first paint from a folder, frames while a threshold is dragged.

`python -m tests.bench site` makes a site of the runs that ship and opens its pages in Chromium.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from core.report import site
from core.runs import store
from tests.e2e.serving import CHROMIUM

TIMES = 5
DRAG = """async () => {
  const slider = document.getElementById("mu"), low = Number(slider.min), high = Number(slider.max), gaps = [], work = [];
  let last = performance.now();
  for (let i = 0; i < 180; i++) {
    slider.value = String(low + (high - low) * (0.5 + 0.5 * Math.sin(i / 12)));
    slider.dispatchEvent(new Event("input"));
    await new Promise((done) => requestAnimationFrame(done));
    const now = performance.now(), { port1, port2 } = new MessageChannel();
    await new Promise((done) => { port1.onmessage = done; port2.postMessage(0); });
    work.push(performance.now() - now);
    gaps.push(now - last);
    last = now;
  }
  slider.dispatchEvent(new Event("change"));
  return [gaps.slice(1), work];
}"""
"""gaps between frames in ms, and how long the page was at work in each"""


def measure() -> dict[str, Any]:
    """Return MB a run and of shared parts, ms until each page's first paint, frames a second of a drag."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as place, sync_playwright() as driver:
        target = Path(place) / "site"
        site.write(store.bundled_runs(), target)
        sizes = {
            folder.name: sum(path.stat().st_size for path in folder.iterdir()) / 1e6
            for folder in target.iterdir()
            if folder.is_dir()
        }
        shared = sizes.pop(site.SHARED)
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        folder = target / store.bundled_runs()[0].id
        paints = {page.stem: _paint(browser, page) for page in (target / "index.html", *map(folder.joinpath, site.PAGES))}
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto((folder / "localize.html").as_uri())
        page.wait_for_function("document.getElementById('scatter').dataset.drawn === 'true'")
        gaps, work = page.evaluate(DRAG)
        browser.close()
    return {
        "site_mb_a_run": round(max(sizes.values()), 1),
        "site_mb_shared": round(shared, 1),
        "site_first_paint_ms": paints,
        "site_drag_frames_a_second": round(1000 / statistics.mean(gaps), 1),
        "site_drag_work_ms_p95": round(statistics.quantiles(work, n=20)[-1], 1),
    }


def _paint(browser: Any, path: Path) -> float:
    """Return the median of ms until a page's first paint, each time in a new window."""
    times = []
    for _ in range(TIMES):
        with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
            page = context.new_page()
            page.goto(path.as_uri())
            page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
            times.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
    return round(statistics.median(times))
