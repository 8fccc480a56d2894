"""The one copy of what is selected: a visitor's session owns it; controls, picture and address are drawn from it.

They are drawn in a browser that is always a little behind, so what it says may be older than what is known here. Which
is newer is told by numbers, never by a clock:

- A page that is drawn has a number (`drawn`). A control that something else has changed is told its value, and remembers
  in which page; a hidden field (`HEARD`) that is drawn after the controls comes back with everything that the browser says,
  and says up to which page it has heard. What a control says before it has heard of its value is an echo of what it showed
  then, and is passed over; it is told again.
- The picture numbers what it releases (`released`), and gets the number back with what is drawn from it: it passes over
  what was drawn before it was heard, and here a release that was heard already is passed over.
- The address is read when the page is opened on it. Of back and forward, the picture tells, with a number as above; an
  address that differs otherwise has not yet heard what was written last.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from core.regions import Located
from dashboard.widgets import selection
from dashboard.widgets.selection import PARAMETER, Selection

if TYPE_CHECKING:
    import pandas as pd

SESSION = "selection"
"""session state: the State"""
OWN = "This run's own"
FREE = "Set here"
HEARD = "selection_heard"
"""key of the hidden field: session and number of the last page that the browser has heard of"""
CHOICE = ("rule", "hand", "by", "preset")
"""fields of the State that say what is selected"""
MOST_STEPS = 50
"""edits that can be undone"""
MARK = "layer"
"""key of a control that is always drawn on this page, and on no other: without it, another page was shown before"""


@dataclass(frozen=True)
class Control:
    """A control as it is drawn."""

    told: int
    """number of the page in which it was given its value last, because something else had changed it"""
    since: Any
    """that value, with all on which its range or its choices depend"""


@dataclass(frozen=True)
class Step:
    """An edit by hand, as it can be undone."""

    words: str
    """what it did"""
    before: Mapping[str, Any]
    """what was selected before, as fields of the State"""

    @property
    def selection(self) -> Selection:
        """What was selected before."""
        return _selection(**{name: self.before[name] for name in ("rule", "hand", "by")})


@dataclass(frozen=True)
class State:
    """What is selected, and what browser and address have heard of it."""

    run: str
    """id of the run whose tensors they are"""
    rule: Located = field(default_factory=Located)
    hand: tuple[str, ...] = ()
    """the list: tensors picked by hand, or what a rule without thresholds chose; it stays while thresholds decide"""
    by: str = "thresholds"
    """which of both decides: thresholds or hand, a list of tensors"""
    preset: str = FREE
    """where the thresholds are from"""
    editing: bool = False
    """a click on a cell or a bar edits; else it only looks"""
    steps: tuple[Step, ...] = ()
    """edits by hand, the last one last"""
    released: int = 0
    """number of the last release of the picture that was taken over"""
    written: str = ""
    """what the address was given last"""
    controls: Mapping[str, Control] = field(default_factory=dict)
    """every control by its name, which is its widget's key"""
    drawn: int = 0
    """number of the page that is being drawn, or was drawn last"""
    session: str = field(default_factory=lambda: secrets.token_hex(4))
    """whose numbers these are: a server that was started again counts anew"""

    @property
    def selection(self) -> Selection:
        """What is selected."""
        return _selection(self.rule, self.hand, self.by)

    def values(self) -> dict[str, Any]:
        """Return control -> what it shows, with all on which its range or its choices depend."""
        unit = self.rule.thresholds
        mu, sigma = (unit, self.rule.mu), (unit, self.run, self.rule.sigma)
        choices = {"by": self.by, "editing": self.editing, "preset": (self.run, self.preset), "mode": unit}
        return {**choices, "mu": mu, "mu_number": mu, "sigma": sigma, "sigma_number": sigma}

    def shown(self, control: str) -> Any:
        """Return the value of a control's widget."""
        value = self.values()[control]
        return value[-1] if isinstance(value, tuple) else value

    def changed(self, source: str = "", **changes: Any) -> State:
        """Return the state after a change. source: the control that made it, which shows it already."""
        new = replace(self, **changes)
        old_values = self.values()
        controls = dict(self.controls)
        for name, value in new.values().items():
            if name not in controls or (name != source and value != old_values[name]):
                controls[name] = Control(self.drawn + 1, value)
        return replace(new, controls=controls)

    def chosen(self, wanted: Selection, preset: str, **changes: Any) -> State:
        """Return the state with another selection, as a whole."""
        by = "thresholds" if wanted.hand is None else "hand"
        return self.changed(rule=wanted.rule, hand=wanted.hand or (), by=by, preset=preset, **changes)

    def edited(self, words: str, hand: tuple[str, ...]) -> State:
        """Return the state after an edit by hand, which can be undone. words: what it did; hand: what is selected now."""
        if self.by == "hand" and hand == self.hand:
            return self
        step = Step(words, {name: getattr(self, name) for name in CHOICE})
        return self.changed(hand=hand, by="hand", steps=(*self.steps[1 - MOST_STEPS :], step))

    def undone(self) -> State:
        """Return the state before the last edit by hand."""
        *steps, last = self.steps
        return self.changed(steps=tuple(steps), **last.before)

    def heard(self, number: int, **changes: Any) -> State:
        """Return the state after a release of the picture; one that was heard already changes nothing."""
        return self.changed(**changes, released=number) if number > self.released else self


def opened(state: State | None, run: str, address: str, fresh: bool, read: Callable[[str], tuple[Selection, str]]) -> State:
    """Return the state with which the page is drawn.

    address: what it says of the region. fresh: the page before this one was another. read: an address -> selection, preset.
    """
    if state is not None and state.run == run:
        if not fresh:
            return state
        if address in ("", state.written):  # a link of the browser's to this page drops the address's words
            return replace(state, written=address)
    # The picker changed the run, and the words still speak of the one before.
    text = "" if state is not None and state.run != run and address == state.written else address
    wanted, preset = read(text)
    return (state or State(run)).chosen(wanted, preset, run=run, written=address, editing=False, steps=())


def current() -> State:
    """Return the session's state."""
    state: State = st.session_state[SESSION]
    return state


def change(source: str = "", **changes: Any) -> None:
    """Change the session's state."""
    st.session_state[SESSION] = current().changed(source, **changes)


def reached() -> int:
    """Return the number of the last page that the browser has heard of, 0 where it speaks of another session's."""
    session, _, number = str(st.session_state.get(HEARD, "")).partition(".")
    return int(number) if session == current().session and number.isdecimal() else 0


def tell(name: str) -> None:
    """Give a control the value that it shows, before it is drawn; one that shows it already is left to who moves it."""
    state = current()
    control = state.controls[name]
    if name not in st.session_state or reached() < control.told:
        # What was told in an earlier page may reach the browser after this one was asked for: it counts from this page on.
        controls = {**state.controls, name: replace(control, told=state.drawn)}
        st.session_state[SESSION] = replace(state, controls=controls)
        st.session_state[name] = state.shown(name)


def listen() -> None:
    """Draw the hidden field. After all controls: the browser takes over what it is told in the order of drawing."""
    state = current()
    if any(reached() < control.told for control in state.controls.values()):
        st.session_state[HEARD] = f"{state.session}.{state.drawn}"
    st.text_input("Page that was heard of", key=HEARD, label_visibility="collapsed")


def taken(name: str, take: Callable[[Any], dict[str, Any]]) -> None:
    """Take over what a control says, unless it has not heard yet that something else has changed its value.

    take: its value -> changes of the state.
    """
    if reached() >= current().controls[name].told:
        change(name, **take(st.session_state[name]))


def open_page(run: str, table: pd.DataFrame, start: Selection) -> Selection:
    """Bring session and address together, before anything is drawn; return what is selected.

    start: what the run was made with.
    """

    def read(text: str) -> tuple[Selection, str]:
        return read_address(text, table, start)

    given = st.query_params.get(PARAMETER, "")
    state = opened(st.session_state.get(SESSION), run, given, MARK not in st.session_state, read)
    chosen = state.selection
    text = "" if chosen == start else selection.write(chosen, table)
    if text != state.written:
        if text:
            st.query_params[PARAMETER] = text
        else:
            st.query_params.pop(PARAMETER, None)
        state = replace(state, written=text)
    st.session_state[SESSION] = replace(state, drawn=state.drawn + 1)
    return chosen


def read_address(text: str, table: pd.DataFrame, start: Selection) -> tuple[Selection, str]:
    """Return the selection that an address spells, and the name of where its thresholds are from."""
    wanted = selection.read(text, table, start)
    preset = OWN if wanted == start and start.hand is None else FREE
    return replace(wanted, rule=selection.spelled_out(wanted.rule, table)), preset


def dragged(mu: float, sigma: float, number: int, table: pd.DataFrame) -> None:
    """Take over thresholds that were released in the picture, in the unit that the controls use."""
    state, rule = current(), Located("absolute", mu, sigma)
    if state.rule.thresholds != "absolute":
        rule = selection.converted(rule, "quantile", table)
    st.session_state[SESSION] = state.heard(number, rule=rule, preset=FREE)


def went_back(text: str, number: int, table: pd.DataFrame, start: Selection) -> None:
    """Take over the address after back or forward; of the edits, those that it goes back over are undone."""
    state = current()
    if number > state.released:
        wanted, preset = read_address(text, table, start)
        steps = left(state.steps, wanted)
        st.session_state[SESSION] = state.chosen(wanted, preset, released=number, written=text, steps=steps)


def left(steps: tuple[Step, ...], wanted: Selection) -> tuple[Step, ...]:
    """Return the edits that were made before a selection; all of them where it was not there before one of these."""

    def same(step: Step) -> bool:
        before = step.selection
        return before.hand == wanted.hand and (wanted.hand is not None or before.rule == wanted.rule)

    return next((steps[:at] for at in range(len(steps) - 1, -1, -1) if same(steps[at])), steps)


def _selection(rule: Located, hand: tuple[str, ...], by: str) -> Selection:
    return Selection(rule, hand if by == "hand" else None)


def edit(words: str, hand: tuple[str, ...]) -> None:
    """Make cells the selection, by an edit that can be undone."""
    st.session_state[SESSION] = current().edited(words, hand)


def undo() -> None:
    """Undo the last edit; nothing where there is none, for a button may be pressed twice."""
    if current().steps:
        st.session_state[SESSION] = current().undone()
