"""`python -m tests.bench.dashboard`: how fast the pages are, in real Chromium, and what they cost; prints one JSON object.

Needs what the tests need (Playwright, Chromium). Starts a server of its own on a temporary runs folder with synthetic
localizations of 448, 1,120 and 2,240 tensors. Medians of five, each in a fresh browser context without cache.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from core.regions import Located
from core.runs import store
from core.serve import client
from core.util import files
from dashboard.__main__ import free_port
from tests.bench import dashboard_scores, first_visit

REPEAT = 5
VISITS = 9
FIRST_PORT = 8900
TENSORS = (448, 1120, 2240)
MODULES = 7
"""of a layer; every module has a factor A and a factor B"""
READY = ".fs-plot[data-drawn] .heatmaplayer image"
PATIENCE = 60_000
"""milliseconds"""

WATCH = """() => {
  const react = window.Plotly.react;
  window.Plotly.react = async (...all) => {
    const done = await react(...all); window.painted = performance.now(); return done; };
}"""

DRAG = """async (frames) => {
  const line = document.querySelector(".fs-mu"), box = line.getBoundingClientRect();
  const x = box.x + box.width / 2, y = box.y + box.height / 5, times = [];
  const send = (kind, at) => line.dispatchEvent(
    new PointerEvent(kind, { clientX: at, clientY: y, pointerId: 1, bubbles: true }));
  line.setPointerCapture = () => {};
  send("pointerdown", x);
  let last = performance.now();
  for (let i = 0; i < frames; i++) {
    send("pointermove", x - 60 * Math.sin(i / 12));
    await new Promise(requestAnimationFrame);
    times.push(performance.now() - last);
    last = performance.now();
  }
  send("pointerup", x);
  return times;
}"""


def main() -> int:
    """Measure, and print the figures."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        for tensors in TENSORS:
            synthetic(Path(folder), tensors)
        with server(Path(folder)) as (url, process):
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            newcomer = first_question(browser, url)
            found: dict[str, Any] = {
                "new user's own question answered twice, s": newcomer,
                "first visit": visits(url),
                "server after a first visit": memory(process),
            }
            found |= {f"{tensors} tensors": thresholds(browser, url, tensors) for tensors in TENSORS}
            beside = ",".join(f"synthetic-{tensors}" for tensors in TENSORS)
            found["page change, ms"] = pages(browser, url)
            found["question to first token in both panes, ms"] = asking(browser, url)
            found["scores"] = dashboard_scores.measure(browser, url, f"/evidence?part=Scores&beside={beside}")
            found["server at its peak"] = memory(process)
            browser.close()
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 0


def synthetic(folder: Path, tensors: int) -> None:
    """Make a finished run whose localization has that many tensors, from the statistics of the bundled one."""
    import numpy as np
    import pandas as pd

    source = next(run for run in store.bundled_runs() if type(run.config().region) is Located)  # it opens with thresholds
    table = source.table("localization")
    if table is None:
        raise SystemExit("the bundled run has no localization")
    layers = tensors // (2 * MODULES)
    draw = np.random.default_rng(0)
    names = list(dict.fromkeys(table["module"]))[:MODULES]
    rows = []
    for layer in range(layers):
        for module in names:
            for factor in "AB":
                like = table[(table["module"] == module) & (table["factor"] == factor)]
                row = like.iloc[int(draw.integers(len(like)))].to_dict()
                rows.append(row | {"name": f"model.layers.{layer}.{module}.lora_{factor}", "layer": layer})
    run = folder / f"synthetic-{tensors}"
    shutil.copytree(
        source.path, run, ignore=shutil.ignore_patterns("detail.npz", "contributions*", "changes*", "before", "after")
    )
    made = pd.DataFrame(rows)
    auc = np.linspace(0.5, 1, layers + 1)
    strip = pd.DataFrame({"layer": range(layers + 1), "auc": auc, "low": auc - 0.05, "high": np.minimum(1, auc + 0.05)})
    strip.to_parquet(run / "separability.parquet")
    made.to_parquet(run / "localization.parquet")
    region = source.json("region.json")
    inside = made[(made["cos"] < made["cos"].median()) & (made["mag_unlearn"] > made["mag_unlearn"].median())]
    files.write_json(
        run / "region.json", {**region, "tensors": inside["name"].tolist(), "count": len(inside), "total": tensors}
    )


@contextlib.contextmanager
def server(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Run the dashboard as `make run` does; return its address and process."""
    port = free_port("127.0.0.1", FIRST_PORT)
    command = [sys.executable, "-m", "dashboard", "--port", str(port), "--no-browser", "--runs", str(folder)]
    process = subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(store.BUNDLED_RUNS.parent.parent)}, stdout=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(20)


def memory(process: psutil.Process) -> dict[str, float]:
    """Return the server's resident memory in MB."""
    return {"resident memory, MB": round(process.memory_info().rss / 2**20, 1)}


def median(measure: Callable[[], float]) -> float:
    """Return the median of several measurements."""
    return round(statistics.median(measure() for _ in range(REPEAT)), 2)


def visits(url: str) -> dict[str, Any]:
    """Measure first visits in browsers that nothing drives: paint, whole heatmap, and bytes as they cross the wire."""
    first_visit.visit(url)  # the server's own first
    paint, heatmap, sent = zip(*(first_visit.visit(url) for _ in range(VISITS)), strict=True)
    names = ("first paint, s", "first heatmap, s", "bytes, MB")
    return {name: round(statistics.median(values), 2) for name, values in zip(names, (paint, heatmap, sent), strict=True)}


def thresholds(browser: Any, url: str, tensors: int) -> dict[str, float]:
    """Measure a dragged line (frames a second) and a released slider (ms until the heatmap is repainted)."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{url}/?run=synthetic-{tensors}")
    page.wait_for_selector(READY, timeout=PATIENCE)
    page.wait_for_selector(".fs-mu", timeout=PATIENCE)
    page.wait_for_load_state("networkidle")
    page.evaluate(WATCH)
    times = page.evaluate(DRAG, 150)[10:]
    page.wait_for_function("() => window.painted", timeout=PATIENCE)
    slider = page.get_by_role("slider", name="Shared below").last  # the first is the line in the scatter

    keys = itertools.cycle(("PageDown", "PageUp"))  # a single step may select the same tensors: nothing to repaint

    def released() -> float:
        slider.focus()
        page.wait_for_timeout(700)
        page.evaluate("window.painted = 0")
        started = page.evaluate("performance.now()")
        slider.press(next(keys))
        page.wait_for_function("() => window.painted", timeout=PATIENCE)
        return float(page.evaluate("window.painted") - started)

    found = {
        "frames a second while dragging": round(1000 / statistics.mean(times), 1),
        "slider to heatmap, ms": median(released),
    }
    page.close()
    return found


def pages(browser: Any, url: str) -> dict[str, float]:
    """Measure a click on a page's name until its heading is there, once each page was seen."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(url)
    page.wait_for_selector(READY, timeout=PATIENCE)
    found: dict[str, list[float]] = {}
    for _ in range(REPEAT):
        for name in ("Compare", "Evidence", "Report", "Runs", "Localize"):
            before = page.locator("h1").first.inner_text()
            started = time.monotonic()
            page.get_by_role("link", name=name, exact=True).first.click()
            page.wait_for_function(
                "old => { const h = document.querySelector('h1'); return h && h.innerText !== old; }", arg=before
            )
            found.setdefault(name, []).append(1000 * (time.monotonic() - started))
            page.wait_for_load_state("networkidle")
            page.wait_for_timeout(1200)
    page.close()
    return {name: round(statistics.median(times[1:])) for name, times in found.items()}


def first_question(browser: Any, url: str) -> float:
    """Measure a first visit until a question of one's own has two whole answers, with no model in memory. One click."""
    client.leave()
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    started = time.monotonic()
    page.goto(url)
    page.get_by_role("link", name="Compare", exact=True).first.click(timeout=PATIENCE)
    box = page.get_by_placeholder("Ask both models anything")
    box.fill("Where in Norway does Maren live?", timeout=PATIENCE)
    box.press("Enter")
    page.get_by_role("button", name="Ask again").wait_for(timeout=PATIENCE)
    spent = time.monotonic() - started
    page.close()
    return round(spent, 1)


ANSWERED = """question => {
  const start = performance.now();
  let empty = false;
  window.answered = 0;
  window.observer?.disconnect();
  window.observer = new MutationObserver(() => {
    if (![...document.querySelectorAll("h3")].some((heading) => heading.innerText.includes(question))) return;
    const panes = [...document.querySelectorAll("[data-testid=stHtml]")].map((pane) => pane.innerText.trim().split("\\n"))
      .filter((lines) => /(Before|After)$/.test(lines[0].trim())).map((lines) => lines.at(-1).trim());
    if (panes.length < 2) return;
    if (panes.some((text) => text === "…")) empty = true;
    else if (empty) window.answered ||= performance.now() - start;
  });
  window.observer.observe(document.body, { subtree: true, childList: true, characterData: true });
}"""
"""Notes when both panes, empty at first, show text. The clock starts with this call, just before the key is pressed."""


def asking(browser: Any, url: str) -> float:
    """Measure a question of one's own to the warm model: sent until both panes show a first token."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{url}/compare")
    box = page.get_by_placeholder("Ask both models anything")
    page.get_by_text("True answer", exact=True).wait_for(timeout=PATIENCE)
    page.wait_for_timeout(2000)

    def ask(question: str) -> float:
        box.fill(question)
        page.evaluate(ANSWERED, question)
        box.press("Enter")
        page.wait_for_function("() => window.answered", timeout=PATIENCE)
        page.get_by_role("button", name="Ask again").wait_for(timeout=PATIENCE)
        page.wait_for_timeout(700)
        return float(page.evaluate("window.answered"))

    ask("What is the capital of Norway?")  # loads the model
    people = (
        "Who is Torbjorn?",
        "Which street is it?",
        "Where does Maren live now?",
        "What does she drink?",
        "Name a town.",
    )
    times = [ask(question) for question in people]
    page.close()
    return round(statistics.median(times))


if __name__ == "__main__":
    raise SystemExit(main())
