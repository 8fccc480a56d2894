"""What the browser says late, twice or out of turn: numbers decide what counts, and no clock is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.regions import Located
from dashboard.localize import selection_state
from dashboard.localize.selection import Selection
from dashboard.localize.selection_state import FREE, OWN, State, opened

OWN_RULE = Located("quantile", 0.5, 0.5)
OTHER = Located("quantile", 0.2, 0.4)


def read(text: str) -> tuple[Selection, str]:
    return (Selection(OTHER), FREE) if text else (Selection(OWN_RULE), OWN)


def state() -> State:
    return opened(None, "run", "", True, read)


def at(mu: float) -> Located:
    return replace(OWN_RULE, mu=mu)


def test_a_control_keeps_its_key_while_it_is_moved_and_the_others_get_another() -> None:
    moved = state().changed("mu", rule=at(0.3), preset=FREE).changed("mu", rule=at(0.2), preset=FREE)
    assert {name: control.number for name, control in moved.controls.items() if control.number} == {
        "mu_number": 2,
        "preset": 1,
    }
    assert moved.controls["mu"].key == "mu"
    assert moved.controls["mu_number"].key == "mu_number.2"


def test_what_does_not_change_a_control_s_value_leaves_it_alone() -> None:
    before = state()
    assert before.changed(rule=before.rule, hand=("a",), preset=before.preset).controls == before.controls


def test_another_unit_makes_other_sliders() -> None:
    numbers = {name: c.number for name, c in state().changed("mode", rule=Located("absolute", 0.5, 0.5)).controls.items()}
    assert numbers == {"by": 0, "preset": 0, "mode": 0, "mu": 1, "mu_number": 1, "sigma": 1, "sigma_number": 1}


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
    known = replace(state().heard(4, rule=at(0.3)), written="quantile:0.3:0.5")
    picked = opened(known, "other", "quantile:0.3:0.5", False, read)
    assert (picked.run, picked.rule, picked.preset, picked.released) == ("other", OWN_RULE, OWN, 4)
    assert opened(known, "other", "quantile:0.2:0.4", False, read).rule == OTHER
    # The steps of σ are those of another table.
    assert picked.controls["sigma"].number > known.controls["sigma"].number


def test_hand_and_thresholds_keep_what_each_had() -> None:
    hand = state().changed(by="hand", hand=("a", "b"))
    assert hand.selection == Selection(OWN_RULE, ("a", "b"))
    again = hand.changed("by", by="thresholds")
    assert again.selection == Selection(OWN_RULE)
    assert again.hand == ("a", "b")


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    values: dict[str, object] = {selection_state.SESSION: state()}
    monkeypatch.setattr(selection_state.st, "session_state", values)
    return values


def test_the_echo_of_a_field_that_was_drawn_anew_is_passed_over(session: dict[str, object]) -> None:
    slider, field = (selection_state.current().controls[name] for name in ("mu", "mu_number"))
    session[slider.key] = 0.3
    selection_state.taken(slider, lambda mu: {"rule": at(mu)})
    session[field.key] = 0.5
    selection_state.taken(field, lambda mu: {"rule": at(mu)})
    assert selection_state.current().rule.mu == 0.3
    session[slider.key] = 0.31
    selection_state.taken(slider, lambda mu: {"rule": at(mu)})
    assert selection_state.current().rule.mu == 0.31
