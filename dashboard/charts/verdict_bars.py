"""What became of the answers, a bar a voice and scope: how many leaked, were kept, lost, gibberish, declined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.metrics.verdict_rules import OF_SCOPE
from core.runs.voices import VOICE_NAMES
from dashboard.charts.base import SCOPE_NAMES, Figure, axis, figure
from dashboard.charts.palette import LIGHT, Palette

Counts = Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]
"""scope -> verdict -> voice -> n, of"""
FADED = 0.25
"""opacity of verdicts that are filtered out"""


def bars(counts: Counts, names: Mapping[str, str], verdict: str, palette: Palette) -> Figure:
    """Draw the bars. names: of the verdicts. verdict: the one that is filtered by, empty for none."""
    rows = lines(counts)
    fig = figure(palette, 66 + 25 * len(rows), barmode="stack", clickmode="event", hovermode="closest", showlegend=True)
    fig.update_layout(bargap=0.25, margin={"t": 50, "b": 4})
    verdicts = dict.fromkeys(verdict for scope in OF_SCOPE for verdict in OF_SCOPE[scope])
    colors = _colors(palette)
    for name in verdicts:
        there = [
            (y, scope, voice, counts[scope][name][voice])
            for y, (scope, voice) in enumerate(rows)
            if voice in counts[scope].get(name, {})
        ]
        numbers = [cell["n"] for _, _, _, cell in there]
        if not any(numbers):
            continue
        fig.add_bar(
            orientation="h",
            x=[100 * cell["n"] / cell["of"] for _, _, _, cell in there],
            y=[y for y, _, _, _ in there],
            name=names[name],
            text=[f"{n:.0f}" if n else "" for n in numbers],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            marker={"color": colors[name][0], "line": {"width": 1, "color": palette.background}},
            insidetextfont={"color": colors[name][1], "size": 12},
            opacity=1 if verdict in ("", name) else FADED,
            customdata=[f"{scope}.{name}" for _, scope, _, _ in there],
            hovertext=[
                f"{VOICE_NAMES[voice]}, {SCOPE_NAMES[scope]}<br>{names[name]}: {cell['n']:.0f} of {cell['of']:.0f}"
                for _, scope, voice, cell in there
            ],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    marks = {scope: SCOPE_NAMES[scope].partition(" ")[0] for scope in SCOPE_NAMES}
    fig.update_layout(
        # On a telephone the legend needs the whole width.
        legend={"x": 0, "xref": "container", "y": 1, "yref": "container", "yanchor": "top", "traceorder": "normal"},
        xaxis=axis(palette, range=[0, 100], visible=False),
        yaxis=axis(
            palette,
            range=[len(rows) - 0.5, -0.5],
            tickvals=list(range(len(rows))),
            showgrid=False,
            ticktext=[f"{marks[scope]} {VOICE_NAMES[voice]}" for scope, voice in rows],
        ),
    )
    return fig


def lines(counts: Counts) -> list[tuple[str, str]]:
    """Return (scope, voice) of each bar, in the order in which they stand."""
    return [
        (scope, voice)
        for scope in OF_SCOPE
        if scope in counts
        for voice in VOICE_NAMES
        if any(voice in voices for voices in counts[scope].values())
    ]


def _colors(palette: Palette) -> dict[str, Sequence[str]]:
    """Return verdict -> (fill, text): where the fact is said the colour of its scope, else a quiet one."""
    return {
        "leaked": (palette.scope("unlearn"), palette.background),
        "kept": (palette.scope("retention"), palette.background),
        "lost": (palette.lost, palette.text),
        "forgotten": (palette.other, palette.text),
        "degenerate": (palette.before, palette.background),
        "refused": (palette.declined, LIGHT.text),
    }
