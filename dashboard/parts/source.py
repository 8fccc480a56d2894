"""Which data a new run uses: the demo, the benchmark, a folder, a file, an upload; and what is in it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from core import data, store
from core.config import DataConfig
from core.data import Corpus
from core.errors import UserError
from dashboard.parts import look
from dashboard.parts.text import md

KINDS = {"demo": "Demo", "knowundo": "KnowUnDo (hub)", "path": "Folder or file", "upload": "Upload"}
ENDINGS = ("json", "jsonl", "csv", "parquet")
LARGEST_UPLOAD = 20 * 2**20


def choose(start: DataConfig) -> tuple[DataConfig | None, Corpus | None]:
    """Show the choice; return the configuration and its examples (None for those of the hub, which the run fetches)."""
    kind = st.segmented_control("Data", list(KINDS), format_func=KINDS.get, default="demo", key="new.data", required=True,
                                persist_state="session", wrap=True)  # fmt: skip
    source, subset = _place(kind)
    if source is None:
        return None, None
    if kind == "knowundo":
        return _from_hub(source, subset)
    with look.complaints():
        whole = _load(source, subset or start.subset, _changed(source))
        counts = whole.subjects()
        subjects = st.multiselect(
            "Subjects", list(counts), key=f"new.subjects.{source}.{subset}", placeholder="all of them", persist_state="session",
            format_func=lambda name: f"{name} · {sum(counts.get(name, {}).values())} questions",
            help="The people or works that the questions are about. Empty means all.",
        )  # fmt: skip
        known = [name for name in subjects if name in counts]
        corpus = whole.take(known)
        show(corpus)
        return DataConfig(source=source, subset=subset or start.subset, subjects=tuple(known)), corpus
    return None, None


def _place(kind: str) -> tuple[str | None, str]:
    if kind == "demo":
        return kind, _subset(data.subsets(data.ASSETS / "data"))
    if kind == "knowundo":
        return kind, _subset(["privacy", "copyright"])
    if kind == "upload":
        return _upload(), ""
    given = st.text_input("Path", key="new.path", placeholder="/data/KnowUnDo or /data/my-questions.jsonl",
                          persist_state="session")  # fmt: skip
    if not given.strip():
        st.caption(
            "A folder in KnowUnDo's layout, or one file with the columns question, answer, scope (and split, subject)."
        )
        return None, ""
    path = Path(given.strip()).expanduser()
    if path.is_dir():
        found = data.subsets(path)
        if not found:
            look.complain(
                UserError(f"{path} is not in KnowUnDo's layout.", "Expected SUBSET/unlearn.json and retention.json.")
            )
            return None, ""
        return str(path), _subset(found)
    return str(path), ""


def _subset(names: Sequence[str]) -> str:
    usual = DataConfig().subset
    first = list(names).index(usual) if usual in names else 0
    return str(st.selectbox("Subset", names, index=first, key=f"new.subset.{'-'.join(names)}", persist_state="session"))


def _from_hub(source: str, subset: str) -> tuple[DataConfig, None]:
    subjects = st.multiselect("Subjects", [], accept_new_options=True, key="new.subjects.hub", placeholder="all of them")
    st.caption("The run fetches the benchmark from the hub; its questions are not shown beforehand.")
    return DataConfig(source=source, subset=subset, subjects=tuple(subjects)), None


def _upload() -> str | None:
    given = st.file_uploader("File", type=list(ENDINGS), key="new.upload",
                             help="Columns question, answer and scope (unlearn or retention); split and subject if you have them.")  # fmt: skip
    if given is None:
        st.caption("JSON, JSON lines, CSV or Parquet, up to 20 MB, with the columns question, answer and scope.")
        return None
    with look.complaints():
        return str(save(given.name, given.getvalue()))
    return None


def save(name: str, content: bytes) -> Path:
    """Keep an uploaded file in the runs folder, named by its content. Raises UserError for wrong ending or size."""
    ending = name.rpartition(".")[2].lower()
    if ending not in ENDINGS:
        raise UserError(f"{name} is no data file.", f"Known endings: {', '.join(ENDINGS)}.")
    if len(content) > LARGEST_UPLOAD:
        raise UserError(
            f"{name} has {len(content) / 2**20:.0f} MB; at most 20 MB can be uploaded.", "Give its path instead."
        )
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", name.rpartition(".")[0])[:60] or "data"
    place = store.runs_folder() / ".uploads" / hashlib.sha256(content).hexdigest()[:16] / f"{stem}.{ending}"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    except OSError as error:
        raise store.disk_error(place, error) from error
    return place


def show(corpus: Corpus) -> None:
    """Say how much data it is, show some of it, and what a careful person would want to know."""
    parts = []
    for scope, name in (("unlearn", "✖ to forget"), ("retention", "● to keep")):
        train, val = len(corpus.select(scope, ("train", "dev"))), len(corpus.select(scope, "val"))
        parts.append(f"**{train}** questions {name} and **{val}** new ones to check with")
    st.markdown("; ".join(parts) + ".")
    for finding in corpus.findings():
        st.caption(f":material/info: {md(finding)}")
    with st.expander("Look at the questions"):
        rows = [{"scope": e.scope, "split": e.split, "subject": e.subject, "question": e.question, "answer": e.answer}
                for e in corpus.examples[:200]]  # fmt: skip
        st.dataframe(rows, height=260, hide_index=True, alt="The first 200 questions of the chosen data")


def _changed(source: str) -> float:
    path = Path(source)
    try:
        if path.is_dir():
            return max((p.stat().st_mtime for p in path.glob("*/*.json")), default=0.0)
        return path.stat().st_mtime
    except OSError:
        return 0.0


@st.cache_data(max_entries=8, show_spinner=False)  # type: ignore[untyped-decorator]
def _load(source: str, subset: str, changed: float) -> Corpus:
    return data.load(DataConfig(source=source, subset=subset))
