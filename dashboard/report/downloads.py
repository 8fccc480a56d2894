"""What of a run can be taken along: its report, its model, its tables; and the check that all of it belongs together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st

from core.report import export_model, export_tables, model_card, verify_run
from core.report.html_page import render
from core.runs import askable, store
from core.runs.store import Run
from core.util.errors import UserError
from dashboard.report import slides
from dashboard.text import md
from dashboard.widgets import current_run, page_style

SIGNS = {"match": ":green[✔]", "mismatch": ":red[✖]", "skipped": ":gray[–]", "note": ":gray[·]"}


def report(run: Run, names: bool) -> None:
    """Offer the report as a file, with or without texts. names: real ones instead of pseudonyms."""
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        redact = st.toggle(
            "Leave out all texts",
            key="redact",
            bind="query-params",
            help="Then the file holds no question, no answer and no subject's name. Otherwise the words that tell "
            "what was to be forgotten are covered until somebody uncovers them, but they are in the file.",
        )
        name = f"{store.nameless(run.id)}-redacted.html" if redact else f"{run.id if names else store.nameless(run.id)}.html"
        st.download_button(
            "Download report (HTML)",
            data=lambda: written(run, redact, names),
            file_name=name,
            mime="text/html",
            on_click="ignore",
            icon=":material/download:",
            key="report.file",
            help="One file that opens anywhere, prints, and presents itself",
        )
    if not redact:
        st.caption(
            "What was to be forgotten is covered until a reader uncovers it, but it is in the file. Give it only "
            "to those who may read it."
        )


def written(run: Run, redact: bool, names: bool) -> bytes:
    """Return the report."""
    return render(slides.gathered(str(run.path), slides.stamps(run), redact, names)).encode()


@dataclass(frozen=True)
class Download:
    """A file that can be taken along."""

    title: str
    file: str
    mime: str
    data: Callable[[], Any]
    """makes it, once it is asked for"""
    words: str
    problem: str = ""
    """why there is none; empty where there is one"""


def others(run: Run) -> None:
    """Offer model and tables."""
    with st.container(horizontal=True, gap="small"):
        for one in downloads(run):
            st.download_button(
                one.title,
                data=one.data,
                file_name=one.file,
                mime=one.mime,
                on_click="ignore",
                icon=":material/download:",
                key=f"take.{one.title}",
                disabled=bool(one.problem),
                help=md(one.problem) if one.problem else one.words,
            )
    st.caption(
        "CSV, Parquet and LLM Comparator hold questions and answers. The adapter after unlearning can be asked by "
        "whoever has the base model."
    )
    st.markdown("In a shell: the whole model (safetensors, or GGUF for llama.cpp and Ollama), a notebook, an endpoint.")
    commands = [
        f"python -m core export {run.id} --as {kind} -o {run.id}-{kind}" for kind in ("merged", "gguf-q8_0", "notebook")
    ]
    st.code("\n".join([*commands, f"python -m core serve {run.id}"]), language=None, wrap_lines=True)


def downloads(run: Run) -> list[Download]:
    """Return what can be taken along of a run besides its report."""
    return [
        Download(
            "Adapter",
            f"{run.id}-adapter.zip",
            "application/zip",
            lambda: export_model.adapter_zip(run, store.runs_folder()),
            "After unlearning, as peft reads it, with a model card",
            adapter_problem(run),
        ),
        Download(
            "card.json",
            f"{store.nameless(run.id)}-card.json",
            "application/json",
            lambda: export_model.card_json(model_card.model_card(run, store.runs_folder())),
            "Method, region, scores, limits and hashes for programs; no texts",
        ),
        Download(
            "CSV",
            f"{run.id}-tables.zip",
            "application/zip",
            lambda: export_tables.as_csv(run),
            "All tables: answers with verdicts, scores, tokens, cells. Nothing in them runs as a formula.",
        ),
        Download(
            "Parquet",
            f"{run.id}-parquet.zip",
            "application/zip",
            lambda: export_tables.as_parquet(run),
            "The same tables for programs",
        ),
        Download(
            "LLM Comparator",
            f"{run.id}-comparator.json",
            "application/json",
            lambda: export_tables.as_comparator(run),
            "Before and after, for https://pair-code.github.io/llm-comparator (it opens local files)",
            "" if current_run.answers(run) else "No answers were recorded.",
        ),
    ]


def adapter_problem(run: Run) -> str:
    """Say why there is no adapter to take along, an empty string where there is one."""
    try:
        askable.unlearned(run)
    except UserError as error:
        return error.what
    return (
        "What was taught is merged into this run's base: export the merged model."
        if (run.path / export_model.MERGED_BASE).is_dir()
        else ""
    )


def check(run: Run) -> None:
    """Offer to verify the run's files; the model itself is asked again in a shell."""
    if st.button(
        "Verify",
        icon=":material/verified:",
        key="verify",
        help="Compares files, weights, region and scores with each other; takes some seconds",
    ):
        with st.spinner("Comparing …"), page_style.complaints():
            st.session_state["verified"] = (run.id, slides.stamps(run), list(verify_run.verify(run)))
    *checked, checks = st.session_state.get("verified", ("", (), []))
    if checked == [run.id, slides.stamps(run)]:
        wrong = sum(outcome.state == verify_run.MISMATCH for outcome in checks)
        st.markdown(
            f"**{wrong} of {len(checks)} checks do not match.**" if wrong else "**Everything that was checked matches.**"
        )
        st.markdown("  \n".join(f"{SIGNS[outcome.state]} {md(outcome.says)}" for outcome in checks))
    st.markdown("With the model, a random sample of answers is scored again; a report is checked in the same way:")
    st.code(f"python -m core verify {run.id}\npython -m core verify {run.id}.html", language=None, wrap_lines=True)
