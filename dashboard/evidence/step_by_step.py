"""Step by step: what the run would be had it stopped elsewhere, and whether that choice was a fair one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from core.jobs import lifecycle
from core.runs import askable, picked_step, store
from core.runs.store import Run
from core.util.safe_read import mapping, number
from dashboard import pages
from dashboard.charts import curves, stopping_points
from dashboard.evidence.scores_table import Measured
from dashboard.text import md
from dashboard.widgets import current_run, page_style

ASKED = (
    "of the unlearn scope answers that do not say the fact, and those that make one up; of the retention scope answers that "
    "say it, at every check"
)
FORMULA = "100 − accuracy on the unlearn scope, accuracy on the retention scope, on a fixed sample at every check"
PEEKED = (
    "This run's scores on val were on the screen. A step that is chosen in their sight has used val up: what it "
    "scores there is "
    "no longer what new questions would give, so the new run is marked."
)
SEEN = "val_seen"
"""key of the runs whose scores on val this session has shown"""
HELP = (
    "A new run whose “after” is this checkpoint. If you made this run here, its steps come from the cache; only answers "
    "and scores are made."
)


def saw(chosen: Sequence[Measured], split: str) -> None:
    """Remember whose scores on val were shown: switching to other questions afterwards does not make that undone."""
    if split == "val":
        st.session_state.setdefault(SEEN, set()).update(run.run.id for run in chosen)


def show(current: Measured) -> None:
    """Show the curve of the current run, and let a checkpoint be picked as its result."""
    run, result = current.run, mapping(current.run.json("unlearn.json"))
    checks = checked(result)
    if not checks:
        st.info("This run measured nothing on the way: its unlearning made no check, or was left out.")
        return
    steps = [int(check["step"]) for check in checks]
    kept = int(number(result.get("step")) or steps[-1])
    chosen = pick(run, steps, kept)
    sample = "dev" if result.get("split") == "dev" else "train"
    ignorance = never_taught(result)
    st.markdown(md(in_words(checks, chosen, kept, ignorance, sample)))
    asked = all(map(was_asked, checks))
    lines = stopping_points.said(checks) if asked else stopping_points.next_word(checks)
    page_style.chart(
        stopping_points.stops(steps, lines, chosen, kept, None if asked else ignorance, page_style.palette()),
        f"{'What is said of' if asked else 'Success on'} both scopes at {len(steps)} checks",
        "stops",
        facts=page_style.where(
            run, "unlearn", "unlearn.json", ASKED if asked else FORMULA, f"a fixed sample of the {sample} questions"
        ),
    )
    offer(run, chosen, kept, "val" if run.id in st.session_state.get(SEEN, ()) else sample)
    with st.expander("Loss at every step", icon=":material/show_chart:", key="losses.open", on_change="rerun") as box:
        if box.open:
            page_style.chart(
                curves.losses(curves.of_result(result), page_style.palette()),
                "Loss on each part of the batch at each step",
                "losses",
                facts=page_style.where(
                    run, "unlearn", "unlearn.json", "mean cross-entropy of the step's batch", "a batch a step"
                ),
            )


def never_taught(result: Mapping[str, Any]) -> float | None:
    """Return the never-taught model's Unlearn Success on the questions of the checks; older runs did not record it."""
    accuracy = number(result.get("never_taught"))
    return None if accuracy is None else 100 - accuracy


def checked(result: Mapping[str, Any]) -> list[Mapping[str, float]]:
    """Return the checks that have all three numbers, in order."""
    checks = result.get("checks")
    rows = [mapping(row) for row in checks] if isinstance(checks, list) else []
    return [row for row in rows if all(number(row.get(key)) is not None for key in ("step", "unlearn", "retention"))]


def pick(run: Run, steps: Sequence[int], kept: int) -> int:
    """Show the slider; return the step that is chosen, at first the run's own result."""
    options, state = [str(step) for step in sorted({*steps, kept})], st.session_state
    if len(options) < 2:
        return kept
    start = str(kept)
    other = state.setdefault("step_of", run.id) != run.id or state.get("step", start) not in options
    if other:
        state["step"] = start
    state["step_of"] = run.id
    # A value that was put there and a default are one too many.
    return int(
        st.select_slider(
            "Stop at step",
            options,
            None if other else start,
            key="step",
            bind="query-params",
            help="A check was made at each of these steps. The run's own result is where it starts.",
        )
    )


def was_asked(check: Mapping[str, float]) -> bool:
    """Say whether the model was asked at a check, so that what it says is known."""
    return all(number(check.get(f"said_{what}")) is not None for what in ("forgotten", "kept", "made_up"))


def in_words(checks: Sequence[Mapping[str, float]], chosen: int, kept: int, ignorance: float | None, sample: str) -> str:
    """Say what stopping at a step would have meant: what is said when asked first, where that is known."""
    at = {int(check["step"]): check for check in checks}
    if chosen not in at:
        return f"At step {chosen} nothing was measured."
    where = f"The result is step {kept}" if chosen == kept else f"Stopped at step {chosen}"
    mine, result = at[chosen], at.get(kept) if chosen != kept else None
    if result is not None:
        where += f" instead of {kept}"
    u, r = 100 - mine["unlearn"], mine["retention"]
    beside = "" if ignorance is None else f" (never taught: {ignorance:.1f})"
    success = [f"Unlearn Success {u:.1f}{beside}", f"Retention Success {r:.1f}"]
    if result is not None:
        success[0] += f", {_points(u - (100 - result['unlearn']))}"
        success[1] += f", {_points(r - result['retention'])}"
    by_next_word = "; ".join(success)
    if not was_asked(mine):
        return f"{where}: on a fixed sample of the {sample} questions {by_next_word}."
    return f"{where}. {_said(mine, result, sample)} By the next word: {by_next_word}."


def _said(mine: Mapping[str, float], result: Mapping[str, float] | None, sample: str) -> str:
    """Say what the model says at a check when asked, with what the run's result says in brackets."""
    of = number(mine.get("said_asked"))  # older runs did not record it
    both = [check for check in (mine, result) if check is not None and was_asked(check)]

    def told(*shares: float) -> str:
        first, *then = (f"{share * of / 100:.0f}" if of else f"{share:.0f} %" for share in shares)
        return f"{first} ({then[0]})" if then else first

    leaked = told(*(100 - check["said_forgotten"] for check in both))
    kept, made_up = (told(*(check[key] for check in both)) for key in ("said_kept", "said_made_up"))
    words = (
        f"Asked {f'{of:.0f} ' if of else ''}{sample} questions of each scope, it still says {leaked} to forget and {kept} "
        f"to keep. Of those to forget, {made_up} make something up."
    )
    return f"{words} In brackets: the result." if len(both) > 1 else words


def _points(change: float) -> str:
    return "no change" if abs(change) < 0.05 else f"{abs(change):.1f} points {'more' if change > 0 else 'less'}"


def offer(run: Run, chosen: int, kept: int, split: str) -> None:
    """Offer what can be done with a checkpoint, or say why it cannot. split: what the choice is made by."""
    reason = refusal(run, chosen, kept)
    if chosen != kept:
        badge = (
            ":orange-badge[:material/visibility: picked on val]" if split == "val" else f":gray-badge[picked on {md(split)}]"
        )
        st.markdown(badge)
        if split == "val":
            st.caption(PEEKED)
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Make it a run", icon=":material/flag:", disabled=bool(reason), help=HELP):
            with page_style.complaints():
                new_run = lifecycle.submit(picked_step.config(run, chosen, split), store.runs_folder())
                current_run.open_run(new_run.id)
                st.switch_page(pages.RUNS.script, query_params={"run": new_run.id, "view": pages.THIS_RUN})
        if not reason:
            st.page_link(
                pages.COMPARE.script,
                label="Ask this checkpoint",
                icon=pages.COMPARE.icon,
                query_params={"run": run.id, "voice": f"step:{chosen}"},
            )
    if reason:
        st.caption(reason)


def refusal(run: Run, chosen: int, kept: int) -> str:
    """Say why a checkpoint cannot be used, nothing where it can."""
    if chosen == kept:
        return "This step is the run's result already. Move the slider to see what another one would have been."
    if chosen not in askable.checkpoints(run):
        if run.bundled:
            return "This run ships without this checkpoint. Start it again on the page Runs: yours keeps them."
        return "There is no checkpoint of this step: only those up to the result are kept."
    return ""
