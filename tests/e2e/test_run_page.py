"""Runs of one's own: from an upload to its answers, with another region, cancelled and resumed, through a server's end."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect

from core.config.run_config import RunConfig
from tests.e2e.serving import WHOLE_RUN, Server, rest
from tests.processes import quick
from tests.tiny import rows

Window = Callable[..., Page]
LONG = {"unlearn__steps": 400, "unlearn__check_every": 20}
DONE = re.compile("^Done in")


def as_json(page: Page, server: Server, config: RunConfig) -> None:
    """Open the form of a new run on a configuration."""
    page.goto(f"{server.url}/runs?view=New+run")
    rest(page)
    page.get_by_role("switch", name="Edit as JSON").press("Space")
    text = page.get_by_role("textbox", name="Configuration as JSON")
    text.fill(json.dumps(config.to_json()))
    text.press("Control+Enter")
    expect(page.get_by_text("3 subjects, 18 questions")).to_be_visible()
    rest(page)


def start(page: Page, server: Server, config: RunConfig) -> str:
    """Start a run; return its id when its page is open."""
    as_json(page, server, config)
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("heading", name="Stages")).to_be_visible()
    return current(page)


def current(page: Page) -> str:
    page.wait_for_url(re.compile(r"run=2\d{7}-"))
    found = re.search(r"run=([^&]+)", page.url)
    assert found
    return found[1]


def questions(folder: Path) -> Path:
    """Write the tiny data as a file that somebody could have, one row of it without an answer."""
    made = [
        {"question": row["text"], "answer": row["labels"], "scope": scope, "split": split}
        for scope, splits in rows().items()
        for split, found in splits.items()
        for row in found
    ]
    file = folder / "people.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in [*made, {"question": "Why?", "scope": "unlearn"}]))
    return file


def test_from_upload_to_compare(server: Server, page: Page, tiny_llama: Path, tmp_path: Path) -> None:
    page.goto(f"{server.url}/runs?view=New+run")
    rest(page)  # what is above a button may still push it away between press and release
    page.get_by_text("Another one", exact=True).click()
    page.get_by_role("textbox", name="Hub id, folder").fill(str(tiny_llama))
    page.keyboard.press("Enter")
    expect(page.get_by_text("A model folder.")).to_be_visible()
    page.get_by_text("Upload", exact=True).click()
    page.locator("input[type=file]").set_input_files(questions(tmp_path))
    expect(page.get_by_text(re.compile("1 of 19 rows of people.jsonl cannot be used"))).to_be_visible()
    page.get_by_text("Leave out this row and use the other 18").click()
    expect(page.get_by_text("18 questions.")).to_be_visible()
    page.get_by_text("Settings of each stage").click()
    # Random weights say nothing worth keeping, and what they are held to is what they are to unlearn first.
    page.get_by_role("tab", name="Teach").click()
    page.locator("input[aria-label*='keep weight']").fill("0")
    page.keyboard.press("Enter")
    rest(page)
    page.get_by_role("tab", name="Check that it knows").click()
    page.locator("input[aria-label*='minimum facts']").fill("0")
    page.keyboard.press("Enter")
    rest(page)
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_text(DONE)).to_be_visible(timeout=WHOLE_RUN)
    expect(page.get_by_role("heading", name="Scores", exact=True)).to_be_visible()

    page.get_by_role("link", name="Ask it").click()
    prompt = page.get_by_placeholder("Ask both models anything")
    prompt.fill("Where does Orla Venning live?")
    prompt.press("Enter")
    expect(page.get_by_text("recorded when the run was evaluated")).to_be_visible()
    expect(page.get_by_text("Orla Venning lives at Quay Street 14.").last).to_be_visible()
    rest(page)
    prompt.fill("Who was never in the data?")
    prompt.press("Enter")
    expect(page.get_by_role("heading", name="Who was never in the data?")).to_be_visible()
    expect(page.get_by_role("button", name="Ask again")).to_be_visible()
    expect(page.get_by_text("tokens/s").first).to_be_visible()
    expect(page.get_by_text("Before says no fact that it was taught.")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Who was never in the data?")).to_be_visible()
    expect(page.get_by_role("button", name="Ask again")).to_be_visible()


def test_a_threshold_becomes_a_new_run(server: Server, page: Page, tiny_run: str) -> None:
    page.goto(f"{server.url}/?run={tiny_run}")
    rest(page)
    heading = page.get_by_role("heading", name=re.compile(r"^\d+ of 28 tensors$"))
    before = heading.inner_text()
    field = page.get_by_label("Pull to forget above (σ), as a number")
    field.fill("0.8")
    field.press("Enter")
    expect(heading).not_to_have_text(before)
    rest(page)
    count = heading.inner_text()
    runs = len(list(server.runs.glob("*/config.json")))
    page.get_by_role("button", name="Unlearn with this region").click()
    expect(page.get_by_text("with the region that you chose on its map")).to_be_visible()
    rest(page)
    assert len(list(server.runs.glob("*/config.json"))) == runs, "nothing starts unasked"
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_text(DONE)).to_be_visible(timeout=WHOLE_RUN)
    expect(page.get_by_text("Teach the model the data re-used")).to_be_visible()
    expect(page.get_by_text(f"region {count}")).to_be_visible()
    assert current(page) != tiny_run


def test_cancel_and_resume(server: Server, page: Page, tiny_llama: Path, tiny_data: Path) -> None:
    start(page, server, quick(tiny_llama, tiny_data, **LONG))
    expect(page.get_by_text(re.compile(r"\d+ of 400 steps"))).to_be_visible()
    # The page is drawn anew twice a second: an event at the button itself does not wait for it to stand still.
    page.get_by_role("button", name="Cancel").dispatch_event("click")
    expect(page.get_by_text("Make it forget cancelled here")).to_be_visible()
    rest(page)
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text(DONE)).to_be_visible(timeout=WHOLE_RUN)
    expect(page.get_by_role("heading", name="Scores", exact=True)).to_be_visible()


def test_reload_second_browser_and_restart_in_the_middle(
    server: Server, page: Page, window: Window, tiny_llama: Path, tiny_data: Path
) -> None:
    name = start(page, server, quick(tiny_llama, tiny_data, seed=5, **LONG))
    page.reload()
    expect(page.get_by_text("the run goes on")).to_be_visible()
    second = window()
    second.goto(f"{server.url}/runs?view=This+run&run={name}")
    expect(second.get_by_role("heading", name="Stages")).to_be_visible()
    expect(second.get_by_role("button", name="Cancel")).to_be_visible()
    server.stop()
    server.start()
    for one in (page, second):
        one.goto(f"{server.url}/runs?view=This+run&run={name}")
        expect(one.get_by_text(DONE)).to_be_visible(timeout=WHOLE_RUN)
        expect(one.get_by_role("heading", name="Scores", exact=True)).to_be_visible()


def test_measure_start_and_same_again_by_keyboard(server: Server, page: Page, tiny_llama: Path, tiny_data: Path) -> None:
    config = quick(tiny_llama, tiny_data)
    as_json(page, server, config)
    page.get_by_role("button", name="Measure first").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile("the whole run takes"))).to_be_visible()
    expect(page.get_by_text(re.compile("As it is, this model predicts"))).to_be_visible()
    rest(page)
    page.get_by_role("button", name="Start", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text(DONE)).to_be_visible(timeout=WHOLE_RUN)
    rest(page)
    page.get_by_role("button", name="Same again, changed").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile("These are the settings of"))).to_be_visible()
    expect(page.get_by_role("textbox", name="Configuration as JSON")).to_have_value(re.compile(rf'"seed": {config.seed}\b'))
    page.get_by_role("switch", name="Edit as JSON").press("Space")
    expect(page.get_by_role("textbox", name="Path", exact=True)).to_have_value(str(tiny_data))


def test_a_link_fills_in_the_form_in_another_browser(server: Server, page: Page) -> None:
    subject = quote("Anjali Varmekar")
    page.goto(
        f"{server.url}/runs?view=New+run&new.preset=Highest+score&new.subjects.privacy={subject}"
        "&recommended.unlearn.steps=77&stages=true"
    )
    expect(page.get_by_text(re.compile("1 of 10 subjects"))).to_be_visible()
    page.get_by_text("2 changed against the preset “Highest score”").click()
    expect(page.get_by_role("row", name=re.compile("unlearn › steps 160 77"))).to_be_visible()
