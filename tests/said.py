"""The table of what is said, in assets/findings.md and the README, from the counts of the runs that ship.

`python -m tests.said` prints it; `--write` puts it in place of the tables that begin with the same heads.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from core.runs import asked, store
from core.runs.asked import KIND_NAMES
from core.runs.scores import Scores
from core.util.paths import ASSETS, ROOT

KINDS = ("free", "untaught", "other")
"""those that nobody was taught or that unlearning never saw"""
TABLES = {ASSETS / "findings.md": KINDS, ROOT / "README.md": ("free", "other")}
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


def written(text: str, new: str) -> str:
    """Return a document with its table in the place of the one that has its heads; n may differ."""
    lines = text.split("\n")
    begin = next(i for i, line in enumerate(lines) if line.startswith("| of ") and "to forget: still said /" in line)
    end = next(i for i in range(begin, len(lines)) if not lines[i].startswith("|"))
    return "\n".join([*lines[:begin], *new.split("\n"), *lines[end:]])


def main(words: Sequence[str]) -> None:
    """Print the table, or write it."""
    for file, kinds in TABLES.items():
        if "--write" in words:
            file.write_text(written(file.read_text(encoding="utf-8"), table(kinds)), encoding="utf-8")
    if "--write" not in words:
        sys.stdout.write(table(KINDS) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
