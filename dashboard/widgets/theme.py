"""Draws the page once more when the visitor switches between light and dark: figures are coloured on the server.

It also mends what Streamlit's own elements lack: colours by its style sheet, roles of its menu on a telephone, popovers
that scroll by keys.
"""

from __future__ import annotations

import streamlit as st

from dashboard.widgets.plot import BROWSER

_SCRIPT = """
export default function ({ parentElement, setTriggerValue }) {
  const host = parentElement.host ?? parentElement;
  const paper = () => getComputedStyle(host).getPropertyValue("--st-background-color").trim();
  host.shown ||= paper();  // kept there: a switch runs this script again, and would find its own colour only
  // Headings stand among the items of that menu's list, so it is none for who listens to it; its links remain.
  const menu = "[data-testid=stSidebarNavItems], [data-testid=stSidebarNavItems] li";
  clearInterval(host.watching);  // that of the run before, which a switch does not end
  host.watching = setInterval(() => {
    for (const part of document.querySelectorAll(menu)) part.role = "none";
    for (const part of document.querySelectorAll("[data-testid=stPopoverBody]")) part.tabIndex = 0;  // what scrolls by keys
    if (paper() && paper() !== host.shown) {
      host.shown = paper();
      setTriggerValue("switched", host.shown);
    }
  }, 300);
  return () => clearInterval(host.watching);
}
"""

# Not isolated: the style sheet is for Streamlit's own elements.
_WATCHER = st.components.v2.component(
    "theme_watch", css=(BROWSER / "streamlit.css").read_text(encoding="utf-8"), js=_SCRIPT, isolate_styles=False
)


def watch() -> None:
    """Rerun the page after a switch of theme."""
    _WATCHER(key="theme_watch", on_switched_change=lambda: None, height=1)
