"""A run -> files for others: a report that anybody can open, print, present and check, exports, and their verification.

`collect` (report_data.py) gathers what a report says as one JSON value, `render` (html_page.py) draws it; both give the
same for the same run, which verify_report.py relies on. site.py draws runs as pages, from the same data and templates.
report_sentences.py says the numbers in words, redaction.py finds what must not be quoted. Exports: answers, tables, the
model with its card. May use everything below it, jobs included; loads no model library but where an export needs the
weights. Begin with report_data.py.
"""

from __future__ import annotations

from pathlib import Path

from core.report.html_page import render
from core.report.report_data import collect
from core.runs.store import Run
from core.util.files import write_bytes

__all__ = ["collect", "html", "render", "write"]


def html(run: Run, *, redact: bool = False, names: bool = False, folder: Path | None = None) -> str:
    """Return a run's report. Raises UserError for a run without readable settings."""
    return render(collect(run, redact=redact, names=names, folder=folder))


def write(run: Run, target: Path, *, redact: bool = False, names: bool = False, folder: Path | None = None) -> int:
    """Write a run's report in one step; return its bytes. Raises UserError, also for a place that cannot be written."""
    return write_bytes(target, html(run, redact=redact, names=names, folder=folder).encode("utf-8"))
