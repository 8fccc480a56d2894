"""Run: start one, watch it, cancel it, come back to it."""

from __future__ import annotations

import dataclasses

import streamlit as st

from core import jobs, store
from core.config import PRESETS, DataConfig, RunConfig, preset
from core.data import Corpus
from core.errors import UserError
from core.methods import Method
from core.models import BUNDLED
from core.regions import Region
from dashboard.parts import look, progress, runs, settings, source
from dashboard.parts.text import md

TABS = ["This run", "New run"]
PRESET_NAMES = {"this-machine": "This machine", "paper": "Paper"}
PRESET_HELP = (
    "**This machine**: settings that give an honest balance on two cores within minutes.  \n"
    "**Paper**: the published settings, exactly; slow on a small machine, and too weak for a small model."
)


def page() -> None:
    """Show the page."""
    run = runs.pick()
    first = TABS[1] if run is None or run.bundled else TABS[0]
    st.session_state.setdefault("run_tab", first)
    tab = st.segmented_control(
        "View", TABS, key="run_tab", required=True, label_visibility="collapsed", persist_state="session"
    )
    if tab == TABS[1] or run is None:
        with look.complaints():
            new_run()
    elif not runs.unreadable(run):
        st.title(md(run.config().name or run.id))
        progress.watch(run)


def new_run() -> None:
    """Show the form of a new run."""
    st.title("Teach, find, forget")
    st.markdown(
        "A run teaches a model your data, finds where it keeps what must be forgotten, changes only that, and measures."
    )
    form, start = st.columns([2.2, 1], gap="large")
    with form:
        name = st.segmented_control("Preset", list(PRESETS), format_func=lambda key: PRESET_NAMES.get(key, key), key="new.preset",
                                    default="this-machine", required=True, help=PRESET_HELP, persist_state="session")  # fmt: skip
        base = preset(name)
        model = choose_model()
        chosen, corpus = source.choose(base.data)
        config, problem = compose(base, name, model, chosen)
    with start, st.container(border=True):
        offer(config, corpus, problem)


def choose_model() -> str:
    """Let the model be chosen; return its name for the configuration."""
    kinds = {"bundled": f"Bundled ({BUNDLED})", "other": "Another one"}
    kind = st.segmented_control("Model", list(kinds), format_func=kinds.get, default="bundled", key="new.model", required=True,
                                persist_state="session", wrap=True)  # fmt: skip
    if kind == "bundled":
        return "bundled"
    return st.text_input("Hub id, folder, GGUF file or adapter folder", key="new.model_name", persist_state="session",
                         placeholder="org/name or /models/mine",
                         help="Any causal language model. A LoRA adapter folder is taken as the model before unlearning.").strip()  # fmt: skip


def compose(base: RunConfig, name: str, model: str, chosen: DataConfig | None) -> tuple[RunConfig | None, UserError | None]:
    """Show method, region and stage settings; return the whole configuration, or what is wrong with it."""
    left, right = st.columns(2, gap="medium")
    try:
        with left:
            method = settings.member(Method, base.unlearn.method, f"{name}.method", "Method",
                                     "How the model is made to forget: what each step pushes away, and what it holds on to.")  # fmt: skip
        with right:
            region = settings.member(Region, base.region, f"{name}.rule", "Region",
                                     "Which adapter tensors unlearning may change. Located is the paper's rule; the others are "
                                     "controls to compare it with.")  # fmt: skip
        with st.expander("Settings of each stage", icon=":material/tune:"):
            st.caption("A coloured dot marks what differs from the preset.")
            changes = settings.stage_settings(base, name)
            seed = st.number_input("Seed", 0, 2**31 - 1, base.seed, key=f"{name}.seed", persist_state="session",
                                   help="The same seed gives the same run, to the bit, on one machine.")  # fmt: skip
            changes |= settings.model_settings(base, name)
        config = base.with_setting("seed", seed)
        for path, value in changes.items():
            config = config.with_setting(path, value)
        config = config.with_setting("unlearn.method", method).with_setting("region", region)
        if not model:
            raise UserError("No model is chosen.", "Give a hub id, a folder or a file, or take the bundled one.")
        if chosen is None:
            raise UserError("No data is chosen.", "Choose the demo, or give a file or folder.")
    except UserError as error:
        return None, error
    config = config.with_setting("model.name", model)
    data = dataclasses.replace(config.data, source=chosen.source, subset=chosen.subset, subjects=chosen.subjects)
    return dataclasses.replace(config, data=data), None


def offer(config: RunConfig | None, corpus: Corpus | None, problem: UserError | None) -> None:
    """Say what will happen, and start it."""
    name = st.text_input("Name", key="new.name", max_chars=80, placeholder="made from method and data if empty")
    if config is None or problem:
        st.button("Start", type="primary", disabled=True, width="stretch")
        if problem:
            st.caption(md(problem))
        return
    method, region = config.unlearn.method.name, config.region.name
    lines = [f"**{md(config.model.name)}** unlearns with **{md(method)}** on the region **{md(region)}**."]
    if corpus is not None:
        lines.append(f"{len(corpus.subjects())} subjects, {len(corpus.examples)} questions.")
    st.markdown("  \n".join(lines))
    if st.button("Start", type="primary", icon=":material/play_arrow:", width="stretch"):
        run = jobs.submit(dataclasses.replace(config, name=name.strip()[:80]), store.runs_folder())
        runs.open_run(run.id)
        st.session_state["next_tab"] = TABS[0]
        st.rerun()
    st.caption("It runs in a process of its own. One run at a time uses the device; others wait in a queue.")


if "next_tab" in st.session_state:
    st.session_state["run_tab"] = st.session_state.pop("next_tab")
page()
