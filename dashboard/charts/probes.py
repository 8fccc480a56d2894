"""What leak probes found: rates beside their references, curves, the two groups of membership inference, layers × tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.runs.voices import SPOKEN, WITHIN
from dashboard.charts.base import SYMBOLS, Figure, axis, figure, voice_line
from dashboard.charts.palette import Palette
from dashboard.text import chart_text, shorten

BINS = 24


@dataclass(frozen=True)
class Rates:
    """One probe, or one form of it. Percent."""

    name: str
    values: Mapping[str, tuple[float, float, float]]
    """voice -> value, low, high"""
    n: str = ""
    """of how many questions; empty where it was not recorded"""


def rates(rows: Sequence[Rates], unit: str, palette: Palette, *, legend: bool = True) -> Figure:
    """Draw a line a probe: each voice that was recorded as a point with its 95 % interval.

    unit: what all rates count. legend: not where a picture above has it.
    """
    top = 40 if legend else 8
    height = 52 + top + 40 * len(rows)
    fig = figure(palette, height, showlegend=legend, hovermode="closest", clickmode="event", margin={"t": top})
    voices = [voice for voice in SPOKEN if any(voice in row.values for row in rows)]
    for lane, voice in enumerate(voices):
        measured = [(y, row) for y, row in enumerate(rows) if voice in row.values]
        values = [row.values[voice] for _, row in measured]
        shade = voice_line(voice, palette)["color"]
        marker = {
            "symbol": SYMBOLS[voice],
            "size": 11,
            "color": shade,
            "line": {"width": 2, "color": shade},
            "opacity": 1,
        }
        fig.add_scatter(
            cliponaxis=False,  # points at 0 and at 100 are whole
            x=[v for v, _, _ in values],
            y=[y + 0.22 * (lane - (len(voices) - 1) / 2) for y, _ in measured],
            mode="markers",
            name=WITHIN[voice],
            marker=marker,
            error_x={
                "type": "data",
                "symmetric": False,
                "color": shade,
                "thickness": 1.5,
                "width": 3,
                "array": [high - v for v, _, high in values],
                "arrayminus": [v - low for v, low, _ in values],
            },
            text=[
                f"{chart_text(row.name)}<br>{WITHIN[voice]}: {v:.1f} % ({low:.1f} to {high:.1f})"
                for (_, row), (v, low, high) in zip(measured, values, strict=True)
            ],
            customdata=[row.name for _, row in measured],
            hovertemplate="%{text}<extra></extra>",
        )
    fig.update_layout(
        xaxis=axis(palette, unit, range=[-3, 103]),
        legend={"y": 1, "yref": "container", "yanchor": "top"},
        yaxis=axis(
            palette,
            range=[len(rows) - 0.5, -0.5],
            tickvals=list(range(len(rows))),
            showgrid=False,
            ticktext=[chart_text(f"{shorten(row.name, 26)}{f' · {row.n}' if row.n else ''}") for row in rows],
        ),
    )
    return fig


@dataclass(frozen=True)
class Line:
    """One voice's curve."""

    voice: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def curves(lines: Sequence[Line], x: str, y: str, palette: Palette) -> Figure:
    """Draw curves with their bands. x, y: the axes' names."""
    fig = figure(palette, 280, showlegend=True, hovermode="closest")
    for line in lines:
        drawn = voice_line(line.voice, palette)
        shade = drawn["color"]
        if line.low and line.high:
            fig.add_scatter(
                x=[*line.x, *reversed(line.x)],
                y=[*line.high, *reversed(line.low)],
                mode="lines",
                fill="toself",
                fillcolor=shade,
                opacity=0.14,
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
                name=f"{line.voice} band",
            )
        fig.add_scatter(
            x=list(line.x),
            y=list(line.y),
            mode="lines+markers",
            name=chart_text(WITHIN.get(line.voice, line.voice)),
            marker={"size": 5, "color": shade},
            line=drawn,
            hovertemplate=f"{chart_text(x)} %{{x}}: %{{y:.1f}}"
            f"<extra>{chart_text(WITHIN.get(line.voice, line.voice))}</extra>",
        )
    fig.update_layout(xaxis=axis(palette, chart_text(x)), yaxis=axis(palette, chart_text(y), rangemode="tozero"))
    return fig


def groups(member: Sequence[float], other: Sequence[float], threshold: float, title: str, palette: Palette) -> Figure:
    """Draw how the scores of forgotten and of never-taught questions are spread, and the threshold between them."""
    low, high = min(*member, *other), max(*member, *other)
    width = (high - low) / BINS or 1.0
    centres = [low + (i + 0.5) * width for i in range(BINS)]
    fig = figure(palette, 260, showlegend=True, barmode="overlay", bargap=0.05)
    for values, name, shade in (
        (other, "never taught to anybody", palette.muted),
        (member, "to be forgotten", palette.accent),
    ):
        counts = [0] * BINS
        for value in values:
            counts[min(BINS - 1, int((value - low) / width))] += 1
        shares = [100 * count / len(values) for count in counts]
        fig.add_bar(
            x=centres,
            y=shares,
            width=[width] * BINS,
            name=name,
            marker={"color": shade, "opacity": 0.55},
            hovertemplate="%{x:.2f}: %{y:.0f} %<extra>" + name + "</extra>",
        )
    fig.add_vline(threshold, {"color": palette.text, "width": 2, "dash": "dash"})
    fig.update_layout(
        xaxis=axis(palette, chart_text(title), range=[low - width, high + width]),
        yaxis=axis(palette, "questions of the group, %"),
    )
    return fig


def layers(
    values: Sequence[Sequence[float]], tokens: Sequence[str], palette: Palette, *, difference: bool = False
) -> Figure:
    """Draw layers × answer tokens: the true token's probability in percent, or (difference) how much after has less of
    it.
    """
    rows = len(values)
    scale: dict[str, Any] = (
        {"colorscale": palette.signed, "zmin": -100, "zmax": 100}
        if difference
        else {"colorscale": palette.size, "zmin": 0, "zmax": 100}
    )
    fig = figure(palette, 110 + 11 * rows)
    fig.add_heatmap(
        z=[list(row) for row in values],
        x=list(range(len(tokens))),
        y=list(range(1, rows + 1)),
        xgap=1,
        ygap=0.5,
        **scale,
        colorbar={
            "thickness": 10,
            "len": 0.9,
            "outlinewidth": 0,
            "tickfont": {"size": 11, "color": palette.muted},
            "ticksuffix": " %",
        },
        text=[[chart_text(token) for token in tokens] for _ in values],
        hovertemplate="layer %{y}, “%{text}”: %{z:.1f}<extra></extra>",
    )
    fig.update_layout(
        xaxis=axis(
            palette,
            tickvals=list(range(len(tokens))),
            ticktext=[chart_text(shorten(token.strip() or "␣", 12)) for token in tokens],
            showgrid=False,
            tickangle=-50,
        ),
        yaxis=axis(palette, "layer", showgrid=False),
    )
    return fig
