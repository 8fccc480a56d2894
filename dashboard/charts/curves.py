"""Curves over the steps of a run, from its events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.charts.base import SCOPE_NAMES, Figure, axis, figure, line_style, scope_marker
from dashboard.charts.palette import Palette

Events = Sequence[Mapping[str, Any]]


def of_stage(events: Events, stage: str) -> list[Mapping[str, Any]]:
    """Return the progress events of a stage's last attempt."""
    attempt: list[Mapping[str, Any]] = []
    for event in events:
        if event.get("kind") == "stage" and event.get("name") == stage and event.get("state") == "running":
            attempt = []
        elif event.get("kind") == "progress" and event.get("stage") == stage:
            attempt.append(event)
    return attempt


def of_result(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the same from a finished stage's unlearn.json, which has the last step too."""
    checks = {check["step"]: check for check in result.get("checks", [])}
    return [
        {**row, **checks.get(row["step"], {}), "kind": "progress", "stage": "unlearn", "done": row["step"]}
        for row in result.get("curve", [])
    ]


MOST = 600
"""Points of a curve that are drawn: more than a screen can show are only a burden on the wire."""


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep the lowest and the highest point of each of MOST/2 equal parts, and both ends: spikes stay visible."""
    if len(points) <= MOST:
        return list(points)
    parts = MOST // 2 - 1
    kept = [points[0]]
    for part in range(parts):
        members = points[1 + part * (len(points) - 2) // parts : 1 + (part + 1) * (len(points) - 2) // parts]
        low, high = min(members, key=lambda p: p[1]), max(members, key=lambda p: p[1])
        kept += sorted({low, high})
    return [*kept, points[-1]]


def losses(events: Events, palette: Palette) -> Figure:
    """Draw the loss at every step of unlearning, of each part of the batch that the method looks at."""
    fig = figure(palette, 260, showlegend=True)
    steps = of_stage(events, "unlearn")
    muted = {"color": palette.muted, "width": 2}
    parts = {
        "forget": (SCOPE_NAMES["unlearn"], line_style(palette, "unlearn")),
        "retain": (SCOPE_NAMES["retention"], line_style(palette, "retention")),
        "question": ("questions", {**muted, "dash": "dash"}),
        "refusal": ("refusals", {**muted, "dash": "dashdot"}),
        "general": ("general text", {**muted, "dash": "dot"}),
    }
    for part, (name, line) in parts.items():
        points = thinned([(e["done"], e[f"{part}_loss"]) for e in steps if f"{part}_loss" in e])
        if points:
            x, y = zip(*points, strict=True)
            fig.add_scatter(
                x=x,
                y=y,
                mode="lines",
                line=line,
                name=name,
                hovertemplate="step %{x}: %{y:.3f} nats<extra></extra>",
            )
    fig.update_layout(xaxis=axis(palette, "step"), yaxis=axis(palette, "loss, nats per token", rangemode="tozero"))
    return fig


def checks(events: Events, target: float | None, palette: Palette) -> Figure:
    """Draw the answer-token accuracy on both scopes at the checkpoints, and the level at which unlearning stops."""
    fig = figure(palette, 260, showlegend=True)
    measured = [e for e in of_stage(events, "unlearn") if "retention" in e]
    for scope in ("unlearn", "retention"):
        fig.add_scatter(
            x=[e["done"] for e in measured],
            y=[e[scope] for e in measured],
            mode="lines+markers",
            name=SCOPE_NAMES[scope],
            line=line_style(palette, scope),
            marker=scope_marker(scope, 9),
            hovertemplate="step %{x}: %{y:.1f} %<extra></extra>",
        )
    if target is not None:
        note = {"text": f"target {target:.1f} %", "font": {"color": palette.muted, "size": 12}}
        line = {"color": palette.muted, "width": 1, "dash": "dot"}
        fig.add_shape(type="line", x0=0, x1=1, xref="paper", y0=target, y1=target, line=line)
        fig.add_annotation(x=0, xref="paper", xanchor="left", y=target, yanchor="bottom", showarrow=False, **note)
    fig.update_layout(xaxis=axis(palette, "step"), yaxis=axis(palette, "accuracy, %", range=[0, 104]))
    return fig


def teaching(events: Events, palette: Palette) -> Figure:
    """Draw the accuracy on both scopes together while the model is taught."""
    fig = figure(palette, 200)
    points = thinned([(e["done"], e["accuracy"]) for e in of_stage(events, "teach") if "accuracy" in e])
    fig.add_scatter(
        x=[x for x, _ in points],
        y=[y for _, y in points],
        mode="lines",
        line={"color": palette.before, "width": 2},
        hovertemplate="step %{x}: %{y:.1f} %<extra></extra>",
    )
    fig.update_layout(xaxis=axis(palette, "step"), yaxis=axis(palette, "accuracy, %", range=[0, 104]))
    return fig
