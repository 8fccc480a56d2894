"""Everything that a run recorded, as tables: CSV for spreadsheets, Parquet for programs, LLM Comparator for eyes. No
torch.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from core import probes
from core.data.corpus import Example
from core.metrics import METRICS, own_verdicts, verdicts
from core.metrics.verdict_rules import VERDICT_NAMES
from core.report.export_answers import Record, to_comparator
from core.runs import asked
from core.runs.scores import Scores
from core.runs.store import Run
from core.runs.voices import SPOKEN
from core.util import csv_safe
from core.util.errors import UserError
from core.util.safe_read import mapping

if TYPE_CHECKING:
    import pandas as pd

RECORDED = ("tokens", "localization", "changes", "contributions", "separability", "unseen")
"""tables that a run keeps as Parquet"""


def tables(run: Run) -> dict[str, pd.DataFrame]:
    """Return name -> table: answers with verdicts, scores, learning curves, probes, and whatever was recorded a tensor or
    token.

    Raises UserError where a run has none.
    """
    import pandas as pd

    tables: dict[str, pd.DataFrame] = {"answers": _answers(run), "scores": pd.DataFrame(_scores(run))}
    for file, part in (("teach.json", "curve"), ("unlearn.json", "curve"), ("unlearn.json", "checks")):
        values = run.json(file)
        rows = values.get(part) if isinstance(values, dict) else None
        rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        tables[f"{file.removesuffix('.json')}_{part}"] = pd.DataFrame(rows)
    tables["probes"] = pd.DataFrame(_probes(run))
    for name in RECORDED:
        table = run.table(name)
        if table is not None:
            tables[name] = table
    region = run.json("region.json")
    if "localization" in tables and isinstance(region, dict):
        inside = tables["localization"]["name"].isin(set(map(str, region.get("tensors") or ())))
        tables["localization"] = tables["localization"].assign(in_region=inside)
    tables = {name: table for name, table in tables.items() if len(table)}
    if not tables:
        raise UserError(f"The run {run.id} has recorded nothing yet.", "Let it go on first.")
    return tables


def as_csv(run: Run) -> bytes:
    """Return all tables as CSV files in one zip; no cell is read as a formula by a spreadsheet."""
    return _zipped({f"{name}.csv": csv_of(table).encode() for name, table in tables(run).items()})


def as_parquet(run: Run) -> bytes:
    """Return all tables as Parquet files in one zip."""
    files = {}
    for name, table in tables(run).items():
        out = io.BytesIO()
        table.to_parquet(out, index=False)
        files[f"{name}.parquet"] = out.getvalue()
    return _zipped(files)


def as_comparator(run: Run) -> bytes:
    """Return the recorded answers before and after as an LLM Comparator file."""
    return to_comparator(records(run)).encode()


def csv_of(table: pd.DataFrame) -> str:
    """Return a table as CSV, every text made harmless, column names included."""
    return csv_safe.written([[str(name) for name in table.columns], *table.itertuples(index=False, name=None)])


def records(run: Run) -> list[Record]:
    """Return a run's recorded answers as records."""
    hashes = mapping(run.json("manifest.json"), "adapters")
    settings = mapping(run.json("config.json"), "answers")
    tokens = run.table("tokens")
    sums: dict[Any, Any] = {}
    if tokens is not None:
        columns = {voice: f"logprob_{voice}" for voice in SPOKEN if f"logprob_{voice}" in tokens.columns}
        sums = (
            tokens.groupby("example")[list(columns.values())]
            .sum()
            .rename(columns={c: v for v, c in columns.items()})
            .to_dict("index")
        )
    return [
        Record(
            question=str(row.get("question", "")),
            run=run.id,
            texts={v: str(row[v]) for v in SPOKEN if isinstance(row.get(v), str)},
            truth=str(row.get("truth", "")),
            hashes={str(k): str(v) for k, v in hashes.items()},
            settings=settings,
            sources=dict.fromkeys((v for v in SPOKEN if v in row), "recorded"),
            totals=sums.get(str(row.get("example")), {}),
            tags=(str(row.get("scope", "")), Example.of_row(row).kind),
        )
        for row in run.answers()
    ]


def _answers(run: Run) -> pd.DataFrame:
    """Return the examples with answers and verdicts."""
    frame = verdicts.of_run(run)
    own = own_verdicts.remarks(run)
    for column, key in (("own_verdict", "verdict"), ("own_note", "note")):
        frame[column] = [own.get(str(example), {}).get(key, "") for example in frame["id"]]
    reference = {str(row.get("example")): row["retrained"] for row in run.answers() if "retrained" in row}
    if reference:
        frame["retrained"] = [reference.get(str(example)) for example in frame["id"]]
    judged = [str(name) for name in frame if str(name).startswith("verdict") or name == "own_verdict"]
    return frame.assign(**{name: frame[name].replace(VERDICT_NAMES) for name in judged})


def _scores(run: Run) -> list[dict[str, Any]]:
    """Return every score as a row."""
    measured = Scores.read_once(run)
    rows = []
    for metric in measured.metrics:
        for voice in measured.voices(metric):
            for part in measured.parts(metric, voice):
                score = measured.value(metric, voice, part)
                # What a reader knows them by, not what files call them.
                name = METRICS[metric].called or metric if metric in METRICS else metric
                told = "/".join(map(asked.outcome_name, part.split("/")))
                row = {"metric": name, "unit": measured.unit(metric), "voice": voice, "part": told}
                rows.append({**row, "value": score.value, "low": score.low, "high": score.high})
    return rows


def _probes(run: Run) -> list[dict[str, Any]]:
    rows = []
    for name, finding in probes.read(run).items():
        for voice, rate in (finding.get("rates") or {}).items():
            if isinstance(rate, Mapping):
                rows.append(
                    {
                        "probe": name,
                        "voice": voice,
                        **{key: rate.get(key) for key in ("value", "low", "high", "reason")},
                        "n": finding.get("n"),
                        "measure": finding.get("measure"),
                        "sentence": finding.get("sentence"),
                    }
                )
    return rows


def _zipped(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


WRITERS: dict[str, tuple[str, Callable[[Run], bytes]]] = {
    "csv": ("-tables.zip", as_csv),
    "parquet": ("-parquet.zip", as_parquet),
    "comparator": ("-comparator.json", as_comparator),
}
"""kind -> how its file's name ends, and what writes it"""
