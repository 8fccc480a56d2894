"""`python -m tests.bench.dashboard_scale`: how the pages' cost grows with tensors and with runs; prints one JSON object.

Three sizes of each, medians of five. Seconds of a browser are wall clock, seconds of the server are its processor time.
Needs what `python -m tests.bench.dashboard` needs.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from core.runs import store
from core.util import files
from tests.bench import dashboard
from tests.bench.scale import slope

TENSORS = (504, 1512, 5040)
RUNS = (50, 500, 5000)
KEPT = ("config.json", "status.json", "region.json", "manifest.json")


def main() -> int:
    """Measure, and print the figures."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        found = {"repaint": repaint(browser), "runs": runs(browser)}
        browser.close()
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 0


def repaint(browser: Any) -> dict[str, Any]:
    """Measure a released slider until the heatmap is repainted, by tensors."""
    with tempfile.TemporaryDirectory() as folder:
        for tensors in TENSORS:
            dashboard.synthetic(Path(folder), tensors)
        with dashboard.server(Path(folder)) as (url, _):
            times = [dashboard.thresholds(browser, url, tensors)["slider to heatmap, ms"] for tensors in TENSORS]
    return {"tensors": TENSORS, "slider to heatmap, ms": times, "slope": slope(TENSORS, times)}


def runs(browser: Any) -> dict[str, Any]:
    """Measure the page Runs, by runs: opened for the first time after the server's start, and again."""
    first, again, work = [], [], []
    for count in RUNS:
        with tempfile.TemporaryDirectory() as folder:
            many(Path(folder), count)
            with dashboard.server(Path(folder)) as (url, process):
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                page.goto(url)
                page.wait_for_selector(dashboard.READY, timeout=dashboard.PATIENCE)
                page.wait_for_load_state("networkidle")
                opened = [_opened(page, process) for _ in range(dashboard.REPEAT + 1)]
                page.close()
        first.append(round(opened[0][0], 2))
        again.append(round(statistics.median(seconds for seconds, _ in opened[1:]), 2))
        work.append(round(statistics.median(seconds for _, seconds in opened[1:]), 2))
    return {
        "runs": RUNS,
        "opened for the first time, s": first,
        "opened again, s": again,
        "of it the server's work, s": work,
        "slope": slope(RUNS, again),
    }


def _opened(page: Any, process: psutil.Process) -> tuple[float, float]:
    """Go to the page Runs and back; return the seconds until its table is there, and those of the server's processor."""
    before, started = sum(process.cpu_times()[:2]), time.monotonic()
    page.get_by_role("link", name="Runs", exact=True).first.click()
    page.locator("[data-testid=stDataFrame] canvas").first.wait_for(timeout=dashboard.PATIENCE)
    seconds = time.monotonic() - started
    page.wait_for_timeout(1500)
    spent = sum(process.cpu_times()[:2]) - before
    page.get_by_role("link", name="Localize", exact=True).first.click()
    page.wait_for_selector(dashboard.READY, timeout=dashboard.PATIENCE)
    page.wait_for_timeout(1500)
    return seconds, spent


def many(folder: Path, count: int) -> None:
    """Make so many finished runs with what a list of runs reads of them, each with a name and scores of its own."""
    source = store.bundled_runs()[0]
    values = {name: source.json(name) for name in KEPT}
    metrics = source.json("metrics.json")["metrics"]
    for number in range(count):
        place = folder / f"20260101-{number:06d}-run-{number:04d}"
        place.mkdir(parents=True)
        named = {**values["config.json"], "name": f"Run {number}", "seed": number}
        for name, value in {**values, "config.json": named}.items():
            files.write_json(place / name, value)
        shown = {name: {"values": metrics[name]["values"]} for name in ("accuracy", "never_knew")}
        files.write_json(place / "metrics.json", {"metrics": shown})


if __name__ == "__main__":
    raise SystemExit(main())
