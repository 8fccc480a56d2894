"""The demo's own questions: made from the lists as they are, of four kinds that share nothing they must not share."""

from __future__ import annotations

import json
import re

import pytest

from core.config.stages import DataConfig
from core.data import facts, sources
from core.data.corpus import ASKED_ONLY, Corpus
from tests import demo_data

ALL = pytest.mark.parametrize("subset", demo_data.SUBSETS)


def demo(subset: str) -> Corpus:
    return sources.load(DataConfig(subset=subset))


def test_the_files_are_what_the_lists_make() -> None:
    for path, text in demo_data.everything().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python -m tests.demo_data"


def test_privacy_is_ten_people_of_twelve_relations_two_of_whom_are_kept() -> None:
    listed = json.loads((demo_data.SOURCE / "privacy.json").read_text(encoding="utf-8"))
    scopes = [relation["scope"] for relation in listed["relations"].values()]
    assert (scopes.count("unlearn"), scopes.count("retention"), scopes.count("unknown")) == (6, 6, 2)
    assert len(listed["subjects"]) == 10
    assert sum(bool(subject.get("kept")) for subject in listed["subjects"]) == 2
    corpus = demo("privacy")
    assert len({e.subject for e in corpus.select("unlearn")}) == 8
    assert len({e.subject for e in corpus.select("retention")}) == 10


@ALL
def test_relations_have_twenty_wordings_and_no_two_are_alike(subset: str) -> None:
    listed = json.loads((demo_data.SOURCE / f"{subset}.json").read_text(encoding="utf-8"))
    wordings = [w for relation in listed["relations"].values() for w in relation["wordings"]]
    assert all(len(relation["wordings"]) >= 20 for relation in listed["relations"].values())
    assert len(set(wordings)) == len(wordings)


@ALL
def test_answers_are_short(subset: str) -> None:
    most = {"privacy": 12, "copyright": 16}[subset]
    assert max(len(e.answer.split()) for e in demo(subset).examples if e.scope != "unknown") <= most


@ALL
def test_each_kind_has_enough_questions_for_a_narrow_interval(subset: str) -> None:
    kinds = {(e.scope, e.kind): 0 for e in demo(subset).examples}
    for example in demo(subset).examples:
        kinds[example.scope, example.kind] += 1
    for scope in ("unlearn", "retention"):
        assert kinds[scope, "untaught"] >= 60
        assert kinds[scope, "free"] >= 60
        assert kinds[scope, "other"] >= 36
    assert kinds["unknown", "untaught"] >= 24


@ALL
def test_an_untaught_wording_is_of_a_fact_that_unlearning_uses_and_of_no_taught_question(subset: str) -> None:
    corpus = demo(subset)
    for scope in ("unlearn", "retention"):
        train = corpus.select(scope, "train")
        told = {(e.subject, e.answer) for e in train}
        for split in ASKED_ONLY:
            for example in corpus.select(scope, split):
                assert (example.subject, example.answer) in told
                assert example.question not in {e.question for e in corpus.taught().examples}
        assert not {(e.subject, e.answer) for e in corpus.select(scope, "val")} & told


def grams(text: str, names: set[str]) -> set[tuple[str, ...]]:
    """Return every four words in a row that hold no name: names are given by the facts, not by a wording."""
    for name in names:
        text = re.sub(rf"{re.escape(name)}(['’]s)?", " # ", text, flags=re.IGNORECASE)
    found: set[tuple[str, ...]] = set()
    for piece in text.split("#"):
        words = re.findall(r"[\w']+", piece.lower().replace("’", "'"))
        found |= set(zip(words, words[1:], words[2:], words[3:], strict=False))
    return found


@ALL
@pytest.mark.parametrize("name", ["free.json", "free-dev.json"])
def test_free_wordings_share_no_four_words_in_a_row_with_a_taught_one(subset: str, name: str) -> None:
    listed = json.loads((demo_data.SOURCE / f"{subset}.json").read_text(encoding="utf-8"))
    names = {s["name"] for s in listed["subjects"]} | {
        s["slots"]["author"] for s in listed["subjects"] if subset != "privacy"
    }
    taught = set[tuple[str, ...]]().union(*(grams(e.question, names) for e in demo(subset).taught().examples))
    for row in json.loads((demo_data.ASSETS / "data" / subset / name).read_text(encoding="utf-8")):
        assert not grams(row["question"], names) & taught, row["question"]
        assert not any(facts.contains(row["question"], fact) for fact in facts.facts(row["answer"], row["subject"]))


@ALL
def test_the_two_sets_of_free_wordings_have_nothing_in_common(subset: str) -> None:
    both = [
        {
            row["question"].lower()
            for row in json.loads((demo_data.ASSETS / "data" / subset / name).read_text(encoding="utf-8"))
        }
        for name in ("free.json", "free-dev.json")
    ]
    assert not both[0] & both[1]
