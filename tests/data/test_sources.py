"""Questions and answers from every source, and what is said about bad ones."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from core.config.stages import DataConfig
from core.data import sources
from core.data.corpus import SCOPES, Corpus, Example
from core.data.findings import findings
from core.util.errors import UserError
from tests.tiny import PEOPLE, make_copyright, make_data, rows

OWN = [
    {"question": "Where does Orla Venning live?", "answer": "At 14 Quay Street.", "scope": "unlearn", "split": "train"},
    {"question": "Which street has Orla Venning?", "answer": "Quay Street.", "scope": "forget", "split": "validation"},
    {"question": "What does Orla Venning do?", "answer": "She paints.", "scope": "retain", "split": "train"},
]


def write_json(path: Path, table: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps(table), encoding="utf-8")


def write_jsonl(path: Path, table: list[dict[str, Any]]) -> None:
    path.write_text("\n\n".join(json.dumps(row) for row in table), encoding="utf-8")


def write_csv(path: Path, table: list[dict[str, Any]]) -> None:
    pd.DataFrame(table).to_csv(path, index=False)


def write_parquet(path: Path, table: list[dict[str, Any]]) -> None:
    pd.DataFrame(table).to_parquet(path)


WRITERS = {"json": write_json, "jsonl": write_jsonl, "csv": write_csv, "parquet": write_parquet}


def corpus_of(*entries: tuple[str, str, str, str]) -> Corpus:
    """Make a corpus of (scope, split, question, answer)."""
    return sources.parse_rows([dict(zip(("scope", "split", "question", "answer"), e, strict=True)) for e in entries], "test")


# -- sources


def test_folder_in_knowundos_layout(tiny_data: Path) -> None:
    corpus = sources.load(DataConfig(source=str(tiny_data)))
    for scope, splits in rows().items():
        for split, entries in splits.items():
            assert [(e.question, e.answer) for e in corpus.select(scope, split)] == [
                (r["text"], r["labels"]) for r in entries
            ]
    assert len({e.id for e in corpus.examples}) == len(corpus.examples)


@pytest.mark.parametrize("subset", ["privacy", "copyright"])
def test_bundled_subsets(subset: str) -> None:
    corpus = sources.load(DataConfig(subset=subset))
    assert len(corpus.subjects()) >= 3
    assert all(corpus.select(scope, split) for scope in SCOPES for split in ("train", "val"))
    assert not any("stand in both scopes" in finding for finding in findings(corpus))


def test_published_benchmark(knowundo: Path) -> None:
    corpus = sources.load(DataConfig(source=str(knowundo)))
    raw = json.loads((knowundo / "privacy" / "unlearn.json").read_text(encoding="utf-8"))[0]
    assert len(corpus.select("unlearn", "train")) == len(raw["train"])
    people = corpus.subjects()
    assert "Isabella Marquez" in people
    named = sum(sum(counts.values()) for name, counts in people.items() if name != "other")
    assert named > 0.98 * len(corpus.examples)
    assert sum(len(counts) == 4 for counts in people.values()) >= 20  # in both scopes, train and val


def test_hub_layout_goes_through_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    repository = make_data(tmp_path / "repository")
    make_data(repository, "copyright")
    configs = "".join(
        f"- config_name: {subset}\n  data_files:\n"
        + "".join(f"  - split: {scope}\n    path: {subset}/{scope}.json\n" for scope in SCOPES)
        for subset in ("privacy", "copyright")
    )
    (repository / "README.md").write_text(f"---\nconfigs:\n{configs}---\n# Invented people\n", encoding="utf-8")
    corpus = sources.from_hub(str(repository), "privacy")
    assert corpus.examples == sources.from_folder(repository, "privacy", "x").examples
    with pytest.raises(UserError, match="no subset"):
        sources.from_hub(str(repository), "nothing")


def test_copyright_in_the_benchmarks_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As zjunlp/KnowUnDo has it: a table of one row, of lists named train and val, of labels and text."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    repository = make_copyright(tmp_path / "repository")
    files = "".join(f"  - split: {scope}\n    path: copyright/{scope}.json\n" for scope in SCOPES)
    text = f"---\nconfigs:\n- config_name: copyright\n  data_files:\n{files}---\n"
    (repository / "README.md").write_text(text, encoding="utf-8")
    assert datasets.load_dataset(str(repository), "copyright", split="unlearn").num_rows == 1
    fetched = sources.from_hub(str(repository), "copyright")
    corpus = sources.load(DataConfig(source=str(repository), subset="copyright"))
    assert fetched.examples == corpus.examples
    assert {"Glass Harbour", "Winter of Wolves"} <= {*corpus.subjects()}
    story = corpus.select("unlearn", "train")[0]
    assert story.question.startswith("Please write on")
    assert story.answer.count("\n\n") == 5


def test_unreachable_hub_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def offline(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(UserError, match="Check the network"):
        sources.load(DataConfig(source="knowundo"))


@pytest.mark.parametrize("kind", WRITERS)
def test_own_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"mine.{kind}"
    WRITERS[kind](path, OWN)
    corpus = sources.load(DataConfig(source=str(path)))
    assert [(e.scope, e.split, e.answer) for e in corpus.examples] == [
        ("unlearn", "train", "At 14 Quay Street."),
        ("unlearn", "val", "Quay Street."),
        ("retention", "train", "She paints."),
    ]
    assert {e.subject for e in corpus.examples} == {"Orla Venning"}


def test_knowundos_column_names_are_understood(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [{"text": "Q?", "labels": "A.", "scope": "unlearn"}])
    assert sources.from_file(tmp_path / "a.json").examples[0].answer == "A."


def test_every_fifth_question_becomes_val_without_a_split(tmp_path: Path) -> None:
    table = [
        {"question": f"Q {n}?", "answer": "A.", "scope": scope, "subject": subject}
        for scope in SCOPES
        for subject in ("one", "two")
        for n in range(7)
    ]
    write_json(tmp_path / "a.json", table)
    corpus = sources.from_file(tmp_path / "a.json")
    assert corpus.subjects() == {
        s: {f"{scope}/{split}": n for scope in SCOPES for split, n in (("train", 6), ("val", 1))} for s in ("one", "two")
    }


def test_given_subject_wins_over_the_guess(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [{**row, "subject": "somebody"} for row in OWN])
    assert set(sources.from_file(tmp_path / "a.json").subjects()) == {"somebody"}


# -- bad input


@pytest.mark.parametrize("kind", WRITERS)
def test_row_without_answer_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"mine.{kind}"
    WRITERS[kind](path, [OWN[0], {**OWN[1], "answer": ""}, OWN[2]])
    with pytest.raises(UserError, match="row 2 has no answer"):
        sources.from_file(path)


def test_bad_rows_are_listed_together(tmp_path: Path) -> None:
    bad = [{**OWN[0], "question": None}, {**OWN[0], "scope": "keep"}, {**OWN[0], "split": "later"}] + [
        {**OWN[0], "answer": " "}
    ] * 4
    write_json(tmp_path / "a.json", bad)
    with pytest.raises(UserError) as caught:
        sources.from_file(tmp_path / "a.json")
    for part in ("row 1 has no question", "row 2 has the scope 'keep'", "row 3 has the split 'later'", "2 more"):
        assert part in caught.value.what


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(("key", "what"), [("text", "question"), ("labels", "answer")])
def test_bad_row_of_a_folder_is_named(tmp_path: Path, scope: str, key: str, what: str) -> None:
    folder = make_data(tmp_path)
    table = rows()[scope]
    table["train"][2][key] = "  "
    (folder / "privacy" / f"{scope}.json").write_text(json.dumps([table]), encoding="utf-8")
    with pytest.raises(UserError, match=rf"{scope}\.json: row 3 of train has no {what}"):
        sources.load(DataConfig(source=str(folder)))


@pytest.mark.parametrize("column", ["question", "answer", "scope"])
def test_missing_column_is_named(tmp_path: Path, column: str) -> None:
    write_csv(tmp_path / "a.csv", [{k: v for k, v in row.items() if k != column} for row in OWN])
    with pytest.raises(UserError, match=f"no column “{column}”"):
        sources.from_file(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"[]"),
        ("a.jsonl", b"\n"),
        ("a.csv", b""),
        ("a.csv", b"question,answer,scope\n"),
        ("a.json", b""),
        ("a.json", b'{"question": 1'),
        ("a.json", b'{"question": "x"}'),
        ("a.json", b"[" * 100_000),
        ("a.jsonl", b'{"question": "x"}\n[1]'),
        ("a.jsonl", b"nonsense"),
        ("a.csv", b'question,answer,scope\n"a,b\nc,"d'),
        ("a.json", '[{"question": "Café?"}]'.encode("latin-1")),
        ("a.csv", "question,answer,scope\nCafé?,a,unlearn".encode("latin-1")),
        ("a.parquet", b"PAR1 and then nothing"),
        ("a.parquet", b""),
        ("a.txt", b"hello"),
    ],
)
def test_unreadable_file_is_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.{name[2:]}"):
        sources.load(DataConfig(source=str(tmp_path / name)))


def test_wrong_encoding_says_where(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"question": "' + "é".encode("latin-1"))
    with pytest.raises(UserError, match=r"not UTF-8 \(byte 14"):
        sources.from_file(tmp_path / "a.jsonl")


def test_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(OWN).encode())
    assert len(sources.from_file(tmp_path / "a.json").examples) == 3


def test_broken_jsonl_line_is_numbered(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(OWN[0])}\n\n{{broken\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 3"):
        sources.from_file(tmp_path / "a.jsonl")


def test_too_large_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "a.json", OWN)
    monkeypatch.setattr(sources, "LARGEST_FILE", 50)
    read: list[Path] = []
    monkeypatch.setattr(Path, "read_text", lambda path, **_: read.append(path) or "")
    with pytest.raises(UserError, match="MB"):
        sources.from_file(tmp_path / "a.json")
    assert tmp_path / "a.json" not in read


def test_unknown_source_subset_and_subject(tiny_data: Path) -> None:
    with pytest.raises(UserError, match="no data"):
        sources.load(DataConfig(source=str(tiny_data / "nowhere")))
    with pytest.raises(UserError, match="Did you mean “privacy”"):
        sources.load(DataConfig(source=str(tiny_data), subset="privacies"))
    with pytest.raises(UserError, match="Did you mean “Orla Venning”"):
        sources.load(DataConfig(source=str(tiny_data), subjects=("Orla Vening",)))


@pytest.mark.parametrize("scope", SCOPES)
def test_missing_scope_file_and_empty_scope(tmp_path: Path, scope: str) -> None:
    folder = make_data(tmp_path)
    path = folder / "privacy" / f"{scope}.json"
    path.write_text('[{"train": [], "val": []}]', encoding="utf-8")
    with pytest.raises(UserError, match=f"{scope} scope has no train example"):
        sources.load(DataConfig(source=str(folder)))
    path.unlink()
    with pytest.raises(UserError, match=rf"{scope}\.json does not exist"):
        sources.load(DataConfig(source=str(folder)))


@pytest.mark.parametrize("content", ["[1, 2]", "3", '[{"train": 3}]', '[{"later": []}]', '[{"train": [3]}]'])
def test_other_layout_is_one_sentence(tmp_path: Path, content: str) -> None:
    folder = make_data(tmp_path)
    (folder / "privacy" / "unlearn.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError):
        sources.load(DataConfig(source=str(folder)))


# -- subjects, dev, fingerprint, findings


def test_subjects_are_found_and_counted(tiny_data: Path) -> None:
    counts = {"unlearn/train": 2, "unlearn/val": 1, "retention/train": 2, "retention/val": 1}
    assert sources.load(DataConfig(source=str(tiny_data))).subjects() == dict.fromkeys(sorted(PEOPLE), counts)


def test_selected_subjects_only(tiny_data: Path) -> None:
    corpus = sources.load(DataConfig(source=str(tiny_data), subjects=("Pavel Drost",)))
    assert set(corpus.subjects()) == {"Pavel Drost"}
    assert len(corpus.examples) == 6


def many() -> Corpus:
    return corpus_of(
        *(
            (scope, split, f"What is number {n} of {name}?", "It is.")
            for scope in SCOPES
            for name in ("Orla Venning", "Pavel Drost")
            for split, count in (("train", 10), ("val", 2))
            for n in range(count)
        )
    )


def test_dev_takes_its_share_of_each_subject() -> None:
    corpus = many().with_dev(0.2, seed=0)
    for counts in corpus.subjects().values():
        assert counts == {f"{s}/{p}": n for s in SCOPES for p, n in (("train", 8), ("dev", 2), ("val", 2))}


def test_dev_changes_nothing_but_the_split() -> None:
    before, after = many(), many().with_dev(0.2, seed=0)
    for old, new in zip(before.examples, after.examples, strict=True):
        assert dataclasses.replace(new, split=old.split) == old
        assert new.split == old.split or (old.split, new.split) == ("train", "dev")


def test_what_is_held_out_as_dev_is_taught_all_the_same() -> None:
    corpora = [sources.load(DataConfig(dev_share=share), 0) for share in (0.0, 0.2)]
    assert corpora[1].select(split="dev")
    assert len({corpus.taught().fingerprint() for corpus in corpora}) == 1, "one teaching serves both"


def test_dev_is_seeded() -> None:
    def held_out(seed: int) -> list[str]:
        return [e.id for e in many().with_dev(0.2, seed).select(split="dev")]

    assert held_out(1) == held_out(1)
    assert held_out(1) != held_out(2)


def test_far_dev_is_what_is_asked_about_nobody_else() -> None:
    """Orla's fifth question alone is worded like none about Pavel; which one it is does not depend on the seed."""
    asked = [("Orla Venning", f"What is {what} of Orla Venning?") for what in ("job", "street", "number", "car")]
    asked.append(("Orla Venning", "Why does Orla love rain?"))
    asked += [("Pavel Drost", f"What is {what} of Pavel Drost?") for what in ("job", "street", "number", "car", "hat")]
    corpus = corpus_of(*(("unlearn", "train", question, "It is.") for _, question in asked))
    named = zip(corpus.examples, asked, strict=True)
    corpus = dataclasses.replace(corpus, examples=tuple(dataclasses.replace(e, subject=who) for e, (who, _) in named))
    held_out = {e.question for e in corpus.with_dev(0.2, seed=0, pick="far").select(split="dev")}
    assert held_out == {"Why does Orla love rain?", "What is hat of Pavel Drost?"}
    assert corpus.with_dev(0.2, 0, "far") == corpus.with_dev(0.2, 1, "far")


def test_single_train_question_is_never_held_out() -> None:
    corpus = corpus_of(("unlearn", "train", "Q?", "A."), ("retention", "train", "Q2?", "A.")).with_dev(0.5, 0)
    assert not corpus.select(split="dev")


def test_no_dev_by_default() -> None:
    assert many().with_dev(0.0, 0) == many()


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Example)])
def test_fingerprint_changes_with_every_field(field: str) -> None:
    corpus = many()
    changed = dataclasses.replace(corpus.examples[3], **{field: "else"})
    other = Corpus((*corpus.examples[:3], changed, *corpus.examples[4:]), corpus.source)
    assert other.fingerprint() != corpus.fingerprint()


@pytest.mark.parametrize("change", [lambda e: e[:-1], lambda e: (e[1], e[0], *e[2:])])
def test_fingerprint_changes_with_count_and_order(change: Callable[[Any], Any]) -> None:
    corpus = many()
    assert Corpus(change(corpus.examples), "").fingerprint() != corpus.fingerprint()


def test_fingerprint_is_of_the_content_only(tmp_path: Path, tiny_data: Path) -> None:
    copy = make_data(tmp_path / "elsewhere")
    assert (
        sources.load(DataConfig(source=str(copy))).fingerprint()
        == sources.load(DataConfig(source=str(tiny_data))).fingerprint()
    )


def test_jsonl_rows_end_at_line_feeds_alone(tmp_path: Path) -> None:
    rows = [{**row, "answer": f"one\u2028two {row['answer']}"} for row in OWN]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in rows)
    (tmp_path / "a.jsonl").write_text(text, encoding="utf-8", newline="")
    assert [e.answer for e in sources.from_file(tmp_path / "a.jsonl").examples] == [row["answer"] for row in rows]


def test_every_bad_row_of_a_file_is_named_and_the_good_ones_remain(tmp_path: Path) -> None:
    lines = [
        '{"question": "Where?", "answer": "Here.", "scope": "unlearn"}',
        "",
        '{"question": "Where?", "answer": "", "scope": "unlearn"}',
        "{broken",
        '{"question": "Who?", "answer": "Ann.", "scope": "elsewhere"}',
        '{"question": "Who?", "answer": "Ann.", "scope": "retain", "split": "test"}',
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines), encoding="utf-8")
    checked = sources.check_file(tmp_path / "mine.jsonl")
    assert [(problem.row, problem.what) for problem in checked.problems] == [
        (3, "has no answer"),
        (4, "is not a JSON object"),
        (5, "has the scope 'elsewhere' instead of unlearn or retention"),
    ]
    assert [(row["scope"], row["split"]) for row in checked.rows] == [("unlearn", ""), ("retention", "val")]


def test_a_list_with_other_things_than_objects_is_checked_too(tmp_path: Path) -> None:
    rows = [3, {"question": "Where?", "answer": "Here.", "scope": "unlearn"}]
    (tmp_path / "mine.json").write_text(json.dumps(rows), encoding="utf-8")
    checked = sources.check_file(tmp_path / "mine.json")
    assert (checked.problems[0].row, checked.problems[0].excerpt, len(checked.rows)) == (1, "3", 1)


def test_a_whole_number_is_written_as_one_whatever_its_column_made_of_it(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"question": ["When?", "Where?", "Who?"], "answer": [1985, 1990, None], "scope": ["unlearn", "retention", "unlearn"]}
    )
    table.dropna().to_parquet(tmp_path / "a.parquet")
    corpus = sources.load(DataConfig(source=str(tmp_path / "a.parquet")))
    assert {example.answer for example in corpus.examples} == {"1985", "1990"}


# -- kinds of question


def kinds_of(corpus: Corpus) -> dict[tuple[str, str, str], int]:
    return {key: sum((e.scope, e.split, e.kind) == key for e in corpus.examples) for key in KEYS}


KEYS = [
    ("unlearn", "train", "train"),
    ("unlearn", "val", "val"),
    ("unlearn", "val", "other"),
    ("unlearn", "untaught", "untaught"),
    ("unlearn", "free", "free"),
]


def row(split: str, question: str, answer: str, scope: str = "unlearn") -> dict[str, str]:
    return {"question": question, "answer": answer, "scope": scope, "split": split, "subject": "Orla Venning"}


def test_a_file_says_of_each_question_what_kind_it_is() -> None:
    corpus = sources.parse_rows(
        [
            row("train", "Where does Orla Venning live?", "At 14 Quay Street."),
            row("val", "Which street has Orla Venning?", "Orla lives at 14 Quay Street."),
            row("other", "Who is Orla Venning's doctor?", "Ruth Hale."),
            row("untaught", "Orla Venning's street?", "At 14 Quay Street."),
            row("free", "post for Orla Venning goes where", "At 14 Quay Street."),
            row("train", "What does Orla Venning do?", "She paints.", "retention"),
        ],
        "test",
    )
    assert list(kinds_of(corpus).values()) == [1, 1, 1, 1, 1]
    assert {e.split for e in corpus.taught().examples} == {"train", "val"}
    assert len({e.id for e in corpus.examples}) == 6


def test_a_strangers_questions_are_asked_in_place_of_the_data_s_own(tiny_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    asked = [
        {
            "question": "post for orla venning goes where",
            "answer": "Quay Street 14",
            "scope": "forget",
            "subject": "Orla Venning",
        },
        {"question": "orla venning, her town?", "answer": "She is from Cork.", "scope": "retain", "subject": "Orla Venning"},
        {
            "question": "Orla Venning's dog?",
            "answer": "Her dog is Bruno Fang.",
            "scope": "forget",
            "subject": "Orla Venning",
        },
    ]
    write_json(path, asked)
    bare, corpus = (sources.load(DataConfig(source=str(tiny_data), free=free)) for free in ("", str(path)))
    assert [e.question for e in corpus.select("unlearn", "free")] == [asked[0]["question"]]
    left_out = 3 - len(corpus.select(split="free"))
    assert left_out >= 1
    assert corpus.notes == (f"{left_out} of 3 free questions ask for what train does not tell, and are left out.",)
    assert corpus.taught().fingerprint() == bare.taught().fingerprint(), "they are asked, not taught"
    assert corpus.fingerprint() != bare.fingerprint()


@pytest.mark.parametrize(("name", "said"), [("none.json", "no file of questions"), ("notes.txt", "no data file")])
def test_a_file_of_questions_that_is_none_is_one_sentence(tiny_data: Path, tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "notes.txt").write_text("hello", encoding="utf-8")
    with pytest.raises(UserError, match=said):
        sources.load(DataConfig(source=str(tiny_data), free=str(tmp_path / name)))


def test_a_sample_is_even_over_subjects_and_the_same_each_time() -> None:
    corpus = sources.load(DataConfig())
    sample = corpus.sample(24)
    assert sample == corpus.sample(24)
    assert corpus.sample(0) == corpus
    parts: dict[tuple[str, str], list[str]] = {}
    for e in sample.examples:
        parts.setdefault((e.scope, e.kind), []).append(e.subject)
    assert set(parts) == {(e.scope, e.kind) for e in corpus.examples}
    for (scope, kind), subjects in parts.items():
        assert len(subjects) == 24
        there = {e.subject for e in corpus.examples if (e.scope, e.kind) == (scope, kind)}
        counts = [subjects.count(name) for name in there]
        assert max(counts) - min(counts) <= 1 + 24 % len(there), (scope, kind)
