"""What the browser says late, twice or out of turn: numbers decide what counts, and no clock is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.regions import Located
from dashboard.localize import selection_state
from dashboard.localize.selection_state import FREE, OWN, State, opened
from dashboard.widgets.selection import Selection

OWN_RULE = Located("quantile", 0.5, 0.5)
OTHER = Located("quantile", 0.2, 0.4)


def read(text: str) -> tuple[Selection, str]:
    return (Selection(OTHER), FREE) if text else (Selection(OWN_RULE), OWN)


def state() -> State:
    return opened(None, "run", "", True, read)


def at(mu: float) -> Located:
    return replace(OWN_RULE, mu=mu)


def test_a_control_is_told_nothing_while_it_is_moved_and_the_others_are_told_in_the_next_page() -> None:
    start = replace(state(), drawn=1)
    moved = replace(start.changed("mu", rule=at(0.3), preset=FREE), drawn=2).changed("mu", rule=at(0.2), preset=FREE)
    assert {name: control.told for name, control in moved.controls.items() if control.told > 1} == {
        "mu_number": 3,
        "preset": 2,
    }


def test_what_does_not_change_a_control_s_value_leaves_it_alone() -> None:
    before = state()
    assert before.changed(rule=before.rule, hand=("a",), preset=before.preset).controls == before.controls


def test_another_unit_is_told_to_all_sliders() -> None:
    moved = replace(state(), drawn=1).changed("mode", rule=Located("absolute", 0.5, 0.5))
    told = {name: control.told for name, control in moved.controls.items()}
    assert told == {"by": 1, "editing": 1, "preset": 1, "mode": 1, "mu": 2, "mu_number": 2, "sigma": 2, "sigma_number": 2}


def test_a_release_is_heard_once_and_an_older_one_never() -> None:
    second = state().heard(2, rule=at(0.2))
    assert (second.rule.mu, second.released) == (0.2, 2)
    assert second.heard(2, rule=at(0.9)) == second
    assert second.heard(1, rule=at(0.1)) == second
    assert second.heard(3, rule=at(0.3)).rule.mu == 0.3


def test_a_release_is_heard_though_controls_moved_since_the_picture_was_drawn() -> None:
    moved = state().changed("mu", rule=at(0.1)).changed("mu", rule=at(0.15))
    assert moved.heard(1, rule=at(0.4)).rule.mu == 0.4


@pytest.mark.parametrize("late", ["", "quantile:0.9:0.9"])
def test_an_address_that_has_not_heard_of_the_last_change_changes_nothing(late: str) -> None:
    known = replace(state().changed("mu", rule=at(0.3)), written="quantile:0.3:0.5")
    assert opened(known, "run", late, False, read) is known


def test_a_link_to_the_page_is_followed_and_the_way_back_without_words_keeps_what_was_chosen() -> None:
    known = replace(state().changed("mu", rule=at(0.3)), written="quantile:0.3:0.5")
    assert opened(known, "run", "quantile:0.2:0.4", True, read).rule == OTHER
    assert opened(known, "run", "quantile:0.3:0.5", True, read).rule == at(0.3)
    kept = opened(known, "run", "", True, read)
    assert (kept.rule, kept.written) == (at(0.3), "")  # so that it is written anew


def test_another_run_has_the_address_s_region_but_not_that_of_the_run_before() -> None:
    known = replace(state().heard(4, rule=at(0.3)), written="quantile:0.3:0.5", drawn=7)
    picked = opened(known, "other", "quantile:0.3:0.5", False, read)
    assert (picked.run, picked.rule, picked.preset, picked.released) == ("other", OWN_RULE, OWN, 4)
    assert opened(known, "other", "quantile:0.2:0.4", False, read).rule == OTHER
    # The steps of σ are those of another table.
    assert picked.controls["sigma"].told > known.controls["sigma"].told


def test_hand_and_thresholds_keep_what_each_had() -> None:
    hand = state().changed(by="hand", hand=("a", "b"))
    assert hand.selection == Selection(OWN_RULE, ("a", "b"))
    again = hand.changed("by", by="thresholds")
    assert again.selection == Selection(OWN_RULE)
    assert again.hand == ("a", "b")


def test_an_edit_is_undone_to_what_was_selected_and_edits_that_change_nothing_are_none() -> None:
    start = replace(state().changed(rule=at(0.3), preset=FREE, editing=True), drawn=1)
    one = start.edited("one", ("a",))
    two = one.edited("two", ("a", "b")).edited("nothing", ("a", "b"))
    assert [step.words for step in two.steps] == ["one", "two"]
    assert two.undone().selection == Selection(at(0.3), ("a",))
    back = two.undone().undone()
    assert (back.selection, back.preset, back.steps, back.editing) == (start.selection, FREE, (), True)
    many = start
    for number in range(selection_state.MOST_STEPS + 9):
        many = many.edited("more", (str(number),))
    assert len(many.steps) == selection_state.MOST_STEPS


def test_the_browser_s_way_back_over_edits_takes_them_off_the_list() -> None:
    two = state().edited("one", ("a",)).edited("two", ("a", "b"))
    # The address of what is picked by hand says nothing of thresholds.
    assert selection_state.left(two.steps, Selection(OTHER, ("a",))) == two.steps[:1]
    assert selection_state.left(two.steps, Selection(OWN_RULE)) == ()
    assert selection_state.left(two.steps, Selection(OTHER)) == two.steps


def test_another_run_has_no_edits_and_is_not_edited() -> None:
    known = replace(state().changed(editing=True).edited("one", ("a",)), written="hand:AA")
    picked = opened(known, "other", "", False, read)
    assert (picked.steps, picked.editing) == ((), False)


class Browser:
    """A browser as Python knows it: what its widgets show, and with it the page that it has heard of."""

    def __init__(self, values: dict[str, object]) -> None:
        self.values, self.shows = values, {}

    def draw(self) -> dict[str, object]:
        """Let Python draw a page; return what is sent, which the browser has not heard of yet."""
        now = selection_state.current()
        self.values[selection_state.SESSION] = replace(now, drawn=now.drawn + 1)
        for name in now.controls:
            selection_state.tell(name)
        selection_state.listen()
        return {name: self.values[name] for name in (*now.controls, selection_state.HEARD)}

    def says(self, **moved: float) -> None:
        """Let it say what all its widgets show, one of them moved."""
        self.shows |= moved
        self.values |= self.shows
        for name, value in self.shows.items():
            if name in ("mu", "mu_number") and value != selection_state.current().rule.mu:
                selection_state.taken(name, lambda mu: {"rule": at(mu)})


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> Browser:
    values: dict[str, object] = {selection_state.SESSION: state()}
    monkeypatch.setattr(selection_state.st, "session_state", values)
    monkeypatch.setattr(selection_state.st, "text_input", lambda *_, **__: "")
    page = Browser(values)
    page.shows = page.draw()
    return page


def test_the_echo_of_a_field_that_was_told_another_value_is_passed_over(browser: Browser) -> None:
    browser.says(mu=0.3)
    sent = browser.draw()
    assert sent["mu_number"] == 0.3
    browser.says(mu=0.31)  # its field still says 0.5, for it has not heard of 0.3
    assert selection_state.current().rule.mu == 0.31
    browser.shows |= browser.draw()
    browser.says(mu_number=0.5)  # now it has, and it is put back by hand
    assert selection_state.current().rule.mu == 0.5
    assert browser.draw()["mu"] == 0.5


def test_a_move_that_crosses_what_is_told_counts_for_nothing_and_is_put_right(browser: Browser) -> None:
    browser.says(mu=0.3)
    first = browser.draw()
    browser.says()  # something else on the page, before it heard: it is told again
    second = browser.draw()
    browser.shows |= first
    browser.says(mu_number=0.4)  # it cannot know that the field is about to be told 0.3 once more
    assert selection_state.current().rule.mu == 0.3
    browser.shows |= second
    browser.shows |= browser.draw()
    assert browser.shows["mu_number"] == 0.3
    browser.says(mu_number=0.4)
    assert selection_state.current().rule.mu == 0.4


def test_what_is_shown_already_is_not_told_again(browser: Browser) -> None:
    browser.says(mu=0.3)
    browser.shows |= browser.draw()
    told = selection_state.current().controls
    browser.says()
    browser.draw()
    assert selection_state.current().controls == told


def test_a_server_that_was_started_again_believes_no_number_of_the_one_before(browser: Browser) -> None:
    browser.values[selection_state.HEARD] = "another.99"
    assert selection_state.reached() == 0
