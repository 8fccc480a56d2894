"""Which data a new run uses: the demo, the benchmark, a folder, a file, an upload; and what is in it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from core.config.stages import DataConfig
from core.data import sources, tofu
from core.data.corpus import Corpus
from core.data.findings import findings
from core.util import paths
from core.util.errors import UserError
from dashboard.runs import form_model, form_upload
from dashboard.runs.form_subjects import pick
from dashboard.text import md
from dashboard.widgets import page_style

KINDS = {"demo": "Demo", "knowundo": "KnowUnDo (hub)", "tofu": "TOFU (hub)", "path": "Folder or file", "upload": "Upload"}


def choose(start: DataConfig, prefix: str) -> tuple[DataConfig | None, Corpus | None]:
    """Show the choice; return the configuration and its examples (None for those of the hub that were not fetched yet)."""
    first = start.source if start.source in ("demo", *sources.HUBS) else "path"
    kind = st.segmented_control(
        "Data",
        list(KINDS),
        format_func=KINDS.get,
        default=first,
        key=f"{prefix}.data",
        required=True,
        bind="query-params",
        wrap=True,
    )
    source, subset = None, ""
    with page_style.complaints():
        source, subset = _location(str(kind), start, prefix)
    if source is None:
        return None, None
    if kind in sources.HUBS and not _fetched(source, subset, prefix):
        return _not_fetched(source, subset, start, prefix)
    with page_style.complaints():
        whole = load(source, subset or start.subset)
        same = source in (start.source, str(paths.given(start.source)))
        chosen = pick(whole, start.subjects if same else (), f"{prefix}.subjects.{subset or kind}")
        corpus = whole.take(chosen)
        show(corpus)
        return DataConfig(source=source, subset=subset or start.subset, subjects=tuple(chosen)), corpus
    return None, None


def load(source: str, subset: str) -> Corpus:
    """Return all examples of a local source, cached until its files change. Raises UserError."""
    return _load(source, subset, _changed(source))


def _location(kind: str, start: DataConfig, prefix: str) -> tuple[str | None, str]:
    if kind == "demo":
        return kind, _subset(sources.subsets(paths.ASSETS / "data"), start, prefix)
    if kind in sources.HUBS:
        return kind, _subset(sources.HUBS[kind], start, prefix)
    if kind == "upload":
        return form_upload.choose(prefix), ""
    before = start.source if start.source not in ("demo", *sources.HUBS) else ""
    given = st.text_input(
        "Path", before, key=f"{prefix}.path", placeholder="/data/KnowUnDo or /data/my-questions.jsonl", bind="query-params"
    )
    if not given.strip():
        st.caption(
            "A folder in KnowUnDo's layout, or one file with the columns question, answer, scope (and split, subject)."
        )
        return None, ""
    path = paths.given(given.strip())
    if path.is_dir():
        subsets = sources.subsets(path)
        if not subsets:
            page_style.complain(
                UserError(f"{path} is not in KnowUnDo's layout.", "Expected SUBSET/unlearn.json and retention.json.")
            )
            return None, ""
        return str(path), _subset(subsets, start, prefix)
    return (str(path) if form_upload.usable(path) else None), ""


def _subset(names: Sequence[str], start: DataConfig, prefix: str) -> str:
    usual = start.subset if start.subset in names else DataConfig().subset
    first = list(names).index(usual) if usual in names else 0
    key = f"{prefix}.subset.{'-'.join(names)}"
    return str(st.selectbox("Subset", names, index=first, key=key, bind="query-params"))


def _fetched(source: str, subset: str, prefix: str) -> bool:
    """Say whether the hub has a benchmark, and fetch it where that is wanted; a run that comes later finds it here."""
    st.caption(form_model.reached({"knowundo": sources.HUB, "tofu": tofu.HUB}[source], data=True))
    if not st.toggle("Fetch and show the questions", key=f"{prefix}.fetch.{source}"):
        return False
    with page_style.complaints(), st.spinner("Fetching the benchmark …"):
        load(source, subset)
        return True
    return False


def _not_fetched(source: str, subset: str, start: DataConfig, prefix: str) -> tuple[DataConfig, None]:
    before = list(start.subjects) if start.source == source else []
    subjects = st.multiselect(
        "Subjects",
        before,
        before,
        accept_new_options=True,
        key=f"{prefix}.subjects.hub",
        placeholder="all of them",
        bind="query-params",
    )
    return DataConfig(source=source, subset=subset, subjects=tuple(subjects)), None


def show(corpus: Corpus) -> None:
    """Say how much data it is, show some of it, and what a careful person would want to know."""
    parts = []
    for scope, name in (("unlearn", "✖ to forget"), ("retention", "● to keep")):
        train, val = len(corpus.select(scope, ("train", "dev"))), len(corpus.select(scope, "val"))
        parts.append(f"**{train}** questions {name} and **{val}** new ones to check with")
    st.markdown("; ".join(parts) + ".")
    for finding in _findings(corpus):
        st.caption(f":material/info: {md(finding)}")
    with st.expander("Look at the questions"):
        rows = [
            {"scope": e.scope, "split": e.split, "subject": e.subject, "question": e.question, "answer": e.answer}
            for e in corpus.examples[:200]
        ]
        st.dataframe(rows, height=260, hide_index=True, alt="The first 200 questions of the chosen data")


def _changed(source: str) -> float:
    path = Path(source)
    try:
        if path.is_dir():
            return max((p.stat().st_mtime for p in path.glob("*/*.json")), default=0.0)
        return path.stat().st_mtime
    except OSError:
        return 0.0


@functools.lru_cache(maxsize=8)
def _findings(corpus: Corpus) -> list[str]:
    return findings(corpus)


# As a resource: a corpus cannot be changed, so that all get the same one.
@st.cache_resource(max_entries=8, show_spinner=False)  # type: ignore[untyped-decorator]
def _load(source: str, subset: str, changed: float) -> Corpus:
    return sources.load(DataConfig(source=source, subset=subset))
