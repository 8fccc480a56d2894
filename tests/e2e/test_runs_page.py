"""The page Runs in a real browser: a run leaves, comes in, is marked in the table, deleted and taken back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect

from core.runs import store
from tests.e2e.serving import Server, rest


def test_export_import_delete_undo(server: Server, page: Page, tmp_path: Path) -> None:
    bundled, name = store.bundled_runs()[0].id, store.bundled_runs()[0].config().name
    page.goto(f"{server.url}/runs?chosen={bundled}")
    rest(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    packed = tmp_path / "run.zip"
    download.value.save_as(packed)
    assert packed.stat().st_size > 1_000_000

    page.get_by_role("button", name="Import").click()
    page.locator("input[type=file]").set_input_files(packed)
    expect(page.get_by_text(re.compile("imported from run.zip"))).to_be_visible()
    assert f"chosen={bundled}-2" in page.url
    assert (server.runs / f"{bundled}-2").is_dir()

    page.keyboard.press("Escape")
    page.get_by_role("button", name=re.compile("Delete$")).click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_text("One deleted run is in the trash")).to_be_visible()
    assert not (server.runs / f"{bundled}-2").exists()
    server.stop()
    server.start()
    page.goto(f"{server.url}/runs")  # the trash outlives the server
    rest(page)
    page.get_by_role("button", name=re.compile("Undo$")).click()
    expect(page.get_by_text(re.compile("1 of your own"))).to_be_visible()
    rest(page)  # a list that is drawn anew takes no click

    grid = page.get_by_test_id("stDataFrame").locator(".dvn-scroller").last
    for y, heading in ((52, name), (122, "2 runs, side by side")):  # the boxes of this run's rows; between them is another
        grid.click(position={"x": 18, "y": y})
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
    expect(page.get_by_text("Their settings are the same.")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="2 runs, side by side")).to_be_visible()
