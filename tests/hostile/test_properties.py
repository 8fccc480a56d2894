"""Inputs that nobody thought of: whatever comes in, there is a result or the project's own sentence, and nothing else
happens."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from core.config import run_config
from core.config.run_config import RunConfig
from core.config.stages import DataConfig
from core.data import sources
from core.report import export_tables, verify_run
from core.runs import archive, labels, repair, store
from core.runs.overview import overview
from core.runs.store import Run
from core.runs.summary import summary
from core.util.errors import UserError
from tests.hostile import archives, data_files
from tests.hostile.harness import Around, says

often = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
ODD = st.sampled_from(["", "\0", "\ud800", "\u202e", "=1", "../x", "unlearn", "retention", "train", "val", "1" * 400])
TEXT = st.text(st.characters(), max_size=20) | ODD
NUMBERS = st.integers() | st.floats() | st.sampled_from([2**63, -1, 10**400, 1e308, True])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def dumped(value: Any) -> bytes:
    """Return a value as JSON, halves of characters written as they are read."""
    return json.dumps(value).encode()


@contextmanager
def somewhere() -> Iterator[Around]:
    """Give a folder with somebody else's files around it, and compare those and the processes afterwards."""
    with tempfile.TemporaryDirectory() as place:
        around = Around.make(Path(place))
        before, children = around.snapshot(), len(psutil.Process().children(recursive=True))
        yield around
        assert around.snapshot() == before
        assert len(psutil.Process().children(recursive=True)) == children


def calm(act: Callable[[], Any]) -> Any:
    """Return what comes of it, None where it is refused with a sentence; any other error is one of ours."""
    try:
        return act()
    except UserError as error:
        says(error)
        return None


def loaded(name: str, content: bytes) -> None:
    """Read a file of questions in both ways: they agree on whether it can be used."""
    with somewhere() as around:
        path = around.folder / name
        path.write_bytes(content)
        used = calm(lambda: sources.load(DataConfig(source=str(path))))
        checked = calm(lambda: sources.check_file(path))
        if used is not None:
            assert checked is not None
            assert not checked.problems
            assert all(example.question and example.answer for example in used.examples)


ROW = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("question", "answer", "scope", "split", "subject", "id"), JSON)
) | st.fixed_dictionaries({"question": TEXT, "answer": TEXT, "scope": st.sampled_from(["unlearn", "retention"])})


@often
@given(st.sampled_from([".json", ".jsonl", ".csv", ".parquet"]), st.binary(max_size=200))
def test_any_bytes_as_data(ending: str, content: bytes) -> None:
    loaded(f"a{ending}", content)


@often
@given(st.lists(ROW, max_size=5) | JSON)
def test_any_json_as_data(value: Any) -> None:
    loaded("a.json", dumped(value))


@often
@given(st.lists(ROW | JSON, max_size=5))
def test_any_lines_as_data(rows: list[Any]) -> None:
    loaded("a.jsonl", b"\n".join(map(dumped, rows)))


@often
@given(st.lists(st.lists(TEXT, max_size=5), max_size=5), st.sampled_from([",", ";", "\t", '"']))
def test_any_table_of_text_as_data(rows: list[list[str]], separator: str) -> None:
    lines = [["question", "answer", "scope"], *rows]
    loaded("a.csv", "\n".join(separator.join(line) for line in lines).encode("utf-8", "surrogatepass"))


COLUMN = st.one_of(
    *(
        st.lists(of, min_size=2, max_size=2)
        for of in (
            st.none() | st.text(max_size=5),
            st.none() | st.integers(-(2**63), 2**63 - 1),
            st.floats(),
            st.binary(max_size=5),
            st.booleans(),
            st.lists(st.text(max_size=3), max_size=2),
            st.dates(),
            st.decimals(allow_nan=False, allow_infinity=False, places=2, max_value=99),
        )
    )
)


@often
@given(st.dictionaries(st.sampled_from(["question", "answer", "scope", "split", "subject", "other"]), COLUMN, max_size=6))
def test_any_columns_as_data(columns: dict[str, list[Any]]) -> None:
    with_scope = {"scope": ["unlearn", "retention"]} | columns
    loaded("a.parquet", data_files.parquet(**with_scope))


@often
@given(st.integers(0, 2**16), st.binary(min_size=1, max_size=8))
def test_a_damaged_parquet_file_as_data(place: int, piece: bytes) -> None:
    whole = bytearray(data_files.parquet(**{key: [str(row[key]) for row in data_files.GOOD] for key in data_files.GOOD[0]}))
    place %= len(whole)
    whole[place : place + len(piece)] = piece
    loaded("a.parquet", bytes(whole))


NAMES = sorted(RunConfig().to_json())


@often
@given(JSON | st.dictionaries(st.sampled_from(NAMES) | TEXT, JSON | st.dictionaries(TEXT, JSON, max_size=3), max_size=4))
def test_any_json_as_a_configuration(value: Any) -> None:
    made = calm(lambda: run_config.from_json(json.loads(dumped(value))))
    if made is not None:
        assert run_config.from_json(json.loads(json.dumps(made.to_json()))) == made


PATHS = [f"{stage}.{key}" for stage, of in RunConfig().to_json().items() if isinstance(of, dict) for key in of] + [
    "name",
    "seed",
]


@often
@given(st.sampled_from(PATHS) | TEXT, TEXT | NUMBERS.map(str))
def test_any_text_as_a_setting(path: str, value: str) -> None:
    made = calm(lambda: RunConfig().with_setting(path, value))
    if made is not None:
        assert run_config.from_json(json.loads(json.dumps(made.to_json()))) == made


def imported(content: bytes) -> None:
    """Import an archive: what lands is whole and readable, else nothing does."""
    with somewhere() as around:
        folder = around.folder / "runs"
        made = calm(lambda: archive.import_(io.BytesIO(content), folder, "a.zip"))
        there = list(folder.iterdir()) if folder.exists() else []
        assert len(there) == len(made or [])
        for run in made or []:
            assert not run.problem()
            look_at(run)


SOUND = archives.forged()


@often
@given(st.lists(st.tuples(st.integers(0, 2**20), st.binary(max_size=6), st.integers(0, 6)), min_size=1, max_size=3))
def test_a_damaged_archive(changes: list[tuple[int, bytes, int]]) -> None:
    whole = bytearray(SOUND)
    for place, piece, cut in changes:
        place %= len(whole)
        whole[place : place + cut] = piece
    imported(bytes(whole))


@often
@given(JSON | st.fixed_dictionaries({"format": st.just(1), "kind": st.just(archive.KIND), "runs": JSON}))
def test_any_list_of_an_archive(value: Any) -> None:
    imported(archives.forged(head=dumped(value)))


FILES = (
    "config.json",
    "status.json",
    "metrics.json",
    "region.json",
    "manifest.json",
    "label.json",
    "unlearn.json",
    "teach.json",
    "imported.json",
)
KEYS = st.sampled_from(
    "state stages heartbeat pid started_process host created error stage sweep ray metrics accuracy values "
    "intervals reasons examples "
    "after before never unlearn/val retention/train tensors count total rule files name tags note curve checks "
    "never_knew".split()
)
SHAPED = st.recursive(JSON, lambda inner: st.dictionaries(KEYS, inner, max_size=4), max_leaves=15)


@often
@given(st.dictionaries(st.sampled_from(FILES[1:]), SHAPED.map(dumped), max_size=4))
def test_any_json_in_an_archive(files: dict[str, bytes]) -> None:
    imported(archives.forged(files))


def look_at(run: Run) -> None:
    """Read a run in every way in which lists, pages and the command line do."""
    status = run.status()
    assert isinstance(status["state"], str)
    calm(run.config)
    assert overview(run).id == run.id
    json.dumps(summary(run), allow_nan=False)
    labels.read(run)
    for read in (run.events, run.answers, run.problem, lambda: run.table("tokens"), lambda: run.managing(status)):
        read()
    list(repair.examine(run.path.parent))
    calm(lambda: list(verify_run.verify(run)))
    calm(lambda: export_tables.as_csv(run))


@often
@given(
    st.dictionaries(st.sampled_from(FILES), SHAPED.map(dumped) | st.binary(max_size=50), max_size=5),
    st.lists(SHAPED.map(dumped) | st.binary(max_size=30), max_size=4),
    st.binary(max_size=60),
)
@example({"manifest.json": b'{"files": {"answers.jsonl": "0"}, "adapters": {"before": 1}, "stages": []}'}, [], b"")
def test_any_files_of_a_run(files: dict[str, bytes], lines: list[bytes], table: bytes) -> None:
    with somewhere() as around:
        run = Run(around.folder / "run")
        run.path.mkdir()
        for name in ("config.json", "status.json"):
            shutil.copy(store.bundled_runs()[0].path / name, run.path)
        for name in ("events.jsonl", "answers.jsonl"):
            (run.path / name).write_bytes(b"\n".join(lines) + b"\n")
        (run.path / "tokens.parquet").write_bytes(table)
        for name, content in files.items():
            (run.path / name).write_bytes(content)
        look_at(run)
