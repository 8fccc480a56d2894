"""Cosine against magnitude, a dot a tensor: what the two thresholds cut out."""

from __future__ import annotations

import math
from collections.abc import Collection

import pandas as pd

from dashboard.charts.base import Figure, axis, figure
from dashboard.charts.palette import Palette
from dashboard.text import chart_text, number


def scatter(
    table: pd.DataFrame, region: Collection[str], limits: tuple[float, float] | None, chosen: str | None, palette: Palette
) -> Figure:
    """Draw all tensors that have a gradient, with those of the region marked.

    limits: (μ, σ), drawn as lines around the upper left corner; None where something else selected the region.
    """
    live = table[table["has_gradient"] & (table["mag_unlearn"] > 0)]
    inside = live["name"].isin(set(region))
    fig = figure(palette, 300, clickmode="event", dragmode="select")
    low, high = (live["mag_unlearn"].min(), live["mag_unlearn"].max()) if len(live) else (1e-6, 1.0)
    marks = {
        "symbol": ["x" if within else "circle" for within in inside],
        "color": [palette.accent if within else palette.before for within in inside],
        "opacity": [0.9 if within else 0.45 for within in inside],
        "size": 6 if len(live) <= 600 else 4,
    }
    plain = {"marker": {"opacity": 1}}
    fig.add_scatter(
        x=live["cos"],
        y=live["mag_unlearn"],
        mode="markers",
        marker=marks,
        customdata=live["name"].tolist(),
        name="tensors",
        text=[chart_text(name) for name in live["name"]],
        selected=plain,
        unselected={"marker": {"opacity": 0.25}},
        hovertemplate="%{text}<br>shared %{x:.3f}, pull to forget %{y:.3g}<extra></extra>",
    )
    row = live[live["name"] == chosen]
    if not row.empty:
        ring = {"symbol": "circle-open", "size": 16, "color": palette.text, "line": {"width": 2.5}}
        fig.add_scatter(x=row["cos"], y=row["mag_unlearn"], mode="markers", marker=ring, hoverinfo="skip", name="chosen")
    if limits is not None:
        mu, sigma = limits
        corner = {"x0": -1.05, "x1": mu, "y0": max(sigma, low / 4), "y1": high * 2}
        fig.add_shape(type="rect", **corner, fillcolor=palette.accent, opacity=0.07, line_width=0, layer="below")
        _limits(fig, mu, sigma, palette)
    left = min(-0.1, float(live["cos"].min()) - 0.05) if len(live) else -1
    fig.update_layout(
        margin={"t": 26},
        newselection={"line": {"color": palette.text, "width": 1}},
        xaxis=axis(palette, "shared with what is kept (cosine)", range=[left, 1.03]),
        yaxis=axis(
            palette,
            "pull to forget (mean |gradient|)",
            type="log",
            exponentformat="power",
            dtick=1,
            range=[math.log10(low) - 0.12, math.log10(high) + 0.12],
        ),
    )
    return fig


def _limits(fig: Figure, mu: float, sigma: float, palette: Palette) -> None:
    line, font = {"color": palette.accent, "width": 1.5, "dash": "dot"}, {"color": palette.accent}
    fig.add_shape(type="line", x0=mu, x1=mu, y0=0, y1=1, yref="paper", line=line)
    fig.add_annotation(x=mu, y=1, yref="paper", yanchor="bottom", text=f"μ {mu:.2f}", font=font, showarrow=False)
    if sigma > 0:
        fig.add_shape(type="line", x0=0, x1=1, xref="paper", y0=sigma, y1=sigma, line=line)
        fig.add_annotation(
            x=0,
            xref="paper",
            xanchor="left",
            y=math.log10(sigma),
            yanchor="bottom",
            text=f"σ {number(sigma)}",
            font=font,
            showarrow=False,
        )
