from __future__ import annotations

import hashlib
import html
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from core.cli.main import main
from core.report import assets, html_page, report_data, site, verify_report
from core.report.verify_run import MATCH, MISMATCH, SKIPPED
from core.runs import store
from core.runs.store import Run
from core.util.errors import UserError

HOSTILE = "</script><script>window.hit=1</script><img src=x onerror=window.hit=1>\u2028\"'`{{ data }}"


def small(place: Path, **texts: str) -> Run:
    """Return a finished run of a few questions; texts: what stands in the place of their own."""
    skipped = shutil.ignore_patterns("after", "before", "checkpoints", "probes", "retrained", "*.npz")
    run = Run(Path(shutil.copytree(store.BUNDLED_RUNS / "privacy-memflex", place, ignore=skipped)))
    asked = [row | texts for row in run.answers() if "after" in row][::24]
    (run.path / "answers.jsonl").write_text("\n".join(map(json.dumps, asked)))
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    made = small(folder / "20260101-000000-forget-maren-tveitaskog-0a1b")
    finding = {
        "format": 1,
        "probe": "prefix",
        "sentence": "It came back.",
        "measure": "questions (%)",
        "detail": {},
        "n": 8,
        "rates": {voice: {"value": 50.0, "low": 20.0, "high": 80.0} for voice in ("before", "after", "never")},
        "leaked": [
            {
                "id": "x",
                "question": "Where does Maren Tveitaskog live?\n\nMar …",
                "answer": "Kelp Lane 17",
                "truth": HOSTILE,
                "form": HOSTILE,
            }
        ],
    }
    (made.path / "probes").mkdir()
    (made.path / "probes" / "prefix.json").write_text(json.dumps(finding))
    return made


@pytest.fixture(scope="module")
def written(run: Run, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("written") / "site"
    site.write([run], target, folder=folder)
    return target


@pytest.fixture
def there(written: Path, tmp_path: Path) -> Path:
    """Return a copy of the site that may be changed."""
    return Path(shutil.copytree(written, tmp_path / "site"))


def pages(target: Path) -> dict[str, str]:
    return {path.relative_to(target).as_posix(): path.read_text() for path in target.rglob("*.html")}


def states(target: Path, folder: Path) -> dict[str, str]:
    return {check.name: check.state for check in verify_report.verify_site(target, folder)}


def test_a_site_has_four_pages_a_run_and_shared_parts_once(written: Path) -> None:
    names = {path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file()}
    (folder,) = {name.split("/")[0] for name in names if "/" in name} - {site.SHARED}
    assert names == {
        "index.html",
        "site.json",
        *(f"{site.SHARED}/{name}" for name in ("plotly.js", "style.css", "pages.js", "site.js")),
        *(f"{folder}/{name}" for name in (*site.PAGES, site.DATA)),
    }
    assert folder == "20260101-000000-0a1b"  # its own name holds a person's
    listed = json.loads((written / "site.json").read_text())
    assert set(listed["files"]) == names - {"site.json"}


def test_pages_ask_only_for_files_of_the_site_and_by_tags(written: Path) -> None:
    for name, text in pages(written).items():
        policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
        assert policy
        assert html.unescape(policy[1]) == site.POLICY
        assert "unsafe" not in policy[1]
        here = (written / name).parent
        for address in re.findall(r'\b(?:src|href)="([^"#]*)', text):
            assert not address or (here / address).resolve().is_relative_to(written), address
            assert not address or (here / address).is_file(), address
        tags = re.findall(r"<[^>]*>", text)
        assert not [tag for tag in tags if re.search(r"\s(on\w+|style)=|<script>|<style", tag)]
    for script in ("pages.js", "site.js"):
        assert not re.search(r"\b(fetch|import|XMLHttpRequest|export)\b", (written / site.SHARED / script).read_text())


def test_every_example_stands_in_compare_and_in_evidence_with_all_voices(written: Path, run: Run) -> None:
    shown = pages(written)
    data = next(data for _, data in site.datas(written))
    assert data
    asked = [row for row in run.answers() if row["scope"] in ("unlearn", "retention")]
    assert len(data["answers"]["examples"]) == len(asked) > 15
    for name in ("compare.html", "evidence.html"):
        text = next(text for path, text in shown.items() if path.endswith(name))
        assert text.count('class="example"') == len(asked)
    compare = next(text for path, text in shown.items() if path.endswith("compare.html"))
    for voice in ("Before", "After", "Never taught", "Taught without U"):
        assert len(re.findall(rf'class="who">{voice} <span class="verdict', compare)) == len(asked)
    for verdict in {example["verdict_after"] for example in data["answers"]["examples"]}:
        assert f'<span class="verdict {verdict}">' in compare


def test_what_the_browser_counts_is_the_runs_own_region(written: Path, run: Run) -> None:
    data = next(data for _, data in site.datas(written))
    assert data
    cells, region = data["thresholds"], run.json("region.json")
    assert cells["own"]
    chosen = [
        bool(live) and cos < cells["mu"] and mag > cells["sigma"]
        for live, cos, mag in zip(cells["live"], cells["cos"], cells["mag"], strict=True)
    ]
    assert sum(chosen) == region["count"] > 0
    names = run.table("localization")
    assert names is not None
    assert set(names["name"][chosen]) == set(region["tensors"])


def test_hostile_texts_are_only_text(folder: Path, tmp_path: Path) -> None:
    run = small(folder / "hostile", question=HOSTILE, truth=HOSTILE, subject=HOSTILE, after=HOSTILE, before=HOSTILE)
    values = run.json("config.json")
    values["name"] = values["model"]["name"] = HOSTILE
    (run.path / "config.json").write_text(json.dumps(values))
    manifest = run.json("manifest.json")
    manifest["files"]["__proto__"] = HOSTILE
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    site.write([run], tmp_path / "site", names=True, folder=folder)
    for text in pages(tmp_path / "site").values():
        assert "<script>window" not in text
        assert "<img" not in text
        assert "&lt;script&gt;window.hit=1" in text
    block = (tmp_path / "site" / "hostile" / site.DATA).read_text()
    assert block.isascii()
    assert not set("<>&") & set(block)
    assert block.count("\n") == 1
    data = site.read(tmp_path / "site", "hostile")
    assert data
    assert data["manifest"]["value"]["files"]["__proto__"] == HOSTILE
    assert data["answers"]["examples"][0]["question"] == HOSTILE


def test_names_are_pseudonyms_and_facts_are_covered(written: Path) -> None:
    made = "\n".join([*pages(written).values(), *(path.read_text() for path in written.rglob("data.js"))])
    assert "Tveitaskog" not in made
    assert "Maren" not in made
    assert "Mar …" not in made
    assert "Mar \\\\u2026" not in made
    assert "Person A" in made
    evidence = next(text for path, text in pages(written).items() if path.endswith("evidence.html"))
    assert "Where does Person A live?" in evidence  # what came back


def test_redacted_there_is_no_text_and_no_name(run: Run, folder: Path, tmp_path: Path) -> None:
    site.write([run], tmp_path / "site", redact=True, folder=folder)
    files = [path for path in (tmp_path / "site").rglob("*") if path.is_file() and path.parent.name != site.SHARED]
    made = html.unescape("\n".join(path.read_text() for path in files))
    for row in run.answers():
        for key in ("question", "truth", "before", "after", "never", "retrained", "subject"):
            if len(row.get(key, "")) > 12:
                assert row[key] not in made
                assert json.dumps(row[key])[1:-1] not in made
    assert "Kelp Lane" not in made
    assert "Maren" not in made
    assert states(tmp_path / "site", folder)["numbers"] == MATCH


def test_a_site_is_checked_as_a_report_is(there: Path, folder: Path) -> None:
    assert states(there, folder) == {"files": MATCH, "page": MATCH, "numbers": MATCH}
    assert states(there, there.parent)["numbers"] == SKIPPED  # its run is not here


def test_a_changed_page_is_found(there: Path, folder: Path) -> None:
    page = next(there.rglob("report.html"))
    page.write_text(page.read_text().replace("In short", "In brief"))
    assert states(there, folder) == {"files": MISMATCH, "page": MISMATCH, "numbers": MATCH}
    listed = json.loads((there / site.LIST).read_text())
    name = page.relative_to(there).as_posix()
    listed["files"][name] = hashlib.sha256(page.read_bytes()).hexdigest()
    (there / site.LIST).write_text(json.dumps(listed))
    assert states(there, folder) == {"files": MATCH, "page": MISMATCH, "numbers": MATCH}


def test_a_number_that_was_changed_everywhere_is_found(there: Path, folder: Path) -> None:
    data: list[dict[str, Any]] = [data for _, data in site.datas(there) if data]
    row = next(row for row in data[0]["asked"]["rows"] if (row["voice"], row["outcome"]) == ("after", "leaked"))
    row["count"] += 1
    for name, content in site.draw(data).items():
        (there / name).write_bytes(content)
    assert states(there, folder) == {"files": MATCH, "page": MATCH, "numbers": MISMATCH}


@pytest.mark.parametrize("damage", ["{}", "", "window.forgetscopeData = JSON.parse(3);\n"])
def test_damage_and_strange_files_are_named(there: Path, folder: Path, damage: str) -> None:
    (there / "extra.html").write_text("x")
    next(there.rglob(site.DATA)).write_text(damage)
    found = [check for check in verify_report.verify_site(there, folder) if check.state == MISMATCH]
    assert [check.name for check in found] == ["files", "files", "data"]
    assert "extra.html" in found[1].says
    (there / site.LIST).write_text(damage)
    assert states(there, folder) == {"files": MISMATCH}


def test_files_that_a_list_names_elsewhere_are_not_read(there: Path, folder: Path, tmp_path: Path) -> None:
    listed = json.loads((there / site.LIST).read_text())
    (tmp_path / "outside").write_text("x")
    listed["files"]["../outside"] = hashlib.sha256(b"x").hexdigest()
    listed["runs"].append({"folder": "../.."})
    (there / site.LIST).write_text(json.dumps(listed))
    assert states(there, folder) == {"files": MISMATCH, "data": MISMATCH}


def test_a_site_of_another_version_is_compared_by_its_data_alone(
    there: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "maker", lambda: "another")
    assert states(there, folder) == {"files": MATCH, "page": SKIPPED, "numbers": MATCH}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["nowhere-to-be-found"], "There is no run"),
        (["unfinished"], "so there is no whole result"),
        (["small", "unfinished"], "so there is no whole result"),
    ],
)
def test_a_run_that_cannot_be_shown_is_one_sentence(
    given: list[str], said: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("unfinished", "small"):
        if not (folder / name).exists():
            small(folder / name)
    status = Run(folder / "unfinished").json("status.json") | {"state": "running", "pid": 1, "heartbeat": 9e9}
    (folder / "unfinished" / "status.json").write_text(json.dumps(status))
    assert main(["site", *given, "-o", str(tmp_path / "site"), "--runs", str(folder)]) == 1
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_only_a_new_folder_or_a_site_is_written_into(there: Path, run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for target, said in (("file", "is a file"), ("full", "no site of ours"), ("file/below", "cannot be")):
        with pytest.raises(UserError, match=said):
            site.write([run], tmp_path / target, folder=folder)
    (there / "CNAME").write_text("example.org")
    with pytest.raises(UserError, match="also holds CNAME"):
        site.write([run], there, folder=folder)
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
    (there / "CNAME").unlink()
    next(there.rglob("report.html")).write_text("broken")
    site.write([run], there, folder=folder)
    assert states(there, folder)["files"] == MATCH
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full", "site"]


def test_an_error_leaves_the_old_site_and_nothing_else(
    there: Path, run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name.endswith(".part"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(UserError, match="No space left"):
        site.write([run], there, folder=folder)
    assert states(there, folder)["files"] == MATCH
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_two_runs_whose_ids_say_the_same_to_an_address_have_two_folders() -> None:
    ids = ["a b", "a/b", "..", "shared", "A-b", "Index.html"]
    assert site._folders([{"run": {"id": one}} for one in ids]) == [
        "a-b",
        "a-b~2",
        "run",
        "shared~2",
        "A-b~3",
        "Index.html~2",
    ]


def test_a_run_without_a_map_or_answers_says_so(folder: Path, tmp_path: Path) -> None:
    run = small(folder / "bare")
    for name in ("localization.parquet", "answers.jsonl", "metrics.json"):
        (run.path / name).unlink()
    site.write([run], tmp_path / "site", folder=folder)
    shown = pages(tmp_path / "site")
    assert "there is no map" in shown["bare/localize.html"]
    for name in ("compare", "evidence"):
        assert "No answers were recorded" in shown[f"bare/{name}.html"]
    assert html_page.island({"a": "<"}) == '{"a":"\\u003c"}'
    assert report_data.KIND != site.KIND
