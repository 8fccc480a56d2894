"""Questions and answers of the two scopes, read from the hub, a folder, a file, or the bundled demo: `load` returns a
Corpus.
"""

from __future__ import annotations

import datetime
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Number
from pathlib import Path
from typing import Any

from core.config.stages import DataConfig
from core.data import facts, table_files, tofu
from core.data.corpus import SCOPES, UNKNOWN, Corpus, Example
from core.util.errors import UserError, unknown
from core.util.paths import ASSETS, contained, given

HUB = "zjunlp/KnowUnDo"
HUBS: dict[str, tuple[str, ...]] = {"knowundo": ("privacy", "copyright"), "tofu": tuple(tofu.RETAINED)}
"""sources that are fetched from the hub -> their subsets"""
LARGEST_FILE = 100 * 2**20
"""Bytes; a file of questions beyond this is a mistake, not a subset."""
LONGEST = {"question": 100_000, "answer": 100_000, "subject": 500}
"""characters of a text; a model reads less at once"""
LAYOUT = "\t\n\v\f\r\x85"
"""control characters that are part of plain text"""

_COLUMNS = {
    "question": ("question", "text", "prompt"),
    "answer": ("answer", "labels", "label", "response"),
    "scope": ("scope",),
    "split": ("split",),
    "subject": ("subject",),
}
_LAYOUT_NAMES = {"question": "text", "answer": "labels", "subject": "subject"}
"""our names -> those of KnowUnDo's layout"""
_SCOPE_NAMES = {"unlearn": "unlearn", "forget": "unlearn", "retention": "retention", "retain": "retention"}
_SPLIT_NAMES = {"train": "train", "val": "val", "validation": "val", "test": "val", "dev": "dev"} | {
    name: name for name in ("other", "untaught", "free")
}
NAMES = "Give demo, knowundo, tofu, a folder or a file."
FREE = "free.json"
"""beside a subset's other files: questions in free wording"""


def load(config: DataConfig, seed: int = 0) -> Corpus:
    """Load, select subjects, hold out dev. Raises UserError with the file and row where something is wrong."""
    if config.source == "demo":
        corpus = from_folder(ASSETS / "data", config.subset, "demo")
    elif config.source in HUBS:
        corpus = _fetched(config.source, config.subset)
    else:
        path = given(config.source)
        if not config.source:  # would be the folder in which this process happens to be
            raise UserError("There is no data without a source.", NAMES)
        if tofu.lies_in(path, config.subset):
            corpus = _corpus(tofu.rows(tofu.of_folder(path), config.subset), f"{path}/{config.subset}")
        elif path.is_dir():
            corpus = from_folder(path, config.subset, str(path))
        elif path.exists():
            corpus = from_file(path)
        else:
            raise UserError(f"There is no data at {config.source}.", NAMES)
    corpus = corpus.take(config.subjects)
    if free := given(config.free) if config.free else _own_free(config):
        corpus = with_free(corpus, free)
    corpus = corpus.with_dev(config.dev_share, seed, config.dev_pick).forgetting(config.forget)
    both(corpus)
    return corpus


def _fetched(source: str, subset: str) -> Corpus:
    """Return a subset of a benchmark on the hub. Raises UserError for one that it does not have."""
    if subset not in HUBS[source]:
        raise unknown("subset", subset, HUBS[source])
    if source == "tofu":
        return _corpus(tofu.rows(tofu.of_hub(), subset), f"{tofu.HUB}/{subset}")
    return from_hub(HUB, subset)


def _own_free(config: DataConfig) -> Path | None:
    """Return the file of free questions that stands beside the data's own, if there is one."""
    folder = ASSETS / "data" if config.source == "demo" else given(config.source)
    own = folder / config.subset / FREE
    return own if config.source not in HUBS and folder.is_dir() and own.is_file() else None


def with_free(corpus: Corpus, path: Path) -> Corpus:
    """Add a file's questions in free wording, in place of those that are there: question, answer, scope[, subject].

    A model can only be asked for what it was told, and forgetting only be judged on what was to be forgotten: a question
    whose answer states nothing of its scope's train answers about the same subject is left out. Raises UserError for a file
    that is none.
    """
    kept = [e for e in corpus.examples if e.split != "free"]
    if not path.is_file():
        raise UserError(f"There is no file of questions at {path}.", "Give one with columns question, answer and scope.")
    added = from_file(path, split="free")
    told: dict[tuple[str, str], list[Example]] = {}
    for example in corpus.select(split=("train", "dev")):
        told.setdefault((example.scope, example.subject), []).append(example)
    free = [e for e in added.examples if _is_told(e, told.get((e.scope, e.subject), ()))]
    left_out = len(added.examples) - len(free)
    note = f"{left_out} of {len(added.examples)} free questions ask for what train does not tell, and are left out."
    return replace(corpus, examples=(*kept, *free), notes=(*corpus.notes, *[note][: bool(left_out)]))


def _is_told(question: Example, answers: Sequence[Example]) -> bool:
    """Say whether the answer's facts stand in one of some answers; of an answer without facts, whether it is one of them."""
    wanted = facts.facts(question.answer, question.subject)
    if not wanted:
        return any(question.answer.casefold().strip(" .") in e.answer.casefold() for e in answers)
    return any(all(facts.contains(e.answer, fact) for fact in wanted) for e in answers)


def both(corpus: Corpus) -> None:
    """Raise UserError where a scope has nothing to train on."""
    for scope in SCOPES:
        if not corpus.select(scope, "train"):
            raise UserError(f"The {scope} scope has no train example.", "Both scopes need one: see Documents, Command line.")


def subsets(folder: Path) -> list[str]:
    """List the configurations that a folder in KnowUnDo's layout offers."""
    return sorted(p.parent.name for p in folder.glob("*/unlearn.json"))


def from_folder(folder: Path, subset: str, source: str) -> Corpus:
    """Read DIR/SUBSET/unlearn.json and retention.json: a list with one object {"train": [...], "val": [...]}."""
    if subset not in subsets(folder) and not contained(folder, subset).is_dir():
        raise unknown("subset", subset, subsets(folder))
    rows: list[dict[str, Any]] = []
    for scope in (*SCOPES, UNKNOWN):
        path = folder / subset / f"{scope}.json"
        if scope == UNKNOWN and not path.is_file():  # the benchmark has none
            continue
        splits = table_files.parsed(path)
        splits = splits[0] if isinstance(splits, list) and len(splits) == 1 else splits
        if not isinstance(splits, dict):
            raise UserError(f"{path} is not in KnowUnDo's layout.", 'Expected [{"train": [...], "val": [...]}].')
        for split, entries in splits.items():
            rows.extend(_tagged(entries, scope, split, path))
    return _corpus(rows, f"{source}/{subset}")


def from_hub(repository: str, subset: str) -> Corpus:
    """Load a configuration of the benchmark from the hub (or a local folder in a hub repository's layout)."""
    import datasets

    rows: list[dict[str, Any]] = []
    for scope in SCOPES:
        try:
            table = datasets.load_dataset(repository, subset, split=scope)
        except ValueError as error:
            raise UserError(f"{repository} has no subset “{subset}” with a split “{scope}” ({error}).", "") from None
        except (OSError, ConnectionError, RuntimeError) as error:
            raise UserError(
                f"{repository} could not be loaded ({type(error).__name__}: {error}).",
                "Check the network, or give a local folder with --data DIR.",
            ) from None
        for entry in table:
            for split, entries in entry.items():
                rows.extend(_tagged(entries or [], scope, split, repository))
    return _corpus(rows, f"{repository}/{subset}")


def from_file(path: Path, split: str = "") -> Corpus:
    """Read one's own JSON, JSONL, CSV or Parquet file with columns question, answer, scope[, split, subject].

    Without a column split, every fifth question of a scope and subject becomes val. split: that of all rows, whatever the
    file says.
    """
    check_size(path)
    rows = table_files.READERS[path.suffix.lower()](path)
    if not rows:
        raise UserError(f"{path.name} is empty.", "It needs rows with question, answer and scope.")
    return parse_rows([{**row, "split": split} for row in rows] if split else rows, path.name)


def check_size(path: Path) -> None:
    """Raise UserError for a file that is of no known kind, or too large."""
    if path.suffix.lower() not in table_files.READERS:
        raise UserError(f"{path.name} is no data file.", f"Known endings: {', '.join(table_files.READERS)}.")
    if path.stat().st_size > LARGEST_FILE:
        size = path.stat().st_size / 2**20
        raise UserError(f"{path.name} has {size:.0f} MB; at most {LARGEST_FILE / 2**20:.0f} MB are read.", "Take a part.")


def parse_rows(rows: list[dict[str, Any]], where: str) -> Corpus:
    """Check rows of one's own file and make a Corpus of them; UserError names the first bad rows."""
    checked = check_rows(list(enumerate(rows, start=1)), where)
    if checked.problems:
        problems = "; ".join(f"row {problem.row} {problem.what}" for problem in checked.problems[:5])
        more = f", and {len(checked.problems) - 5} more" if len(checked.problems) > 5 else ""
        raise UserError(f"{where}: {problems}{more}.", "Repair or remove these rows.")
    clean = checked.rows
    counts: Counter[tuple[str, str]] = Counter()
    subjects = _subjects(clean)
    for entry, subject in zip(clean, subjects, strict=True):
        if not entry["split"]:
            counts[entry["scope"], subject] += 1
            entry["split"] = "val" if counts[entry["scope"], subject] % 5 == 0 else "train"
    return _corpus(clean, where)


@dataclass(frozen=True)
class RowProblem:
    """Why one row of a file cannot be used."""

    row: int
    """counted from 1; in JSON lines the number of the line"""
    what: str
    """goes on after “row N”"""
    excerpt: str
    """the beginning of what stands there"""


@dataclass(frozen=True)
class Checked:
    """A file of one's own, row by row."""

    rows: list[dict[str, str]]
    """the good ones: question, answer, scope, split, subject"""
    problems: list[RowProblem]


def check_file(path: Path) -> Checked:
    """Look at every row of a file, and say of each bad one what is wrong. Raises UserError for what concerns the whole."""
    return check_rows(numbered_rows(path), path.name)


def numbered_rows(path: Path) -> list[tuple[int, Any]]:
    """Return what stands in a file's rows, each with its number, whatever it is. Raises UserError for the whole."""
    check_size(path)
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        numbered = table_files.numbered_lines(path)
    elif suffix == ".json":
        numbered = list(enumerate(table_files.json_list(path), start=1))
    else:
        numbered = list(enumerate(table_files.READERS[suffix](path), start=1))
    if not numbered:
        raise UserError(f"{path.name} is empty.", "It needs rows with question, answer and scope.")
    return numbered


def columns(objects: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    """Return our name -> the column of some rows that has it, by its name; None where there is none."""
    there = {name for row in objects for name in row}
    return {key: next((name for name in known if name in there), None) for key, known in _COLUMNS.items()}


def check_rows(numbered: Sequence[tuple[int, Any]], where: str) -> Checked:
    """Check numbered rows. Raises UserError where a whole column is missing, or where there are too many rows."""
    if len(numbered) > table_files.MOST_ROWS:
        raise UserError(f"{where} has {len(numbered)} rows, more than {table_files.MOST_ROWS}.", "Take a part.")
    objects = [row for _, row in numbered if isinstance(row, dict)]
    names = columns(objects)
    for needed in ("question", "answer", "scope"):
        if names[needed] is None and objects:
            present = ", ".join(map(str, list(objects[0])[:10])) or "none"
            raise UserError(f"{where} has no column “{needed}”.", f"Found: {present}. Needed: question, answer, scope.")
    checked = Checked([], [])
    for number, row in numbered:
        if not isinstance(row, dict):
            checked.problems.append(RowProblem(number, "is not a JSON object", str(row)[:80]))
            continue
        given = {key: row.get(column) if column else "" for key, column in names.items()}
        if odd := next((key for key, value in given.items() if not _textual(value)), ""):
            checked.problems.append(RowProblem(number, f"has no text as its {odd}", str(given[odd])[:80]))
            continue
        entry = {key: _text(value) for key, value in given.items()}
        entry["scope"] = _SCOPE_NAMES.get(entry["scope"].lower(), entry["scope"])
        entry["split"] = _SPLIT_NAMES.get(entry["split"].lower(), entry["split"])
        problem = _problem(entry)
        if problem:
            checked.problems.append(RowProblem(number, problem, (entry["question"] or entry["answer"])[:80]))
        else:
            checked.rows.append(entry)
    return checked


def _problem(entry: dict[str, str]) -> str:
    if not visible(entry["question"]):
        return "has no question"
    if not visible(entry["answer"]):
        return "has no answer"
    if entry["scope"] not in SCOPES:
        return f"has the scope {entry['scope'][:40]!r} instead of unlearn or retention"
    if entry["split"] and entry["split"] not in _SPLIT_NAMES.values():
        return f"has the split {entry['split'][:40]!r} instead of train, val, other, untaught or free"
    return unfit(entry)


def unfit(entry: Mapping[str, str]) -> str:
    """Say what of a row's texts no model and no page can use; goes on after “row N”, empty where all are well."""
    for key, longest in LONGEST.items():
        if len(entry[key]) > longest:
            return f"has {len(entry[key])} characters in its {key}, more than {longest}"
        kinds = {unicodedata.category(c) for c in set(entry[key]) - set(LAYOUT)}
        if "Cc" in kinds:
            return f"has a control character in its {key}"
        if "Cs" in kinds:
            return f"has half a character in its {key}, which is not text"
    return ""


def visible(text: str) -> bool:
    """Say whether anything of a text can be seen: characters without width are not."""
    return any(c.isprintable() and not c.isspace() for c in text)


def _tagged(entries: Any, scope: str, split: str, where: object) -> list[dict[str, Any]]:
    if split not in _SPLIT_NAMES or not isinstance(entries, list):
        raise UserError(f"{where} has an unexpected part “{split}”.", "Expected lists named train and val.")
    rows = []
    for number, entry in enumerate(entries, start=1):
        values = {key: entry.get(name) for key, name in _LAYOUT_NAMES.items()} if isinstance(entry, dict) else {}
        row = {key: _text(value) if _textual(value) else "" for key, value in values.items()}
        if not visible(row.get("question", "")):
            raise UserError(f"{where}: row {number} of {split} has no question.", "Repair or remove it.")
        if not visible(row["answer"]):
            raise UserError(f"{where}: row {number} of {split} has no answer.", "Repair or remove it.")
        if problem := unfit(row):
            raise UserError(f"{where}: row {number} of {split} {problem}.", "Repair or remove it.")
        rows.append({**row, "scope": scope, "split": _SPLIT_NAMES[split]})
    return rows


def _subjects(rows: list[dict[str, Any]]) -> list[str]:
    guesses = facts.subjects([row["question"] for row in rows], [row["answer"] for row in rows])
    return [row["subject"] or guess for row, guess in zip(rows, guesses, strict=True)]


def _corpus(rows: list[dict[str, Any]], source: str) -> Corpus:
    subjects, counts, examples = _subjects(rows), Counter[str](), []
    for row, subject in zip(rows, subjects, strict=True):
        part, other = f"{row['scope']}/{row['split']}", row["split"] == "other"
        split = "val" if other else row["split"]
        example = Example(f"{part}/{counts[part]}", row["question"], row["answer"], row["scope"], split, subject, other)
        examples.append(example)
        counts[part] += 1
    return Corpus(tuple(examples), source)


def _textual(value: Any) -> bool:
    """Say whether a value can stand for a text: texts, numbers and dates can; lists, objects, bytes and truth values
    cannot.
    """
    return value is None or (isinstance(value, str | Number | datetime.date) and not isinstance(value, bool))


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():  # a column with a gap makes 1985 a 1985.0
        value = int(value)
    return "" if value is None or value != value else str(value).strip()  # NaN is the only value unlike itself
