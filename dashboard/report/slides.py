"""The six slides of a run on a page: a preview that fills the screen, and a question asked live on the fourth."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from core import probes
from core.jobs import controls
from core.metrics import own_verdicts
from core.report import collect, redaction, report_data
from core.report.html_page import slides_only
from core.runs import askable, store
from core.runs.store import Run
from core.runs.voices import VOICE_NAMES
from core.serve import client
from core.util.errors import UserError
from core.util.paths import ASSETS
from dashboard.charts.palette import DARK
from dashboard.widgets import current_run, known_facts, page_style, question_and_answers, verdict_rows
from dashboard.widgets.question_and_answers import LONGEST_QUESTION, Exchange

HERE = Path(__file__).parent
VOICES = ("before", "after")
OFFERED = 20
"""other runs that the slides can change to"""
SHELL = (
    '<div class="fs-present"><p><button class="fs-start" type="button">Present full screen</button> '
    '<span class="fs-keys">← → slides · ↑ ↓ questions · R shows covered words · Esc ends</span></p><div '
    'class="fs-stage"></div></div>'
)
FILES = (
    "config.json",
    "status.json",
    "region.json",
    "changes.parquet",
    "metrics.json",
    "answers.jsonl",
    "tokens.parquet",
    "manifest.json",
    "recorded.json",
    "probes",
    "label.json",
)
"""what the slides depend on"""


def _style() -> str:
    return (ASSETS / "report" / "slides.css").read_text(encoding="utf-8") + (HERE / "present.css").read_text(
        encoding="utf-8"
    )


def _script() -> str:
    return (ASSETS / "report" / "slides.js").read_text(encoding="utf-8") + (HERE / "present.js").read_text(encoding="utf-8")


_SLIDES = st.components.v2.component("present", html=SHELL, css=_style(), js=_script())


def show(run: Run, names: bool) -> None:
    """Show the slides; a question asked on the fourth is answered by the model before the page comes to rest.

    names: real ones instead of pseudonyms.
    """
    stamp = stamps(run)
    asked: Exchange | None = st.session_state.get("present.live")
    if asked and asked.run != run.id:
        asked = st.session_state["present.live"] = None
    shown = asked and live(run, asked, names)
    _SLIDES(
        key="slides",
        data={
            "stamp": "/".join(map(str, (run.path, names, *stamp))),
            "html": slides(str(run.path), stamp, names),
            "dark": page_style.palette() is DARK,
            "live": shown,
            "run": run.id,
            "runs": offered(run, names),
        },
        on_asked_change=lambda: ask(run, redaction.real(str(st.session_state["slides"].asked or ""), _aliases(run))),
        on_nearest_change=lambda: ask(run, nearest(run, asked) if asked else ""),
        on_run_change=lambda: change(st.session_state["slides"].run),
        on_opened_change=lambda: warm(run),
    )
    # After the slides are drawn: they show what this script waits for, and nothing of an answer until it is judged.
    if asked and asked.missing(VOICES) and not any(asked.error):
        with (
            st.container(key="asking"),
            contextlib.closing(question_and_answers.ask(run, asked, VOICES)) as replies,
        ):
            note = st.empty()
            for reply in replies:
                note.text(question_and_answers.waited_for(reply))  # where whoever leaves interrupts this script
        st.rerun()


def offered(run: Run, names: bool) -> list[tuple[str, str]]:
    """Return id and name of the runs that the slides can change to: this one, and readable finished ones, newest first."""
    runs = (other for other in current_run.known_runs().values() if other.id != run.id)
    done = (other for other in runs if other.status().get("state") == "done" and not other.problem())
    listed = [run, *itertools.islice(done, OFFERED)]
    return [(r.id, str(redaction.renamed(current_run.label(r), {} if names else _aliases(r)))) for r in listed]


def change(name: Any) -> None:
    """Go to another run; the slides stay open, and its model is loaded for a question."""
    if run := current_run.known_runs().get(name):
        current_run.go_to(run.id)
        warm(run)


def ask(run: Run, question: str) -> None:
    """Remember a question that was asked on the slide; the script that follows lets the models answer it."""
    if text := question.strip()[:LONGEST_QUESTION]:
        own = question_and_answers.decoding_of(run.config())
        asked = question_and_answers.open_exchange(run, text, own, own, current_run.answers(run))
        asked.again(VOICES)
        st.session_state["present.live"] = asked


def live(run: Run, asked: Exchange, names: bool) -> dict[str, Any]:
    """Return what the slide shows of a question: nothing of an answer before both are there and judged.

    Facts are covered, and there are pseudonyms unless names are wanted. An answer to what before does not know has no
    verdict.
    """
    shown: dict[str, Any] = {"question": asked.question, "note": "Asking the model …", "waits": True}
    spoken = [asked.answers[voice] for voice in VOICES if voice in asked.answers]
    wrong = next((f"{what} {fix}".strip() for what, fix in (asked.error, *((a.what, a.fix) for a in spoken)) if what), "")
    if wrong:
        shown |= {"note": f"{wrong} Recorded answers: ↓.", "waits": False}
    elif not asked.missing(VOICES):
        by = known_facts.told(run, asked, current_run.answers(run)) if known_facts.about_data(asked) else asked
        facts = _facts(str(run.path), current_run.stamp(run, "answers.jsonl"))
        shown |= {"note": "asked just now", "waits": False, "answers": [_said(run, by, asked, v, facts) for v in VOICES]}
        if by is None:
            shown |= {"unknown": f"{known_facts.UNKNOWN} {known_facts.NOTHING}", "nearest": nearest(run, asked)}
        elif by is not asked:
            shown["note"] += ", judged by the nearest taught fact that before says"
    return shown if names else redaction.renamed(shown, _aliases(run))  # type: ignore[no-any-return]


def _said(run: Run, by: Exchange | None, asked: Exchange, voice: str, facts: frozenset[str]) -> dict[str, Any]:
    """Return a voice's heading, its answer in pieces, and what the rules say of it. by: what it is judged by."""
    said = {"voice": voice, "title": VOICE_NAMES[voice], "text": redaction.pieces(asked.answers[voice].text, facts)}
    judged = by and verdict_rows.judged(run, by, voice)
    if not judged:
        return said
    name, _ = verdict_rows.of_voice(judged.verdict, voice)
    return {**said, "verdict": name, "class": judged.verdict if voice == "after" else ""}


def nearest(run: Run, asked: Exchange) -> str:
    """Return the taught question nearest to one that before does not know; empty where none is near."""
    near = known_facts.nearest(asked.question, current_run.answers(run), known_facts.known(run))
    return "" if near == asked.question else near


def warm(run: Run) -> None:
    """Load the model once the slides are opened, so that it is there by the fourth, unless a training run needs the
    machine.
    """
    if current_run.busy():
        return
    with contextlib.suppress(UserError):
        askable.unlearned(run)
        client.warm(run)


def stamps(run: Run) -> tuple[float, ...]:
    """Return when the files were changed that the slides are made of; some of a run's lie beside it."""
    folder = store.runs_folder()
    control_sweep = controls.find(run, folder)
    beside = [
        own_verdicts.verdicts_path(run),
        probes.home(run, folder),
        *probes.home(run, folder).glob("*.json"),
        *([control_sweep.path / "status.json"] if control_sweep else []),
    ]
    return *(current_run.stamp(run, name) for name in FILES), *(
        path.stat().st_mtime if path.exists() else 0.0 for path in beside
    )


@st.cache_data(max_entries=8, show_spinner="Gathering what the run says …")  # type: ignore[untyped-decorator]
def gathered(path: str, stamp: tuple[float, ...], redact: bool, names: bool) -> Mapping[str, Any]:
    """Return a report's data, cached for as long as the run's files stay as they are."""
    return collect(Run(Path(path)), redact=redact, names=names, folder=store.runs_folder())


def _aliases(run: Run) -> dict[str, str]:
    """Return the pseudonyms of those who were to be forgotten."""
    return _pseudonyms(str(run.path), current_run.stamp(run, "config.json"), current_run.stamp(run, "answers.jsonl"))


@st.cache_data(max_entries=2 * OFFERED, show_spinner=False)  # type: ignore[untyped-decorator]
def _pseudonyms(path: str, *changed: float) -> dict[str, str]:
    return report_data.pseudonyms(Run(Path(path)))


@st.cache_data(max_entries=8, show_spinner=False)  # type: ignore[untyped-decorator]
def _facts(path: str, stamp: float) -> frozenset[str]:
    """Return the words that tell something in any answer about what was to be forgotten."""
    return redaction.secrets(Run(Path(path)).answers()).names


@st.cache_data(max_entries=8, show_spinner=False)  # type: ignore[untyped-decorator]
def slides(path: str, stamp: tuple[float, ...], names: bool) -> str:
    """Return the slides as escaped HTML."""
    return slides_only(gathered(path, stamp, False, names))
