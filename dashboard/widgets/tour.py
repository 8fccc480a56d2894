"""Tours of the app for who sees it first: a door is four steps, each a page with a sentence above it.

The address carries where one is (`tour=explore&step=2`), so a step is a link like any other, and leaving ends the tour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import streamlit as st

from core.localization.measures import MEASURES
from core.runs.store import Run
from dashboard import pages
from dashboard.pages import Page

TOUR, STEP = "tour", "step"
"""parameters of the address"""
MAP, TABS = ".fs-plot", "[data-testid=stTabs]"
"""selectors of the map, and of the tabs below the answers"""
AT = "tour_at"
"""where in the session stands which step was set up"""


@dataclass(frozen=True)
class Step:
    """One stop."""

    page: Page
    words: str
    """what to look at: 22 words at most"""
    params: Mapping[str, str] = field(default_factory=dict)
    """what the page is opened with, beside the run"""
    target: str = ""
    """CSS selector of what the words are about, which is brought into sight; empty where the page begins with it"""


@dataclass(frozen=True)
class Door:
    """What one can come for."""

    name: str
    line: str
    """what it leads to, as on the first screen"""
    icon: str


DOORS = {
    "explore": Door("Explore", "the map", pages.LOCALIZE.icon),
    "present": Door("Present", "it in slides", pages.REPORT.icon),
    "probe": Door("Probe", "it: ask yourself", pages.COMPARE.icon),
}
TOURS: Mapping[str, tuple[Step, ...]] = {
    "explore": (
        Step(
            pages.LOCALIZE,
            "Each cell is one small weight matrix. Outlined: what this run was allowed to change. Click a cell.",
            target=MAP,
        ),
        Step(
            pages.LOCALIZE,
            "The colours now show how far unlearning moved each cell. Without colour: it did not move.",
            {"measure": MEASURES["change"].label},
            MAP,
        ),
        Step(
            pages.COMPARE,
            "Below the answers, choose a layer to put back. If the old answer returns, that layer alone brings it back.",
            {"view": "What holds it"},
            TABS,
        ),
        Step(
            pages.LOCALIZE,
            "Facts planted on purpose, and which score finds the place where they are.",
            {"planted": "true"},
            ".st-key-planted_scores",
        ),
    ),
    "present": (
        Step(pages.REPORT, "Six slides tell this run. Present them full screen: arrow keys lead on, Esc ends."),
        Step(pages.COMPARE, "If somebody doubts a slide, ask the model here: before and after, side by side."),
        Step(
            pages.EVIDENCE,
            "Behind each number are its answers. Choose a tile to list them, the worst first.",
            {"part": "Every example"},
        ),
        Step(pages.REPORT, "Below the slides, save all of it as one file that opens in any browser."),
    ),
    "probe": (
        Step(pages.COMPARE, "Choose a question, or type your own. Both models answer, and a rule judges what they say."),
        Step(
            pages.COMPARE,
            "Below the answers: word by word, how probable the true answer is before and after.",
            {"view": "Tokens"},
            TABS,
        ),
        Step(
            pages.EVIDENCE,
            "Other ways to get the facts out: other wordings, given beginnings, role-play. Each with its rate.",
            {"part": "Leak probes"},
        ),
        Step(
            pages.EVIDENCE,
            "All questions and answers, the worst first. Choose a row to ask it again.",
            {"part": "Every example"},
        ),
    ),
}


# What the step is about may be drawn after the step itself; once it has been shown, the visitor scrolls. A telephone has no
# room for both, and there the words come first.
_SIGHT = st.components.v2.component(
    "tour_sight",
    js="""
export default function ({ data, parentElement }) {
  const host = parentElement.host ?? parentElement;
  clearInterval(host.looking);
  if (host.shown === data.step || innerWidth < 700) return;
  const since = Date.now();
  host.looking = setInterval(() => {
    const found = document.querySelector(data.target);
    if (found?.clientHeight) {
      host.shown = data.step;
      found.style.scrollMarginTop = "9.5rem";  // below the page's head and the step itself
      found.scrollIntoView();
    }
    if (host.shown === data.step || Date.now() - since > 20000) clearInterval(host.looking);
  }, 200);
  return () => clearInterval(host.looking);
}
""",
)


def doors(run: Run) -> None:
    """Show the three ways into the app."""
    with st.container(horizontal=True, gap="small", key="doors"):
        for name, door in DOORS.items():
            _link(name, 1, run.id, f"**{door.name}** {door.line}", door.icon)


def show() -> None:
    """Show where on a tour the visitor is, above the page; nothing where the address names no step."""
    name, run = str(st.query_params.get(TOUR, "")), str(st.query_params.get("run", ""))
    steps, text = TOURS.get(name, ()), str(st.query_params.get(STEP, "1"))
    if text not in map(str, range(1, len(steps) + 1)):
        st.session_state.pop(AT, None)
        return
    at = int(text)
    _set_up(name, at)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", border=True, key="tour"):
        st.markdown(f"**{DOORS[name].name}, {at} of {len(steps)}.** {steps[at - 1].words}", width="stretch")
        if at > 1:
            _link(name, at - 1, run, "Back", ":material/arrow_back:")
        if at < len(steps):
            _link(name, at + 1, run, "Next", ":material/arrow_forward:")
        st.button("End the tour", key="tour_end", type="tertiary", on_click=_end)
    if target := steps[at - 1].target:
        _SIGHT(key="tour_sight", data={"target": target, "step": f"{name} {at}"}, height=1)


def _set_up(name: str, at: int) -> None:
    """Open a step as the door's own links do, for who typed no more than its name; what is chosen there later stays."""
    step = TOURS[name][at - 1]
    missing = step.params.keys() - st.query_params.to_dict().keys()
    if st.session_state.get(AT) != (name, at) and missing:
        st.session_state[AT] = (name, at)
        st.switch_page(step.page.script, query_params={**step.params, **st.query_params.to_dict()})
    if st.session_state.get(AT) != (name, at):
        st.query_params[STEP] = str(at)  # a link within the page leaves the address as it was
    st.session_state[AT] = (name, at)


def _link(name: str, number: int, run: str, label: str, icon: str) -> None:
    step = TOURS[name][number - 1]
    words = {**({"run": run} if run else {}), **step.params, TOUR: name, STEP: str(number)}
    st.page_link(step.page.script, label=label, icon=icon, query_params=words, width="content")


def _end() -> None:
    for parameter in (TOUR, STEP):
        st.query_params.pop(parameter, None)
