"""Text that wants to be more than text, in questions, answers, names, notes and models: every page shows it as it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Dialog, Page, Request, expect

from core.runs import store
from dashboard.widgets.plot import BROWSER
from tests.e2e.serving import Server, rest
from tests.hostile import cells

SCRIPT = "<script>window.hit=1</script><img src=x onerror=window.hit=1>"
MARKDOWN = "**bold** [click](javascript:window.hit=1) ![](https://evil.example/x.png) :red[red] $x^2$ # title"
TURNED = "\u202eesrever\u2066 \U0001f469‍\U0001f469‍\U0001f467 \U0001f1e9\U0001f1ea"
LONG = "w" * 10_000
HOSTILE = f"{SCRIPT} {MARKDOWN} {TURNED}"
NAME = "hostile"
ASKED = [row for row in store.bundled_runs()[0].answers() if "after" in row][::4]
"""some of a run's answers, of every scope"""


@pytest.fixture(scope="module")
def hostile(server: Server) -> str:
    """Put a finished run into the server's folder whose every text is hostile; return its id."""
    run = server.runs / NAME
    shutil.copytree(store.bundled_runs()[0].path, run)
    rows = list(ASKED)
    for place, row in enumerate(rows):
        rows[place] = row | {
            "question": f"{place} {HOSTILE}",
            "truth": HOSTILE,
            "subject": SCRIPT,
            "before": f"{HOSTILE} {LONG}",
            "after": f"{LONG} {HOSTILE}",
        }
    (run / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = json.loads((run / "config.json").read_text())
    config["name"] = HOSTILE
    config["model"]["name"], config["data"]["source"] = f"org/{HOSTILE}", HOSTILE
    (run / "config.json").write_text(json.dumps(config))
    result = json.loads((run / "unlearn.json").read_text())
    for watched in result["watched"]:
        for answer in watched["answers"]:
            answer |= {"question": HOSTILE, "text": f"{HOSTILE} {LONG}"}
    (run / "unlearn.json").write_text(json.dumps(result | {"stopped": HOSTILE}))
    label = {"format": 1, "name": "", "pinned": False, "tags": ["<b>tag</b>"], "note": f"{HOSTILE}\n{LONG[:500]}"}
    (run / "label.json").write_text(json.dumps(label))
    return NAME


VIEWS = {
    "localize": "/?run=hostile",
    "compare": "/compare?run=hostile&never=true",
    "compare-history": "/compare?run=hostile&view=History&q=%3Cscript%3Ewindow.hit%3D1%3C%2Fscript%3E",
    "evidence": f"/evidence?run=hostile&among=all&example={ASKED[0]['example']}",
    "subject": "/evidence?run=hostile&part=One+subject",
    "rules": "/evidence?run=hostile&part=Rules&rules=repeats:2",
    "scores": "/evidence?run=hostile&beside=privacy-memflex&part=Scores",
    "trade-off": "/evidence?run=hostile&beside=privacy-memflex&part=Trade-off",
    "metrics": "/evidence?run=hostile&part=Metrics",
    "report": "/report?run=hostile",
    "run": "/runs?run=hostile&view=This+run",
    "runs": "/runs?run=hostile&chosen=hostile",
    "runs-two": "/runs?run=hostile&chosen=hostile,privacy-memflex",
}
WIDER = """() => [document.scrollingElement, document.querySelector('[data-testid="stMain"]')]
  .map((box) => box.scrollWidth - box.clientWidth)"""
MADE = """() => [...document.querySelectorAll('[data-testid="stMain"] :is('
  + 'script, img[src="x"], a[href^="javascript"], .katex, [src*="evil"])')]
  .map((made) => made.outerHTML)"""


WIDTHS = (390, 1280)


@pytest.mark.parametrize("name", VIEWS)
def test_it_is_shown_as_text(server: Server, window: Callable[..., Page], hostile: str, name: str) -> None:
    """On a telephone, as the page comes, and on a wide screen, as it is drawn anew there."""
    page = window()
    asked, dialogs = list[str](), list[str]()

    def note(request: Request) -> None:
        asked.append(request.url)

    def refuse(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("request", note)
    page.on("dialog", refuse)
    page.set_viewport_size({"width": WIDTHS[0], "height": 900})
    page.goto(server.url + VIEWS[name])
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        rest(page)
        text = page.get_by_test_id("stMain").get_by_text("<script>window.hit=1</script>")
        expect(text.locator("visible=true").first).to_be_visible()
        assert page.evaluate(MADE) == []
        wider = page.evaluate(WIDER)
        assert max(wider) <= 0, (width, wider)
    page.remove_listener("request", note)
    page.remove_listener("dialog", refuse)
    assert page.evaluate("() => window.hit ?? null") is None
    assert not dialogs
    assert not [url for url in asked if "evil.example" in url]


def test_a_hostile_file_is_listed_as_text(server: Server, page: Page, tmp_path: Path) -> None:
    file = tmp_path / "<b>file.jsonl"
    rows = [
        {"question": HOSTILE, "answer": LONG[:3000], "scope": scope, "subject": SCRIPT} for scope in ("unlearn", "retention")
    ]
    file.write_text("\n".join(json.dumps(row) for row in [*rows, {"question": SCRIPT, "answer": "", "scope": SCRIPT}]))
    page.goto(f"{server.url}/runs?view=New+run&new.data=Upload")
    page.locator("input[type=file]").set_input_files(file)
    expect(page.get_by_text("1 of 3 rows of").first).to_be_visible()
    page.get_by_text("Leave out this row").click()
    expect(page.get_by_text("1 subjects, 2 questions")).to_be_visible()
    assert page.evaluate("() => window.hit ?? null") is None
    assert max(page.evaluate(WIDER)) <= 0


def test_no_table_leaves_with_formulas(server: Server, page: Page) -> None:
    """Streamlit's own tables would write a cell as it is; the browser's charts disarm it by the same rule as
    core/util/csv_safe.py."""
    page.goto(f"{server.url}/runs")
    rest(page)
    page.get_by_test_id("stDataFrame").first.hover()
    expect(page.get_by_role("button", name="Search").first).to_be_visible()
    expect(page.get_by_label("Download as CSV")).not_to_have_count(0)
    for button in page.get_by_label("Download as CSV").all():
        expect(button).to_be_hidden()
    script = (BROWSER / "plotly.js").read_text()
    field = script[script.index("function field") : script.index("function csv")]
    for text, expected in cells.ALL.values():
        assert page.evaluate(f"(value) => {{ {field} return field(value); }}", text) == '"{}"'.format(
            expected.replace('"', '""')
        )
    assert page.evaluate(f"() => {{ {field} return [field(-1.5), field(null), field(true)]; }}") == ["-1.5", "", "true"]
