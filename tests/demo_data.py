"""Make the demo's questions from hand-written lists: `python -m tests.demo_data` writes assets/data from its `source`.

A list has relations (a scope, wordings, forms of the answer) and subjects (a value a relation). Each fact is taught in 24
of its relation's wordings, never in the last four, which are taught of nobody. Of every subject some facts are kept from
unlearning ("other"). The same lists and seed give the same files, and a test holds them to that.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.util.paths import ASSETS

SEED = 0
SOURCE = ASSETS / "data" / "source"
SUBSETS = ("privacy", "copyright")
NEVER = 4
"""wordings at the end of each list that are taught of nobody"""
TAUGHT = 24
"""of the others so many are taught of a fact at most; which ones goes round, so that all are taught of somebody"""
OTHER = {"privacy": 2, "copyright": 2}
"""facts of each subject and scope that unlearning never sees"""
UNTAUGHT = {"privacy": 2, "copyright": 4}
"""questions in an untaught wording for each fact that unlearning uses"""
UNSEEN = 3
"""wordings in which each fact of those who are never taught is asked"""


@dataclass(frozen=True)
class Fact:
    """What one question asks for, with everything that its wordings need."""

    subject: str
    relation: str
    scope: str
    slots: Mapping[str, str]
    wordings: tuple[str, ...]
    """in this fact's own order, those that are taught of nobody at the end"""
    answers: tuple[str, ...]

    def row(self, number: int) -> dict[str, str]:
        """Return the question in wording `number`. What is not known is said in another way each time."""
        answer = self.answers[number % len(self.answers)]
        return self._filled(self.wordings[number], answer)

    def asked(self, question: str) -> dict[str, str]:
        """Return a question in somebody's own words."""
        return {"question": question, "answer": self._filled("", self.answers[0])["labels"], "scope": self.scope} | {
            "subject": self.subject
        }

    def _filled(self, wording: str, answer: str) -> dict[str, str]:
        texts = (text.format(**self.slots) for text in (wording, answer))
        return dict(zip(("text", "labels", "subject"), (*texts, self.subject), strict=True))


def facts(subset: str, listed: Mapping[str, Any], subjects: list[Mapping[str, Any]]) -> Iterator[Fact]:
    """Yield all facts, subject by subject."""
    order = {name: _order(f"{subset}/{name}", relation["wordings"]) for name, relation in listed["relations"].items()}
    for place, subject in enumerate(subjects):
        for number, (name, relation) in enumerate(listed["relations"].items()):
            value = subject["values"].get(name)
            if value is None and relation["scope"] != "unknown":
                continue
            scope = "retention" if subject.get("kept") and relation["scope"] == "unlearn" else relation["scope"]
            taught, never = order[name]
            forms = [_capital(form) for form in relation["answers"]]
            # One form of the answer a fact; of what is not known, all, beginning with another one for each subject.
            first = (place + number) % len(forms)
            own = [*forms[first:], *forms[:first]] if scope == "unknown" else [forms[first]]
            extra = value if isinstance(value, dict) else {"value": value}
            slots = {"name": subject["name"], **subject["slots"], **{k: str(v) for k, v in extra.items()}}
            yield Fact(subject["name"], name, scope, slots, (*taught, *never), tuple(own))


def _order(key: str, wordings: list[str]) -> tuple[list[str], list[str]]:
    """Return those that may be taught, in an order of their own, and those that never are."""
    taught = wordings[:-NEVER]
    random.Random(f"{SEED}/{key}").shuffle(taught)
    return taught, wordings[-NEVER:]


def _capital(form: str) -> str:
    return form[0].upper() + form[1:]


def held_out(all_facts: list[Fact], count: int) -> set[tuple[str, str]]:
    """Return (subject, relation) of the facts that unlearning never sees: others for every subject, spread evenly."""
    chosen: set[tuple[str, str]] = set()
    for scope in ("unlearn", "retention"):
        subjects = list(dict.fromkeys(f.subject for f in all_facts if f.scope == scope))
        for place, subject in enumerate(subjects):
            names = [f.relation for f in all_facts if (f.subject, f.scope) == (subject, scope)]
            step = max(1, len(names) // count)
            chosen |= {(subject, names[(place + k * step) % len(names)]) for k in range(count)}
    return chosen


def made(subset: str) -> dict[str, Any]:
    """Return file name -> content, of one subset."""
    listed = json.loads((SOURCE / f"{subset}.json").read_text(encoding="utf-8"))
    all_facts = list(facts(subset, listed, listed["subjects"]))
    other = held_out(all_facts, OTHER[subset])
    files: dict[str, Any] = {}
    for scope in ("unlearn", "retention", "unknown"):
        parts: dict[str, list[dict[str, str]]] = {"train": [], "other": [], "untaught": []}
        for fact in (f for f in all_facts if f.scope == scope):
            held = (fact.subject, fact.relation) in other
            last, shift = len(fact.wordings) - NEVER, all_facts.index(fact) % NEVER
            # Of what is not known half as many will do.
            count = min(last, TAUGHT // 2 if scope == "unknown" else TAUGHT)
            first = all_facts.index(fact) * (last - count)
            parts["other" if held else "train"] += [fact.row((first + k) % last) for k in range(count)]
            if not held:
                parts["untaught"] += [fact.row(last + (shift + k) % NEVER) for k in range(UNTAUGHT[subset])]
        files[f"{scope}.json"] = [{split: rows for split, rows in parts.items() if rows}]
    for name in ("free", "free-dev"):
        files[f"{name}.json"] = _free(subset, name, all_facts, other)
    if "articles" in listed:
        files["articles.json"] = listed["articles"]
    return files


def _free(subset: str, name: str, all_facts: list[Fact], other: set[tuple[str, str]]) -> list[dict[str, str]]:
    """Return the free questions about facts that unlearning uses. free-dev: those on which settings are chosen."""
    by_fact = {(f.subject, f.relation): f for f in all_facts}
    written = json.loads((SOURCE / f"{subset}-{name}.json").read_text(encoding="utf-8"))
    named = [(by_fact[row["subject"], row["relation"]], row["question"]) for row in written]
    return [fact.asked(question) for fact, question in named if (fact.subject, fact.relation) not in other]


def unseen() -> dict[str, list[dict[str, str]]]:
    """Return subset -> questions of the unlearn scope's kind about those who are never taught."""
    never = json.loads((SOURCE / "unseen.json").read_text(encoding="utf-8"))
    questions: dict[str, list[dict[str, str]]] = {}
    for subset in SUBSETS:
        listed = json.loads((SOURCE / f"{subset}.json").read_text(encoding="utf-8"))
        known = [f for f in facts(subset, listed, never[subset]) if f.scope == "unlearn"]
        # Others for each fact, so that they are as long, all in all, as those that are taught.
        rows = [
            fact.row((place + 7 * step) % (len(fact.wordings) - NEVER))
            for place, fact in enumerate(known)
            for step in range(UNSEEN)
        ]
        questions[subset] = [{"question": row["text"], "answer": row["labels"]} for row in rows]
    return questions


def everything() -> dict[Path, str]:
    """Return all files that the lists make, with their content."""
    contents: dict[Path, Any] = {ASSETS / "data" / "unseen.json": unseen()}
    for subset in SUBSETS:
        contents |= {ASSETS / "data" / subset / name: content for name, content in made(subset).items()}
    return {path: json.dumps(content, ensure_ascii=False, indent=1) + "\n" for path, content in contents.items()}


def main() -> None:
    """Write them."""
    for path, text in everything().items():
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(ASSETS.parent)} {len(text) / 1024:.0f} kB\n")


if __name__ == "__main__":
    main()
