"""An answer, token by token: how probable each is in a model, and which words stand against it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.charts.base import Figure, axis, figure, voice_line
from dashboard.charts.palette import Palette, Scale
from dashboard.text import chart_text

Scores = Mapping[str, Sequence[Mapping[str, Any]]]
"""voice -> tokens of the true answer: text, logprob, rank, top"""
COLOURS = {"before": "Probability before", "after": "Probability after", "change": "Change, before to after"}


def colour(value: float, scale: Scale) -> str:
    """Return the colour of a value in 0 … 1 on a scale, as #rrggbb."""
    value = min(max(value, 0.0), 1.0)
    low, high = next(pair for pair in itertools.pairwise(scale) if value <= pair[1][0])
    part = (value - low[0]) / (high[0] - low[0])
    channels = [(int(low[1][i : i + 2], 16), int(high[1][i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + part * (b - a)):02x}" for a, b in channels)


def readable(background: str) -> str:
    """Return black or white, whichever stands out more on a background (WCAG's contrast)."""
    parts = [int(background[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#111111" if (light + 0.05) / 0.05 > 1.05 / (light + 0.05) else "#ffffff"


def strip(scores: Scores, by: str, palette: Palette) -> list[dict[str, str]]:
    """Return what each token's button looks like: text, background, foreground, title.

    by: a voice (probability, dark where it is high) or change (accent where it fell, blue where it rose).
    """
    shown = []
    for i, token in enumerate(scores["before" if by == "change" else by]):
        p = {voice: math.exp(tokens[i]["logprob"]) for voice, tokens in scores.items() if voice in ("before", "after")}
        if by == "change":
            background = colour(0.5 + 0.5 * (p["after"] - p["before"]), palette.signed)
        else:
            background = colour(math.exp(token["logprob"]), palette.size)
        title = ", ".join(f"{voice} {percent(value)}" for voice, value in p.items())
        shown.append(_button(token, background, title))
    return shown


def said(tokens: Sequence[Mapping[str, Any]], voice: str, palette: Palette) -> list[dict[str, str]]:
    """Return the same of what a voice said: how probable it found each token, on the same scale."""
    p = [math.exp(token["logprob"]) for token in tokens]
    return [
        _button(token, colour(value, palette.size), f"{voice}: {percent(value)}")
        for token, value in zip(tokens, p, strict=True)
    ]


def _button(token: Mapping[str, Any], background: str, title: str) -> dict[str, str]:
    text = visible(str(token["text"]))
    return {"text": text, "background": background, "color": readable(background), "title": title}


def visible(text: str) -> str:
    """Return a token with its white space made visible, and the empty end token named."""
    return text.replace("\n", "⏎").replace("\t", "⇥") or "∅"


def percent(p: float) -> str:
    """Write a probability: 97 %, 0.3 %, under 0.01 %."""
    return "under 0.01 %" if p < 1e-4 else f"{100 * p:.0f} %" if p >= 0.1 else f"{100 * p:.2g} %"


def along(scores: Scores, names: Mapping[str, str], chosen: int, palette: Palette) -> Figure:
    """Draw each voice's log-probability along the answer."""
    fig = figure(palette, 280, showlegend=True)
    words = [chart_text(visible(str(t["text"]))) for t in next(iter(scores.values()))]
    for voice, tokens in scores.items():
        fig.add_scatter(
            x=list(range(len(tokens))),
            y=[t["logprob"] for t in tokens],
            mode="lines+markers",
            name=chart_text(names[voice]),
            line=voice_line(voice, palette),
            marker={"size": 6},
            text=words,
            hovertemplate="%{text}: %{y:.2f} nats<extra>" + chart_text(names[voice]) + "</extra>",
        )
    fig.add_vline(chosen, line={"color": palette.text, "width": 1, "dash": "dot"})
    step = max(1, len(words) // 24)
    ticks = list(range(0, len(words), step))
    fig.update_layout(
        xaxis=axis(palette, tickvals=ticks, ticktext=[words[i] for i in ticks], tickangle=-45, showgrid=False),
        yaxis=axis(palette, "log-probability, nats"),
    )
    return fig


def totals(scores: Scores, names: Mapping[str, str], palette: Palette) -> Figure:
    """Draw the log-probability of the whole true answer in each model, as bars."""
    fig = figure(palette, 60 + 44 * len(scores))
    values = {voice: sum(t["logprob"] for t in tokens) for voice, tokens in scores.items()}
    fig.add_bar(
        y=[chart_text(names[voice]) for voice in values],
        x=list(values.values()),
        orientation="h",
        marker={"color": [voice_line(voice, palette)["color"] for voice in values]},
        insidetextfont={"color": [readable(voice_line(voice, palette)["color"]) for voice in values]},
        text=[f"{round(value, 1) + 0.0:.1f}" for value in values.values()],  # a certain answer's 0.0 has no sign
        textposition="auto",
        hovertemplate="%{y}: %{x:.2f} nats<extra></extra>",
    )
    fig.update_layout(
        xaxis=axis(palette, "log-probability of the whole answer, nats", range=[min(*values.values(), -1.0) * 1.05, 0]),
        yaxis=axis(palette, autorange="reversed", showgrid=False),
        bargap=0.35,
    )
    return fig
