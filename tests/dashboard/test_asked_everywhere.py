"""The numbers of what is said when asked, read from every place that shows them: one table, so they must be the same.

Each reader returns {(voice, scope, kind, outcome): (how many, of how many)} of what its place shows in words.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from core.cli import sweep as sweep_verb
from core.cli import sweep_table, terminal
from core.cli.main import main
from core.data.corpus import SCOPES
from core.jobs import sweep_scores
from core.jobs.sweep import Entry
from core.metrics.asked import OUTCOMES as OF_VERDICT
from core.metrics.verdict_rules import VERDICT_NAMES
from core.report import html_page, model_card, report_data
from core.runs import asked, store
from core.runs.asked import KIND_NAMES, OUTCOMES
from core.runs.scores import Scores
from core.runs.store import Run
from core.runs.summary import VOICE_KEYS
from core.runs.voices import VOICE_NAMES
from dashboard.evidence import said_table
from dashboard.localize import region_controls
from tests.dashboard.conftest import MakeRun, Open, text_of

Key = tuple[str, str, str, str]
Said = dict[Key, tuple[int, int]]
OF = re.compile(r"(\d+) of (\d+)")
KIND_OF = {name: kind for kind, name in KIND_NAMES.items()}
VOICE_OF = {asked.voice_name(voice): voice for voice in VOICE_NAMES}
BRIEF = (("unlearn", "leaked"), ("unlearn", "noise"), ("retention", "kept"))
COLUMNS = [(scope, outcome) for scope in SCOPES for outcome in OUTCOMES[scope]]
LEAD = "free"
OF_SCORES = [(scope, outcome) for scope in SCOPES for outcome in said_table.SHOWN[scope]]
"""the same with what is made up"""


@pytest.fixture
def run(make_run: MakeRun) -> Run:
    """Return a run in the user's folder that was asked every kind of question by every voice."""
    return make_run("many")


def pair(text: str) -> tuple[int, int]:
    """Read "7 of 20"."""
    found = OF.search(text)
    assert found, text
    return int(found[1]), int(found[2])


def test_any_two_places_of_one_run_show_the_same(run: Run, open_page: Open, capsys: pytest.CaptureFixture[str]) -> None:
    table = {(r.voice, r.scope, r.kind, r.outcome): (r.count, r.n) for r in asked.table(Scores.read(run))}
    places: dict[str, Said] = {name: read(run) for name, read in FILES.items()}
    for name, arguments, read in COMMANDS:
        assert main([*arguments, "--runs", str(run.path.parent)]) == 0
        places[name] = read(capsys.readouterr().out)
    for name, (address, query, look) in PAGES.items():
        app = open_page(address, run.id, **query)
        assert not app.exception, name
        places[name] = look(app)
    for name, said in places.items():
        assert said, f"{name} shows nothing"
        assert said == {key: table[key] for key in said}, name
    assert places["Scores"] == {key: value for key, value in table.items() if key[1] in SCOPES}, "all of it"
    assert places["--json"] == table, "all of it"


# -- readers -----------------------------------------------------------------------------------------------------------


def sentence(text: str) -> Said:
    """Read the sentence that leads, wherever it stands."""
    plain = html.unescape(text).replace("\\", "")
    (first,) = set(re.findall(r"Asked in free wording, it still says .*? something else\.", plain))
    numbers = re.fullmatch(
        r"Asked in free wording, it still says (\d+) of (\d+) to forget and (\d+) of (\d+) to keep\. Of the \2 to forget, "
        r"(\d+) answers? (?:is|are) gibberish, (\d+) declines?, (\d+) says? something else\.",
        first,
    )
    assert numbers, first
    leaked, n, kept, of, noise, declined, ignorant = map(int, numbers.groups())
    forget = {"leaked": leaked, "noise": noise, "declined": declined, "ignorant": ignorant}
    return {
        **{("after", "unlearn", LEAD, outcome): (count, n) for outcome, count in forget.items()},
        ("after", "retention", LEAD, "kept"): (kept, of),
    }


def of_show(out: str) -> Said:
    """Read the table of `show`."""
    said: Said = {}
    for line in out.splitlines():
        cells = re.split(r"\s{2,}", line.strip())
        if cells[0] in KIND_OF and len(cells) == 2 + len(COLUMNS):
            for (scope, outcome), cell in zip(COLUMNS, cells[2:], strict=True):
                said[VOICE_OF[cells[1]], scope, KIND_OF[cells[0]], outcome] = pair(cell)
    assert sentence(out).items() <= said.items()
    return said


def of_list(out: str) -> Said:
    """Read the run's line of `runs` or `compare`."""
    line = next(line for line in out.splitlines() if line.startswith("many"))
    cells = re.split(r"\s{2,}", line)
    at = next(i for i, cell in enumerate(cells) if cell in KIND_OF)
    kind = KIND_OF[cells[at]]
    counts = map(pair, cells[at + 1 : at + 4])
    return {("after", scope, kind, outcome): count for (scope, outcome), count in zip(BRIEF, counts, strict=True)}


def of_json(out: str) -> Said:
    """Read `show --json`."""
    voices = {key: voice for voice, key in VOICE_KEYS.items()}
    return {
        (voices[key], scope, kind, outcome): (round(share * shares["n"] / 100), shares["n"])
        for key, scopes in json.loads(out.splitlines()[-1])["asked"].items()
        for scope, kinds in scopes.items()
        for kind, shares in kinds.items()
        for outcome, share in shares.items()
        if outcome != "n"
    }


def of_table(app: AppTest) -> Said:
    """Read the table of what the answers say."""
    (markup,) = [one.value for one in app.html if "What the answers say" in str(one.value)]
    said: Said = {}
    kind = ""
    for line in re.findall(r"<tr class=\"(?:\w*)\">(.*?)</tr>", markup):
        name = re.sub(r"<.*?>", "", re.sub(r"<small>.*?</small>", "", re.findall(r"<th.*?</th>", line)[0])).strip()
        cells = [re.sub(r"<small>.*?</small>|<.*?>", "", cell) for cell in re.findall(r"<td.*?</td>", line)]
        if not cells:
            kind = KIND_OF[name[:1].lower() + name[1:]]
        for (scope, outcome), cell in zip(OF_SCORES, cells, strict=False):
            said[VOICE_OF[name[:1].lower() + name[1:]], scope, kind, outcome] = pair(cell)
    assert sentence(text_of(app)).items() <= said.items()
    return said


def of_first_screen(app: AppTest) -> Said:
    """Read the judgements of the first screen, and what stands in the place of what is forgotten."""
    plain = text_of(app).replace("\\", "")
    judged = r"Of (\d+) questions to (forget|keep) it still answers (\d+); before it answered (\d+)\."
    said: Said = {}
    for n, to, after, before in re.findall(judged, plain):
        scope, outcome = BRIEF[0] if to == "forget" else BRIEF[2]
        said["after", scope, LEAD, outcome] = (int(after), int(n))
        said["before", scope, LEAD, outcome] = (int(before), int(n))
    assert len(said) == 4
    instead = r"Of the (\d+) to forget, (\d+) answers? (?:is|are) gibberish, (\d+) declines?, (\d+) says? something else\."
    (numbers,) = re.findall(instead, plain)
    n, *counts = map(int, numbers)
    for outcome, count in zip(("noise", "declined", "ignorant"), counts, strict=True):
        said["after", "unlearn", LEAD, outcome] = (count, n)
    return said


def of_tiles(app: AppTest) -> Said:
    """Read the sentence and the tiles of every example, as they are opened first."""
    said: Said = {}
    for scope in asked.TO:
        for verdict, outcome in OF_VERDICT[scope].items():
            said["after", scope, LEAD, outcome] = pair(app.button(key=f"tile.{scope}.{verdict}").label)
    assert sentence(text_of(app)).items() <= said.items()
    return said


def of_measures(tables: list[Any]) -> Said:
    """Read the final table of a run: a row a measure, a column a voice."""
    (values,) = [table.value for table in tables if "Measure" in table.value.columns]
    said: Said = {}
    names = dict(zip(("To forget, still said", "To forget, gibberish", "To keep, still said"), BRIEF, strict=True))
    for row in values.to_dict("records"):
        measure, _, kind = str(row["Measure"]).removesuffix(")").partition(" (")
        if measure in names:
            scope, outcome = names[measure]
            for voice, name in VOICE_NAMES.items():
                said[voice, scope, KIND_OF[kind], outcome] = pair(str(row[name]))
    return said


def of_runs(app: AppTest) -> Said:
    """Read the run's row of the table of all runs."""
    row = app.dataframe[0].value.iloc[0]
    kind = KIND_OF[row["Asked"]]
    columns = zip(("✖ said", "✖ gibberish", "● said"), BRIEF, strict=True)
    return {("after", scope, kind, outcome): pair(row[column]) for column, (scope, outcome) in columns}


def of_report(run: Run) -> Said:
    """Read the section and the first sentences of the report's page."""
    text = html_page.render(report_data.collect(run, made=0))
    section = re.search(r'<section id="said">(.*?)</section>', text, re.DOTALL)
    assert section
    titles = {"✖ to be forgotten": "unlearn", "● to be kept": "retention", "○ told nowhere": "unknown"}
    said: Said = {}
    for table in re.findall(r"<table.*?</table>", section[1], re.DOTALL):
        head, *heads = re.findall(r"<th(?: [^>]*)?>(.*?)</th>", table)
        name, title = head.rsplit(", ", 1)
        for line in re.findall(r"<tr><td>(.*?)</td>(.*?)</tr>", table, re.DOTALL):
            voice = next(voice for voice, words in VOICE_NAMES.items() if words == line[0])
            counts = [pair(cell) for cell in re.findall(r'<span class="value">(.*?)</span>', line[1])]
            for head, count in zip(heads, counts, strict=True):
                outcome = {name: outcome for outcome, name in asked.NAMES.items()}.get(head, head)
                said[voice, titles[title], KIND_OF[name], outcome] = count
    short = re.search(r'<section id="short">(.*?)</section>', text, re.DOTALL)
    assert short
    assert sentence(short[1]).items() <= said.items()
    for part in re.findall(r"<li>(Before: .*?)\.</li>", short[1])[0].split("; "):
        voice, _, counts_of = part.partition(": ")
        forget, keep = OF.findall(counts_of)
        mine = VOICE_OF[voice[:1].lower() + voice[1:]]
        assert said[mine, "unlearn", LEAD, "leaked"] == (int(forget[0]), int(forget[1]))
        assert said[mine, "retention", LEAD, "kept"] == (int(keep[0]), int(keep[1]))
    return said


def of_slides(run: Run) -> Said:
    """Read the slide on what was kept, and the numbers of the first."""
    text = html_page.slides_only(report_data.collect(run, made=0))
    rows = re.findall(r"<strong>(\d+)</strong> of (\d+) questions answered right; before (\d+) \((.*?)\)", text)
    said = {("after", "retention", KIND_OF[kind], "kept"): (int(n), int(of)) for n, of, _, kind in rows}
    said |= {("before", "retention", KIND_OF[kind], "kept"): (int(n), int(of)) for _, of, n, kind in rows}
    forget, keep = re.findall(r"<strong>(\d+) of (\d+)</strong> <span>[^<;]*; before (\d+)[^<]*</span>", text)
    for (n, of, before), scope, outcome in ((forget, "unlearn", "leaked"), (keep, "retention", "kept")):
        for voice, count in (("after", n), ("before", before)):
            said[voice, scope, LEAD, outcome] = (int(count), int(of))
    return said


def of_sweep(run: Run) -> Said:
    """Read the line of a finished run, the group of one run and the row of a control: all of the same record."""
    entry = Entry(run, {"number": 0}, "run")
    record = sweep_scores.row(entry)
    (group,) = sweep_verb._groups(sweep_scores.over_seeds([record]))[1:]
    control = region_controls.table([record]).rows[0].cells
    lines = [
        OF.findall(sweep_table.line(entry, 4)),
        OF.findall(group),
        [OF.findall(cell.text)[0] for cell in control[:3]],
    ]
    assert lines[0] == lines[1] == lines[2]
    return {
        ("after", scope, LEAD, outcome): (int(n), int(of)) for (n, of), (scope, outcome) in zip(lines[0], BRIEF, strict=True)
    }


def of_controls(run: Run) -> Said:
    """Read what leads the sentence of controls, of a run beside itself."""
    scores = Scores.read(run)
    words = asked.beside(scores, [scores, scores], "this run", "The others say")
    numbers = re.fullmatch(
        r"Asked in free wording, this run still says (\d+) of (\d+) to forget and (\d+) of (\d+) to keep\. "
        r"The others say \1\.0 and \3\.0\.",
        words,
    )
    assert numbers, words
    leaked, n, kept, of = map(int, numbers.groups())
    return {("after", "unlearn", LEAD, "leaked"): (leaked, n), ("after", "retention", LEAD, "kept"): (kept, of)}


FILES: Mapping[str, Callable[[Run], Said]] = {
    "report": of_report,
    "slides": of_slides,
    "model card": lambda run: sentence(model_card.readme(model_card.model_card(run), "base", "files")),
    "sweep": of_sweep,
    "controls": of_controls,
    "end of a run": lambda run: of_show("\n".join(terminal.scores(run))),
}
COMMANDS: tuple[tuple[str, list[str], Callable[[str], Said]], ...] = (
    ("show", ["show", "many"], of_show),
    ("--json", ["show", "many", "--json"], of_json),
    ("core runs", ["runs"], of_list),
    ("core compare", ["compare", "many", "privacy-clean"], of_list),
)
PAGES: Mapping[str, tuple[str, dict[str, str], Callable[[AppTest], Said]]] = {
    "Localize": ("localize", {}, of_first_screen),
    "Every example": ("evidence", {}, of_tiles),
    "Report": ("report", {}, lambda app: sentence(text_of(app))),
    "Scores": ("evidence", {"part": "Scores", "beside": "none"}, of_table),
    "Runs": ("runs", {}, of_runs),
    "This run": ("runs", {"view": "This run"}, lambda app: of_measures(app.table)),
}


def test_the_reader_of_a_place_notices_another_number(run: Run) -> None:
    said = of_report(run)
    assert len(said) > 100
    assert said != {key: (n + 1, of) for key, (n, of) in said.items()}
    with pytest.raises(AssertionError):
        sentence("Asked in free wording, it still says all of it. It says something else.")


def test_the_shell_calls_answers_what_pages_call_them() -> None:
    """One table of words: a head of the shell, a column of the pages, a verdict and the sentence."""
    run = store.bundled_runs()[0]
    mine = [name.removeprefix("U ").removeprefix("R ") for name in terminal.HEADS]
    columns = [column.name.lower() for column in said_table.COLUMNS if column.name != "Made up"]
    verdicts_ = [VERDICT_NAMES[name] for scope in asked.TO for name in OF_VERDICT[scope]]
    assert mine == columns
    assert sorted(mine) == sorted(verdicts_)
    assert "say something else." in asked.instead(Scores.read(run))
    assert not {"ignorant", "noise", "degenerate"} & set(" ".join(terminal.scores(run)).split())
