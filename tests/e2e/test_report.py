"""A report in a real browser: hostile texts, covered words, paper, slides; and the page that offers it."""

from __future__ import annotations

import json
import re
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Browser, Page, expect

from core import report
from core.runs import store
from core.runs.store import Run
from tests.e2e.serving import Server, rest
from tests.e2e.test_hostile import HOSTILE, LONG, SCRIPT

WATCH = (
    "window.refused = []; document.addEventListener('securitypolicyviolation', (e) => "
    "refused.push(`${e.violatedDirective} ${e.blockedURI}`));"
)
PRESS = """async (key) => {
  const began = performance.now();
  window.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return performance.now() - began;
}"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "plain.html"
    report.write(store.bundled_runs()[0], path)
    return path


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the report of a run whose every text is hostile, names of modules and probes included."""
    place = tmp_path_factory.mktemp("hostile")
    run = Run(Path(shutil.copytree(store.bundled_runs()[0].path, place / "run", ignore=shutil.ignore_patterns("probes"))))
    rows = [
        {
            **row,
            "question": f"{i} {HOSTILE}",
            "truth": HOSTILE,
            "subject": SCRIPT,
            "before": f"</script>{HOSTILE} {LONG[:300]}",
            "after": f"{LONG[:300]}-->{HOSTILE}",
        }
        for i, row in enumerate([row for row in run.answers() if "after" in row][::4])
    ]
    (run.path / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)))
    values = run.json("config.json")
    values["name"] = values["model"]["name"] = values["data"]["source"] = HOSTILE
    (run.path / "config.json").write_text(json.dumps(values))
    table = run.table("localization")
    assert table is not None
    table.assign(
        module=table["module"].str.replace("q_proj", f'<a href="javascript:window.hit=1">x</a>{SCRIPT}')
    ).to_parquet(run.path / "localization.parquet")
    manifest = run.json("manifest.json")
    manifest["model"]["note"] = manifest["versions"]["torch"] = manifest["data"]["source"] = SCRIPT
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    (run.path / "probes").mkdir()
    (run.path / "probes" / "evil.json").write_text(json.dumps({"format": 1, "probe": "evil", "unavailable": SCRIPT}))
    path = place / "hostile.html"
    report.write(run, path, names=True)  # the subject's name is hostile too
    return path


@pytest.fixture
def sheet(browser: Browser) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1280, "height": 720}) as context:
        page = context.new_page()
        page.add_init_script(WATCH)
        yield page


@pytest.mark.parametrize("width", [1280, 390])
def test_hostile_texts_run_nothing_and_ask_nobody(sheet: Page, hostile: Path, width: int) -> None:
    asked, dialogs, broken = list[str](), list[str](), list[str]()
    sheet.on("request", lambda request: asked.append(request.url))
    sheet.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    sheet.on("pageerror", lambda error: broken.append(str(error)))
    sheet.set_viewport_size({"width": width, "height": 900})
    sheet.goto(hostile.as_uri())
    expect(sheet.locator("#heatmap")).to_have_attribute("data-drawn", "true")
    sheet.get_by_role("button", name="Show the covered words").click()
    sheet.get_by_role("button", name="Show all").click()
    for measure in ("cosine", "change"):
        sheet.locator("#measure").select_option(measure)
    sheet.locator("#heatmap .nsewdrag").first.hover(position={"x": 9, "y": 9})
    sheet.locator(".hoverlayer .hovertext").wait_for()
    sheet.evaluate("location.hash = '#present'")
    for _ in range(6):
        sheet.keyboard.press("ArrowRight")
    sheet.keyboard.press("Escape")
    assert sheet.evaluate("window.hit ?? null") is None
    assert not dialogs
    assert not broken
    assert {url.partition("#")[0] for url in asked} == {hostile.as_uri()}
    # plotly.js writes two style attributes while it measures; nothing else is refused, since nothing else was tried.
    assert set(sheet.evaluate("refused")) <= {"style-src-attr inline"}
    assert (
        sheet.evaluate(
            "[...document.querySelectorAll('main img, main iframe, main script, main a[href^=javascript], header "
            "img')].length"
        )
        == 0
    )
    assert sheet.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    expect(sheet.get_by_text("<script>window.hit=1</script>").first).to_be_visible()


def test_the_policy_stops_what_escaping_would_miss(sheet: Page, plain: Path) -> None:
    sheet.goto(plain.as_uri())
    sheet.evaluate("""() => { document.body.insertAdjacentHTML("beforeend", "<img src=x onerror=window.hit=1><img src='https://evil.example/x.png'>");
      const made = document.createElement("script"); made.textContent = "window.hit = 1"; document.body.append(made);
      return fetch("https://evil.example/").catch(() => {}); }""")
    assert sheet.evaluate("window.hit ?? null") is None
    assert {line.split()[0] for line in sheet.evaluate("refused")} >= {"img-src", "script-src-elem", "connect-src"}


def test_words_stay_covered_until_somebody_uncovers_them(sheet: Page, plain: Path) -> None:
    sheet.goto(plain.as_uri())
    sheet.locator("#search").fill("Orsel")  # where somebody went for holidays
    secret = sheet.locator(".example:visible .secret b").first
    assert "Orsel" not in sheet.locator("main").inner_text()
    expect(secret).to_be_hidden()
    sheet.emulate_media(media="print")
    expect(secret).to_be_hidden()
    expect(sheet.locator("#manifest .hashes")).to_be_visible()
    expect(sheet.locator("#heatmap")).to_be_hidden()
    expect(sheet.locator(".paper .cells")).to_be_visible()
    sheet.emulate_media(media="screen")
    sheet.get_by_role("button", name="Show the covered words").click()
    expect(secret).to_be_visible()
    assert "Orsel" in sheet.locator("main").inner_text()


def test_answers_are_filtered_worst_first(sheet: Page, plain: Path) -> None:
    sheet.goto(plain.as_uri())
    shown = sheet.locator(".example:visible")
    expect(shown.first).to_have_attribute("data-verdict", "leaked")
    sheet.locator("#verdict-filter").select_option("lost")
    sheet.locator("#scope-filter").select_option("retention")
    assert set(shown.evaluate_all("all => all.map((one) => one.dataset.verdict)")) == {"lost"}
    sheet.locator("#verdict-filter").select_option("")
    sheet.locator("#search").fill("Person A")
    assert all("Person A" in text for text in shown.all_inner_texts())


def test_slides_change_at_a_key_within_200_ms(sheet: Page, plain: Path) -> None:
    sheet.goto(f"{plain.as_uri()}#present")
    expect(sheet.locator("body.presenting, #heatmap[data-drawn=true]").first).to_be_attached()
    expect(sheet.locator(".slide.on")).to_contain_text("Is it forgotten?")
    times = [sheet.evaluate(PRESS, "ArrowRight") for _ in range(7)]  # the fourth has three questions
    expect(sheet.locator(".slide.on")).to_contain_text("What could still leak")
    expect(sheet.locator(".at")).to_have_text("6 / 6")
    times += [sheet.evaluate(PRESS, "ArrowLeft") for _ in range(2)]
    assert statistics.median(times) < 200, times
    first = sheet.locator(".asked:visible .question").inner_text()
    sheet.keyboard.press("ArrowDown")
    assert sheet.locator(".asked:visible .question").inner_text() != first
    assert "▇" not in sheet.locator(".asked:visible").inner_text()
    size = sheet.locator(".slide.on .said p").last.evaluate("(e) => parseFloat(getComputedStyle(e).fontSize)")
    assert size / 720 > 1 / 35  # of the screen's height; letters of a fortieth are read from where the room ends
    sheet.keyboard.press("Escape")
    expect(sheet.locator("#stage")).to_be_hidden()
    sheet.keyboard.press("ArrowRight")
    assert sheet.evaluate("location.hash") == ""


def test_the_page_presents_and_hands_out(server: Server, page: Page, tiny_run: str, tmp_path: Path) -> None:
    page.goto(f"{server.url}/report?run={tiny_run}&names=true")
    rest(page)
    with page.expect_download() as got:
        page.get_by_test_id("stDownloadButton").filter(has_text="Download report").click()
    got.value.save_as(tmp_path / "r.html")
    assert "forgetscope-data" in (tmp_path / "r.html").read_text()
    page.get_by_role("button", name="Present full screen").click()
    expect(page.locator(".slide.on")).to_contain_text("Is it forgotten?")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.evaluate(PRESS, "ArrowLeft") < 1000
    page.keyboard.press("ArrowRight")
    page.get_by_label("Ask the model itself").fill("Where does <b>Orla Venning</b> live?")
    page.keyboard.press("Enter")
    expect(page.get_by_text("asked just now")).to_be_visible()
    expect(page.locator(".asked-live .question")).to_have_text("Where does <b>Orla Venning</b> live?")
    expect(page.locator(".asked-live .unknown")).to_contain_text("nothing about forgetting")  # a tiny model knows nothing
    page.keyboard.press("ArrowDown")
    expect(page.locator(".asked-live")).to_be_hidden()
    other = store.bundled_runs()[0].id
    page.get_by_label("Run", exact=True).last.select_option(other)
    expect(page.locator(".origin")).to_contain_text(other)
    expect(page.locator(".at")).to_have_text("4 / 6")
    assert f"run={other}" in page.url
    page.keyboard.press("ArrowRight")
    expect(page.locator(".asked:visible")).to_contain_text("2 of 3")
    expect(page.locator(".slides")).not_to_have_class(re.compile("inline"))
    page.get_by_label("Run", exact=True).last.select_option(tiny_run)
    expect(page.locator(".origin")).to_contain_text(tiny_run)
    page.keyboard.press("Escape")
    expect(page.locator(".slides")).to_have_class(re.compile("inline"))
    page.get_by_role("button", name="Verify").click()
    expect(page.get_by_text("Everything that was checked matches.")).to_be_visible()
