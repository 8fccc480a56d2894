"""An answer as a row of buttons, one a token, coloured; a click or Enter chooses one.

A small component of its own, because no native one colours each button. Its texts come from models and data: they
are put into the page as text only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

_STYLE = """
.row { display: flex; flex-wrap: wrap; gap: 3px 2px; line-height: 1.5; }
button { font: 500 1.02rem var(--st-font, inherit); border: 2px solid transparent; border-radius: 5px; padding: 2px 4px;
  margin: 0; cursor: pointer; white-space: pre-wrap; overflow-wrap: anywhere; text-align: left; min-height: 28px; }
button[aria-pressed="true"] { border-color: var(--st-text-color); }
button:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 1px; }
"""

_SCRIPT = """
export default function ({ parentElement, data, setTriggerValue }) {
  const row = parentElement.querySelector(".row");
  row.setAttribute("aria-label", data.label);
  row.replaceChildren(...data.tokens.map((token, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = token.text;
    button.title = token.title;
    button.style.background = token.background;
    button.style.color = token.color;
    button.setAttribute("aria-pressed", String(index === data.chosen));
    button.onclick = () => setTriggerValue("picked", index);
    return button;
  }));
}
"""

_STRIP = st.components.v2.component("token_strip", html='<div class="row" role="group"></div>', css=_STYLE, js=_SCRIPT)


def show(tokens: Sequence[dict[str, str]], chosen: int, label: str, key: str, pick: Callable[[int], None]) -> None:
    """Show the tokens (text, background, color, title); call `pick` with the index of one that is clicked.

    chosen: the index of the one that is marked, −1 for none.
    """

    def picked() -> None:
        state: Any = st.session_state.get(key) or {}
        index = state.get("picked")
        if isinstance(index, int) and 0 <= index < len(tokens):
            pick(index)

    _STRIP(key=key, data={"tokens": list(tokens), "chosen": chosen, "label": label}, on_picked_change=picked)
