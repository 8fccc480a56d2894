"""An audit in the browser: started from the form, looked at, and asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect

from core.runs import audit
from tests.e2e.serving import WHOLE_RUN, Server, rest
from tests.tiny import make_tiny


def test_two_models_are_audited_and_asked(
    server: Server, window: Callable[..., Page], tiny_llama: Path, tiny_data: Path, tmp_path: Path
) -> None:
    page = window()
    page.goto(server.url + "/runs?view=New+run")
    rest(page)
    page.get_by_text("Audit two models made elsewhere").click()
    for label, text in {
        "Before": str(tiny_llama),
        "After": str(make_tiny(tmp_path / "other", seed=8)),
        "Data": str(tiny_data),
    }.items():
        field = page.get_by_role("textbox", name=label, exact=True)
        field.fill(text)
        field.press("Tab")
        rest(page)
    page.get_by_role("button", name="Audit", exact=True).click()
    expect(page.get_by_text("Done in", exact=False)).to_be_visible(timeout=WHOLE_RUN)
    expect(page.get_by_text("Make it forget")).to_have_count(0)
    page.get_by_role("link", name="Localize").click()
    rest(page)
    expect(page.get_by_text(audit.NO_HEATMAP)).to_be_visible()
    expect(page.get_by_text("14 of 14 weight matrices differ", exact=False).first).to_be_visible()
    page.get_by_role("link", name="Compare", exact=True).click()
    rest(page)
    page.get_by_role("button", name="Ask now").click()
    rest(page)
    expect(page.get_by_text("tokens/s", exact=False)).to_have_count(2)
    expect(page.get_by_text("weights", exact=False).first).to_be_visible()
