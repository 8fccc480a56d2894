"""Draws the page once more when the visitor switches between light and dark: the server colours figures.

It also mends what Streamlit's own elements lack: colours by its style sheet, roles of its menu on a telephone, popovers
that scroll by keys.
"""

from __future__ import annotations

import streamlit as st

from dashboard.widgets import page_style
from dashboard.widgets.plot import BROWSER

_SCRIPT = """
const AGAIN = 2000;  // milliseconds
const MOST = 5;      // times that a switch is told

export default function ({ data, parentElement, setTriggerValue }) {
  const host = parentElement.host ?? parentElement;
  host.dataset.drawn = data.drawn;
  // Headings stand among the items of that menu's list, so it is none for who listens to it; its links remain.
  const menu = "[data-testid=stSidebarNavItems], [data-testid=stSidebarNavItems] li";
  clearInterval(host.watching);  // that of the run before, which a switch does not end
  host.watching = setInterval(() => {
    for (const part of document.querySelectorAll(menu)) part.role = "none";
    for (const part of document.querySelectorAll("[data-testid=stPopoverBody]")) part.tabIndex = 0;  // what scrolls by keys
    const app = document.querySelector(".stApp"), shown = getComputedStyle(app).colorScheme;
    if (host.shown !== shown) [host.shown, host.told, host.when] = [shown, 0, 0];
    if (shown === host.dataset.drawn || host.told === MOST) return;
    // Told again where that was lost: a script that asks for its own next run takes the scheme of this one along.
    if (host.told && (app.dataset.testScriptState !== "notRunning" || Date.now() - host.when < AGAIN)) return;
    host.told += 1;
    host.when = Date.now();
    setTriggerValue("switched", shown);
  }, 300);
  return () => clearInterval(host.watching);
}
"""

# Not isolated: the style sheet is for Streamlit's own elements.
_WATCHER = st.components.v2.component(
    "theme_watch", css=(BROWSER / "streamlit.css").read_text(encoding="utf-8"), js=_SCRIPT, isolate_styles=False
)


def watch() -> None:
    """Rerun the page after a switch of theme, until it is drawn in the one that is shown."""
    drawn = {"drawn": page_style.scheme()}
    _WATCHER(key="theme_watch", data=drawn, on_switched_change=lambda: None, height=1)
