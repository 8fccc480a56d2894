"""Audits on the pages: what stands in place of the localization, and the form that starts one."""

from __future__ import annotations

import dataclasses
from typing import Any

import streamlit as st

from core.config.run_config import preset
from core.config.stages import AuditConfig
from core.jobs import lifecycle
from core.runs import audit, store
from core.runs.store import Run
from dashboard import pages
from dashboard.charts import weight_changes
from dashboard.text import md
from dashboard.widgets import current_run, page_style
from dashboard.widgets.plot import columns_of

NAMES = {"before": "Before", "after": "After", "never": "Never taught"}
FORMULA = "Frobenius norm of after − before, of each weight matrix with its adapter added"
LONGEST = 500
"""characters of a model's or data set's name"""


def show(run: Run) -> None:
    """Say what was compared and why there is no heatmap, and show how far the weights lie apart where that is known."""
    record, table = audit.read(run), current_run.table(run, "changes")
    st.info(audit.NO_HEATMAP, icon=":material/info:")
    if record is None:
        st.page_link(
            pages.RUNS.script,
            label="See the audit",
            icon=pages.RUNS.icon,
            query_params={"run": run.id, "view": pages.THIS_RUN},
        )
        return
    rows = [{"model": NAMES.get(voice, md(voice)), "is": md(_named(side))} for voice, side in record["sides"].items()]
    st.table(rows, border="horizontal", hide_index=True, alt="The models that were compared")
    if table is None or table.empty:
        st.caption(f"How far their weights lie apart is not shown: {md(record.get('changes') or 'it was not recorded')}.")
        return
    st.subheader("How far after lies from before")
    relative = st.toggle("As a share of ‖θ‖", key="audit.relative", bind="query-params")
    summary = weight_changes.summary(table)
    st.caption(md(summary))
    facts = page_style.where(run, "answers", "changes.parquet", FORMULA, f"{len(table)} weight matrices")
    page_style.chart(
        weight_changes.moved(table, page_style.palette(), relative=bool(relative)),
        summary,
        "audit.moved",
        facts=facts,
        columns=columns_of(table),
    )


def _named(side: dict[str, Any]) -> str:
    return f"{side.get('name', '?')} ({side.get('note', '')})"


def form() -> None:
    """Offer to audit two models made elsewhere."""
    with st.expander("Audit two models made elsewhere", icon=":material/fact_check:", key="audit.open"):
        st.markdown(
            "Nothing is taught or unlearned: both models answer the questions of a data set and are measured. "
            "A model is a hub id, a folder of safetensors, a GGUF file or a LoRA adapter folder."
        )
        left, right = st.columns(2)
        before, after = (
            column.text_input(
                label, key=f"audit.{key}", max_chars=LONGEST, placeholder="org/name or /models/mine", help=help_
            )
            for column, label, key, help_ in (
                (left, "Before", "before", "The model or adapter that knows."),
                (right, "After", "after", "The model or adapter that is said to have forgotten."),
            )
        )
        source = left.text_input(
            "Data",
            "demo",
            key="audit.data",
            max_chars=LONGEST,
            help="demo, knowundo (the hub), a folder in its layout, or a file.",
        )
        subset = right.text_input("Subset", "privacy", key="audit.subset", max_chars=80)
        never = left.text_input(
            "Never taught (optional)",
            key="audit.never",
            max_chars=LONGEST,
            placeholder="not needed for adapters",
            help="A model that never knew the data. Where before is an adapter, its base is taken.",
        )
        name = right.text_input("Name", key="audit.name", max_chars=80, placeholder="made from both names if empty")
        if st.button("Audit", key="audit.start", icon=":material/play_arrow:", type="primary"):
            with page_style.complaints():
                start(
                    AuditConfig(before.strip(), after.strip(), never.strip()), source.strip(), subset.strip(), name.strip()
                )


def start(models: AuditConfig, source: str, subset: str, name: str) -> None:
    """Check everything, start the audit, and go to it. Raises UserError for what is wrong."""
    config = (
        preset("this-machine").with_setting("data.source", source or "demo").with_setting("data.subset", subset or "privacy")
    )
    run = lifecycle.submit(audit.configured(dataclasses.replace(config, name=name), models), store.runs_folder())
    current_run.open_run(run.id)
    st.query_params["view"] = pages.THIS_RUN
    st.rerun()
