"""The Run page in a real browser: a form that a link fills in, measured first, started, and taken up again by keyboard."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e.test_journey import CHROMIUM, Server, expect, page, playwright_api, server  # noqa: F401 (fixtures)
from tests.processes import quick

pytestmark = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="no Chromium on this machine")


def test_measure_start_and_same_again_by_keyboard(
    server: Server,  # noqa: F811
    page: playwright_api.Page,  # noqa: F811
    tiny_llama: Path,
    tiny_data: Path,
) -> None:
    page.goto(f"{server.url}/run?view=New+run&as_json=true")
    text = page.get_by_role("textbox", name="Configuration as JSON")
    values = quick(tiny_llama, tiny_data).to_json()
    text.fill(json.dumps(values))
    text.press("Control+Enter")
    expect(page.get_by_text("3 subjects, 18 questions")).to_be_visible()

    measure = page.get_by_role("button", name="Measure first")
    measure.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile("the whole run takes"))).to_be_visible()
    expect(page.get_by_text(re.compile("As it is, this model predicts"))).to_be_visible()

    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    page.get_by_role("button", name="Start", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile("^Done in"))).to_be_visible()

    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    page.get_by_role("button", name="Same again, changed").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile("These are the settings of"))).to_be_visible()
    assert json.loads(page.get_by_role("textbox", name="Configuration as JSON").input_value())["seed"] == values["seed"]
    page.get_by_role("switch", name="Edit as JSON").press("Space")
    expect(page.get_by_role("textbox", name="Path", exact=True)).to_have_value(str(tiny_data))
    assert "Traceback" not in server.log.read_text()


def test_a_link_fills_in_the_form_in_another_browser(server: Server, page: playwright_api.Page) -> None:  # noqa: F811
    subject = quote("Anjali Varmekar")
    page.goto(
        f"{server.url}/run?view=New+run&new.preset=Paper&new.subjects.privacy={subject}&paper.unlearn.steps=77&stages=true"
    )
    expect(page.get_by_text(re.compile("1 of 10 subjects"))).to_be_visible()
    page.get_by_text("2 changed against the preset “Paper”").click()
    expect(page.get_by_role("row", name=re.compile("unlearn › steps 100 77"))).to_be_visible()
