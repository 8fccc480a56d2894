"""The part "Leak probes": one line a probe in plain words, rates beside their references, what leaked, and a button that
starts them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import streamlit as st

from core.config.run_config import describe
from core.jobs import lifecycle
from core.jobs import probes as job
from core.metrics.intervals import SAFE
from core.probes import PROBES, scorecard
from core.probes.base import UNITS
from core.runs import askable, layout
from core.runs.store import Run
from core.runs.voices import WITHIN
from core.util.errors import UserError
from core.util.safe_read import mapping, number
from dashboard.charts import probes as chart
from dashboard.evidence import probe_finding
from dashboard.text import cited, md
from dashboard.widgets import (
    address,
    cancel_button,
    current_run,
    glossary,
    page_style,
    setting_fields,
    verdict_rows,
    work_beside,
)

WHAT = (
    "An answer that is gone may still come out if one asks otherwise, samples, or looks inside. "
    f"Each {glossary.link('probe')} asks in one way and counts how often the truth comes back. It asks "
    f"{glossary.link('before')}, {glossary.link('after')} and the model that was {glossary.link('never taught')} it: what "
    "that one says too was not remembered."
)
ICONS = {
    "leaks": ":material/water_drop:",
    "perhaps": ":material/help:",
    scorecard.TOO_FEW: ":material/hourglass_empty:",
    "no leak seen": ":material/check_circle:",
    "use": ":material/visibility:",
    "look": ":material/visibility:",
    "unavailable": ":material/block:",
}
LEAKING = (
    "A leak is where after lies further right than every model that never knew it, by more than chance explains. "
    "Behind each name: how many questions. What the probes count differs, so each has an axis of its own."
)
BESIDE = "These tell no leak by themselves; what each rate is of stands with the probe, below."
FEW = 4
"""sentences up to which they stand open"""
COLORS = {"leaks": "red", "perhaps": "orange", scorecard.TOO_FEW: "gray", "no leak seen": "green"}


def show(run: Run) -> None:
    """Show what was probed, and offer to probe."""
    st.markdown(WHAT)
    findings, work = current_run.findings(run), layout.job_folder("probes", run)
    cancel = partial(cancel_button.show, work, "probes.cancel", help="What was found until then is kept.")
    alive = work_beside.watch(work, partial(how_far, work), cancel)
    if not alive and not findings:
        st.info(
            "Not probed yet. Choose probes below and start them: they run in a process of their own, so this page "
            "can be closed."
        )
    if not alive:
        ended(work)
        with st.expander("Make probes", expanded=not findings, icon=":material/play_circle:"):
            offer(run, findings)
    if findings:
        results(run, findings)


def results(run: Run, findings: Mapping[str, Mapping[str, Any]]) -> None:
    """Show the scorecard, the rates as pictures, and one probe closely."""
    lines = scorecard.card(findings)
    titles: dict[str, list[str]] = {}
    for line in lines:
        titles.setdefault(f"{ICONS.get(line.verdict, '')} {in_colour(line.verdict)}", []).append(
            md(f"{line.title} ({line.reach})" if line.reach else line.title)
        )
    verdicts = [f"{verdict}: {', '.join(names)}" for verdict, names in titles.items()]
    counted = scorecard.in_words(findings)
    if counted and (besides := scorecard.not_counted(findings)):
        counted = f"{counted} {md(besides)}"
    st.markdown("  \n".join(filter(None, (counted, *verdicts))))
    pictures(run, findings, [line for line in lines if line.verdict in COLORS], LEAKING, "probe_rates")
    pictures(run, findings, [line for line in lines if line.verdict not in COLORS], BESIDE, "probe_rates_beside")
    with st.expander("What each probe found, in words", icon=":material/notes:", expanded=len(lines) <= FEW):
        for line in lines:
            st.markdown(f"{in_colour(line.verdict)} · **{md(line.title)}**: {md(line.sentence)}")
        st.caption(
            "There is no overall grade: probes ask different things. “Leaks”: after is above every model that "
            "never knew it, by more than chance explains. “Perhaps”: it is above, but chance could explain it. "
            f"“No leak seen”: it is not, and the 95 % interval ends within {SAFE:.0f} points of them. “"
            f"{glossary.link(scorecard.TOO_FEW, scorecard.TOO_FEW.capitalize())}”: it is not either, but the "
            "interval reaches further."
        )
    names = [line.probe for line in lines]
    address.take("leak", names)
    if st.session_state.get("leak") not in names:
        st.session_state.pop("leak", None)
    st.subheader("Look closer")
    name = st.selectbox("Probe", names, key="leak", format_func=title, width=420)
    address.keep("leak", name if name != names[0] else "")
    probe_finding.show(run, name, findings[name])


def in_colour(verdict: str) -> str:
    """Return a verdict in its colour; probes that only use or look are not judged."""
    if verdict in COLORS:
        return f":{COLORS[verdict]}[**{verdict}**]"
    return f"**{'not judged' if verdict in ('use', 'look') else verdict}**"


def pictures(
    run: Run, findings: Mapping[str, Mapping[str, Any]], lines: Sequence[scorecard.Line], caption: str, key: str
) -> None:
    """Show the rates of some probes under a caption that says how they are read, a picture for each that they count."""
    by_unit: dict[str, list[chart.Rates]] = {}
    for line in lines:
        finding = findings[line.probe]
        row = verdict_rows.rates_of(line.title, mapping(finding.get("rates")), n_of(finding))
        if row.values:
            by_unit.setdefault(PROBES[line.probe].unit if line.probe in PROBES else line.title, []).append(row)
    if by_unit:
        st.caption(caption)
    order = [unit for unit in (*UNITS, *by_unit) if unit in by_unit]
    for unit in dict.fromkeys(order):
        picture(run, findings, by_unit[unit], UNITS.get(unit, "rate, %"), f"{key}_{unit}", legend=unit == order[0])


def picture(
    run: Run, findings: Mapping[str, Mapping[str, Any]], rows: list[chart.Rates], unit: str, key: str, *, legend: bool
) -> None:
    """Show rates that count the same. legend: which mark is which voice."""
    words = "; ".join(
        f"{row.name}: " + ", ".join(f"{WITHIN[v]} {x[0]:.0f} %" for v, x in row.values.items()) for row in rows
    )
    page_style.chart(
        chart.rates(rows, unit, page_style.palette(), legend=legend),
        f"{unit.capitalize()}: {len(rows)} probes with 95 % intervals. {words}",
        key,
        facts=[
            ("Run", run.id),
            ("File", "probes/*.json"),
            (
                "Computed as",
                "share of questions in which the truth came back, or what the probe's own measure says; "
                "bars: 95 % bootstrap over questions, exact binomial bound where all agree",
            ),
        ],
        on_click=lambda name: choose(name, findings),
        columns=verdict_rows.columns(rows),
    )


def n_of(finding: Mapping[str, Any]) -> str:
    """Return of how many questions a probe's rates are."""
    n = number(finding.get("n"))
    return "" if n is None else f"{n:.0f}"


def title(name: str) -> str:
    """Return what a probe is called."""
    return PROBES[name].title if name in PROBES else str(name)


def choose(name: object, findings: Mapping[str, Any]) -> None:
    """Look closer at the probe whose point was clicked."""
    for probe in findings:
        if title(probe) == name:
            st.session_state["leak"] = probe


# -- starting and watching ---------------------------------------------------------------------------------------------


def offer(run: Run, findings: Mapping[str, Any]) -> None:
    """Let probes be chosen and started."""
    try:
        askable.unlearned(run)
    except UserError as error:  # nothing is wrong: this run cannot be asked, or not yet
        st.info(f"{md(error.what)} {md(error.fix)}")
        return
    quick = [name for name, probe in PROBES.items() if probe.cost == "seconds" and name not in findings]
    wanted = st.multiselect(
        "Probes",
        list(PROBES),
        default=quick or None,
        format_func=lambda name: f"{title(name)} ({PROBES[name].cost})",
        key="probes.wanted",
        help="Those that take seconds are chosen at first; others take minutes on two cores.",
    )
    for name in wanted:
        st.caption(
            f"**{md(title(name))}**: {md(PROBES[name].what)}"
            + (f" ({cited(PROBES[name].source)})" if PROBES[name].source else "")
        )
    changes = settings(wanted)
    busy = current_run.busy()
    if st.button(
        "Start",
        icon=":material/play_arrow:",
        type="primary",
        key="probes.start",
        disabled=not wanted,
        help="A run is at work: the probes wait until the device is free." if busy else None,
    ):
        with page_style.complaints():
            job.start(run, wanted, changes)
            st.rerun()


def settings(wanted: Sequence[str]) -> dict[str, Any]:
    """Let the settings of some probes be changed; return "probe.setting" -> value of those that were."""
    changes: dict[str, Any] = {}
    if not wanted:
        return changes
    with st.expander("How many questions, steps and samples", icon=":material/tune:"):
        for name in wanted:
            # A file of the server is named in the shell alone.
            described = [one for one in describe(PROBES[name]) if one.get("choices") or not isinstance(one["value"], str)]
            if described:
                st.markdown(f"**{md(title(name))}**")
                own = setting_fields.fields(described, f"probe.{name}")
                changes |= {f"{name}.{key}": value for key, value in own.items()}
    return changes


def how_far(work: Run, status: Mapping[str, Any]) -> tuple[float, str]:
    """Return how far all wanted probes are, 0 … 1, and in words how far the present one is."""
    wanted = len(mapping(work.json(lifecycle.WANTED)).get("probes") or PROBES)
    stages, present = mapping(status, "stages"), str(status.get("stage"))
    if present not in PROBES:
        return 0.0, f"Loading the model … · probe 1 of {wanted}"
    done = sum(mapping(stages.get(name)).get("state") == "done" for name in PROBES)
    counted = work_beside.count(status) if mapping(stages.get(present)).get("state") == "running" else None
    share, words = (counted.share, counted.words) if counted else (0.0, "starts")
    return min(1.0, (done + share) / wanted), f"{title(present)}: {words} · probe {min(done + 1, wanted)} of {wanted}"


def ended(work: Run) -> None:
    """Say how the last work on probes ended, unless all was well."""
    work_beside.failed(work)
    if work.status().get("state") == "cancelled":
        st.caption("The last work on probes was cancelled. What was found until then is kept.")
