"""One probe's finding, closely: what leaked (one click from Compare), its forms, and whatever else it measured, as
pictures.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from core.metrics.membership import TITLES
from core.probes import PROBES, scorecard
from core.probes.base import UNITS
from core.probes.logit_lens import LogitLens
from core.runs import askable
from core.runs.store import Run
from core.runs.voices import SPOKEN, WITHIN
from core.serve import client
from core.util.errors import UserError
from core.util.safe_read import mapping, number
from dashboard.charts import probes as chart
from dashboard.text import cited, duration, md, shorten
from dashboard.widgets import address, current_run, page_style, verdict_rows

Where = Sequence[tuple[str, str]]
LENS = (
    "each layer's output at the places that predict the true answer's tokens, through the model's own last norm and "
    "output layer, as a probability"
)
X = {"n": "answers sampled", "step": "step", "layer": "layer", "questions": "questions"}
Y = {
    "value": "came back, %",
    "probability": "probability, %",
    "first": "true token first, %",
    "accuracy": "accuracy, %",
    "unlearn": "accuracy on U, %",
}
FEW = 12
"""leaked questions listed at first"""
ATTACKS = {name: title.capitalize() for name, title in TITLES.items()}


def show(run: Run, name: str, finding: Mapping[str, Any]) -> None:
    """Show a finding."""
    probe = PROBES.get(name)
    if probe:
        st.markdown(md(probe.what) + (f" :gray[{cited(probe.source)}]" if probe.source else ""))
    if finding.get("unavailable"):
        st.info(f"This probe could not be made: {md(finding['unavailable'])}")
        return
    if finding.get("stale"):
        st.warning("This is about an earlier result of the run. Make it again.", icon=":material/history:")
    st.markdown(f"**{md(finding.get('sentence', ''))}**")
    about(finding)
    detail, source = mapping(finding.get("detail")), where(run, name, finding)
    forms(name, mapping(detail.get("forms")), source)
    curves(name, detail.get("curve"), source)
    if scores := mapping(detail.get("scores")):
        membership(detail, scores, source)
    if name == LogitLens.name:
        layers(run, detail, source)
    rows = [row for row in finding.get("leaked") or detail.get("used") or detail.get("lost") or [] if isinstance(row, dict)]
    (line,) = scorecard.card({name: finding})
    leak = bool(finding.get("leaked")) or ("forms" in detail and "used" not in detail)
    leaked(run, rows, leak, f" ({scorecard.TOO_FEW}: {line.reach})" if line.reach else "")


def where(run: Run, name: str, finding: Mapping[str, Any]) -> Where:
    """Return what stands behind "Where from" of a probe's charts."""
    return [
        ("Run", run.id),
        ("File", f"probes/{name}.json"),
        ("Computed as", str(finding.get("measure", ""))),
        ("From", f"{finding.get('n', '?')} questions"),
        ("Made", str(finding.get("made", ""))),
    ]


def about(finding: Mapping[str, Any]) -> None:
    """Say what was measured, on how many, when and how."""
    parts = [md(finding.get("measure", "")), f"{md(finding.get('n', '?'))} questions"]
    if (seconds := number(finding.get("seconds"))) is not None:
        parts.append(duration(seconds))
    if finding.get("made"):
        parts.append(md(str(finding["made"])[:16].replace("T", " ")))
    parts += [f"{md(key)} {md(value)}" for key, value in mapping(finding.get("settings")).items()]
    st.caption(" · ".join(part for part in parts if part))
    rates = mapping(finding.get("rates"))
    for voice, rate in rates.items():
        if mapping(rate).get("reason"):
            st.caption(f"{md(WITHIN.get(voice, voice)).capitalize()}: {md(rate['reason'])}")


def forms(name: str, by_form: Mapping[str, Any], source: Where) -> None:
    """Draw the rates of each way of asking, the worst first."""
    rows = [row for form, rates in by_form.items() if (row := verdict_rows.rates_of(str(form), mapping(rates))).values]
    if len(rows) < 2:
        return
    rows.sort(key=lambda row: -row.values.get("after", (0.0, 0.0, 0.0))[0])
    words = "; ".join(f"{row.name} {row.values['after'][0]:.0f} %" for row in rows if "after" in row.values)
    page_style.chart(
        chart.rates(rows, UNITS[PROBES[name].unit] if name in PROBES else "rate, %", page_style.palette()),
        f"Rates by way of asking, after unlearning: {words}",
        f"probe_forms_{name}",
        facts=source,
        columns=verdict_rows.columns(rows),
    )


def lines_of(curve: Any) -> tuple[list[chart.Line], str, str]:
    """Return a curve's lines and the names of its axes; none where it is no curve. A bare list is after's."""
    voices = curve if isinstance(curve, dict) else {"after": curve}
    lines, x_name, y_name = [], "", ""
    for voice, points in voices.items():
        rows = [point for point in points if isinstance(point, dict)] if isinstance(points, list) else []
        x_key = next((key for key in X if rows and key in rows[0]), "")
        y_key = next((key for key in Y if rows and key in rows[0]), "")
        samples = [
            (x, y, number(p.get("low")), number(p.get("high")))
            for p in rows
            if (x := number(p.get(x_key))) is not None and (y := number(p.get(y_key))) is not None
        ]
        if samples:
            banded = all(low is not None and high is not None for _, _, low, high in samples)
            low, high = ([float(k[2] or 0) for k in samples], [float(k[3] or 0) for k in samples]) if banded else ([], [])
            lines.append(chart.Line(str(voice), [k[0] for k in samples], [k[1] for k in samples], low, high))
            x_name, y_name = X[x_key], Y[y_key]
    return lines, x_name, y_name


def curves(name: str, curve: Any, source: Where) -> None:
    """Draw leak@n, depth or relearning, whatever the probe recorded as a curve."""
    lines, x, y = lines_of(curve)
    if lines:
        words = "; ".join(f"{WITHIN.get(line.voice, line.voice)} from {line.y[0]:.0f} to {line.y[-1]:.0f}" for line in lines)
        page_style.chart(
            chart.curves(lines, x, y, page_style.palette()), f"{y} over {x}: {words}", f"probe_curve_{name}", facts=source
        )


def membership(detail: Mapping[str, Any], scores: Mapping[str, Any], source: Where) -> None:
    """Show how far the two groups of questions lie apart, with a threshold to move and what it would give."""
    voices = [voice for voice in SPOKEN if mapping(scores.get(voice))]
    attacks = [attack for attack in ATTACKS if all(mapping(scores[voice]).get(attack) for voice in voices)]
    if not voices or not attacks:
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        voice = address.part(
            "mia.voice",
            sorted(voices, key=lambda name: name != "after"),
            lambda: st.segmented_control("Model", voices, format_func=WITHIN.get, required=True, key="mia.voice"),
        )
        attack = address.part(
            "mia.attack",
            sorted(attacks, key=lambda name: name != detail.get("attack")),
            lambda: st.selectbox("Score", attacks, format_func=ATTACKS.get, key="mia.attack", width=200),
        )
    pair = mapping(mapping(scores[voice]).get(attack))
    member, other = (
        [x for x in (number(v) for v in pair.get(group) or []) if x is not None] for group in ("member", "other")
    )
    if not member or not other:
        st.caption("These scores were not recorded.")
        return
    every = sorted([*member, *other])
    low, high = every[0], every[-1]
    middle = every[len(every) // 2]
    at = st.slider(
        "Threshold: above it, “was taught”",
        low,
        high if high > low else low + 1,
        middle,
        step=(high - low) / 200 or 0.01,
        key=f"mia.at.{voice}.{attack}",
        bind="query-params",
    )
    hit, wrong = (f"{sum(value > at for value in group)} of {len(group)}" for group in (member, other))
    st.markdown(
        f"Above it are **{hit}** questions to be forgotten and **{wrong}** that were never taught. "
        f"{auc(detail, voice, attack)}"
    )
    page_style.chart(
        chart.groups(member, other, at, f"{ATTACKS[attack]} score", page_style.palette()),
        f"{hit} forgotten and {wrong} never-taught questions lie above the threshold",
        "probe_groups",
        facts=source,
    )


def auc(detail: Mapping[str, Any], voice: str, attack: str) -> str:
    """Say the area under the curve with its interval."""
    value = number(mapping(mapping(detail.get("auc")).get(voice)).get(attack))
    ends = mapping(mapping(detail.get("intervals")).get(voice)).get(attack)
    if value is None:
        return ""
    interval = (
        f", 95 % interval {ends[0]:.2f} to {ends[1]:.2f}"
        if isinstance(ends, list) and len(ends) == 2 and all(number(e) is not None for e in ends)
        else ""
    )
    return f"Over all thresholds: AUC **{value:.2f}**{interval}; 0.5 is chance."


def layers(run: Run, detail: Mapping[str, Any], source: Where) -> None:
    """Show layers × answer tokens of one question: as the probe recorded it, else read on demand."""
    rows = {str(row.get("example")): row for row in current_run.answers(run)}
    recorded = {
        str(entry.get("id")): entry for entry in detail.get("maps") or [] if isinstance(entry, dict) and whole(entry)
    }
    sampled = [str(name) for name in detail.get("questions") or []]
    names = [
        name
        for name in dict.fromkeys([*recorded, *sampled])
        if rows.get(name, {}).get("question") and rows[name].get("truth")
    ]
    if not names:
        return
    st.markdown(
        "**One question, layer by layer**: how probable would each layer make each token of the true answer, were "
        "it the last?"
    )
    name = address.part(
        "lens.question",
        names,
        lambda: st.selectbox(
            "Question", names, key="lens.question", format_func=lambda i: shorten(str(rows[i]["question"]), 100), width=560
        ),
    )
    kept: dict[Any, dict[str, Any]] = st.session_state.setdefault("lens", {})
    key = (str(run.path), current_run.stamp(run, "manifest.json"), name)
    if (
        name not in recorded
        and key not in kept
        and st.button(
            "Read every layer",
            icon=":material/layers:",
            key="lens.read",
            help="This one was not recorded: the model reads it now, in a second or two.",
        )
    ):
        with page_style.complaints():
            kept[key] = ask(run, str(rows[name]["question"]), str(rows[name]["truth"]))
    reading = recorded.get(name) or kept.get(key)
    if reading:
        pictures(
            reading,
            [*source[:1], ("Computed as", LENS), *source[4:]]
            if name in recorded
            else [*source[:1], ("Computed as", LENS), ("Made", "now, by the model")],
        )


def whole(reading: Mapping[str, Any]) -> bool:
    """Say whether a question's layers can be drawn: as many layers before as after, and a finite number for every token."""
    tokens, (before, after) = (
        reading.get("tokens"),
        (mapping(reading.get(voice)).get("logprob") for voice in ("before", "after")),
    )
    if not (isinstance(tokens, list) and isinstance(before, list) and isinstance(after, list)):
        return False
    lines = [*before, *after]
    right = all(
        isinstance(line, list) and len(line) == len(tokens) and all(number(value) is not None for value in line)
        for line in lines
    )
    return bool(tokens and before) and len(before) == len(after) and right


def ask(run: Run, question: str, truth: str) -> dict[str, Any]:
    """Let the answering process read the layers; return tokens and each voice's, as the probe records them."""
    askable.unlearned(run)
    reading, spot = dict[str, Any](), st.empty()
    with contextlib.closing(client.lens(run, question, truth, ("before", "after"))) as replies:
        for reply in replies:
            if reply["kind"] == "waiting":
                spot.caption(f"Waiting for the model: {duration(reply['seconds'])}")
            elif reply["kind"] == "voice_error":
                raise UserError(str(reply["what"]), str(reply["fix"]))
            elif reply["kind"] == "lens":
                reading |= {"tokens": reply["tokens"], str(reply["voice"]): reply}
    spot.empty()
    return reading


def pictures(reading: Mapping[str, Any], source: Where) -> None:
    """Draw what was read, below one another where the window is narrow."""
    tokens = [str(token) for token in reading["tokens"]]
    before, after = (percent(reading[voice]["logprob"]) for voice in ("before", "after"))
    moved = [[a - b for a, b in zip(*pair, strict=True)] for pair in zip(after, before, strict=True)]
    shown = (("Before", before, False), ("After", after, False), ("After − before", moved, True))
    for column, (name, values, signed) in zip(st.columns(3), shown, strict=True):
        with column:
            st.markdown(f"**{name}**")
            words = (
                f"{name}: probability of each true token by layer, in percent; at the last layer "
                f"{sum(values[-1]) / len(values[-1]):.0f} on average"
            )
            page_style.chart(
                chart.layers(values, tokens, page_style.palette(), difference=signed),
                words,
                f"lens_{name.split()[0].lower()}{'_moved' if signed else ''}",
                facts=source,
                columns={
                    "layer": list(range(1, len(values) + 1)),
                    **{f"{n}: {t}": [row[n] for row in values] for n, t in enumerate(tokens)},
                },
            )


def percent(logprobs: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return probabilities in percent of layers × tokens log-probabilities."""
    return [[100 * math.exp(min(0.0, float(value))) for value in line] for line in logprobs]


def leaked(run: Run, rows: Sequence[Mapping[str, Any]], leak: bool, few: str) -> None:
    """List what came back (leak) or what else a probe lists, each question one click from Compare.

    few: that too few were asked to tell, in words; empty where they were enough.
    """
    if not rows:
        if leak:
            st.caption(f"Nothing came back after unlearning{few}.")
        return
    st.markdown(f"**{'What came back' if leak else 'Which questions'}** :gray[({len(rows)})]")
    every = len(rows) > FEW and st.toggle(f"Show all {len(rows)}", key="leaked.all")
    for row in rows if every else rows[:FEW]:
        form = f":gray-badge[{md(row['form'])}] " if row.get("form") else ""
        verdict_rows.compare_link(
            run, str(row.get("question", "")), f"{form}{md(shorten(str(row.get('question', '')), 110))}"
        )
        st.caption(
            f"said: {md(shorten(str(row.get('answer', '')), 300))}  \ntrue: {md(shorten(str(row.get('truth', '')), 300))}"
        )
