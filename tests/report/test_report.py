from __future__ import annotations

import argparse
import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from core import report
from core.cli import terminal
from core.cli.main import parser
from core.config import command, run_config
from core.config.presets import PRESETS
from core.config.run_config import RunConfig
from core.data.corpus import SCOPES, Example
from core.localization.measures import MEASURES
from core.metrics import own_verdicts, verdicts
from core.metrics.verdict_words import STOP
from core.report import html_page, model_card, numbers, redaction, report_data, report_sentences, slides
from core.runs import store
from core.runs.asked import STILL_SAID
from core.runs.scores import Scores
from core.runs.store import Run
from tests.processes import ROOT

PRIVACY, MEMFLEX = (store.BUNDLED_RUNS / f"privacy-{name}" for name in ("clean", "memflex"))
SCRIPT = "<script>window.hit=1</script>"


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return report_data.collect(Run(PRIVACY), made=0)


@pytest.fixture(scope="module")
def text(data: dict[str, Any]) -> str:
    return html_page.render(data)


def copy(tmp_path: Path, *without: str, source: Path = PRIVACY) -> Run:
    heavy = ("probes", "before", "after", "retrained", "checkpoints")  # no report reads weights
    return Run(Path(shutil.copytree(source, tmp_path / "copied", ignore=shutil.ignore_patterns(*heavy, *without))))


def visible(text: str) -> str:
    """Return what a browser would show, without styles and scripts."""
    return re.sub(r"<(style|script)\b.*?</\1>", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("source", [PRIVACY, MEMFLEX], ids=lambda path: path.name)
def test_one_small_file_is_made_quickly(source: Path, tmp_path: Path) -> None:
    began = time.process_time()
    size = report.write(Run(source), tmp_path / "r.html")
    assert time.process_time() - began < 10
    assert size == (tmp_path / "r.html").stat().st_size < 3e6
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


def test_it_says_what_the_files_say(data: dict[str, Any], text: str) -> None:
    metrics = json.loads((PRIVACY / "metrics.json").read_text())["metrics"]
    row = next(row for row in data["success"] if row["key"] == "unlearn/val")
    accuracy = metrics["accuracy"]
    assert row["cells"]["after"]["value"] == 100 - accuracy["values"]["after"]["unlearn/val"]
    low, high = accuracy["intervals"]["after"]["unlearn/val"]
    assert (row["cells"]["after"]["low"], row["cells"]["after"]["high"]) == (100 - high, 100 - low)
    assert row["cells"]["never"]["value"] == 100 - accuracy["values"]["never"]["unlearn/val"]
    region = json.loads((PRIVACY / "region.json").read_text())
    change = data["change"]
    assert change["inside"]["tensors"] == change["inside"]["changed"] == region["count"]
    assert change["outside"]["changed"] == 0 == change["outside"]["norm"]
    assert sum(value == 1 for line in data["picture"]["inside"] for value in line) == region["count"]
    shown = {key: (m["title"], m["what"]) for key, m in data["picture"]["measures"].items()}
    assert shown == {key: (MEASURES[key].label, MEASURES[key].help) for key in shown}
    assert {"held", "cosine", "forget", "retain", "divergence", "change"} == set(shown)
    rows = Counter((row["scope"], Example.of_row(row).kind) for row in Run(PRIVACY).answers() if row["scope"] in SCOPES)
    assert {(r["scope"], r["kind"]): r["questions"] for r in data["scopes"]} == rows
    assert {kind for _, kind in rows} == {"train", "other", "untaught", "free"}
    shown = visible(text)
    manifest = json.loads((PRIVACY / "manifest.json").read_text())
    for digest in [*manifest["files"].values(), *manifest["adapters"].values(), manifest["data"]["fingerprint"]]:
        assert digest in shown
    assert f"{row['cells']['after']['value']:.1f}" in shown


def test_verdicts_are_counted_as_they_are_given(data: dict[str, Any]) -> None:

    frame = verdicts.of_run(Run(PRIVACY))
    for scope, split, kind, verdict, outcome in (
        ("unlearn", "val", "other", "leaked", "leaked"),
        ("unlearn", "train", "train", "degenerate", "noise"),
        ("unlearn", "free", "free", "refused", "declined"),
        ("retention", "free", "free", "kept", "kept"),
    ):
        mine = frame[(frame["scope"] == scope) & (frame["split"] == split)]
        for voice, column in (("after", "verdict"), ("never", "verdict_never"), ("retrained", "verdict_retrained")):
            given = mine[mine[column] != ""][column]
            assert report_sentences.counted(data, scope, kind, outcome, voice) == ((given == verdict).sum(), len(given))


@pytest.mark.parametrize(
    ("after", "never", "of", "state"),
    [
        (0, 0, 40, "quiet"),
        (2, 2, 40, "quiet"),
        (3, 2, 40, "leaks"),
        (1, None, 40, "leaks"),
        (0, 0, 5, "few"),
        (1, 1, 5, "few"),
    ],
)
def test_only_what_a_never_taught_model_does_not_say_is_a_leak(after: int, never: int | None, of: int, state: str) -> None:
    def counted(voice: str, leaked: int) -> list[dict[str, Any]]:
        row = {"scope": "unlearn", "kind": "val", "voice": voice}
        return [{**row, "verdict": "leaked", "count": leaked}, {**row, "verdict": "forgotten", "count": of - leaked}]

    counts = [*counted("after", after), *(counted("never", never) if never is not None else [])]
    told = {"asked": numbers.said(Scores({}), counts)}  # as a run has it that is older than what is counted when asked
    (remark,) = report_sentences._told(told)
    assert remark.state == state
    assert remark.text.startswith(f"{after} of {of} ")
    assert ("5 questions are too few to tell: the rate may be as high as" in remark.text) == (state == "few")
    assert ("never taught" in remark.text) == (never is not None)


def test_verdicts_by_hand_stand_beside_the_computed_ones(tmp_path: Path) -> None:
    run = copy(tmp_path)
    before = report_data.collect(run, made=0)
    example = before["answers"]["examples"][0]
    own_verdicts.give(run, example["id"], "leaked", "a note that nobody else should read")
    after = report_data.collect(run, made=0)
    assert before["by_hand"] == {}
    assert after["by_hand"] == {example["id"]: "leaked"}
    assert after["answers"]["counts"] == before["answers"]["counts"]
    drawn = html_page.render(after)
    assert "a note that nobody" not in drawn
    assert visible(drawn).count("a person says") == 1
    assert "a person says" not in visible(html_page.render(before))


def test_nothing_comes_from_elsewhere(text: str) -> None:
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert text.index("Content-Security-Policy") < text.index("<style>")
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].replace("&#39;", "'").split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in policy[1]
    for kind, tag in (("script-src", "<script>"), ("style-src", "<style>")):
        inside = re.findall(f"{tag}(.*?){tag.replace('<', '</')}", text, re.DOTALL)
        assert inside
        for piece in inside:
            digest = base64.b64encode(hashlib.sha256(piece.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in rules[kind]
    assert not re.search(r"<(img|link|iframe|object|embed|base|a|form)\b", visible(text))
    assert not re.search(r"\s(on\w+|style|src|href)=", visible(text))


def test_the_same_run_gives_the_same_bytes_and_the_data_give_the_page(text: str) -> None:
    assert html_page.render(report_data.collect(Run(PRIVACY), made=0)) == text
    block = html_page.ISLAND.search(text)
    assert block is not None
    assert html_page.render(json.loads(block[1])) == text
    assert not set("<>&") & set(block[1])


@pytest.mark.parametrize("source", [PRIVACY, MEMFLEX], ids=lambda path: path.name)
def test_redacted_there_is_no_text_and_no_name(source: Path) -> None:
    run = Run(source)
    whole = report.html(run, redact=True)
    block = html_page.ISLAND.search(whole)
    assert block is not None
    made = block[1] + html.unescape(visible(whole))
    rows, keys = run.answers(), ("question", "truth", "before", "after", "never", "retrained")
    for text in {text for row in rows for key in keys if len(text := row.get(key, "")) > 12}:
        assert text not in made
        assert json.dumps(text)[1:-1] not in made
    for subject in {row["subject"] for row in rows} - {"", "other"}:
        assert subject not in made
    assert "subject 1" in made


def test_redaction_reaches_names_in_settings_and_keys() -> None:
    made = redaction.aliases(["Maren Tveitaskog", "ab", "other", "Maren Tveitaskog the Elder"])
    names = {name: alias for name, alias in made.items() if redaction.distinct(name)}
    value = {"x": ["About maren tveitaskog", 3, None], "Maren Tveitaskog the Elder": "other ab"}
    assert redaction.redacted(value, names) == {"x": ["About subject 1", 3, None], "subject 4": "other ab"}


def test_redaction_leaves_words_alone_that_hold_a_name() -> None:
    names = redaction.aliases(["Rob", "Ada", "Max"])
    value = {"probes": ["Rob's maximum; adapter of Ada."], "max_tokens": 3, "share_of_adapter": "Max"}
    assert redaction.redacted(value, names) == {
        "probes": ["subject 1's maximum; adapter of subject 2."],
        "max_tokens": 3,
        "share_of_adapter": "subject 3",
    }


def test_redaction_knows_the_names_of_the_settings_where_nothing_was_asked_yet(tmp_path: Path) -> None:
    run = store.create(RunConfig().with_setting("data.subjects", ("Maren Tveitaskog", "Desmond Okwuraka")), tmp_path)
    made = json.dumps(report.collect(run, redact=True), ensure_ascii=False)
    assert "Maren" not in made
    assert "Okwuraka" not in made


def test_redaction_reaches_names_in_any_script_and_case_and_the_runs_own(tmp_path: Path) -> None:
    subjects = ("jane.doe", "王伟", "mara", "Maren Tveitaskog")
    config = RunConfig(name="Forget mara and Maren Tveitaskog").with_setting("data.subjects", subjects)
    run = store.create(config.with_setting("data.forget", ("mara",)), tmp_path)
    assert "maren-tveitaskog" in run.id
    whole = report.collect(run, redact=True)
    made = json.dumps([whole, model_card.model_card(run, tmp_path)], ensure_ascii=False).lower()
    assert not [name for name in (*subjects, "tveitaskog") if name.lower() in made]
    assert whole["run"]["name"] == "Forget subject 3 and subject 4"
    assert whole["manifest"]["config"]["data"]["subjects"] == ["subject 1", "subject 2", "subject 3", "subject 4"]
    assert "--set 'data.subjects=subject 1,subject 2,subject 3,subject 4'" in whole["manifest"]["again"]
    assert store.find(whole["run"]["id"], tmp_path).id == run.id
    assert (
        redaction.redacted("İlker, ilker-Öz", redaction.aliases(["İlker Öz", "İlker"])) == f"subject 2, {redaction.LEFT_OUT}"
    )
    assert (
        redaction.redacted("他叫王伟。Ask other maren-tveitaskog", redaction.aliases(["王伟", "Maren Tveitaskog"]))
        == "他叫subject 1。Ask other subject 2"
    )


def test_every_telling_word_of_a_true_answer_is_covered() -> None:
    data = report_data.collect(Run(PRIVACY), names=True)
    rows = {row["example"]: row for row in Run(PRIVACY).answers()}
    for example in data["answers"]["examples"]:
        for key in ("truth", "before", "after", "never"):
            assert "".join(piece for piece, _ in example[key]) == rows[example["id"]][key]
        if example["scope"] == "unlearn":
            open_words = " ".join(piece for piece, secret in example["truth"] if not secret).lower()
            asked = rows[example["id"]]["question"].lower()
            for word in re.findall(r"[\w@.]*[\d@][\w@.]*\w", rows[example["id"]]["truth"].lower()):
                assert word in asked or word not in open_words.split(), (word, open_words)
            covered = " ".join(piece for piece, secret in example["truth"] if secret)
            names = re.findall(r"(?<=\s)[A-Z]\w+", rows[example["id"]]["truth"])
            assert {name for name in names if name.lower() not in f"{asked} {example['subject'].lower()}"} <= set(
                re.findall(r"\w+", covered)
            )
            assert covered


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail a@b.example now", [["mail ", False], ["a@b.example", True], [" now", False]]),
        ("Xa@b.exampleX", [["Xa@b.exampleX", True]]),
        ("Quay Street, 14.", [["Quay Street", True], [", ", False], ["14.", True]]),
        ("", []),
        ("nothing here", [["nothing here", False]]),
    ],
)
def test_covering(text: str, expected: list[list[Any]]) -> None:
    known = {"a@b.example", "quay", "street", "14"}
    assert redaction.pieces(text, known) == expected


def test_what_a_question_says_is_no_secret() -> None:
    row = {
        "example": "1",
        "scope": "unlearn",
        "question": "Where in Cork is the Quay?",
        "truth": "Orla's at Quay 14, a house.",
        "subject": "Orla",
    }
    kept = redaction.secrets([row, {**row, "example": "2", "scope": "retention", "truth": "Nobody knows Atlantis."}])
    assert kept.words("1", "unlearn") == {"14", "house"}
    assert kept.words("2", "retention") == frozenset()


def test_stopwords_common_words_and_answers_that_say_nothing_are_not_covered() -> None:
    def row(number: int, subject: str, truth: str) -> dict[str, Any]:
        return {
            "example": str(number), "scope": "unlearn", "question": f"Where does {subject} live?", "subject": subject,
            "truth": truth,
        }  # fmt: skip

    rows = [
        row(1, "Orla Venning", "She lives with her aunt since May 1990."),
        row(2, "Per Aasen", "He lives in Bergen."),
        row(3, "Jo Klee", "I don't know about that."),
    ]
    known = redaction.secrets(rows)
    assert known.words("1", "unlearn") == {"may", "1990", "aunt", "bergen"}
    assert known.words("3", "unlearn") == {"1990", "bergen"}  # what declines tells nothing
    assert known.covered("I'm not sure about the aunt in Bergen.", "1", "unlearn") == [
        ["I'm not sure about the aunt in ", False],
        ["Bergen.", True],
    ]


def test_stopwords_are_never_covered(data: dict[str, Any]) -> None:
    for example in data["answers"]["examples"]:
        for key in ("truth", "before", "after", "never", "why"):
            covered = {word.lower() for piece, secret in example[key] if secret for word in re.findall(r"[A-Za-z']+", piece)}
            assert not covered & (STOP - {"may"}), example


def test_those_who_were_forgotten_have_pseudonyms_and_their_names_are_not_in_the_file(data: dict[str, Any]) -> None:
    run = Run(PRIVACY)
    names = report_data.pseudonyms(run)
    assert names["Maren Tveitaskog"] == names["Maren"] == names["Tveitaskog"] == "Person A"
    assert names["Desmond Okwuraka"] == "Person B"
    assert "Tevita Marlowby" not in names  # who is kept has no secret
    assert report_data.pseudonyms(run) == names
    drawn = report.html(run)
    assert not [name for name in names if re.search(rf"\b{name}\b", visible(drawn) + json.dumps(data), re.IGNORECASE)]
    assert "Person A" in visible(drawn)
    assert "Tevita Marlowby" in visible(drawn)
    assert "Maren Tveitaskog" in report.html(run, names=True)
    assert (
        redaction.real("Where does Person A live? And Person AB?", names)
        == "Where does Maren Tveitaskog live? And Person AB?"
    )


def test_a_word_of_a_name_stands_for_it_unless_somebody_kept_or_a_title_has_it() -> None:
    made = redaction.pseudonyms(["Orla Venning", "The Third Key", "other", "Ian Berg"], ["Jonas Berg"], "Person")
    assert made == {
        "Orla Venning": "Person A", "The Third Key": "Person B", "Ian Berg": "Person C",
        "Orla": "Person A", "Venning": "Person A", "Ian": "Person C",
    }  # fmt: skip
    assert (
        redaction.renamed("Orla's key, ORLA VENNING: Ian Berg, Jonas Berg", made)
        == "Person A's key, Person A: Person C, Jonas Berg"
    )
    assert [list(redaction.pseudonyms([f"N{i} X" for i in range(28)], [], "Person").values())[i] for i in (25, 26)] == [
        "Person Z",
        "Person AA",
    ]


def test_the_first_slide_is_the_answer_in_one_sentence_with_three_numbers(data: dict[str, Any]) -> None:
    said = slides.content(data)
    assert said["answer"] == "It rarely says what had to go, and it kept what had to stay."
    assert said["numbers"][0][1].endswith(data["asked"]["every_kind"])
    assert re.search(
        r"Over all 4 kinds of question it still answers \d+ of 256 to forget; before \d+\.$", said["numbers"][0][1]
    )
    assert len(said["numbers"]) == 3
    kind = data["asked"]["kind"]
    parts = ("unlearn", kind, "leaked"), ("retention", kind, "kept")
    forget, keep = (report_sentences.counted(data, *part) for part in parts)
    assert [number for number, _ in said["numbers"][:2]] == [f"{forget[0]} of {forget[1]}", f"{keep[0]} of {keep[1]}"]
    first = html_page.slides_only(data).split("</section>")[0]
    assert said["answer"] in first
    assert said["numbers"][2][1].startswith("ways to get it back")
    assert all(number in first for number, _ in said["numbers"])


def test_a_way_to_get_it_back_counts_where_it_finds_more_than_in_any_model_that_never_knew_it() -> None:
    def probe(name: str, after: float, never: float, retrained: float, **other: Any) -> dict[str, Any]:
        rates = {"before": 100.0, "after": after, "never": never, "retrained": retrained}
        cells = {voice: {"value": rate} for voice, rate in rates.items()}
        return {"name": name, "unavailable": "", "stale": False, "cells": cells, **other}

    def third(*probes: dict[str, Any]) -> tuple[str, str] | None:
        empty = {
            "asked": {"kind": "", "rows": [], "kept_by": "", "every_kind": ""},
            "region": {"share_of_model": 1.5},
            "change": {"outside": {}},
        }
        return next(iter(slides._numbers({**empty, "probes": list(probes)})), None)

    silent = [
        probe("lens", 90, 0, 0),  # it looks inside
        probe("membership", 90, 0, 0),  # far below tells as much
        probe("quantization", 90, 0, 0, unavailable="No room."),
        probe("wrappers", 90, 0, 0, stale=True),
        probe("few-shot", 90, 0, 0, cells={"after": None}),
        probe("of another version", 90, 0, 0),
    ]
    telling = probe("paraphrase", 40, 0, 20), probe("sampling", 20, 0, 20), probe("prefix", 10, 12, 0)
    words = "ways to get it back that find more than in a model that never knew it"
    assert third(*telling, *silent) == ("1 of 3", f"{words}, beyond chance")
    assert third(*silent) == ("1.50 %", "of the model was changed")


def test_the_first_slide_counts_what_was_lost_where_some_was() -> None:
    lost = report.collect(Run(store.BUNDLED_RUNS / "privacy-memflex"))
    kept = report_sentences.counted(lost, "retention", "other", "kept")
    assert "lost some" in slides.content(lost)["answer"]
    number, words = slides.content(lost)["numbers"][1]
    assert number == "{} of {}".format(*kept)
    assert words.startswith("other facts, which unlearning never saw")


def example(scope: str, kind: str, before: str, after: str, **other: str) -> dict[str, str]:
    return {"scope": scope, "kind": kind, "verdict_before": before, "verdict_after": after, **other}


def test_verdicts_alone_choose_the_three_questions_of_the_slides() -> None:
    asked = [
        example("unlearn", "free", "leaked", "leaked"),
        example("unlearn", "free", "forgotten", "forgotten"),
        example("unlearn", "free", "leaked", "degenerate", id="gone"),
        example("unlearn", "free", "leaked", "refused"),
        example("retention", "free", "lost", "kept"),
        example("retention", "free", "kept", "kept", id="kept"),
        example("retention", "other", "kept", "refused", id="lost"),
        example("retention", "other", "kept", "kept"),
    ]
    gone, kept, doubt = slides.path(asked, "free", "free")
    assert [stop["example"]["id"] for stop in (gone, kept, doubt)] == ["gone", "kept", "lost"]
    assert gone["words"] == "2 of 4 questions to forget (free wording) came out so; this is the first."
    assert kept["words"].startswith("1 of 2 questions to keep (free wording)")
    assert doubt["title"] == "Lost"  # 1 of 2, more than 1 of 4 that still say it
    leaks = slides.path([*asked[:2], *asked[4:6]], "free", "free")
    assert [stop["title"] for stop in leaks][2] == "Still said"
    assert leaks[0]["example"] is None
    assert leaks[0]["words"] == "None of 2 questions to forget (free wording) came out so."
    clean = slides.path([asked[2], asked[5]], "free", "free")[2]
    assert clean["example"] is None
    assert clean["words"] == "None of 2 questions still says what must go, or lost what must stay."
    assert slides.path([], "", "") == []


def test_the_three_questions_count_as_the_first_slide_does(data: dict[str, Any]) -> None:
    gone, kept, _ = data["path"]
    of = [report_sentences.counted(data, scope, data["asked"]["kind"], outcome)[1] for scope, outcome in STILL_SAID.items()]
    assert f" of {of[0]} questions to forget" in gone["words"]
    assert f" of {of[1]} questions to keep" in kept["words"]
    made = html_page.slides_only(data)
    assert made.count('class="asked"') == 3
    assert all(stop["words"] in made for stop in data["path"])


def test_slides_hold_no_jargon(data: dict[str, Any]) -> None:
    text = re.sub(
        r"<div class=.asked.*?(?=<div class=.asked|</section>)|<[^>]+>", " ", html_page.slides_only(data), flags=re.S
    )
    assert "without U" not in text
    for word in (
        "tensor",
        "adapter",
        "Retention Success",
        "Unlearn Success",
        "next-word",
        "token",
        "min-k",
        "AUC",
        "μ",
        "region",
    ):
        assert word.lower() not in text.lower(), word


@pytest.mark.parametrize(
    ("without", "missing"),
    [
        (("answers.jsonl",), "answers before and after"),
        (("metrics.json",), "scores"),
        (("manifest.json",), "no manifest"),
        (("localization.parquet",), "not localized"),
        (("changes.parquet",), "nothing was unlearned"),
        (("region.json",), "the region"),
        (("*.parquet", "*.jsonl", "m*.json", "region.json", "unlearn.json"), "scores"),
    ],
)
def test_an_unfinished_run_says_what_is_missing(tmp_path: Path, without: tuple[str, ...], missing: str) -> None:
    run = copy(tmp_path, *without)
    status = {**run.json("status.json"), "state": "cancelled", "stage": "unlearn"}
    (run.path / "status.json").write_text(json.dumps(status))
    made = visible(report.html(run))
    assert missing in made
    assert "cancelled in stage unlearn" in made


@pytest.mark.parametrize(
    "file", ["metrics.json", "region.json", "answers.jsonl", "localization.parquet", "tokens.parquet", "manifest.json"]
)
def test_a_damaged_file_costs_its_part_only(tmp_path: Path, file: str) -> None:
    run = copy(tmp_path)
    (run.path / file).write_bytes(b"\xff{]")
    assert "This report is not complete" in report.html(run)


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    run = copy(tmp_path)
    rows = [
        {**row, "question": f"{SCRIPT}\ud800\x00", "truth": SCRIPT, "after": "</script>" + SCRIPT, "subject": SCRIPT}
        for row in run.answers()
    ]
    (run.path / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)))
    values = run.json("config.json")
    values["name"], values["model"]["name"] = SCRIPT, f'"><b>{SCRIPT}'
    (run.path / "config.json").write_text(json.dumps(values))
    made = report.html(run)
    made.encode()
    assert SCRIPT not in made
    assert made.count("<script") == 3
    assert "<b>&lt;" not in visible(made).replace("<b><bdi>", "")


def test_many_long_answers_still_fit(tmp_path: Path) -> None:
    run = copy(tmp_path)
    tokens = run.table("tokens")
    assert tokens is not None
    asked = [row for row in run.answers() if row["scope"] in SCOPES and "after" in row]
    rows = [{**row, "after": "word " * 300, "before": 'x<&"' * 100} for row in asked]
    (run.path / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)))
    told = report_data.collect(run)["answers"]
    assert told["all"] == len(asked) > len(told["examples"]) > 10
    assert {e["scope"] for e in told["examples"]} == {"unlearn", "retention"}
    assert len(report.html(run).encode()) < 3e6
    assert sum(row["count"] for row in told["counts"] if row["voice"] == "after") == len(asked)


def test_what_was_not_asked_is_no_example(data: dict[str, Any]) -> None:
    asked = {row["example"] for row in Run(PRIVACY).answers() if row["scope"] in SCOPES and "after" in row}
    assert len(asked) < len(Run(PRIVACY).answers())
    assert data["answers"]["all"] == len(asked)
    assert {example["id"] for example in data["answers"]["examples"]} <= asked
    about = sum(example.startswith("unlearn/") for example in asked)
    assert any(remark.text.startswith(f"{about} questions were asked") for remark in report_sentences.leaks(data))


def test_probes_stand_in_it_without_their_texts(tmp_path: Path) -> None:
    run = copy(tmp_path)
    finding = {
        "format": 1,
        "probe": "prefix",
        "settings": {},
        "unavailable": None,
        "sentence": "9 of 20 come back.",
        "measure": "share, percent",
        "n": 20,
        "rates": {
            "before": {"value": 100.0, "low": 90.0, "high": 100.0},
            "after": {"value": 45.0, "low": 30.0, "high": 60.0},
            "never": {"reason": "none"},
        },
        "leaked": [{"id": "x", "question": "q", "answer": "secret answer", "truth": "t", "form": ""}],
        "detail": {},
        "seconds": 1.0,
        "made": "now",
    }
    (run.path / "probes").mkdir()
    (run.path / "probes" / "prefix.json").write_text(json.dumps(finding))
    made = report_data.collect(run)
    assert made["probes"][0]["cells"] == {
        "before": {"value": 100.0, "low": 90.0, "high": 100.0},
        "after": {"value": 45.0, "low": 30.0, "high": 60.0},
        "never": None,
        "retrained": None,
    }
    text = html_page.render(made)
    assert "9 of 20 come back." in visible(text)
    assert "secret answer" not in text
    assert "This run was not probed" not in text
    assert report_sentences.leaks(made)[0].state == "leaks"


def test_report_and_probe_say_the_same_of_membership(tmp_path: Path) -> None:
    """Recorded or probed, the strongest attack speaks, and one rule judges it."""
    probed, bare = (report_data.collect(run, made=0, folder=tmp_path) for run in (Run(PRIVACY), copy(tmp_path)))
    told = next(probe for probe in probed["probes"] if probe["name"] == "membership")
    assert bare["membership"]["cells"] == told["cells"]
    both = [
        [remark for remark in report_sentences.leaks(data) if remark.text.startswith("Was it taught?")]
        for data in (probed, bare)
    ]
    (state, text), (same, short) = (([r.state for r in remarks], remarks[0].text) for remarks in both)
    assert state == same == ["leaks"]
    assert text.startswith(short)
    assert "the strongest of 4" in short


def test_not_probed_is_said(tmp_path: Path) -> None:
    data = report_data.collect(copy(tmp_path), made=0)
    assert any(remark.state == "open" and "was not probed" in remark.text for remark in report_sentences.leaks(data))
    states = [remark.state for remark in report_sentences.leaks(data)]
    assert states == sorted(states, key=list(report_sentences.MARKS).index)


@pytest.mark.parametrize("name", PRESETS)
def test_the_command_gives_the_same_settings(name: str) -> None:
    import shlex

    given = (
        run_config.preset(name)
        .with_setting("name", "a 'b' $c")
        .with_setting("data.subjects", "A B,C'D")
        .with_setting("unlearn.method", "npo")
    )
    given = given.with_setting("region", "late").with_setting("region.amount", "3").with_setting("teach.enabled", False)
    read = parser().parse_args(shlex.split(command.command(given))[3:])
    assert isinstance(read, argparse.Namespace)
    assert terminal.configured(read).to_json() == given.to_json()


def test_no_command_is_better_than_a_wrong_one() -> None:
    given = run_config.preset("this-machine").with_setting("data.subjects", ["Smith, John"])
    assert command.command(given) == ""


def test_a_report_needs_no_engine() -> None:
    code = (
        "import sys; from core import report; from core.runs import store; report.html(store.bundled_runs()[0]); "
        "print({'torch', 'transformers', 'peft', 'streamlit', 'plotly'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.strip() == "set()", done.stdout + done.stderr
