"""A run -> one self-contained HTML file that anybody can open, print, present and check. No torch.

`collect` gathers what the report says, `render` draws it; both give the same for the same run.
"""

from __future__ import annotations

from pathlib import Path

from core.report.content import collect
from core.report.page import render
from core.runs.store import Run
from core.util.files import write_bytes

__all__ = ["collect", "html", "render", "write"]


def html(run: Run, *, redact: bool = False, folder: Path | None = None) -> str:
    """Return a run's report. Raises UserError for a run without readable settings."""
    return render(collect(run, redact=redact, folder=folder))


def write(run: Run, target: Path, *, redact: bool = False, folder: Path | None = None) -> int:
    """Write a run's report in one step; return its bytes. Raises UserError, also for a place that cannot be written."""
    return write_bytes(target, html(run, redact=redact, folder=folder).encode("utf-8"))
