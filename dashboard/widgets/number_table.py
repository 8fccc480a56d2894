"""A table of numbers as escaped HTML: shaded cells, intervals in small type, heads that stay while it is scrolled sideways.

Streamlit's own tables can show neither two sizes of type in a cell nor a shade. No Streamlit here: reports use it too.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

from dashboard.charts.palette import Palette

MISSING = "–"


@dataclass(frozen=True)
class Cell:
    """One number, written."""

    text: str = MISSING
    small: str = ""
    """after it, in small type: ± half an interval"""
    title: str = ""
    """shown when a pointer rests on it; nothing that is not said elsewhere too"""
    style: str = ""
    """CSS of its shade"""
    link: str = ""
    """address of the answers that were counted"""


@dataclass(frozen=True)
class Row:
    """A line: a run's voice, a published method, or a heading (no cells) over those that follow."""

    name: str
    cells: Sequence[Cell] = ()
    note: str = ""
    """under the name, in small type"""
    kind: str = ""
    """after (the result, set in bold), reference (grey), published (note beside the name), or nothing"""
    mark: str = ""
    """red, after the name"""


@dataclass(frozen=True)
class Column:
    """A column's head."""

    name: str
    help: str = ""
    group: str = ""
    """stands over neighbouring columns of the same group"""


@dataclass(frozen=True)
class Table:
    """What is shown, and what it is called for those who do not see it."""

    alt: str
    first: str
    """head of the first column"""
    columns: Sequence[Column]
    rows: Sequence[Row] = field(default_factory=list)
    stacked: bool = False
    """intervals stand under the numbers, where many columns need the room"""


def markup(table: Table, palette: Palette) -> str:
    """Return the table as HTML. Everything in it is escaped."""
    head = "".join(f'<th scope="col"{_title(column.help)}>{html.escape(column.name)}</th>' for column in table.columns)
    first = f'<th scope="col" class="first"{" rowspan=2" if _grouped(table) else ""}>{html.escape(table.first)}</th>'
    heads = f"<tr>{first}{_groups(table)}</tr><tr>{head}</tr>" if _grouped(table) else f"<tr>{first}{head}</tr>"
    body = "".join(_row(row, len(table.columns)) for row in table.rows)
    label = html.escape(table.alt, quote=True)
    return (
        f"<style>{_style(palette)}</style>"
        f'<div class="fs-numbers{" stacked" if table.stacked else ""}" role="region" tabindex="0" '
        f'aria-label="{label}"><table><thead>{heads}</thead><tbody>{body}</tbody></table></div>'
    )


def _grouped(table: Table) -> bool:
    return any(column.group for column in table.columns)


def _groups(table: Table) -> str:
    spans: list[tuple[str, int]] = []
    for column in table.columns:
        if spans and spans[-1][0] == column.group:
            spans[-1] = (column.group, spans[-1][1] + 1)
        else:
            spans.append((column.group, 1))
    return "".join(
        f'<th scope="colgroup" colspan="{count}" class="group">{html.escape(name)}</th>'
        if name
        else f'<td colspan="{count}"></td>'
        for name, count in spans
    )


def _row(row: Row, width: int) -> str:
    note = f"<small>{html.escape(row.note)}</small>" if row.note else ""
    mark = f' <b class="mark">{html.escape(row.mark)}</b>' if row.mark else ""
    name = f"{html.escape(row.name)}{mark}{note}"
    if not row.cells:
        # The words stay in sight while the numbers are scrolled.
        return f'<tr class="heading"><th scope="rowgroup" class="first" colspan="{width + 1}"><span>{name}</span></th></tr>'
    cells = "".join(
        f'<td style="{cell.style}"{_title(cell.title)}>{_text(cell)}'
        f"{f'<small>{html.escape(cell.small)}</small>' if cell.small else ''}</td>"
        for cell in row.cells
    )
    return f'<tr class="{html.escape(row.kind, quote=True)}"><th scope="row" class="first">{name}</th>{cells}</tr>'


def _text(cell: Cell) -> str:
    text = html.escape(cell.text)
    return f'<a href="{html.escape(cell.link, quote=True)}">{text}</a>' if cell.link else text


def _title(text: str) -> str:
    return f' title="{html.escape(text, quote=True)}"' if text else ""


def _style(palette: Palette) -> str:
    return f"""
.fs-numbers {{ overflow-x: auto; outline-offset: 2px;
  background: linear-gradient(to left, {palette.background} 40%, transparent) right / 36px 100% no-repeat local,
    linear-gradient(to left, {palette.muted}66, transparent) right / 12px 100% no-repeat scroll; }}
.fs-numbers:focus-visible {{ outline: 2px solid {palette.accent}; }}
.fs-numbers table {{ border-collapse: separate; border-spacing: 0; width: 100%; font-size: .92rem;
  font-variant-numeric: tabular-nums; }}
.fs-numbers th, .fs-numbers td {{ padding: .38rem .6rem; border-bottom: 1px solid {palette.grid}; text-align: right;
  font-weight: 400; vertical-align: baseline; }}
.fs-numbers td {{ white-space: nowrap; }}
.fs-numbers thead th {{ color: {palette.muted}; font-size: .82rem; vertical-align: bottom; line-height: 1.25; }}
.fs-numbers thead td {{ border-bottom: 0; }}
.fs-numbers th.group {{ text-align: center; color: {palette.text}; }}
.fs-numbers .first {{ text-align: left; position: sticky; left: 0; background: {palette.background}; min-width: 8rem;
  max-width: 17rem; overflow-wrap: anywhere; z-index: 1; }}
.fs-numbers tr.heading .first {{ max-width: none; padding-top: .9rem; font-weight: 600; position: static; }}
.fs-numbers tr.heading span {{ position: sticky; left: .6rem; display: inline-block; max-width: min(70vw, 60rem); }}
.fs-numbers tr.after td, .fs-numbers tr.after th {{ font-weight: 600; }}
.fs-numbers tr.published th small {{ display: inline; margin-left: .4rem; }}
.fs-numbers tr.reference td, .fs-numbers tr.reference th {{ color: {palette.muted}; }}
.fs-numbers td a {{ color: inherit; text-decoration: underline dotted; text-underline-offset: .2em; }}
.fs-numbers td a:hover, .fs-numbers td a:focus-visible {{ text-decoration-style: solid; }}
.fs-numbers small {{ color: {palette.muted}; font-weight: 400; font-size: .78rem; }}
.fs-numbers td small {{ margin-left: .3rem; color: inherit; }}
.fs-numbers.stacked td small {{ display: block; margin-left: 0; }}
.fs-numbers th small {{ display: block; line-height: 1.3; }}
.fs-numbers .mark {{ color: {palette.bad}; font-weight: 600; }}
@media (max-width: 700px) {{ .fs-numbers td small {{ display: block; margin-left: 0; }}
  .fs-numbers th, .fs-numbers td {{ padding: .38rem .4rem; }} }}
"""
