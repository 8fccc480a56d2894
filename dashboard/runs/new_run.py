"""The view "New run": model, data and settings of a run, what it needs, and its start."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from core.config import published
from core.config.presets import DEFAULT, PRESETS
from core.config.run_config import RunConfig, preset, with_method
from core.config.stages import DataConfig
from core.data import sources
from core.data.corpus import Corpus
from core.data.findings import no_general_text
from core.jobs import lifecycle
from core.methods import Method
from core.methods.base import GENERAL
from core.plan import admission
from core.regions import Region
from core.runs import picked_step, store
from core.util.errors import UserError
from dashboard import pages
from dashboard.runs import (
    configuration,
    disk_use,
    form_cluster,
    form_cost,
    form_data,
    form_model,
    form_requests,
    form_settings,
)
from dashboard.text import md
from dashboard.widgets import audit, current_run, page_style, setting_fields

PRESET_NAMES = {
    "clean": "Clean",
    "this-machine": "MemFlex",
    "recommended": "Highest score",
    **{key: f"Paper: {table}" for table, key in published.TABLES.items()},
}
PRESET_HELP = (
    "**Clean**: forgets, says in plain words that it does not know, and keeps what it should keep. It trains fresh weights "
    "beside what was taught.  \n"
    "**MemFlex**: the paper's method with settings for two cores, stopped at the level of the never-taught model.  \n"
    "**Highest score** (`recommended` in the shell): the highest mean of Unlearn and Retention Success on new "
    "questions; two of three of its answers about what was to be forgotten are gibberish.  \n"
    "**Paper**: model, data and settings of the released code, each with the line it stands in as its source; "
    "a baseline of the paper brings its own. It needs a GPU of 40 GB or more."
)
METHOD_HELP = "How the model is made to forget: what each step pushes away, and what it holds on to."
REGION_HELP = (
    "Which adapter tensors unlearning may change. Located is the paper's rule; the others are other localizations, or "
    "controls to compare it with."
)
SEED_HELP = "The same seed gives the same run, to the bit, on one machine."
PROCESSES_HELP = (
    "They share the run's examples. Each holds a model of its own, on a GPU of its own where there are some; what a page "
    "foretells of time and memory is for one."
)
JSON_HELP = "Replaces the form by its JSON, to edit as text. Switching back shows the form as it was."


@dataclass(frozen=True)
class Start:
    """What a form starts from."""

    config: RunConfig
    against: RunConfig
    """what changes are counted against"""
    what: str
    """goes on after “changed against”"""
    prefix: str
    """of the keys of choices that a preset does not change, such as the model"""
    form: str
    """of the keys of settings"""


def show() -> None:
    """Show the form of a new run."""
    current_run.stay()
    again = configuration.wanted_again(current_run.known_runs())
    st.title("Teach, map, forget")
    st.markdown("A run teaches a model your data, maps it, makes it forget by changing a chosen part, and measures.")
    disk_use.warn(store.runs_folder())
    form, side = st.columns([2.2, 1], gap="large")
    with form:
        start = begin(again)
        # Not in the address: the form is not drawn then, so a link would lose all that is set in it.
        as_text = st.toggle("Edit as JSON", key="as_json", persist_state="session", help=JSON_HELP)
        corpus: Corpus | None = None
        if as_text:
            form_config, form_id = st.session_state.get("form_config", (None, ""))
            seed = form_config if form_config and form_id == start.form else start.config
            config, problem = configuration.editor(seed, f"json.{_short(configuration.text_of(seed))}")
            corpus, problem = _corpus_of(config, problem)
        else:
            config, corpus, problem = filled_in(start)
            st.session_state["form_config"] = (config, start.form)
    with side, st.container(border=True):
        offer(config, corpus, problem, start)
    audit.form()


def begin(again: store.Run | None) -> Start:
    """Let the preset be chosen, or start from another run's settings; say what that means."""
    if again is not None:
        return begin_again(again)
    choice, what = st.columns([2.2, 1], vertical_alignment="bottom")
    name = choice.segmented_control(
        "Preset",
        list(PRESETS),
        format_func=lambda key: PRESET_NAMES.get(key, key),
        key="new.preset",
        default=DEFAULT,
        required=True,
        wrap=True,
        help=PRESET_HELP,
        bind="query-params",
    )
    with what.popover("What it changes", icon=":material/compare_arrows:"):
        other = name if name != DEFAULT else "this-machine"
        rows = configuration.differences(preset(DEFAULT), preset(other))
        configuration.changes_table(rows, PRESET_NAMES[DEFAULT], PRESET_NAMES.get(other, other))
    # A published preset is of one model and one benchmark, which the others leave as they were chosen.
    prefix = name if name in published.PRESETS else "new"
    return Start(preset(name), preset(name), f"the preset “{PRESET_NAMES.get(name, name)}”", prefix, name)


def begin_again(run: store.Run) -> Start:
    """Start from a run's settings, with the region that was chosen on its map where the address names one."""
    config, region = run.config(), configuration.wanted_region(run)
    own, key = config, f"again.{_short(run.id)}"
    chosen = ""
    if region is not None:
        config = dataclasses.replace(picked_step.unpicked(config), region=region)
        key = f"again.{_short(run.id + repr(region))}"  # other start values, so other widgets
        chosen = ", with the region that you chose on its map"
    st.info(
        f"These are the settings of **{md(current_run.label(run))}**{chosen}. A coloured dot marks what you change.",
        icon=":material/edit:",
    )
    st.button("Start from a preset instead", on_click=configuration.forget_again, type="tertiary")
    # Its name was of what it did; a changed one is named anew.
    return Start(dataclasses.replace(config, name=""), own, "the other run", key, key)


def filled_in(start: Start) -> tuple[RunConfig | None, Corpus | None, UserError | None]:
    """Show the form; return the configuration and its examples, or what is wrong."""
    kind, name = "other", ""
    problems: list[UserError] = []
    with _noted(problems, said=True):
        kind, name = form_model.choose(start.config.model, start.prefix)
    chosen, corpus = form_data.choose(start.config.data, start.prefix)
    base, form = start.config, start.form
    if kind in form_model.PAPER and base.model.name != name:
        subset = chosen.subset if chosen else base.data.subset
        base = dataclasses.replace(base, region=form_model.published(kind, subset, base.region))
        form = f"{form}.{kind}.{subset}"  # other start values, so other widgets
    config, problem = compose(base, form, name, chosen, problems)
    return config, corpus, problem


def compose(
    base: RunConfig, name: str, model_name: str, chosen: DataConfig | None, problems: list[UserError]
) -> tuple[RunConfig | None, UserError | None]:
    """Show method, region and stage settings; return the whole configuration, or what is wrong with it.

    problems: what is wrong with the model and was said beside it.
    """
    left, right = st.columns(2, gap="medium")
    method: Method | Region = base.unlearn.method
    region: Method | Region = base.region
    with left, _noted(problems):
        method = form_settings.member(Method, base.unlearn.method, f"{name}.method", "Method", METHOD_HELP)
    if base.preset in published.PRESETS and method.name in {*published.BASELINES} - {base.unlearn.method.name}:
        base, name = with_method(base, method.name), f"{name}.{method.name}"  # other start values, so other widgets
    with right, _noted(problems):
        region = form_settings.member(Region, base.region, f"{name}.rule", "Region", REGION_HELP)
    changes = stages(base, name) | {"unlearn.method": method, "region": region}
    with _noted(problems):
        config = with_changes(base, changes, model_name, chosen)
    if problems:
        return None, problems[0]
    with left, _noted(problems, said=True):
        admission.check_method(config)
    with right, _noted(problems, said=True):
        admission.check_region(config, store.runs_folder())
    for text in no_general_text(config.data.general, GENERAL in config.unlearn.method.streams):
        left.caption(f":material/info: {md(text)}")
    return config, problems[0] if problems else None


def stages(base: RunConfig, name: str) -> dict[str, Any]:
    """Show the settings of each stage; return path -> value of those that the form sets."""
    with st.expander("Settings of each stage", icon=":material/tune:", key="stages", on_change="rerun", bind="query-params"):
        st.caption("A coloured dot marks what differs from where the form started.")
        changes = form_settings.stage_settings(base, name)
        first, second = st.columns(2)
        seed = first.number_input("Seed", 0, 2**31 - 1, base.seed, key=f"{name}.seed", bind="query-params", help=SEED_HELP)
        processes = second.number_input(
            "Processes", 1, 64, base.processes, key=f"{name}.processes", bind="query-params", help=PROCESSES_HELP
        )
        changes |= form_settings.model_settings(base, name) | form_settings.data_settings(base, name)
    return {"seed": seed, "processes": processes, **changes}


def with_changes(base: RunConfig, changes: Mapping[str, Any], model_name: str, chosen: DataConfig | None) -> RunConfig:
    """Return a configuration with what the form says. Raises UserError for what cannot be, and without model or data."""
    config = base
    for path, value in changes.items():
        config = config.with_setting(path, value)
    if not model_name:
        raise UserError("No model is chosen.", "Give a hub id, a folder or a file, or take the bundled one.")
    if chosen is None:
        raise UserError("No data is chosen.", "Choose the demo, or give a file or folder.")
    config = config.with_setting("model.name", model_name)
    data = dataclasses.replace(config.data, source=chosen.source, subset=chosen.subset, subjects=chosen.subjects)
    return dataclasses.replace(config, data=data)


@contextlib.contextmanager
def _noted(problems: list[UserError], *, said: bool = False) -> Iterator[None]:
    """Keep what is wrong for later: the rest of the form stays where it is. said: it is also said here."""
    try:
        yield
    except UserError as error:
        problems.append(error)
        if said:
            page_style.complain(error)


def refused(config: RunConfig, corpus: Corpus | None, here: bool) -> UserError | None:
    """Return why a run would be refused, None where it would be queued. here: on this machine, not on a cluster."""
    try:
        form_model.raise_if(form_model.unfit(config.model, here))
        if corpus is not None:  # read already, and the same questions as a run's but for these two settings
            corpus = corpus.with_dev(config.data.dev_share, config.seed, config.data.dev_pick).forgetting(config.data.forget)
            sources.both(corpus)
        admission.check_examples(config, corpus)
        admission.check_method(config)
        admission.check_region(config, store.runs_folder())
        admission.check_earlier(config, store.runs_folder())
        admission.check_disk([config], store.runs_folder())
    except UserError as error:
        return error
    return None


def offer(config: RunConfig | None, corpus: Corpus | None, problem: UserError | None, start: Start) -> None:
    """Say what will happen and what it needs, and start it."""
    name = st.text_input("Name", key="new.name", max_chars=80, placeholder="made from method and data if empty")
    if left := setting_fields.not_taken(start.form):
        st.warning(f"The address asks for what cannot be set, so it was left out: {md(left)}.", icon=":material/link_off:")
    if config is None or problem:
        if problem:
            st.warning(md(problem), icon=":material/info:")
        st.button("Start", type="primary", disabled=True, width="stretch")
        return
    method, region = config.unlearn.method.label, config.region.name
    lines = [
        (
            f"**{md(current_run.model_name(config.model.name))}** unlearns with the method **{md(method)}** in the "
            f"region **{md(region)}**."
        )
    ]
    if corpus is not None:
        lines.append(f"{len(corpus.subjects())} subjects, {len(corpus.examples)} questions.")
    st.markdown("  \n".join(lines))
    with page_style.complaints():
        form_model.memory(config.model)
    cluster = form_cluster.choose()
    if problem := refused(config, corpus, here=cluster is None):
        st.warning(md(problem), icon=":material/info:")
    one_by_one = form_requests.choose(config, corpus) if cluster is None else []
    stopped = problem is not None or len(one_by_one) == 1
    if st.button("Start", type="primary", icon=":material/play_arrow:", disabled=stopped, width="stretch"):
        config = dataclasses.replace(config, name=name.strip()[:80] or config.name)
        if one_by_one:
            form_requests.start(config, one_by_one)
            st.query_params["view"] = pages.QUEUE
            st.rerun()
        run = lifecycle.submit(config, store.runs_folder(), cluster)
        current_run.open_run(run.id)
        st.query_params["view"] = pages.THIS_RUN
        configuration.forget_again()
        st.rerun()
    if cluster is None:
        st.caption("It runs in a process of its own. One run at a time uses the device; others wait in a queue.")
    else:
        st.caption("It begins when a node of the cluster has this much free. Should the node be lost, another one goes on.")
    if not problem:
        form_cost.offer(config, corpus)
    changed = configuration.differences(start.against, config)
    if changed:
        with st.expander(f"{len(changed)} changed against {start.what}", icon=":material/difference:"):
            configuration.changes_table(changed, "before", "now")
    with st.expander("The whole configuration", icon=":material/data_object:"):
        st.code(configuration.text_of(config), language="json", height=320)
        configuration.download(config, "download_new")


def _corpus_of(config: RunConfig | None, problem: UserError | None) -> tuple[Corpus | None, UserError | None]:
    """Return the examples of an edited configuration, None for those of the hub."""
    if config is None or config.data.source in sources.HUBS:
        return None, problem
    try:
        return form_data.load(config.data.source, config.data.subset).take(config.data.subjects), problem
    except UserError as error:
        return None, error


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]
