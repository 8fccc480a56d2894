from __future__ import annotations

import pytest

from tests import crowd
from tests.crowd_tabs import LINKS, MENU
from tests.timed_server import Timed


def test_goals_are_held_against_the_servers_own_time(capsys: pytest.CaptureFixture[str]) -> None:
    tally = crowd.Tally()
    for seconds in (5.0, 7.0):  # what people wait, browsers included
        tally.add("page browser", seconds)
        tally.add("slider browser", seconds)
    scripts = [
        *(Timed("", ["page"], 0.1 * n, 0.05) for n in range(1, 21)),
        *(Timed("", ["mu", "selection_heard"], 0.01 * n, 0.005) for n in range(1, 21)),
        Timed("runs", [], 9.0, 9.0),
    ]
    found = crowd.report(tally, [(0.0, 200.0), (200.0, 210.0)], "", scripts)
    assert found["server's page p95 s"] == pytest.approx(2.0)
    assert found["server's slider p95 s"] == pytest.approx(0.2)
    assert found.keys() == crowd.GOALS.keys()
    table = capsys.readouterr().out
    assert "| page browser | 2 | 6.00 |" in table
    assert "| page, the server's own | 20 | 1.05 | 2.00 | 2.00 |" in table
    assert "| slider, the server's own: processor | 20 |" in table


def test_every_page_that_people_open_has_a_link() -> None:
    assert set(crowd.PAGES) == set(LINKS)
    assert set(MENU) <= set(LINKS)
