"""The paper's table for some runs: before, after and never taught, with the published rows beneath. No Streamlit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.runs import asked, never_knew
from core.runs.scores import Scores, Value
from core.runs.store import Run
from core.runs.voices import SPOKEN, VOICE_NAMES
from core.util.safe_read import mapping
from dashboard.charts.palette import Palette, shade
from dashboard.evidence import published
from dashboard.widgets.number_table import Cell, Column, Row, Table
from dashboard.widgets.scope_names import IN_WORDS


@dataclass(frozen=True)
class Measured:
    """A run with what the page needs of it."""

    run: Run
    name: str
    method: str
    """and the region, in one line"""
    data: str
    """and the model"""
    scores: Scores
    base: tuple[str, str]
    """what runs share that have the same before and never-taught models: adapter and data"""
    trouble: str = ""
    """diverged, failed, picked on val: what a reader must know before the numbers; empty where all is well"""

    @property
    def what(self) -> str:
        """The run in one line."""
        return f"{self.method} · {self.data}"


U_HELP = (
    "100 − answer-token accuracy on what must be forgotten. Best where a never-taught model is: far above is more "
    "than forgetting: gibberish or refusals."
)
COLUMNS = (
    Column("Success", U_HELP, "✖ Unlearn"),
    Column(
        "ROUGE-L",
        "Overlap of the model's own answer with the true one, on what must be forgotten. Best where never taught is.",
        "✖ Unlearn",
    ),
    Column("Success", "Answer-token accuracy on what must be kept. Higher is better.", "● Retention"),
    Column(
        "ROUGE-L",
        "Overlap of the model's own answer with the true one, on what must be kept. Higher is better.",
        "● Retention",
    ),
    Column("Average", "Mean of Unlearn and Retention Success: the paper's score. It rewards gibberish like forgetting."),
    Column(
        "Never-knew, per example",
        (
            "100: each word of the true answer is as likely as to a model that was never taught it; 0: nothing forgotten, "
            "or pushed as far below ignorance as knowledge lay above it. Errors in opposite directions do not cancel."
        ),
    ),
    Column(
        "Gibberish",
        "Answers about what must be forgotten that are empty, repeat themselves or are no words. Lower is better.",
    ),
    Column(
        "Knowledge",
        (
            "General knowledge. Here 120 questions of our own, by likelihood (chance is 25 %); published: the mean of "
            "the paper's benchmarks. Not to be compared."
        ),
    ),
)
KEYS = ("u", "u_rouge", "r", "r_rouge", "average", "knew", "degenerate", "general")


def values(scores: Scores, voice: str, split: str) -> dict[str, Value]:
    """Return a voice's numbers by column."""
    knew = (
        never_knew.knew(scores, asked.kind_of_split(scores, split)).score
        if voice == "after"
        else Value(reason="a score of the model after unlearning")
    )
    return {
        "u": scores.success(voice, "unlearn", split),
        "u_rouge": scores.value("rouge", voice, f"unlearn/{split}"),
        "r": scores.success(voice, "retention", split),
        "r_rouge": scores.value("rouge", voice, f"retention/{split}"),
        "average": scores.average(voice, split),
        "knew": knew,
        "degenerate": scores.value("degenerate", voice, f"unlearn/{split}"),
        "general": scores.value("choices", voice, "questions"),
    }


def goodness(key: str, value: float, never: float | None) -> float | None:
    """Return how good a number is, 0 … 1; forgetting is good near the never-taught model, so without one there is no
    verdict.
    """
    if key in ("u", "u_rouge"):
        return None if never is None else max(0.0, 1 - abs(value - never) / 50)
    if key in ("r", "r_rouge", "average"):
        return max(0.0, (value - 50) / 50)
    if key == "general":
        return None
    return max(0.0, value / 100) if key == "knew" else max(0.0, 1 - value / 100)


def cells(numbers: dict[str, Value], never: dict[str, Value] | None, palette: Palette) -> list[Cell]:
    """Return a row's cells; shaded where a verdict is possible (never: the row of the never-taught model, None for no
    shades).
    """
    return [cell(numbers[key], None if never is None else goodness_of(key, never), palette) for key in KEYS]


def goodness_of(key: str, never: dict[str, Value]) -> Callable[[float], float | None]:
    """Return the measure of goodness of a column beside a never-taught model."""
    return lambda value: goodness(key, value, never[key].value)


def cell(score: Value, good: Callable[[float], float | None] | None, palette: Palette) -> Cell:
    """Write one value with its interval, or a dash with the reason."""
    if score.value is None:
        return Cell(title=score.reason)
    half, ends = score.half, ""
    if half is not None:
        ends = f"95 % interval {score.low:.1f} to {score.high:.1f}"
    return Cell(f"{score.value:.1f}", score.around(1), ends, shade(good(score.value), palette) if good else "")


def table(runs: Sequence[Measured], split: str, over_seeds: Sequence[Row], paper: str, palette: Palette) -> Table:
    """Return the whole table. runs: the current one first. paper: which published table stands beneath it."""
    alt = (
        f"Scores of {len(runs)} {'run' if len(runs) == 1 else 'runs'} on {IN_WORDS[split]} with their references, and "
        "published ones"
    )
    rows: list[Row] = []
    for group in grouped(runs, split):
        rows += group_rows(group, runs[0], split, palette)
    return Table(alt, "percent", COLUMNS, [*rows, *over_seeds, *published_rows(paper, palette)])


def grouped(runs: Sequence[Measured], split: str) -> list[list[Measured]]:
    """Put runs together whose reference rows are the same, so that these need to be said only once."""
    groups: dict[object, list[Measured]] = {}
    for run in runs:
        references = tuple(
            tuple(v.value for v in values(run.scores, voice, split).values()) for voice in SPOKEN if voice != "after"
        )
        groups.setdefault((run.base, references), []).append(run)
    return list(groups.values())


def group_rows(group: Sequence[Measured], current: Measured, split: str, palette: Palette) -> list[Row]:
    """Return the rows of runs that share their references; the current run's are bold."""
    first, alone = group[0], len(group) == 1
    before, never = (values(first.scores, voice, split) for voice in ("before", "never"))
    shared = "" if alone else f"the reference of {'both' if len(group) == 2 else f'all {len(group)}'} runs here"
    heading = Row(first.name, note=first.what, mark=first.trouble) if alone else Row(first.data)
    rows = [heading, Row("Before unlearning", cells(before, None, palette), shared, "reference")]
    for run in group:
        after = cells(values(run.scores, "after", split), never, palette)
        kind = "after" if run is current else ""
        rows.append(
            Row("After unlearning", after, kind=kind) if alone else Row(run.name, after, run.method, kind, run.trouble)
        )
    for voice in SPOKEN[2:]:
        numbers = values(first.scores, voice, split)
        if voice == "never" or any(value.value is not None for value in numbers.values()):
            rows.append(Row(VOICE_NAMES[voice], cells(numbers, None, palette), shared, "reference"))
    return rows


def published_rows(paper: str, palette: Palette) -> list[Row]:
    """Return the paper's rows. They have no never-taught reference, so their Unlearn Success gets no shade."""
    literature = published.read()
    rows = [
        Row(
            f"{paper}: {literature.label}",
            note=f"{literature.source}; no never-taught reference, never-knew rates or gibberish were published",
        )
    ]
    names = {
        "u": "unlearn_success",
        "u_rouge": "unlearn_rouge",
        "r": "retention_success",
        "r_rouge": "retention_rouge",
        "average": "average",
        "general": "general",
    }
    nothing = {key: Value(reason="not published") for key in KEYS}
    for line in literature.tables[paper]:
        first = line.name.startswith("before")
        numbers = nothing | {key: Value(line.values[name]) for key, name in names.items()}
        rows.append(
            Row(
                line.name[:1].upper() + line.name[1:],
                cells(numbers, None if first else nothing, palette),
                "; ".join(filter(None, (literature.label, line.note))),
                "reference published" if first else "published",
            )
        )
    return rows


def measured(run: Run, name: str, method: str, data: str) -> Measured:
    """Read a run; what went wrong is a mark beside its scores, not an error."""
    manifest = mapping(run.json("manifest.json"))
    before = mapping(manifest.get("adapters")).get("before")
    fingerprint = mapping(manifest.get("data")).get("fingerprint")
    base = (str(before), str(fingerprint)) if before and fingerprint else (run.id, "")
    return Measured(run, name, method, data, Scores.read(run), base, _trouble(run))


def _trouble(run: Run) -> str:
    state, unlearn = run.status().get("state"), mapping(mapping(run.json("config.json")).get("unlearn"))
    if state in ("failed", "cancelled"):
        return f"✖ {state}"
    if str(mapping(run.json("unlearn.json")).get("stopped", "")).startswith("diverged"):
        return "✖ diverged"
    return "picked on val" if unlearn.get("result_step") and unlearn.get("picked_on") == "val" else ""
