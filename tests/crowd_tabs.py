"""The two kinds of tab of tests/crowd.py: one over the websocket, one in a real browser."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from tests.e2e.serving import CHROMIUM, PATIENCE, rest
from tests.visitor import Visitor

LINKS = {
    "": "Localize",
    "compare": "Compare",
    "evidence": "Evidence",
    "report": "Report",
    "runs": "Runs",
    "help": "Documents",
}
MENU = ("help",)
"""pages whose links are behind the menu Help"""
SLIDER = "Shared below (μ)"


class SocketTab:
    """A tab without a browser."""

    def __init__(self, url: str, run: str) -> None:
        self.visitor, self.run = Visitor(url), run
        self._asked: set[str] = set()

    def open(self, page: str) -> float:
        seconds = self.visitor.open(page, run=self.run)
        self._no_complaint()
        return seconds

    def move(self, share: float) -> float:
        slider = self.visitor.widget("slider", "mu").slider
        seconds = self.visitor.move("mu", round(slider.min + share * (slider.max - slider.min), 3))
        self._no_complaint()
        return seconds

    def ask(self, question: str) -> tuple[float, str]:
        seconds = self.visitor.say("prompt", question)
        self._no_complaint()
        if question in self._asked:  # the page remembers the answer: let the model itself give it once more
            seconds += self.visitor.click("again")
            self._no_complaint()
        self._asked.add(question)
        return seconds, "\n".join(self.visitor.said("html"))

    def close(self) -> None:
        self.visitor.close()

    def _no_complaint(self) -> None:
        for element in self.visitor.elements.values():
            if element.WhichOneof("type") == "alert":
                assert element.alert.format != element.alert.ERROR, element.alert.body


class BrowserTab:
    """A tab in a Chromium of its own."""

    def __init__(self, url: str, run: str) -> None:
        from playwright.sync_api import sync_playwright

        self.url, self.run = url, run
        self._driver = sync_playwright().start()
        self._browser = self._driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        self.page = self._browser.new_page(viewport={"width": 1280, "height": 900})
        self.page.set_default_timeout(PATIENCE)
        self._broken: list[str] = []
        self.page.on("pageerror", lambda error: self._broken.append(str(error)))

    def open(self, page: str) -> float:
        if self.page.url == "about:blank":
            return self._timed(lambda: self.page.goto(f"{self.url}/{page}?run={self.run}"))

        def change() -> None:
            if page in MENU:
                self.page.get_by_test_id("stTopNavSection").click()
            role: Literal["menuitem", "link"] = "menuitem" if page in MENU else "link"
            self.page.get_by_role(role, name=LINKS[page], exact=True).first.click()
            self.page.wait_for_url(lambda at: at.partition("?")[0].rstrip("/") == f"{self.url}/{page}".rstrip("/"))

        return self._timed(change)

    def move(self, share: float) -> float:
        # The colour bar's handle has the same name.
        slider = self.page.get_by_test_id("stSlider").get_by_role("slider", name=SLIDER)
        field = self.page.get_by_role("spinbutton", name=SLIDER)
        before = field.input_value()

        def change() -> None:
            slider.press("ArrowRight" if float(before) < 0.5 + share / 3 else "ArrowLeft")
            self.page.wait_for_function("([field, before]) => field.value !== before", arg=[field.element_handle(), before])

        return self._timed(change)

    def ask(self, question: str) -> tuple[float, str]:
        def change() -> None:
            box = self.page.get_by_test_id("stChatInputTextArea")
            box.fill(question)
            box.press("Enter")
            self.page.get_by_role("heading", name=question).wait_for()
            self.page.get_by_role("button", name="Ask again").wait_for()

        seconds = self._timed(change)
        return seconds, "\n".join(self.page.get_by_test_id("stHtml").all_inner_texts())

    def close(self) -> None:
        self._browser.close()
        self._driver.stop()

    def _timed(self, change: Callable[[], object]) -> float:
        began = time.monotonic()
        change()
        rest(self.page)
        seconds = time.monotonic() - began
        assert not self._broken, self._broken
        wrong = [alert for alert in self.page.get_by_test_id("stAlertContentError").all_inner_texts() if alert]
        assert not wrong, wrong
        return seconds
