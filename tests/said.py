"""The tables of assets/findings.md and the README that are made from what ships: what the runs say, and which score found
planted facts.

`python -m tests.said` prints them; `--write` puts them in place of the tables that begin with the same heads.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from core.jobs import planting
from core.localization import plantings
from core.runs import asked, store
from core.runs.asked import KIND_NAMES
from core.runs.scores import Scores
from core.util.paths import ASSETS, ROOT

NAMED = ("located", "update", "chance")
"""scores that the table of planted facts always names"""
AREAS = plantings.MEASURES[:2]
"""areas under the curve that it has: against what is kept, against other facts"""

KINDS = ("free", "untaught", "other")
"""those that nobody was taught or that unlearning never saw"""
FINDINGS = ASSETS / "findings.md"
TABLES = {FINDINGS: KINDS, ROOT / "README.md": ("free", "other")}
"""file -> the kinds of question that its table has"""
VOICES = (
    ("privacy-clean", "before", "before"),
    ("privacy-clean", "after", "`clean`"),
    ("privacy-memflex", "after", "MemFlex"),
    ("privacy-clean", "retrained", "taught without U"),
)
"""run, voice, what the table calls it"""


def table(kinds: Sequence[str]) -> str:
    """Return the lines of a table in Markdown."""
    shipped = {run.id: run for run in store.bundled_runs()}
    rows, asked_of = [], set[int]()
    for run, voice, name in VOICES:
        scores = Scores.read(shipped[run])
        for kind in kinds:
            forget, keep = (asked.outcomes(scores, voice, scope, kind) for scope in ("unlearn", "retention"))
            assert forget is not None
            assert keep is not None
            asked_of |= {forget.n, keep.n}
            counts = [forget.count("leaked"), forget.count("noise"), forget.count("declined")]
            made_up = asked.counted(forget.made_up.value or 0.0, forget.n)
            told = " / ".join(map(str, [*counts, made_up]))
            rows.append(f"| {name}, {KIND_NAMES[kind]} | {told} | {keep.count('kept')} / {keep.count('declined')} |")
    (n,) = asked_of
    heads = (
        f"| of {n} each | to forget: still said / {asked.GIBBERISH} / declined / made up | to keep: still said / declined |"
    )
    return "\n".join([heads, "|---|---|---|", *rows])


def planted() -> str:
    """Return the lines of the table of planted facts in Markdown, best score first; of those that find no more than chance
    only the paper's rule and the size of the change by themselves, the others in a line.
    """
    record = planting.of_model("bundled", [planting.SHIPPED])
    scores = record["scores"]
    ordered = sorted(scores, key=lambda name: -sum(scores[name][measure][0] for measure in plantings.MEASURES))
    others = [
        name for name in ordered if name not in NAMED and plantings.hits(record, name) < 2 * plantings.hits(record, "chance")
    ]
    rows = []
    for name in ordered:
        areas = [f"{mean:.2f} ({low:.2f} to {high:.2f})" for mean, low, high in (scores[name][m] for m in AREAS)]
        if name not in others:
            rows.append(f"| {plantings.called(name)} | {plantings.hits(record, name):.1f} | {' | '.join(areas)} |")
    found = [plantings.hits(record, name) for name in others]
    means = [[scores[name][measure][0] for name in others] for measure in AREAS]
    areas = [f"{min(values):.2f} to {max(values):.2f}" for values in means]
    rows.append(f"| {len(others)} other scores | {min(found):.1f} to {max(found):.1f} | {' | '.join(areas)} |")
    heads = f"| a score of modules | found of {record['settings']['cells']} | against facts kept | against other facts |"
    return "\n".join([heads, "|---|---|---|---|", *rows])


def written(text: str, new: str) -> str:
    """Return a document with a table in the place of the one that has its heads; numbers in them may differ."""
    lines, heads = text.split("\n"), _letters(new.split("\n")[0])
    begin = next(i for i, line in enumerate(lines) if _letters(line) == heads)
    end = next(i for i in range(begin, len(lines)) if not lines[i].startswith("|"))
    return "\n".join([*lines[:begin], *new.split("\n"), *lines[end:]])


def _letters(line: str) -> str:
    return "".join(filter(str.isalpha, line))


def main(words: Sequence[str]) -> None:
    """Print the table, or write it."""
    for file, kinds in TABLES.items():
        if "--write" in words:
            file.write_text(written(file.read_text(encoding="utf-8"), table(kinds)), encoding="utf-8")
    if "--write" in words:
        FINDINGS.write_text(written(FINDINGS.read_text(encoding="utf-8"), planted()), encoding="utf-8")
    else:
        sys.stdout.write(f"{table(KINDS)}\n\n{planted()}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
