"""What a visitor asked of a run, kept for their next visit: a file a person and run, beside the runs.

A person is whoever signed in, else a browser with our cookie. A file's name is a hash of that, so nobody opens another's.
It goes with the run, and is no part of it: it is written where runs cannot be changed too, and no export or report has it.
What stands in it came from people and models, so it is read as theirs, and shown as everything else that they say.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.runs import layout, store
from core.runs.store import Run
from core.runs.voices import LONGEST as LONGEST_VOICE
from core.serve.messages import MOST_VOICES
from core.util import files, safe_read
from core.util.failure_sentences import disk_error
from dashboard.server import sign_in, visitors
from dashboard.widgets import current_run, question_and_answers
from dashboard.widgets.question_and_answers import LONGEST_QUESTION, Answer, Decoding, Exchange

MOST = 50
"""questions that are kept of a person and run, the last ones"""
LARGEST = 2**19
"""bytes of a file; what was asked first goes first"""
FILES = 1000
"""files of all visitors; those that were left alone for the longest go first"""
LONGEST_NOTE = 2000
LONGEST_ANSWER = 50_000
"""characters"""


def place(run: Run) -> Path | None:
    """Return the file of whoever a page is shown to, None where nobody can tell who that is."""
    who = sign_in.person()
    folder = store.runs_folder() if run.bundled else run.path.parent
    return folder / layout.ASKED / run.id / f"{who}.jsonl" if who else None


def lines(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write entries, the newest first, a line each, as many as are kept."""
    written, size = [], 0
    for entry in entries[:MOST]:
        written.append(json.dumps(entry) + "\n")  # in ASCII: a question may hold half a character, which no file takes
        size += len(written[-1])
    while size > LARGEST:
        size -= len(written.pop())
    return written


def read(path: Path) -> list[dict[str, Any]]:
    """Return the entries of a file, none where there is none or it is damaged."""
    try:
        with path.open("rb") as file:
            return safe_read.json_objects(file.read(LARGEST).split(b"\n"))[:MOST]
    except OSError:
        return []


def write(path: Path, written: Sequence[str]) -> None:
    """Replace a file; none is left where there is nothing to keep. Raises UserError where the disk refuses."""
    try:
        if not written:
            path.unlink(missing_ok=True)
            return
        if not path.exists():
            path.parents[2].mkdir(parents=True, exist_ok=True)
            path.parents[1].mkdir(mode=0o700, exist_ok=True)
            path.parent.mkdir(exist_ok=True)
            _make_room(path.parents[1])
    except OSError as error:
        raise disk_error(path, error) from error
    files.write_text(path, "".join(written))


def _make_room(folder: Path) -> None:
    """Remove files that no browser has the cookie for any more, and the oldest where there are too many."""
    others = sorted(((safe_read.stamp(path)[0], path) for path in folder.glob("*/*.jsonl")), reverse=True)
    for number, (changed, path) in enumerate(others):
        if number >= FILES - 1 or time.time() - changed / 1e9 > visitors.SECONDS:
            with contextlib.suppress(OSError):  # somebody else was faster
                path.unlink()


def told(entry: Exchange) -> dict[str, Any]:
    """Return what is kept of an exchange: what was recorded with the run is only named."""
    answers = {
        voice: {"state": answer.state}
        if answer.state == "recorded"
        else {
            "state": answer.state,
            "text": answer.text,
            "digest": answer.digest,
            "tokens": answer.tokens,
            "seconds": answer.seconds,
            "said": [[token["text"], round(token["logprob"], 4)] for token in answer.said],
        }
        for voice, answer in entry.answers.items()
        if entry.finished(voice)
    }
    return {
        "question": entry.question,
        "decoding": entry.decoding.values(),
        "changed": entry.changed,
        "truth": entry.truth,
        "star": entry.star,
        "note": entry.note,
        "prompt": entry.prompt,
        "voices": entry.voices,
        "answers": answers,
    }


def which(entry: Mapping[str, Any]) -> str:
    """Return what tells one entry from another: the question and how it was asked."""
    return json.dumps([entry.get("question"), entry.get("decoding")], sort_keys=True)


def opened(entry: Mapping[str, Any], run: Run, own: Decoding, rows: Sequence[Mapping[str, Any]]) -> Exchange | None:
    """Return an entry as the exchange that it was, None for what is none. What another state of the run said is left out."""
    question = entry.get("question")
    if not isinstance(question, str) or not question.strip():
        return None
    decoding = question_and_answers.decoding_within(safe_read.mapping(entry, "decoding"), own)
    made = question_and_answers.open_exchange(run, question[:LONGEST_QUESTION], decoding, own, rows)
    made.star, made.note = entry.get("star") is True, _text(entry.get("note"), LONGEST_NOTE)
    made.truth = made.truth or _text(entry.get("truth"), LONGEST_QUESTION)
    made.prompt = made.prompt or _text(entry.get("prompt"), LONGEST_ANSWER)
    voices = entry.get("voices")
    made.voices = [_text(voice, LONGEST_VOICE) for voice in voices[:MOST_VOICES]] if isinstance(voices, list) else []
    if entry.get("changed") == current_run.stamp(run, "answers.jsonl"):
        for voice in safe_read.mapping(entry, "answers"):
            if answer := _answer(safe_read.mapping(entry, "answers", voice), run, made, voice):
                made.answers.setdefault(voice, answer)
    return made


def _answer(values: Mapping[str, Any], run: Run, made: Exchange, voice: str) -> Answer | None:
    if values.get("state") == "recorded":
        return question_and_answers.recorded(run, made, voice)
    if values.get("state") not in ("done", "stopped"):
        return None
    return Answer(
        _text(values.get("text"), LONGEST_ANSWER),
        str(values["state"]),
        _text(values.get("digest"), 64),
        int(safe_read.number(values.get("tokens")) or 0),
        safe_read.number(values.get("seconds")) or 0.0,
        said=_tokens(values.get("said")),
    )


def _tokens(value: Any) -> list[dict[str, Any]]:
    """Return the tokens of an answer, none where one of them is not what it should be."""
    pairs = value if isinstance(value, list) else []
    tokens = [
        {"text": pair[0], "logprob": min(logprob, 0.0)}
        for pair in pairs
        if isinstance(pair, list)
        and len(pair) == 2
        and isinstance(pair[0], str)
        and (logprob := safe_read.number(pair[1])) is not None
    ]
    return tokens if len(tokens) == len(pairs) else []


def _text(value: Any, longest: int) -> str:
    return value[:longest] if isinstance(value, str) else ""
