"""`python -m tests.screenshots`: every page on the bundled runs, light and dark, 1280 and 390 px wide, into screenshots/."""

from __future__ import annotations

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
    first, last = (store.by_id(name, store.BUNDLED_RUNS) for name in ("privacy-clean", "privacy-memflex"))
    example = next(row["example"] for row in first.answers() if "after" in row)
    return {
        "localize": f"/?run={first.id}",
        "compare": f"/compare?run={first.id}&never=true",
        "evidence": f"/evidence?run={first.id}",
        "evidence-example": f"/evidence?run={first.id}&among=all&example={example}",
        "subject": f"/evidence?run={first.id}&part=One+subject",
        "probes": f"/evidence?run={first.id}&part=Leak+probes",
        "scores": f"/evidence?run={first.id}&part=Scores&beside={last.id}",
        "trade-off": f"/evidence?run={first.id}&part=Trade-off&across=Unlearn+Success&published=true",
        "steps": f"/evidence?run={first.id}&part=Steps",
        "controls": f"/?run={first.id}&controls=true",
        "planted": f"/?run={first.id}&planted=true",
        "cost": f"/evidence?run={first.id}&part=Cost",
        "metrics": f"/evidence?run={last.id}&part=Metrics",
        "rules": f"/evidence?run={first.id}&part=Rules&rules=kept_facts:1",
        "report": f"/report?run={first.id}",
        "run": f"/runs?run={first.id}&view=This+run",
        "run-new": f"/runs?run={first.id}&view=New+run",
        "runs": f"/runs?run={first.id}&chosen={first.id},{last.id}",
        "queue": "/runs?view=Queue+and+sweeps",
        "disk": "/runs?view=Disk+and+memory",
        "help": "/help",
        "methods": "/methods",
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


if __name__ == "__main__":
    main()
