"""`python -m tests.screenshots`: every page on the bundled runs, light and dark, 1280 and 390 px wide, into screenshots/.

The first of them is also the README's picture, assets/screenshot.png.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from core.runs import store
from tests.e2e.serving import CHROMIUM, PATIENCE, ROOT, Server, rest

WIDTHS = (1280, 390)
SCHEMES = ("light", "dark")
HEIGHT = 900
TALL = """() => {
  const main = document.querySelector('[data-testid="stMain"]');
  const block = document.querySelector('[data-testid="stMainBlockContainer"]');
  const inner = [...block.children].at(-1).getBoundingClientRect();
  return Math.ceil(inner.bottom + main.scrollTop + 48);
}"""


def views() -> dict[str, str]:
    """Return name -> address of what is shown."""
    first, *_, last = store.bundled_runs()
    example = next(row["example"] for row in first.answers() if "after" in row)
    return {
        "localize": f"/?run={first.id}",
        "compare": f"/compare?run={first.id}&never=true",
        "probe": f"/probe?run={first.id}&example={example}",
        "probe-subject": f"/probe?run={first.id}&probe=One+subject",
        "probe-rules": f"/probe?run={first.id}&probe=Rules&rules=kept_facts:1",
        "probe-leaks": f"/probe?run={first.id}&probe=Leak+probes",
        "scores": f"/scores?run={first.id}&beside={last.id}",
        "scores-subjects": (
            f"/scores?run={first.id}&on=Taught+wording+%28train%29&across=Unlearn+Success&published=true&part=By+subject"
        ),
        "scores-metrics": f"/scores?run={last.id}&across=Never-knew+score&part=All+metrics",
        "scores-findings": f"/scores?run={first.id}&part=What+we+found",
        "report": f"/report?run={first.id}",
        "run": f"/run?run={first.id}&view=This+run",
        "run-new": f"/run?run={first.id}&view=New+run",
        "runs": f"/runs?run={first.id}&chosen={first.id},{last.id}",
        "documents": "/documents",
        "admin": "/admin",
    }


def shoot(page: Page, target: Path) -> None:
    """Save the whole page: Streamlit scrolls inside of it, so the window is made as tall as what there is."""
    for _ in range(3):  # a taller window lets more be drawn
        rest(page)
        page.set_viewport_size({"width": page.viewport_size["width"], "height": max(HEIGHT, page.evaluate(TALL))})
    rest(page)
    page.screenshot(path=target, animations="disabled")


def take(browser: Browser, url: str, folder: Path) -> None:
    """Take all pictures."""
    for scheme in SCHEMES:
        for width in WIDTHS:
            for name, address in views().items():
                with browser.new_context(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme) as context:
                    page = context.new_page()
                    page.set_default_timeout(PATIENCE)
                    page.goto(url + address)
                    target = folder / f"{name}-{scheme}-{width}.png"
                    shoot(page, target)
                    sys.stdout.write(f"{target}\n")


def main() -> None:
    """Start a server with an empty folder of runs, take the pictures, end it."""
    folder = ROOT / "screenshots"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place, sync_playwright() as driver:
        server = Server(Path(place))
        server.start()
        try:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            take(browser, server.url, folder)
            browser.close()
        finally:
            server.stop()
    shutil.copy(folder / "localize-light-1280.png", ROOT / "assets" / "screenshot.png")


if __name__ == "__main__":
    main()
