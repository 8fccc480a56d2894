"""The six slides of a run on a page: a preview that fills the screen, and a question asked live on the fourth."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
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
from core.serve import client
from core.util.errors import UserError
from core.util.paths import ASSETS
from dashboard.charts.palette import DARK
from dashboard.widgets import current_run, page_style

HERE = Path(__file__).parent
LONGEST = 2000
"""characters of a question"""
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
    asked: dict[str, Any] | None = st.session_state.get("present.live")
    if asked and asked["run"] != run.id:
        asked = st.session_state["present.live"] = None
    _SLIDES(
        key="slides",
        data={
            "stamp": "/".join(map(str, (run.path, names, *stamp))),
            "html": slides(str(run.path), stamp, names),
            "dark": page_style.palette() is DARK,
            "live": asked and live(run, asked, names),
        },
        on_asked_change=lambda: ask(run, st.session_state["slides"].asked),
        on_opened_change=lambda: warm(run),
    )
    # After the slides are drawn: they show that the model is being asked while this script waits for it.
    if asked and "before" not in asked and asked["note"] == WAITING:
        answer(run, asked)
        st.rerun()


WAITING = "Asking the model …"


def live(run: Run, asked: Mapping[str, Any], names: bool) -> dict[str, Any]:
    """Return what the slide shows of a question that was asked: facts covered, and pseudonyms unless names are wanted."""
    shown = {key: value for key, value in asked.items() if key != "run"}
    facts = _facts(str(run.path), current_run.stamp(run, "answers.jsonl"))
    shown |= {voice: redaction.pieces(asked[voice], facts) for voice in ("before", "after") if voice in asked}
    return shown if names else redaction.renamed(shown, report_data.pseudonyms(run))  # type: ignore[no-any-return]


def ask(run: Run, question: Any) -> None:
    """Remember a question that was asked on the slide; the script that follows lets the model answer it."""
    text = str(question or "").strip()[:LONGEST]
    if text:
        st.session_state["present.live"] = {"run": run.id, "question": text, "note": WAITING}


def answer(run: Run, asked: dict[str, Any]) -> None:
    """Let both models answer; what goes wrong is said in the place of the answers."""
    try:
        askable.unlearned(run)
        question = redaction.real(asked["question"], report_data.pseudonyms(run))
        with contextlib.closing(client.ask(run, [question])) as replies:
            texts = client.texts(_interruptible(replies), 2)
        asked |= {"note": "asked just now", "before": texts[0], "after": texts[1]}
    except UserError as error:
        asked["note"] = f"{error.what} {error.fix} Recorded answers: ↓.".strip()


def _interruptible(replies: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Pass replies on; between two of them this script can be interrupted, so that whoever leaves waits for nothing."""
    spot = st.empty()
    for reply in replies:
        spot.empty()
        yield reply


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


@st.cache_data(max_entries=8, ttl=300, show_spinner="Gathering what the run says …")  # type: ignore[untyped-decorator]
def gathered(path: str, stamp: tuple[float, ...], redact: bool, names: bool) -> Mapping[str, Any]:
    """Return a report's data, cached for as long as the run's files stay as they are."""
    return collect(Run(Path(path)), redact=redact, names=names, folder=store.runs_folder())


@st.cache_data(max_entries=8, ttl=300, show_spinner=False)  # type: ignore[untyped-decorator]
def _facts(path: str, stamp: float) -> frozenset[str]:
    """Return the words that tell something in any answer about what was to be forgotten."""
    return redaction.secrets(Run(Path(path)).answers()).names


@st.cache_data(max_entries=8, ttl=300, show_spinner=False)  # type: ignore[untyped-decorator]
def slides(path: str, stamp: tuple[float, ...], names: bool) -> str:
    """Return the slides as escaped HTML."""
    return slides_only(gathered(path, stamp, False, names))
