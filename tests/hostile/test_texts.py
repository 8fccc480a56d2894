"""Every hostile text is shown as the characters it consists of: on a terminal, a page, a chart and in a report."""

from __future__ import annotations

import html
import json
import re
import shutil
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from core import report
from core.cli.main import main
from core.runs import store
from core.runs.store import Run
from core.serve import client
from core.util.errors import TURNING
from dashboard.text import chart_text, md
from tests.hostile import texts

RUN = store.bundled_runs()[0]


def odd(text: str) -> list[str]:
    """Return what a terminal would obey in what was printed; lines and tabs are no harm."""
    return [c for c in text if c not in "\n\t" and (unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in TURNING)]


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let every voice answer with one text."""

    def answers(text: str) -> None:
        pieces = [{"kind": "pieces", "pieces": [{"index": place, "text": text} for place in range(2)]}]
        monkeypatch.setattr(client, "ask", lambda *_, **__: iter(pieces))

    return answers


@pytest.mark.parametrize("case", list(texts.ALL))
def test_a_terminal_obeys_no_answer(case: str, says: Any, capsys: pytest.CaptureFixture[str]) -> None:
    text = texts.ALL[case]
    says(text)
    assert main(["answers", RUN.id, f"--ask={text}"]) == 0
    printed = capsys.readouterr()
    assert not odd(printed.out + printed.err)
    assert printed.out.startswith("question:")
    assert main(["answers", RUN.id, f"--ask={text}", "--json"]) == 0
    line = capsys.readouterr().out
    assert not odd(line)
    assert json.loads(line)["answers"] == [{"question": text, "before": text.strip(), "after": text.strip()}]


@pytest.mark.parametrize("case", list(texts.TERMINAL))
@pytest.mark.parametrize("verb", ["show", "runs", "compare"])
def test_a_terminal_obeys_no_run(verb: str, case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that was copied here says whatever its files say."""
    text, run = texts.TERMINAL[case], Run(tmp_path / "copied")
    run.path.mkdir()
    shutil.copy(RUN.path / "config.json", run.path)
    status = {"format": 1, "state": "failed", "stage": text, "stages": {text: {"seconds": 1.0}}, "error": text, "fix": text}
    (run.path / "status.json").write_text(json.dumps(status))
    (run.path / "region.json").write_text(json.dumps({"format": 1, "tensors": [text], "rule": text}))
    (run.path / "events.jsonl").write_text(json.dumps({"kind": "widened", "t": 0, "unlearn": text}) + "\n")
    arguments = {"show": [run.id], "runs": [], "compare": [run.id, RUN.id]}[verb]
    for more in ([], ["--json"]):
        main([verb, *arguments, "--runs", str(tmp_path), *more])
        printed = capsys.readouterr()
        assert printed.out
        assert not odd(printed.out + printed.err)


@pytest.mark.parametrize("case", list(texts.ALL))
def test_a_page_draws_it_as_it_is(case: str) -> None:
    """Any reader of Markdown makes one paragraph of it, with nothing inside but the text."""
    text = texts.ALL[case].encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "")
    drawn = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(md(text))
    assert re.sub(r"\s+", " ", drawn).strip() == f"<p>{html.escape(' '.join(text.split()), quote=True)}</p>".replace(
        "&#x27;", "'"
    )


class Tags(HTMLParser):
    """Lists the elements of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("case", list(texts.ALL))
def test_a_chart_draws_it_as_it_is(case: str) -> None:
    found = Tags(chart_text(texts.ALL[case]))
    found.close()
    assert found.tags == []
    assert found.text == " ".join(texts.ALL[case].split())


@pytest.mark.parametrize("names", [True, False])
def test_a_report_draws_them_as_they_are(tmp_path: Path, names: bool) -> None:
    """A report of a run whose every text is hostile consists of the same elements as one of a run of harmless texts."""
    made = []
    for name, listed in (("hostile", list(texts.ALL.values())), ("harmless", ["word"] * len(texts.ALL))):
        run = Run(Path(shutil.copytree(RUN.path, tmp_path / name / "copied")))
        rows = [
            row | dict.fromkeys(("question", "truth", "subject", "before", "never", "after"), listed[place % len(listed)])
            for place, row in enumerate(run.answers())
        ]
        (run.path / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)))
        made.append(report.html(run, names=names))
    hostile, harmless = map(Tags, made)
    assert {tag for tag, _ in hostile.tags} <= {tag for tag, _ in harmless.tags}
    assert sum(tag in ("script", "style") for tag, _ in hostile.tags) == sum(
        tag in ("script", "style") for tag, _ in harmless.tags
    )
    for _, attributes in hostile.tags:
        assert not [key for key in attributes if key.startswith("on")]
        for key in ("href", "src", "action", "xlink:href"):
            assert (attributes.get(key) or "#").startswith(("#", "data:image/", "https://arxiv.org")), attributes
    assert ("evil.example" in hostile.text) == names  # every text is a subject's name here: under pseudonyms none is left
