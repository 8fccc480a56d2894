from __future__ import annotations

import pytest

from core.runs import store
from dashboard import pages
from dashboard.charts.heatmap import MEASURES
from dashboard.widgets.tour import DOORS, TOURS
from tests.dashboard.conftest import Open, text_of

STEPS = [(name, number) for name, steps in TOURS.items() for number in range(1, len(steps) + 1)]


@pytest.mark.parametrize(("name", "number"), STEPS)
def test_each_step_shows_its_sentence_and_leads_on_with_the_same_run(open_page: Open, name: str, number: int) -> None:
    step, run = TOURS[name][number - 1], store.bundled_runs()[0].id
    address = step.page.address if step.page is not pages.LOCALIZE else ""
    app = open_page(address, run, tour=name, step=str(number), **step.params)
    assert not app.exception
    assert f"{DOORS[name].name}, {number} of 4.** {step.words}" in text_of(app)
    links = {link.proto.label: link.proto.query_string for link in app.get("page_link")}
    assert ("Back" in links) == (number > 1)
    assert ("Next" in links) == (number < 4)
    for label, to in (("Back", number - 1), ("Next", number + 1)):
        if label in links:
            assert {f"tour={name}", f"step={to}", f"run={run}"} <= set(links[label].split("&"))


def test_a_tour_ends_and_a_step_that_is_none_shows_nothing(open_page: Open) -> None:
    app = open_page("", tour="explore", step="2", measure="Change")
    app.button(key="tour_end").click().run()
    assert not app.exception
    assert "Explore, 2 of 4" not in text_of(app)
    assert not {"tour", "step"} & set(app.query_params)
    assert "measure" in app.query_params
    for step in ("0", "5", "x"):
        assert "of 4.**" not in text_of(open_page("", tour="explore", step=step))


def test_sentences_are_short_and_doors_have_four_steps() -> None:
    assert set(DOORS) == set(TOURS)
    assert {len(steps) for steps in TOURS.values()} == {4}
    said = [sentence for steps in TOURS.values() for step in steps for sentence in step.words.split(". ")]
    assert max(len(sentence.split()) for sentence in said) <= 22


def test_a_typed_link_opens_a_step_as_the_doors_own_do_and_then_leaves_it_to_the_visitor(open_page: Open) -> None:
    label = MEASURES["change"].label
    app = open_page("", tour="explore", step="2")
    assert app.segmented_control(key="measure").value == label
    assert app.query_params["measure"] == label
    other = next(option for option in app.segmented_control(key="measure").options if option != label)
    app.segmented_control(key="measure").set_value(other).run()
    assert app.segmented_control(key="measure").value == other
    assert "Explore, 2 of 4" in text_of(app)
