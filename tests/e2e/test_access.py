"""axe-core finds no serious barrier on any page, in light and in dark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python")
from playwright.sync_api import Page  # noqa: E402

from tests.e2e.serving import Server, rest  # noqa: E402
from tests.screenshots import SCHEMES, views  # noqa: E402

SCRIPT = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
FINDINGS = """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
  .filter((found) => ["serious", "critical"].includes(found.impact))
  .flatMap((found) => found.nodes.map((node) => `${found.id}: ${node.html.slice(0, 200)} (${node.target})`))"""


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", views())
def test_no_serious_finding(server: Server, window: Callable[..., Page], name: str, scheme: str) -> None:
    page = window(color_scheme=scheme)
    page.goto(server.url + views()[name])
    rest(page)
    page.evaluate(SCRIPT)
    assert page.evaluate(FINDINGS) == []
