"""The numbers of Evidence in a real browser: a link as it was left, a point that is clicked, a checkpoint, keyboard
only."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect

from core.runs import asked, store
from core.runs.scores import Scores
from tests.e2e.serving import Server, rest
from tests.e2e.test_look import tab_to

AFTER = "tr.after td"


@pytest.fixture(scope="module")
def other(server: Server) -> str:
    """Return the id of a second run on the same data: forgets more, keeps less, and has checkpoints."""
    source = store.bundled_runs()[0]
    run = server.runs / "other"
    shutil.copytree(source.path, run)
    config = json.loads((run / "config.json").read_text()) | {"name": "The other one"}
    (run / "config.json").write_text(json.dumps(config))
    metrics = json.loads((run / "metrics.json").read_text())
    after = metrics["metrics"]["accuracy"]["values"]["after"]
    for part in after:
        after[part] -= 20
    (run / "metrics.json").write_text(json.dumps(metrics))
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    for step in [check["step"] for check in json.loads((run / "unlearn.json").read_text())["checks"]]:
        (run / "checkpoints" / f"step-{step:05d}.safetensors").write_bytes(b"")
    return "other"


def test_what_is_chosen_is_in_the_link(server: Server, page: Page, other: str, window: Callable[..., Page]) -> None:
    said = asked.outcomes(Scores.read(store.bundled_runs()[0]), "after", "unlearn", "free")
    assert said
    page.goto(f"{server.url}/evidence?part=Scores")
    expect(page.get_by_role("heading", name="What is gone, and what is left")).to_be_visible()
    expect(page.locator(AFTER).first).to_contain_text(said.in_words("leaked"))
    expect(page.get_by_text("of what was taught is gone there")).to_be_visible()
    field = page.get_by_role("combobox", name="Beside it", exact=True)
    field.click()
    page.get_by_role("option", name="The other one").click()
    page.keyboard.press("Escape")
    expect(page.get_by_text("the reference of all 3 runs here").first).to_be_visible()
    page.get_by_role("radio", name="Taught wording (train)").click()
    expect(page.get_by_text("on questions in taught wording").first).to_be_visible()
    page.get_by_role("radio", name="Cost").click()
    expect(page.get_by_text("One step took")).to_be_visible()
    page.get_by_role("radio", name="Trade-off").click()
    page.get_by_role("radio", name="Unlearn Success").click()
    page.get_by_text("Published, 7B", exact=True).click()
    rest(page)
    assert re.search(rf"beside=[^&]*{other}", page.url)
    second = window()
    second.goto(page.url)
    expect(second.get_by_role("radio", name="Taught wording (train)")).to_be_checked()
    expect(
        second.get_by_role("switch", name="Published, 7B").or_(second.get_by_role("checkbox", name="Published, 7B"))
    ).to_be_checked()


def test_a_clicked_point_becomes_the_current_run(server: Server, page: Page, other: str) -> None:
    page.goto(f"{server.url}/evidence?part=Trade-off&beside={other}")
    rest(page)
    points = (
        page.get_by_role("img", name="Forgotten without gibberish (free wording) against")
        .locator(".scatterlayer .trace")
        .last.locator(".points path")
    )
    expect(points).to_have_count(2)
    points.nth(1).scroll_into_view_if_needed()
    box = points.nth(1).bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    expect(page.locator(".hoverlayer .hovertext").first).to_contain_text("The other one")
    page.mouse.down()
    page.mouse.up()
    expect(page.get_by_role("combobox", name="Run", exact=True)).to_have_value(re.compile("The other one"))
    assert f"run={other}" in page.url


def test_keyboard_moves_the_slider_and_the_choice_is_marked(server: Server, page: Page, other: str) -> None:
    page.goto(f"{server.url}/evidence?part=Steps&run={other}")
    rest(page)
    expect(page.get_by_role("button", name="Make it a run")).to_be_disabled()
    tab_to(page, 'input[type="range"]')
    result = json.loads((server.runs / other / "unlearn.json").read_text())
    earlier = [check["step"] for check in result["checks"] if check["step"] < result["step"]]
    # At a person's pace: Streamlit's own sliders lose the address of keys pressed while it still writes.
    for step in reversed(earlier):
        page.locator('input[type="range"]').press("ArrowLeft")
        expect(page.get_by_text(f"Stopped at step {step} instead of {result['step']}")).to_be_visible()
        rest(page)
    expect(page).to_have_url(re.compile(rf"[?&]step={earlier[0]}"))
    expect(page.get_by_text(re.compile("picked on train$"))).to_be_visible()
    expect(page.get_by_role("button", name="Make it a run")).to_be_enabled()
    page.get_by_role("link", name="Ask this checkpoint").click()
    expect(page.get_by_role("heading", name="Ask it, before and after")).to_be_visible()
    expect(page.get_by_text(f"After step {earlier[0]}").first).to_be_visible()
