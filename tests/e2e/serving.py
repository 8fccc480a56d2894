"""The dashboard as a user starts it, and when a page of it has come to rest; for the journeys and for the screenshots."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "/usr/bin/chromium")
PATIENCE = 90_000
"""milliseconds: a busy machine imports torch slowly"""
WHOLE_RUN = 240_000
"""milliseconds in which a tiny run ends where several of them share a busy machine"""

AT_REST = """() => {
  const app = document.querySelector('[data-testid="stApp"]');
  return app?.dataset.testScriptState === "notRunning" && app.dataset.testConnectionState !== "CONNECTING"
    && !document.querySelector('[data-testid="stSkeleton"], [data-testid="stAppSkeleton"], [data-testid="stSpinner"]')
    && ![...document.querySelectorAll(".fs-plot")].some((plot) => plot.dataset.drawn !== "true");
}"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server with folders of its own; can be ended and started again at the same address."""

    def __init__(self, place: Path, times: Path | None = None) -> None:
        """times: a file in which it notes what each script run takes (tests/timed_server.py)."""
        self.port, self.place = free_port(), place
        self.program = ["tests.timed_server", str(times)] if times else ["dashboard"]
        self.url = f"http://127.0.0.1:{self.port}"
        self.runs, self.log = place / "runs", place / "server.log"
        self.folders = {
            "FORGETSCOPE_RUNS": str(self.runs),
            "FORGETSCOPE_QUEUE": str(place / "queue"),
            "FORGETSCOPE_ANSWERER": str(place / "answerer"),
        }
        self.process: subprocess.Popen[bytes] | None = None
        self._told = 0

    def start(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.program, "--port", str(self.port), "--no-browser"],
                stdout=output,
                stderr=output,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **self.folders},
            )
        for _ in range(900):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def begin(self) -> None:
        """Let `said` begin here."""
        self._told = self.log.stat().st_size

    def said(self) -> str:
        """Return what the server wrote into its log since `begin`."""
        with self.log.open(encoding="utf-8", errors="replace") as log:
            log.seek(self._told)
            return log.read()

    def empty(self) -> None:
        """Take all runs away, for the next who looks: with what was computed for them, and the trash."""
        shutil.rmtree(self.runs, ignore_errors=True)

    def stop(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)


class Windows:
    """Pages of one browser that are used again: each looks as new, but the dashboard's code is fetched and compiled already.

    That is nearly half of what it costs to open one in a new browser.
    """

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.free: dict[str, list[Page]] = {}
        self.settings: dict[Page, dict[str, Any]] = {}

    def take(self, settings: dict[str, Any]) -> Page:
        """Return a page that nobody uses."""
        settings = {"viewport": {"width": 1280, "height": 900}, **settings}
        free = self.free.setdefault(repr(sorted(settings.items())), [])
        if free:
            page = free.pop()
            page.set_viewport_size(settings["viewport"])
            return page
        page = self.browser.new_context(**settings).new_page()
        page.set_default_timeout(PATIENCE)
        self.settings[page] = settings
        return page

    def give_back(self, page: Page, url: str) -> None:
        """Forget everything that a server at an address knows a page by, and what it keeps there."""
        if page.url.startswith(url):
            page.evaluate("() => { sessionStorage.clear(); localStorage.clear(); }")
        for other in page.context.pages:
            if other != page:
                other.close()
        page.goto("about:blank")
        page.context.clear_cookies()
        session = page.context.new_cdp_session(page)
        session.send("Storage.clearDataForOrigin", {"origin": url, "storageTypes": "local_storage,indexeddb"})
        session.send("Page.resetNavigationHistory")
        session.detach()
        self.free[repr(sorted(self.settings[page].items()))].append(page)

    def close(self) -> None:
        """Close all of them."""
        for page in self.settings:
            page.context.close()


def rest(page: Page) -> None:
    """Wait until the script has ended and every chart is drawn."""
    expect(page.get_by_test_id("stMain")).to_be_visible()
    page.wait_for_function(AT_REST)


def drawn_in(page: Page, scheme: str) -> None:
    """Wait until the server has drawn the page for light or for dark (dashboard/widgets/theme.py), and it rests."""
    expect(page.locator(".stApp")).to_have_css("color-scheme", scheme)
    expect(page.locator(f"[data-drawn={scheme}]")).to_be_attached()
    rest(page)
