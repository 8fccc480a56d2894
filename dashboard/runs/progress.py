"""A run as it goes on: stages, true progress, curves, and how it ended. Polls only while the run is alive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from core.jobs import lifecycle
from core.pipeline import preflight
from core.runs import audit, liveness, store
from core.runs.scores import Scores
from core.runs.store import Run
from core.runs.summary import memory
from core.util.errors import UserError
from dashboard import pages
from dashboard.charts import curves
from dashboard.runs import configuration, event_log, watched_questions, widening
from dashboard.text import duration, md
from dashboard.widgets import cancel_button, current_run, headline_scores, page_style, work_beside

EVERY = 0.7
"""Seconds between two looks at a living run."""

STAGES = {
    "teach": "Teach the model the data",
    "preflight": "Check that it knows the data",
    "localize": "Estimate where it keeps it",
    "region": "Choose the region",
    "unlearn": "Make it forget",
    "retrain": "Teach a second model all the rest",
    "reference": "Ask the second model",
    "answers": "Ask it again",
    "evaluate": "Measure",
}

Status = Mapping[str, Any]


def watch(run: Run) -> None:
    """Show a run, and keep the picture fresh while the run is alive."""
    drawn = str(run.status().get("state"))
    st.fragment(look_at, run_every=EVERY if drawn in current_run.ALIVE else None)(run, drawn)


def look_at(run: Run, drawn: str) -> None:
    """Show the run as it is now. When its state is no longer the drawn one, the whole page is drawn once more."""
    lifecycle.reap()
    status = run.status()
    state = str(status.get("state"))
    # A fragment cannot stop its own polling, nor draw what stands outside of it: the whole page can.
    if drawn in current_run.ALIVE and state != drawn:
        st.rerun()
    head(run, status, state)
    events = event_log.events(run)
    left, right = st.columns([1, 1.5], gap="large")
    with left:
        checklist(run, status, events)
        findings(run, events)
        widening.show(events)
        with st.container(horizontal=True):
            take_along(run)
        log(run, state)
    with right:
        pictures(run, events)


def head(run: Run, status: Status, state: str) -> None:
    """Show the state in words, with what can be done about it."""
    words, button = st.columns([4, 1], vertical_alignment="center") if state != "done" else (st.container(), st.empty())
    with words:
        if state == "queued":
            elsewhere = status.get("ray") and status.get("pid") is None
            there = "Waiting until a node of the Ray cluster is free for it."
            st.info(there if elsewhere else work_beside.place(run, status.get("position")), icon=":material/schedule:")
        elif state == "running":
            passed = f" for {duration(float(status['seconds']))}" if "seconds" in status else ""
            node = f" on {md(status.get('host'))}, a node of the Ray cluster" if status.get("ray") else ""
            st.info(
                f"Running{passed}{node}. You can close this page: the run goes on, and its address brings you back.",
                icon=":material/progress_activity:",
            )
        elif state == "failed":
            page_style.complain(UserError(str(status.get("error") or "The run failed."), advice(status)))
        elif state == "cancelled":
            st.warning(md(status.get("error") or "Cancelled."), icon=":material/block:")
        elif state == "done":
            st.success(ended(run, status), icon=":material/check_circle:")
    with button:
        act(run, state)


def advice(status: Status) -> str:
    """Return what to do about a failed run."""
    return str(status.get("fix") or "Resume it: finished stages are kept. worker.log in its folder has the details.")


def ended(run: Run, status: Status) -> str:
    """Say in one sentence how a finished run went."""
    stopped = (run.json("unlearn.json") or {}).get("stopped", "")
    began, end = status.get("began"), status.get("ended")
    took = f"Done in {duration(float(end) - float(began))}" if began and end else "Done"
    return f"{took}. Unlearning ended: {md(stopped)}." if stopped else f"{took}."


def act(run: Run, state: str) -> None:
    """Offer Cancel or Resume."""
    if state in current_run.ALIVE:
        cancel_button.show(run, "cancel", help="Stops within one step; what was computed is kept.", width="stretch")
    elif state in ("cancelled", "failed") and not run.bundled:
        if st.button("Resume", icon=":material/replay:", type="primary", width="stretch"):
            with page_style.complaints():
                lifecycle.resume(run)
                st.rerun()


def take_along(run: Run) -> None:
    """Offer the run's configuration as a file, and as the start of another run."""
    configuration.download(run.config(), "download")
    if run.config().audit.after:
        return
    st.button(
        "Same again, changed",
        icon=":material/edit:",
        width="stretch",
        key="again_button",
        help="Opens the form with this run's settings.",
        on_click=_again,
        args=(run.id,),
    )
    if st.session_state.pop("leave_for_form", False):
        st.rerun()


def _again(name: str) -> None:
    st.query_params["again"] = name
    st.query_params["view"] = pages.NEW_RUN
    st.session_state["leave_for_form"] = True


def checklist(run: Run, status: Status, events: Sequence[Status]) -> None:
    """List the stages with their progress."""
    st.subheader("Stages")
    stages = status.get("stages") or {}
    peaks = _peaks(run, stages)
    current = status.get("stage")
    for name in stages_of(run, events):
        stage = stages.get(name) or {}
        state = stage.get("state", "")
        title = STAGES[name]
        if state == "running" and status.get("state") == "running":
            running(title, stage)
        elif state in ("done", "reused"):
            took = "re-used" if state == "reused" else duration(float(stage.get("seconds", 0)))
            st.markdown(f":green[:material/check_circle:] {title} :gray[{took}]")
        elif name == current and status.get("state") in ("failed", "cancelled"):
            st.markdown(f":red[:material/cancel:] {title} :gray[{status['state']} here]")
        else:
            st.markdown(f":gray[:material/radio_button_unchecked: {title}]")
    if peaks:
        so_far = " so far" if status.get("state") == "running" else ""
        st.caption(f":material/memory: Peak memory{so_far} {max(peaks) / 1000:.1f} GB.")


def stages_of(run: Run, events: Sequence[Status]) -> tuple[str, ...]:
    """Return the stages that a run goes through, in order: as its worker has announced, until then as its settings say."""
    announced = next((event.get("names") for event in reversed(events) if event.get("kind") == "stages"), None)
    if isinstance(announced, list):
        return tuple(name for name in STAGES if name in announced)
    config = run.config()
    if config.audit.after:
        return audit.STAGES
    compared = config.teach.enabled and config.teach.retrain and not config.teach.from_run
    return tuple(name for name in store.STAGES if compared or name not in store.COMPARED)


def _peaks(run: Run, stages: Status) -> list[float]:
    """Return the peak memory of all stages that tell it, in MB: of a living run its status, of an ended one its manifest."""
    manifest = run.json("manifest.json")
    ended = manifest.get("stages", {}) if isinstance(manifest, dict) else {}
    peaks = [stage.get("peak_memory_mb") for stage in [*stages.values(), *ended.values()] if isinstance(stage, dict)]
    return [float(value) for value in peaks if isinstance(value, int | float)]


def running(title: str, stage: Status) -> None:
    """Show a running stage; without a count yet, it says so instead of pretending one."""
    st.markdown(f":orange[:material/progress_activity:] **{title}**")
    done, total = stage.get("done"), stage.get("total")
    if not done or not total:
        st.caption("starting …")
        return
    facts = [f"{done:g} of {total:g} {md(stage.get('unit', ''))}", f"{stage.get('rate', 0):.3g} a second"]
    if stage.get("tokens_per_second"):
        facts.append(f"{stage['tokens_per_second']:.0f} tokens a second")
    if stage.get("left"):
        facts.append(f"at most {duration(float(stage['left']))} left for these {md(stage.get('unit', ''))}")
    if stage.get("peak_memory_mb"):
        facts.append(f"{float(stage['peak_memory_mb']) / 1000:.1f} GB at most")
    facts += [f"{md(device)} {peak / 1e9:.1f} GB at most" for device, peak in memory(stage).items() if device != "cpu"]
    st.progress(min(1.0, float(done) / float(total)), text=" · ".join(facts))


def findings(run: Run, events: Sequence[Status]) -> None:
    """Show what the run found out about its data and model before it changed anything."""
    checks = run.json("preflight.json")
    texts = list(dict.fromkeys(str(e.get("text", "")) for e in events if e.get("kind") == "finding"))
    if isinstance(checks, dict) and (sentence := preflight.in_words(checks)):
        st.markdown(
            md(sentence),
            help="Facts are names, numbers and e-mail addresses of the unlearn scope, found in the model's own answers.",
        )
    for text in texts:
        st.caption(f":material/info: {md(text)}")


ACCURACY = "share of answer tokens that are the model's first choice, mean over questions"


def pictures(run: Run, events: Sequence[Status]) -> None:
    """Show curves and answers of what has been computed so far, and the scores when they are there."""
    palette = page_style.palette()
    result = run.json("unlearn.json")
    curve = curves.of_result(result) if isinstance(result, dict) else events
    source = "unlearn.json" if isinstance(result, dict) else "events.jsonl"
    table(run)
    if curves.of_stage(curve, "unlearn"):
        st.subheader("Forgetting, step by step")
        checks, losses = st.tabs(["Accuracy on a fixed sample", "Loss"], key="curve", on_change="rerun", bind="query-params")
        target = result.get("target") if isinstance(result, dict) else None
        if losses.open:
            with losses:
                page_style.chart(
                    curves.losses(curve, palette),
                    "Loss on each part of the batch at each step",
                    "losses",
                    facts=page_style.where(
                        run, "unlearn", source, "mean cross-entropy of the step's batch", "a batch a step"
                    ),
                )
        else:
            with checks:
                page_style.chart(
                    curves.checks(curve, target, palette),
                    "Accuracy on both scopes at each checkpoint",
                    "checks",
                    facts=page_style.where(run, "unlearn", source, ACCURACY, "a fixed sample of the train questions"),
                )
    elif curves.of_stage(curve, "teach"):
        st.subheader("Learning the data")
        page_style.chart(
            curves.teaching(curve, palette),
            "Accuracy while the model is taught",
            "teaching",
            facts=page_style.where(
                run, "teach", "events.jsonl", ACCURACY, "each epoch's train questions of both scopes, as they are seen"
            ),
        )
    watched_questions.show(run, result, events)


def table(run: Run) -> None:
    """Show the final scores with links to where they can be looked at."""
    rows = headline_scores.before_after(Scores.read(run))
    if not rows:
        return
    st.subheader("Scores")
    unbroken = [{name: text.replace(" %", "\u00a0%") for name, text in row.items()} for row in rows]
    st.table(unbroken, hide_index=True, alt="Scores before and after unlearning, and of the never-taught model")
    with st.container(horizontal=True, vertical_alignment="center"):
        headline_scores.where_from(headline_scores.facts(run))
        st.page_link(pages.LOCALIZE.script, label="Its map", icon=pages.LOCALIZE.icon, query_params={"run": run.id})
        st.page_link(pages.COMPARE.script, label="Ask it", icon=pages.COMPARE.icon, query_params={"run": run.id})
        st.page_link(
            pages.EVIDENCE.script,
            label="All scores",
            icon=pages.EVIDENCE.icon,
            query_params={"run": run.id, "part": "Scores"},
        )
        st.page_link(
            pages.LOCALIZE.script,
            label="Its controls",
            icon=":material/science:",
            query_params={"run": run.id, "controls": "true"},
        )


def log(run: Run, state: str) -> None:
    """Show the last lines that the worker wrote, at once where it failed."""
    lines = liveness.log_tail(run.path)
    if lines:
        with st.expander("Last lines of its log", expanded=state == "failed", icon=":material/terminal:", key="log"):
            st.code("\n".join(lines), language=None, wrap_lines=True)
