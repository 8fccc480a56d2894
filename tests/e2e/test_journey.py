"""One journey through the real server in a real browser: look, change, start, watch, reload, ask."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import answerer, store

playwright_api = pytest.importorskip("playwright.sync_api")
expect = playwright_api.expect

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
PATIENCE = 60_000
"""milliseconds: a busy machine imports torch slowly"""

pytestmark = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="no Chromium on this machine")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """The dashboard as a user starts it; can be ended and started again at the same address."""

    def __init__(self, log: Path) -> None:
        self.port, self.log = free_port(), log
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dashboard", "--port", str(self.port), "--no-browser"],
                stdout=output, stderr=output, cwd=store.BUNDLED_RUNS.parent.parent,
                env={**os.environ, "PYTHONPATH": str(store.BUNDLED_RUNS.parent.parent)},
            )  # fmt: skip
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "server.log")
    made.start()
    yield made
    made.stop()
    answerer.leave()


@pytest.fixture
def page(server: Server) -> Iterator[playwright_api.Page]:
    with playwright_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        opened.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        yield opened
        browser.close()


def test_look_change_start_watch_reload_ask(
    server: Server, page: playwright_api.Page, tiny_llama: Path, tiny_data: Path
) -> None:
    page.goto(server.url)
    expect(page.get_by_role("heading", name="Where the model keeps it")).to_be_visible()
    expect(page.locator(".js-plotly-plot .heatmaplayer image").first).to_be_visible()
    assert "run=" in page.url

    before = page.get_by_role("heading", name=re.compile(r"\d+ of \d+ tensors")).inner_text()
    slider = page.get_by_role("slider", name=re.compile("cosine below"))
    slider.focus()
    for _ in range(10):
        slider.press("ArrowLeft")
    expect(page.get_by_role("heading", name=re.compile(r"\d+ of \d+ tensors"))).not_to_have_text(before)

    page.get_by_role("link", name="Run").click()
    fill_form(page, tiny_llama, tiny_data)
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", name="Stages")).to_be_visible()
    run = re.search(r"run=([^&]+)", page.url)
    assert run
    assert run[1].startswith("20")

    server.stop()
    server.start()
    page.goto(f"{server.url}/run?run={run[1]}")
    expect(page.get_by_text(re.compile("^Done in"))).to_be_visible()
    expect(page.get_by_role("heading", name="Scores", exact=True)).to_be_visible()

    page.get_by_role("link", name="Ask it").click()
    expect(page.get_by_role("heading", name="Ask it, before and after")).to_be_visible()
    assert run[1] in page.url
    expect(page.get_by_text("the same model after unlearning")).to_be_visible()
    prompt = page.get_by_placeholder("Ask both models anything")
    prompt.fill("Where does Orla Venning live?")
    prompt.press("Enter")
    expect(page.get_by_text("recorded when the run was evaluated")).to_be_visible()
    expect(page.get_by_text("Orla Venning lives at Quay Street 14.").last).to_be_visible()
    page.get_by_role("button", name="Ask now").click()
    expect(page.get_by_role("button", name="Ask again")).to_be_visible()
    expect(page.get_by_text("tokens/s").first).to_be_visible()
    prompt.fill("Who was never in the data?")
    prompt.press("Enter")
    expect(page.get_by_role("heading", name="Who was never in the data?")).to_be_visible()
    expect(page.get_by_role("button", name="Ask again")).to_be_visible()
    assert "q=Who" in page.url

    page.reload()
    expect(page.get_by_role("heading", name="Who was never in the data?")).to_be_visible()
    expect(page.get_by_role("button", name="Ask again")).to_be_visible()
    assert run[1] in page.url
    assert "Traceback" not in server.log.read_text()


def fill_form(page: playwright_api.Page, model: Path, data: Path) -> None:
    page.get_by_text("Another one", exact=True).click()
    page.get_by_role("textbox", name="Hub id, folder").fill(str(model))
    page.keyboard.press("Enter")
    page.get_by_text("Folder or file", exact=True).click()
    page.get_by_role("textbox", name="Path", exact=True).fill(str(data))
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile("3 subjects, 18 questions"))).to_be_visible()
    page.get_by_text("Settings of each stage").click()
    page.get_by_role("tab", name="Check that it knows").click()
    page.locator("input[aria-label*='minimum facts']").fill("0")
    page.keyboard.press("Enter")
