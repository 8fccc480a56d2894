"""`python -m dashboard.heatmap_image RUNS_FOLDER OUT`: the newest finished run's heatmap as OUT.png.

Where no Chrome or Chromium is installed, which turns charts into pixels, it is written as OUT.html instead.
"""

from __future__ import annotations

import sys
from pathlib import Path

from core.runs import store
from core.runs.store import Run
from core.util.errors import UserError
from dashboard.charts.base import CONFIG
from dashboard.charts.heatmap import heatmap
from dashboard.charts.palette import LIGHT
from dashboard.widgets.plot import plain


def draw(run: Run, target: Path) -> Path:
    """Write the picture of a run's localization and region; return the file's path."""
    table, region = run.table("localization"), run.json("region.json")
    if table is None or region is None:
        raise UserError(f"The run {run.id} has no localization.", "Choose a finished run.")
    import plotly.graph_objects as go

    figure = go.Figure(**plain(heatmap(table, "cosine", region["tensors"], None, LIGHT)))
    figure.update_layout(paper_bgcolor=LIGHT.background, margin={"l": 24, "r": 24, "t": 24, "b": 24})
    try:
        picture = figure.to_image(format="png", width=1280, height=figure.layout.height, scale=2)
    except (RuntimeError, ValueError, OSError) as error:
        page = target.with_suffix(".html")
        figure.write_html(page, include_plotlyjs=True, config=CONFIG)
        sys.stderr.write(f"No PNG could be made ({str(error).splitlines()[0]}); see {page} instead.\n")
        return page
    target.with_suffix(".png").write_bytes(picture)
    return target.with_suffix(".png")


def main(arguments: list[str]) -> int:
    """Draw the newest finished run of a folder."""
    folder, target = Path(arguments[0]), Path(arguments[1])
    finished = [run for run in store.list_runs(folder) if run.status()["state"] == "done"]
    if not finished:
        sys.stderr.write(f"There is no finished run in {folder}.\n")
        return 1
    sys.stdout.write(f"{draw(finished[0], target)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
