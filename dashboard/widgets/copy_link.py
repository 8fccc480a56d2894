"""Copies the address of what is shown: it names the run and every control that changes the view."""

from __future__ import annotations

import streamlit as st

_HTML = """<button type="button" class="fs-link"
  title="The address names the run, which is current on all pages, and every control that changes the view."
  >Copy link</button>
<span class="fs-said" role="status"></span>
"""
_STYLE = """.fs-link {
  all: unset; cursor: pointer; font-family: var(--st-font); font-size: .875rem; line-height: 1.6;
  color: var(--st-link-color);
  border-radius: 3px; white-space: nowrap;
}
.fs-link:hover { text-decoration: underline; }
.fs-link:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }
.fs-said { font-family: var(--st-font); font-size: .875rem; color: var(--st-text-color); margin-left: .4rem; }
"""
_SCRIPT = """
export default function ({ parentElement }) {
  const said = parentElement.querySelector(".fs-said");
  parentElement.querySelector(".fs-link").onclick = async () => {
    try {
      await navigator.clipboard.writeText(window.location.href);
      said.textContent = "copied";
    } catch {
      said.textContent = "copy it from the address bar";  // clipboards need https or localhost
    }
    setTimeout(() => { said.textContent = ""; }, 2500);
  };
}
"""
_LINK = st.components.v2.component("copy_link", html=_HTML, css=_STYLE, js=_SCRIPT)


def copy() -> None:
    """Show the button."""
    _LINK(key="copy_link", height="content")
