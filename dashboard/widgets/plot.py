"""Puts figures on a page: one component around the plotly.js that this server holds, instead of Streamlit's own copy.

A page then loads one plotly.js (0.5 MB instead of 1.5), and every chart has the same tools: where its numbers are from,
its data as CSV, the picture as PNG or SVG, full screen.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

if TYPE_CHECKING:
    import pandas as pd

    from dashboard.charts.base import Figure

BROWSER = Path(__file__).resolve().parent.parent / "browser"
SHELL = """<div class="fs-box"><div class="fs-plot"></div><div class="fs-tools"></div></div>
"""


def component(at: Path, html: str = SHELL, *more: Path) -> Callable[..., Any]:
    """Register a component that draws figures. at: of its script and, if it has one, its style sheet, without the ending.

    Before either stands what all of them share, and more, which it shares with what is not of the app.
    """

    def source(ending: str) -> str:
        paths = (BROWSER / f"plotly{ending}", *(path.with_suffix(ending) for path in (*more, at)))
        return "\n".join(path.read_text(encoding="utf-8") for path in paths if path.exists())

    # plotly writes its style rules into the document, where a shadow root would not see them.
    made: Callable[..., Any] = st.components.v2.component(
        at.name, html=html, css=source(".css"), js=source(".js"), isolate_styles=False
    )
    return made


_CHART = component(BROWSER / "chart")


def chart(
    fig: Figure,
    alt: str,
    key: str,
    *,
    facts: Sequence[tuple[str, str]],
    on_click: Callable[[Any], None] | None = None,
    columns: Mapping[str, Sequence[Any]] | None = None,
) -> None:
    """Show a figure with its tools.

    alt: what it shows, for those who do not see it. on_click: called with a clicked point's customdata.
    facts: (label, words) pairs behind "Where from". columns: what the CSV holds; else the points that are drawn.
    """

    def clicked() -> None:
        if on_click is not None and (click := st.session_state[key].clicked) is not None:
            on_click(click[0] if isinstance(click, list) else click)

    _CHART(
        key=key,
        data={
            "drawn": drawn(fig, columns=text(columns)),
            "name": key,
            "alt": alt,
            "selectable": on_click is not None,
            "facts": [list(pair) for pair in facts],
        },
        on_clicked_change=clicked,
    )


def drawn(fig: Figure, **more: str) -> str:
    """Return a figure as JSON, and beside it more that is JSON already.

    Of a component's data Streamlit writes JSON twice at every script run: of ten thousand numbers that takes far longer than
    of one text, which can be kept for the next visitor, too.
    """
    return "{" + ",".join(f'"{name}":{value}' for name, value in {"figure": text(plain(fig)), **more}.items()) + "}"


def text(value: Any) -> str:
    """Return plain values as JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def columns_of(table: pd.DataFrame) -> dict[str, list[Any]]:
    """Return a table as the columns of a CSV; what was not measured is an empty field."""
    return {str(c): [None if v != v else v for v in table[c].tolist()] for c in table}


def plain(fig: Figure) -> dict[str, Any]:
    """Return a figure as plain JSON values. Raises ValueError for an infinity, which JSON has no word for."""
    import numpy as np
    import pandas as pd

    def simple(value: Any) -> Any:
        # Nearly all of a figure's some ten thousand values are of these kinds.
        if type(value) is str or type(value) is int or value is None:
            return value
        if isinstance(value, dict):
            return {key: simple(inner) for key, inner in value.items()}
        if isinstance(value, np.ndarray | pd.Series):
            return simple(value.tolist())
        if isinstance(value, list | tuple):
            return [simple(inner) for inner in value]
        if isinstance(value, np.generic):
            return simple(value.item())
        if not isinstance(value, float) or math.isfinite(value):
            return value
        if value == value:
            raise ValueError("an infinity cannot be drawn")
        return None

    figure: dict[str, Any] = simple({"data": fig.data, "layout": fig.layout})
    return figure
