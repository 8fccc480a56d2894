"""Controls: would any other region of equal size have done as well? One click starts them, and this watches them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from core.data.corpus import SCOPES
from core.jobs import controls, lifecycle, sweep, sweep_estimate, sweep_scores
from core.jobs.controls import Controls
from core.jobs.sweep import Member, Sweep
from core.metrics.random_regions import SPLIT
from core.runs import asked, store
from core.runs.asked import NEXT_WORD, STILL_SAID
from core.runs.scores import Scores
from core.runs.store import Run
from core.util.errors import UserError
from core.util.progress import duration
from core.util.safe_read import mapping, number
from dashboard import pages
from dashboard.charts import controls as chart
from dashboard.charts.controls import Control
from dashboard.text import md
from dashboard.widgets import cancel_button, current_run, glossary, literature, number_table, page_style, work_beside
from dashboard.widgets.number_table import MISSING, Cell, Column, Row, Table

EVERY = 1.5
"""Seconds between two looks while they are at work."""
WHAT = (
    "A score says how much was forgotten, not that it was found. **Controls** run the same method with the same settings on "
    f"other {glossary.link('region', 'regions')}. These are all tensors, all the others, and random regions with as many "
    f"tensors of each module, factor and band of layers; {controls.DRAWS} are made. Where gradients chose the region, they "
    "also choose after other random answers, and by the paper's rule with both scopes exchanged. Each stops where it has "
    "forgotten as much as this run. If random tensors do as well, the region explains nothing."
)
KEPT = (
    "These controls were made where the run was made. Their runs are not here, so nothing of this can be computed again. "
    "Make them yourself to check it."
)
FORMULA = {
    "asked": "mean of the shares of U that is not said and of R that is said, asked {}; bars: 95 % bootstrap over questions",
    "interval": f"mean of Unlearn and Retention Success on val by {NEXT_WORD}; bars: 95 % bootstrap over questions",
}
DIFFERENCE = (
    "of answers: mean of the shares of U that is not said and of R that is said; of next words: the mean in the picture. "
    "Student's interval from two variances: of the mean difference over questions (bootstrap; they are the same "
    "for all runs), and "
    "of one more random region against the mean of those drawn"
)
COLUMNS = (
    Column("✖ said", "To forget, still said: how many answers say it"),
    Column("✖ gibberish", "To forget, gibberish: how many answers are empty, repeat themselves or are no words"),
    Column("● said", "To keep, still said: how many answers say it"),
    Column("Unlearn", "Unlearn Success on val (100 − next-word accuracy)"),
    Column("Retention", "Retention Success on val (next-word accuracy)"),
    Column("Average", f"Mean of the two, by {NEXT_WORD}"),
    Column("Never-knew", "100: as if never taught"),
    Column("Gibberish", "Answers about what must be forgotten that are gibberish, on val, in percent"),
)


def show(run: Run) -> None:
    """Show the controls of a run, or offer to make them."""
    folder = store.runs_folder()
    control_sweep = controls.find(run, folder)
    st.markdown(WHAT)
    literature.beside("controls")
    if control_sweep is None:
        kept = controls.kept(run)
        if kept is not None:
            st.caption(KEPT)
            look(run, kept)
        offer(run)
        return
    alive = str(sweep.state(control_sweep)["state"]) in current_run.ALIVE
    st.fragment(_look, run_every=EVERY if alive else None)(run, control_sweep, alive)


def sentence(run: Run) -> str:
    """Say, for who looks at the map, whether random regions did as well as the run's own; empty without controls."""
    outcome = controls.read(run, store.runs_folder())
    return "" if outcome is None else outcome.in_short


def offer(run: Run) -> None:
    """Say what the controls would cost, and start them."""
    try:
        wanted = [member for member in controls.members(run) if member.existing is None]
    except UserError as error:  # nothing is wrong: this run has no controls, or not yet
        st.info(f"{md(error.what)} {md(error.fix)}")
        return
    st.caption(md(cost(run, wanted)))
    if st.button("Run the controls", type="primary", icon=":material/science:", key="controls.start"):
        with page_style.complaints():
            lifecycle.start("sweep", controls.create(run, store.runs_folder()).as_run)
            st.rerun()


def cost(run: Run, wanted: Sequence[Member]) -> str:
    """Say how many runs there would be and how long they take: from earlier runs, else from this run's own seconds."""
    estimate = sweep_estimate.from_runs([member.config for member in wanted], store.runs_folder())
    many = f"{len(wanted)} runs, one after the other, by one worker"
    if estimate is not None:
        return f"{many}. {estimate}"
    stages = mapping(mapping(run.json("manifest.json")).get("stages"))
    each = sum(number(mapping(stages.get(name)).get("seconds")) or 0.0 for name in store.OWN)
    if not each:
        return f"{many}. How long they take cannot be said: this run recorded no seconds."
    words = f"{many}. This run took {duration(each)} to unlearn and score, so about {duration(each * len(wanted))}"
    return f"{words} where it was made; teaching and gradients come on top where this machine has not computed them yet."


def _look(run: Run, control_sweep: Sweep, was_alive: bool) -> None:
    lifecycle.reap()
    state, outcome = sweep.state(control_sweep), controls.result(control_sweep)
    alive = str(state["state"]) in current_run.ALIVE
    if was_alive and not alive:
        st.rerun()  # the rest of the page should see the runs too
    if alive:
        going_on(control_sweep, state)
    else:
        ended(state)
    look(run, outcome)
    if not alive:
        after(control_sweep, outcome.rows, run)


def look(run: Run, outcome: Controls) -> None:
    """Show what controls say: a sentence, a picture and a table."""
    if outcome.sentence:
        st.markdown(f"**{md(outcome.sentence)}**")
    scores = Scores.read(run)
    kind = asked.kind_asked(scores)
    measure = "asked" if kind and all(row.get("asked") for row in outcome.rows if row.get("interval")) else "interval"
    drawn = points(outcome.rows, measure)
    if len(drawn) > 1:
        what = (
            f"right when asked, {asked.KIND_NAMES[kind]}, %" if measure == "asked" else f"average success by {NEXT_WORD}, %"
        )
        page_style.chart(
            chart.controls(drawn, references(scores, kind if measure == "asked" else ""), page_style.palette(), what),
            outcome.sentence or "The run beside its controls",
            "region_controls",
            facts=[
                *page_style.where(
                    run,
                    "evaluate",
                    "tokens.parquet and answers.jsonl of each run",
                    FORMULA[measure].format(asked.KIND_NAMES.get(kind, "")),
                    "the questions of val, whatever the page shows",
                ),
                ("Sentence", DIFFERENCE),
                ("Sweep", outcome.sweep),
            ],
        )
    if outcome.rows:
        st.html(number_table.markup(table(outcome.rows), page_style.palette()))


def references(scores: Scores, kind: str) -> dict[str, float]:
    """Return what models that were not unlearned reach: asked a kind of question, or by next words where it is empty."""
    values = {"before": _reached(scores, "before", kind), "never taught": _reached(scores, "never", kind)}
    return {name: value for name, value in values.items() if value is not None}


def _reached(scores: Scores, voice: str, kind: str) -> float | None:
    if not kind:
        return scores.average(voice, SPLIT).value
    forget, keep = (scores.value(asked.METRIC, voice, f"{scope}/{kind}/{STILL_SAID[scope]}").value for scope in SCOPES)
    return None if forget is None or keep is None else (100.0 - forget + keep) / 2


def going_on(control_sweep: Sweep, state: Mapping[str, Any]) -> None:
    """Show how far they are; they can be cancelled."""
    total, done = int(state["total"]) or 1, int(state["ended"])
    if state["state"] == "queued":
        st.info(work_beside.place(control_sweep.as_run, state["position"]), icon=":material/schedule:")
    else:
        now = f": {state['now']}" if state["now"] else ""
        st.progress(min(1.0, done / total), text=md(f"{done} of {total} runs are there{now}"))
    kept = "What was computed is kept, and you can go on later."
    cancel_button.show(control_sweep.as_run, "controls.cancel", help=kept)


def ended(state: Mapping[str, Any]) -> None:
    """Say how they ended, unless all is well."""
    if state["state"] == "failed":
        page_style.complain(UserError(str(state["error"] or "The worker is gone."), "Go on below: what is done stays done."))
    elif state["state"] == "cancelled":
        st.caption("They were cancelled. What is done stays done.")


def after(control_sweep: Sweep, rows: Sequence[Mapping[str, Any]], run: Run) -> None:
    """Offer to go on, to compare, to start anew."""
    missing = sum(row.get("state") != "done" for row in rows)
    with st.container(horizontal=True, vertical_alignment="center"):
        if missing and st.button(
            f"Go on with the {missing} that {'is' if missing == 1 else 'are'} missing",
            icon=":material/play_arrow:",
            key="controls.resume",
        ):
            with page_style.complaints():
                sweep.reopen(control_sweep)
                lifecycle.start("sweep", control_sweep.as_run)
                st.rerun()
        others = [str(row.get("run")) for row in rows if row.get("state") == "done" and row.get("run") != run.id]
        st.page_link(
            pages.EVIDENCE.script,
            label="Their scores beside this run's",
            icon=pages.EVIDENCE.icon,
            disabled=not others,
            query_params={"run": run.id, "part": "Scores", "beside": ",".join(others)},
        )


def points(rows: Sequence[Mapping[str, Any]], measure: str) -> list[Control]:
    """Return the rows that have a score: what is right when `asked`, or by next words (`interval`)."""
    marks = []
    for row in rows:
        ends = row.get(measure)
        if isinstance(ends, list | tuple) and len(ends) == 3:
            value, low, high = map(float, ends)
            marks.append(Control(named(row), value, low, high, row.get("role") == "given"))
    return marks


def named(row: Mapping[str, Any]) -> str:
    """Return what a row is called."""
    return "this run" if row.get("role") == "given" else str(row.get("control") or row.get("run"))


def table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the numbers behind the picture; a failed run stands there with its reason."""
    lines = []
    for row in rows:
        ends = row.get("interval")
        average = (
            Cell(f"{ends[0]:.1f}", f"±{(ends[2] - ends[1]) / 2:.1f}", f"95 % interval {ends[1]:.1f} to {ends[2]:.1f}")
            if ends
            else Cell()
        )
        answers = [Cell(sweep_scores.said(row, name) or MISSING) for name in sweep_scores.SAID]
        successes = [plain(row, "unlearn"), plain(row, "retention"), average]
        cells = [*answers, *successes, plain(row, "never_knew"), plain(row, "degenerate")]
        state = str(row.get("state"))
        mark = f"✖ {state}" if state in ("failed", "cancelled") else "✖ diverged" if row.get("diverged") else ""
        note = str(row.get("error") or "") if state == "failed" else "" if state == "done" else state
        lines.append(Row(named(row), cells, note, "after" if row.get("role") == "given" else "", mark))
    return Table("Answers and scores of the run and its controls", "answers; percent on val", COLUMNS, lines)


def plain(row: Mapping[str, Any], name: str) -> Cell:
    """Write one score on val."""
    value = number(mapping(row.get(name)).get(SPLIT))
    return Cell() if value is None else Cell(f"{value:.1f}")
