"""`python -m tests.moving_picture`: the README's picture, assets/forgetscope.webp, from the real app on the run that ships.

The map, a threshold that is dragged, one question to forget and one to keep, and the evidence.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from core.runs import store
from core.util.paths import ASSETS
from tests.e2e.serving import CHROMIUM, PATIENCE, Server, rest

TARGET = ASSETS / "forgetscope.webp"
SIZE = (1280, 800)
SHOWN = (960, 600)
PRESSES = 4
"""of an arrow key between two frames of a drag"""


class Frame(NamedTuple):
    """One picture, and how long it stays."""

    png: bytes
    milliseconds: int


def frames(page: Page, url: str) -> Iterator[Frame]:
    """Go through the app as a visitor would."""
    run = store.bundled_runs()[0].id

    def shot(milliseconds: int) -> Frame:
        return Frame(page.screenshot(animations="disabled"), milliseconds)

    page.goto(f"{url}/?run={run}&measure=Held+here")
    rest(page)
    yield shot(2500)
    page.goto(f"{url}/?run=privacy-memflex")  # its region follows thresholds
    rest(page)
    yield shot(1500)
    page.locator(".fs-sigma").focus()
    for _ in range(8):
        for _ in range(PRESSES):
            page.keyboard.press("ArrowUp")
        yield shot(180)
    rest(page)
    yield shot(1500)
    page.goto(f"{url}/compare?run={run}")
    rest(page)
    yield shot(3500)
    page.get_by_role("radio", name="To keep").click()
    rest(page)
    yield shot(3000)
    page.goto(f"{url}/evidence?run={run}")
    rest(page)
    yield shot(3000)


def made(taken: list[Frame]) -> bytes:
    """Return one moving picture."""
    pictures = [Image.open(io.BytesIO(frame.png)).convert("RGB").resize(SHOWN, Image.Resampling.LANCZOS) for frame in taken]
    first, *others = pictures
    target = io.BytesIO()
    lasting = [frame.milliseconds for frame in taken]
    first.save(target, "WEBP", save_all=True, append_images=others, duration=lasting, loop=0, quality=70, method=6)
    return target.getvalue()


def main() -> None:
    """Start a server with an empty folder of runs, film it, end it."""
    with tempfile.TemporaryDirectory() as place, sync_playwright() as driver:
        server = Server(Path(place))
        server.start()
        try:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]}, color_scheme="light")
            page.set_default_timeout(PATIENCE)
            taken = list(frames(page, server.url))
            browser.close()
        finally:
            server.stop()
    TARGET.write_bytes(made(taken))
    sys.stdout.write(f"{TARGET}: {len(taken)} frames, {TARGET.stat().st_size / 1e6:.1f} MB\n")


if __name__ == "__main__":
    main()
