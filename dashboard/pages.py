"""The table of pages, for the navigation and every link between pages; and where addresses of earlier versions lead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode


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
EVIDENCE = Page("evidence", "evidence/page.py", "Evidence", ":material/fact_check:")
REPORT = Page("report", "report/page.py", "Report", ":material/description:")
RUNS = Page("runs", "runs/page.py", "Runs", ":material/table_rows:")
DOCUMENTS = Page("help", "help/page.py", "Documents", ":material/menu_book:")
METHODS = Page("methods", "help/methods_page.py", "Methods and regions", ":material/function:")

ALL = (LOCALIZE, COMPARE, EVIDENCE, REPORT, RUNS)
"""in the order of the navigation"""
HELP = (DOCUMENTS, METHODS)
"""in the menu Help beside them"""

ALL_RUNS, NEW_RUN, THIS_RUN, QUEUE, DISK = "All runs", "New run", "This run", "Queue and sweeps", "Disk and memory"
"""views of the page Runs, `view` in its address"""


@dataclass(frozen=True)
class Moved:
    """Where an address of an earlier version leads."""

    address: str
    page: Page
    said: Mapping[str, str] = field(default_factory=dict)
    """parameters that the old address must have, with these values; an empty value: with any"""
    now: Mapping[str, str] = field(default_factory=dict)
    """what is said in their place"""


MOVED = (
    Moved("probe", COMPARE, {"probe": "Own questions"}, {"view": "Many at once"}),
    *(Moved("probe", EVIDENCE, {"probe": part}, {"part": part}) for part in ("One subject", "Leak probes", "Rules")),
    # What an old link counted were all kinds of question.
    Moved("probe", EVIDENCE, {"among": ""}, {"part": "Every example"}),
    Moved("probe", EVIDENCE, {}, {"part": "Every example", "among": "all"}),
    Moved("scores", METHODS, {"part": "Methods"}),
    Moved("scores", LOCALIZE, {"part": "Controls"}, {"controls": "true"}),
    Moved("scores", DOCUMENTS, {"part": "What we found"}),
    *(
        Moved("scores", EVIDENCE, {"part": old}, {"part": now})
        for old, now in (
            ("Step by step", "Steps"),
            ("By subject", "One subject"),
            ("Cost", "Cost"),
            ("Settings that differ", "Scores"),
            ("All metrics", "Metrics"),
        )
    ),
    Moved("scores", EVIDENCE, {"across": ""}, {"part": "Trade-off"}),
    Moved("scores", EVIDENCE, {"step": ""}, {"part": "Steps"}),
    Moved("scores", EVIDENCE, {}, {"part": "Scores"}),
    Moved("run", RUNS, {"view": "New run"}, {"view": NEW_RUN}),
    Moved("run", RUNS, {"view": "This run"}, {"view": THIS_RUN}),
    Moved("run", RUNS, {"again": ""}, {"view": NEW_RUN}),
    Moved("run", RUNS, {"run": ""}, {"view": THIS_RUN}),
    Moved("run", RUNS, {}, {"view": NEW_RUN}),
    Moved("admin", RUNS, {}, {"view": DISK}),
    Moved("documents", DOCUMENTS),
    # It has no path, being the first page; whoever types its name as that of the others gets there.
    Moved(LOCALIZE.address, LOCALIZE),
)
"""for each address the first line that fits; parameters that it does not name stay as they are"""
RENAMED = {"about": "who", "subject": "who"}
"""parameters of old addresses that another name has now"""


def moved(address: str, query: str) -> str:
    """Return the new address of an old one with its query, as a path beside it. Raises KeyError for one that is none."""
    words = dict(parse_qsl(query))
    for line in MOVED:
        if line.address == address and all(
            name in words and value in ("", words[name]) for name, value in line.said.items()
        ):
            # A parameter that had to be there with whatever value goes on meaning it.
            kept = {RENAMED.get(name, name): value for name, value in words.items() if not line.said.get(name)}
            asked = {**kept, **line.now}
            address = "./" if line.page is LOCALIZE else line.page.address  # the first page has no path
            return f"{address}?{urlencode(asked)}" if asked else address
    raise KeyError(address)
