"""All that a report says of a run, as one JSON value: computed from the run's files alone, the same at every call.

The report is drawn from this value and carries it, so that anybody can read its numbers by program, and `verify` can draw
it again and compare. A part that a run has not reached is None, and `missing` says so in words.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core import probes
from core.config import command, own_methods
from core.config.run_config import RunConfig, from_json
from core.data import widened_questions
from core.data.corpus import KINDS, SCOPES, Example
from core.methods import METHODS
from core.methods.own import OwnMethod
from core.metrics import membership, own_verdicts, verdicts
from core.probes import PROBES
from core.regions import words as region_words
from core.report import numbers, redaction, slides
from core.report.assets import maker
from core.report.cell_matrices import picture, significant, thresholds
from core.runs import labels, store
from core.runs.scores import Scores
from core.runs.store import Run
from core.runs.voices import REFERENCES, SPOKEN
from core.util.errors import UserError
from core.util.files import clean
from core.util.safe_read import moment, number

FORMAT = 1
KIND = "forgetscope-report"
LARGEST_TEXT = 4000
"""characters of a text that a report quotes; longer ones are cut, and say so"""
ROOM = 150_000
"""characters of examples that a report holds, which makes 1 MB of it; of more, evenly many of each outcome, and it says
so"""
WHOLE_ROOM = 400_000
"""the same of a site, whose data and pages about a run are then 3.5 MB"""
MOST_BACK = 24
"""answers that a site shows of what a probe got out"""
TEXTS = ("truth", "before", "after", "never", "retrained", "why")
"""what of an example is cut into pieces, of which some are covered"""
Data = dict[str, Any]


def collect(
    run: Run,
    *,
    redact: bool = False,
    names: bool = False,
    folder: Path | None = None,
    made: float | None = None,
    whole: bool = False,
) -> Data:
    """Return what a report of a run says. Raises UserError for a run without readable settings.

    redact: leave out questions, answers and subjects' names. names: call those who were to be forgotten by their names, not
    by pseudonyms. folder: where the run's controls are looked for. made: the time that the report bears, seconds since 1970.
    whole: what a site shows besides: all examples by all voices, what probes got out, and statistics for thresholds.
    """
    config, status = run.config(), run.status()
    rows = run.answers()
    subjects = _named(config, rows)
    secrets = redaction.secrets(rows)
    measured, answers = Scores.read_once(run), _answers(run, rows, secrets, whole)
    data: Data = {
        "format": FORMAT,
        "kind": KIND,
        "maker": maker(),
        "redacted": redact,
        "pseudonyms": not (redact or names),
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() if made is None else made)),
        "run": _identity(run, config, status),
        "scopes": _scopes(rows),
        "subjects": _subjects(rows, subjects),
        "picture": picture(run),
        "region": _region(run, config),
        "change": _change(run),
        "asked": numbers.said(measured, answers["counts"] if answers else ()),
        "success": numbers.success(measured),
        "main": numbers.main(measured),
        "metrics": numbers.metrics(measured),
        "controls": numbers.region_controls(run, folder or store.runs_folder()),
        "probes": _probes(run, folder),
        "answers": answers,
        "by_hand": _by_hand(run),
        "membership": _membership(measured),
        "method": _method(run, config),
        "manifest": _manifest(run, config),
        "widened": _widened(run),
    }
    asked = data["asked"]
    data["path"] = slides.path(answers["examples"] if answers else (), asked["kind"], asked["kept_by"])
    if answers:
        answers["examples"] = some(answers["examples"], WHOLE_ROOM if whole else ROOM)
    data["missing"] = _missing(data, status)
    if whole:
        data |= {"thresholds": thresholds(run), "came_back": _came_back(run, folder, secrets, subjects)}
    if redact:
        data = _without_texts(data, rows, subjects)
    elif not names:
        data = _under_pseudonyms(data, pseudonyms(run))
    return readable(clean(data))  # type: ignore[no-any-return]


def pseudonyms(run: Run) -> dict[str, str]:
    """Return name -> what those who were to be forgotten are called instead: the same at every call."""
    config, rows = run.config(), run.answers()
    asked = {str(row.get("subject")) for row in rows if row.get("scope") == "unlearn"}
    forget = asked or set(config.data.forget or config.data.subjects)
    subjects = _named(config, rows)
    kept = [name for name in subjects if name not in forget]
    noun = {"privacy": "Person", "copyright": "Work"}.get(config.data.subset, "Subject")
    return redaction.pseudonyms([name for name in subjects if name in forget], kept, noun)


def _named(config: RunConfig, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return all subjects, those of the settings too: a run may have ended before anything was asked."""
    names = [*(row.get("subject") for row in rows), *config.data.subjects, *config.data.forget]
    return list(dict.fromkeys(str(name) for name in names if name))


def _under_pseudonyms(data: Data, names: Mapping[str, str]) -> Data:
    """Rename those who were to be forgotten wherever they are named, in the run's own id and name too."""
    left: Data = redaction.renamed(data, names)
    if left["run"]["id"] != data["run"]["id"]:
        left["run"]["id"] = store.nameless(data["run"]["id"])
        left["manifest"]["verify"] = f"python -m core verify {left['run']['id']}"
    return left


AUDIT: Data = {
    "name": "audit",
    "formula": "",
    "source": "",
    "known_for": "",
    "code": "",
    "settings": {},
    "words": "Nothing was unlearned here. Two models that were made elsewhere were asked and measured beside each other.",
}
"""what stands in the place of a method where models are only compared"""


def _identity(run: Run, config: RunConfig, status: Mapping[str, Any]) -> Data:
    created = moment(status.get("created"))
    return {
        "id": run.id,
        "name": labels.read(run).name or config.name or run.id,
        "state": str(status.get("state")),
        "error": str(status.get("error") or ""),
        "model": config.model.name,
        "data": f"{config.data.source} {config.data.subset}".strip(),
        "method": AUDIT["name"] if config.audit.after else config.unlearn.method.label,
        "rule": "" if config.audit.after else config.region.name,
        "seed": config.seed,
        "created": "" if created is None else time.strftime("%Y-%m-%d", time.gmtime(created)),
    }


def _scopes(rows: Sequence[Mapping[str, Any]]) -> list[Data]:
    counted = Counter((str(row.get("scope")), Example.of_row(row).kind) for row in rows)
    return [
        {"scope": scope, "kind": kind, "questions": counted[scope, kind]}
        for scope in SCOPES
        for kind in KINDS
        if counted[scope, kind]
    ]


def _subjects(rows: Sequence[Mapping[str, Any]], subjects: Sequence[str]) -> list[Data]:
    counted = Counter((str(row.get("subject")), str(row.get("scope"))) for row in rows)
    listed = [{"name": n, "unlearn": counted[n, "unlearn"], "retention": counted[n, "retention"]} for n in subjects]
    asked = {str(row.get("subject")) for row in rows if row.get("scope") in SCOPES}
    return [subject for subject in listed if not rows or subject["name"] in asked]  # others were asked besides the data


def _region(run: Run, config: RunConfig) -> Data | None:
    region = run.json("region.json")
    if not isinstance(region, dict) or not isinstance(region.get("tensors"), list):
        return None
    kept = ("count", "total", "with_gradient", "share_of_adapter", "share_of_model", "parameters_of_model", "limits")
    if config.audit.after:
        return {
            **{key: region.get(key) for key in kept},
            "rule": "",
            "what": "These are the tensors in which after differs from before.",
        }
    what = f"It takes {region_words.words(config.region)}."
    return {**{key: region.get(key) for key in kept}, "rule": config.region.name, "what": what}


def _change(run: Run) -> Data | None:
    """Compare the size of the change inside and outside the region (Frobenius norms over all tensors of each)."""
    table, region = run.table("changes"), run.json("region.json")
    if (
        table is None
        or not isinstance(region, dict)
        or not {"name", "norm_change", "norm_before", "max_change"} <= set(table.columns)
    ):
        return None
    inside = table["name"].isin(set(map(str, region.get("tensors") or ())))

    def side(part: Any) -> Data:
        return {
            "tensors": len(part),
            "changed": int((part["max_change"] > 0).sum()),
            "norm": significant(float((part["norm_change"] ** 2).sum() ** 0.5)),
            "before": significant(float((part["norm_before"] ** 2).sum() ** 0.5)),
            "largest": significant(float(part["max_change"].max())) if len(part) else 0.0,
        }

    return {"inside": side(table[inside]), "outside": side(table[~inside])}


def _answers(run: Run, rows: Sequence[Mapping[str, Any]], secrets: redaction.Secrets, whole: bool) -> Data | None:
    """Return the examples with their answers and verdicts, and the counts of verdicts; None where nothing was asked."""
    if not rows or run.table("tokens") is None:
        return None
    frame = verdicts.of_run(run)
    voices = [voice for voice in SPOKEN if voice in frame]
    frame = frame.fillna(dict.fromkeys(voices, ""))  # a voice may have been asked only some of them
    never = {str(row.get("example")): row.get("never") for row in rows}
    kinds = {str(row.get("example")): Example.of_row(row).kind for row in rows}
    frame = frame.assign(kind=[kinds.get(example, "") for example in frame["id"]])
    records = frame.to_dict("records")
    examples = [_example(row, never.get(str(row["id"])), secrets) for row in records]
    if whole:
        examples = [example | _references(row, secrets) for example, row in zip(examples, records, strict=True)]
    judged = {voice: "verdict" if voice == "after" else f"verdict_{voice}" for voice in SPOKEN}
    counts = Counter(
        (str(row.scope), str(row.kind), voice, str(getattr(row, column)))
        for row in frame.itertuples()
        for voice, column in judged.items()
        if getattr(row, column, "")
    )
    table = [
        {"scope": scope, "kind": kind, "voice": voice, "verdict": verdict, "count": count}
        for (scope, kind, voice, verdict), count in sorted(counts.items())
    ]
    return {"all": len(examples), "examples": examples, "counts": table}


def _example(row: Mapping[Any, Any], never: Any, secrets: redaction.Secrets) -> Data:
    texts = {name: _cut(row.get(name)) for name in ("question", "truth", "before", "after")}
    texts["never"] = "" if never is None else _cut(never)
    return {
        "id": str(row["id"]),
        "scope": str(row["scope"]),
        "kind": str(row["kind"]),
        "subject": str(row.get("subject") or ""),
        "question": texts.pop("question"),
        **{name: secrets.covered(text, str(row["id"]), str(row["scope"])) for name, text in texts.items()},
        "verdict_before": str(row["verdict_before"]),
        "verdict_after": str(row["verdict"]),
        "why": redaction.pieces(
            str(row.get("why") or ""), secrets.names if row["scope"] == "unlearn" else secrets.addresses
        ),
        **{name: number(row.get(name)) for name in ("p_before", "p_after", "overlap")},
    }


def _references(row: Mapping[Any, Any], secrets: redaction.Secrets) -> Data:
    """Return what the voices that never learned an example's fact say: the one taught without it, and both verdicts."""
    said = secrets.covered(_cut(row.get("retrained")), str(row["id"]), str(row["scope"]))
    return {"retrained": said, **{f"verdict_{voice}": str(row.get(f"verdict_{voice}") or "") for voice in REFERENCES}}


def some(examples: list[Data], room: int = ROOM) -> list[Data]:
    """Return as many examples as there is room for, evenly many of each scope and outcome, in their order."""
    kinds: dict[tuple[str, str], list[int]] = {}
    for index, example in enumerate(examples):
        kinds.setdefault((example["scope"], example["verdict_after"]), []).append(index)
    kept = set[int]()
    for turn in range(max((len(indices) for indices in kinds.values()), default=0)):
        for indices in kinds.values():
            if turn < len(indices):
                room -= _size(examples[indices[turn]])
                if room < 0:
                    return [examples[index] for index in sorted(kept)]
                kept.add(indices[turn])
    return examples


def _size(example: Data) -> int:
    texts = (piece for name in TEXTS for piece, _ in example.get(name, ()))
    return len(example["question"]) + sum(map(len, texts))


def _cut(text: Any) -> str:
    whole = "" if text is None else str(text)
    return whole if len(whole) <= LARGEST_TEXT else f"{whole[:LARGEST_TEXT]} … ({len(whole)} characters)"


def _probes(run: Run, folder: Path | None) -> list[Data]:
    """Return what leak probes found: rates as cells, and how much came back; never the texts."""
    return [_probe(name, finding) for name, finding in probes.read(run, folder).items()]


def _probe(name: str, finding: Mapping[str, Any]) -> Data:
    probe, rates = PROBES.get(name), finding.get("rates") or {}
    cells = {
        voice: {"value": value, "low": number(rates[voice].get("low")), "high": number(rates[voice].get("high"))}
        for voice in SPOKEN
        if isinstance(rates.get(voice), dict) and (value := number(rates[voice].get("value"))) is not None
    }
    return {
        "name": name,
        "title": probe.title if probe else name,
        "what": probe.what if probe else "",
        "kind": probe.kind if probe else "leak",
        "floor": probe.floor if probe else 0.0,
        "both_ways": bool(probe and probe.both_ways),
        "unavailable": str(finding.get("unavailable") or ""),
        "sentence": str(finding.get("sentence") or ""),
        "measure": str(finding.get("measure") or ""),
        "n": finding.get("n"),
        "cells": {voice: cells.get(voice) for voice in SPOKEN},
        "leaked": len(finding.get("leaked") or ()),
        "made": str(finding.get("made") or ""),
        "stale": bool(finding.get("stale")),
    }


def _came_back(run: Run, folder: Path | None, secrets: redaction.Secrets, subjects: Sequence[str]) -> Data:
    """Return probe -> what came back, of much the first: how it was asked, question, answer, true answer; facts covered."""
    found: Data = {}
    called = {word.lower() for name in subjects for word in name.split()}  # who is asked about is no secret
    for name, finding in probes.read(run, folder).items():
        rows = [row for row in finding.get("leaked") or () if isinstance(row, dict)][:MOST_BACK]
        if rows and not finding.get("unavailable"):
            found[name] = [
                {
                    "form": _cut(row.get("form")),
                    "question": redaction.pieces(
                        _unbegun(_cut(row.get("question"))), secrets.words(str(row.get("id")), "unlearn") - called
                    ),
                    **{
                        key: secrets.covered(_cut(row.get(key)), str(row.get("id")), "unlearn")
                        for key in ("answer", "truth")
                    },
                }
                for row in rows
            ]
    return found


def _unbegun(question: str) -> str:
    """Leave out the beginning of an answer that a probe gave with its question: it may be cut in the middle of a name."""
    return (question.rpartition("\n\n")[0] if question.endswith("…") else "") or question


def _by_hand(run: Run) -> dict[str, str]:
    """Return example -> the verdict that a person gave; never the notes, which may say anything."""
    return {example: given["verdict"] for example, given in sorted(own_verdicts.own(run).items())}


def _membership(measured: Scores) -> Data:
    """Return what the run recorded as the leak probe of that name would tell it; empty where it recorded nothing."""
    values = {voice: measured.values("membership", voice) for voice in measured.voices("membership")}
    attack, tried = membership.strongest(values)
    if not attack:
        return {}
    cells = {voice: cell for voice in SPOKEN if (cell := numbers.cell(measured, "membership", voice, attack))}
    rates = {voice: {end: None if at is None else 100.0 * at for end, at in cell.items()} for voice, cell in cells.items()}
    shares = {voice: 100.0 * values[voice][attack] for voice in rates}
    return _probe("membership", {"rates": rates, "sentence": membership.in_words(attack, tried, shares)})


def _method(run: Run, config: RunConfig) -> Data:
    if config.audit.after:
        return dict(AUDIT)
    method = config.unlearn.method
    values = config.to_json()["unlearn"]["method"]
    if isinstance(method, OwnMethod):
        recorded = run.json(own_methods.RECORD)
        source = str(recorded.get("source", "")) if isinstance(recorded, dict) else ""
        shown = {"name": method.label, "formula": method.formula, "source": method.source, "words": "", "code": _cut(source)}
        return {**shown, "settings": values, "known_for": ""}
    kind = METHODS[method.name]
    words = [" ".join(part.split()) for part in (kind.__doc__ or "").strip().split("\n\n")]
    return {
        "name": method.name,
        "formula": kind.formula,
        "source": kind.source,
        "known_for": kind.known_for,
        "words": "\n\n".join(words),
        "code": "",
        "settings": {k: v for k, v in values.items() if k != "name"},
    }


def _manifest(run: Run, config: RunConfig) -> Data:
    """Return what ties the report to files: the run's manifest, its hash, its settings, and commands."""
    path = run.path / "manifest.json"
    manifest = run.json("manifest.json")
    return {
        "there": isinstance(manifest, dict),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        "value": manifest if isinstance(manifest, dict) else {},
        "config": config.to_json(),
        "again": command.command(config),
        "verify": f"python -m core verify {run.id}",
    }


def _widened(run: Run) -> str:
    account = widened_questions.read_account(run)
    return widened_questions.in_words(account) if account else ""


def _missing(data: Mapping[str, Any], status: Mapping[str, Any]) -> list[str]:
    """Say in words what the run has not got, because it is not finished or because nobody made it."""
    sentences = []
    if status.get("state") != "done":
        sentences.append(f"The run is {status.get('state')}{_at_stage(status)}: what follows is what there is so far.")
    for key, words in (
        ("picture", "where it was found: the model was not localized"),
        ("region", "the region: none was chosen"),
        ("change", "what was changed: nothing was unlearned"),
        ("answers", "answers before and after: none were recorded"),
        ("success", "scores: nothing was measured"),
    ):
        if not data[key]:
            sentences.append(f"Missing is {words}.")
    if data["success"] and not any(row["cells"]["never"] for row in data["success"]):
        sentences.append("There is no never-taught reference, so nobody can say how much of a score is forgetting.")
    if not data["manifest"]["there"]:
        sentences.append("There is no manifest yet, so no file can be verified.")
    return sentences


def _at_stage(status: Mapping[str, Any]) -> str:
    stage, error = str(status.get("stage") or ""), str(status.get("error") or "")
    return (f" in stage {stage}" if stage else "") + (f" ({error})" if error else "")


def _without_texts(data: Data, rows: Sequence[Mapping[str, Any]], subjects: Sequence[str]) -> Data:
    """Leave out every question and answer, and call subjects by a number wherever they are named."""
    names = redaction.aliases(subjects)
    shown = [stop["example"] for stop in data["path"] if stop["example"]]
    for example in (*(data["answers"] or {}).get("examples", ()), *shown):
        example |= {"question": "", **{key: [] for key in TEXTS if key in example}}
        example["subject"] = names.get(example["subject"], "")
    for subject in data["subjects"]:
        subject["name"] = names[subject["name"]]
    if "came_back" in data:
        data["came_back"] = {}
    texts = {
        str(row.get(key)): redaction.LEFT_OUT
        for row in rows
        for key in ("question", "truth")
        if len(str(row.get(key) or "")) > 8
    }
    left: Data = redaction.redacted(
        data, {**texts, **{name: alias for name, alias in names.items() if redaction.distinct(name)}}
    )
    # What a person wrote is searched for all names: elsewhere "other" is a word.
    manifest = left["manifest"]
    for part, keys in ((left["run"], ("id", "name", "error", "data")), (manifest["config"], ("name", "data"))):
        part |= {key: redaction.redacted(part[key], names) for key in keys}
    manifest["verify"] = f"python -m core verify {left['run']['id']}"
    manifest["again"] = _again(manifest["config"]) if manifest["again"] else ""
    return left


def _again(values: Data) -> str:
    """Return the command of settings without names, an empty one where nothing can be read from what is left."""
    try:
        return command.command(from_json(values))
    except UserError:
        return ""


def readable(value: Any) -> Any:
    """Replace half characters, which no file can hold, and give every key and text its plain form."""
    if isinstance(value, dict):
        return {readable(str(key)): readable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [readable(inner) for inner in value]
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value
