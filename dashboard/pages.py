"""The table of pages: each one's address, script, title and icon, for the navigation and for every link between pages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """One page of the dashboard."""

    address: str
    """path in the browser, without a slash; links from outside rely on it, so it outlives a move of the script"""
    script: str
    """file that Streamlit runs, relative to dashboard/"""
    title: str
    """as the navigation names it"""
    icon: str
    """in Streamlit's spelling"""


LOCALIZE = Page("localize", "localize/page.py", "Localize", ":material/grid_on:")
COMPARE = Page("compare", "compare/page.py", "Compare", ":material/compare:")
PROBE = Page("probe", "evidence/probe_page.py", "Probe", ":material/fact_check:")
SCORES = Page("scores", "evidence/scores_page.py", "Scores", ":material/scoreboard:")
REPORT = Page("report", "report/page.py", "Report", ":material/description:")
RUN = Page("run", "runs/new_run_page.py", "Run", ":material/play_circle:")
RUNS = Page("runs", "runs/runs_page.py", "Runs", ":material/table_rows:")
DOCUMENTS = Page("documents", "help/page.py", "Documents", ":material/menu_book:")
ADMIN = Page("admin", "runs/admin_page.py", "Admin", ":material/shield_person:")

ALL = (LOCALIZE, COMPARE, PROBE, SCORES, REPORT, RUN, RUNS, DOCUMENTS, ADMIN)
"""in the order of the navigation"""
