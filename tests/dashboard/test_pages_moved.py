"""Old links go on working: the table of addresses that moved, and the redirect that a browser gets."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from dashboard import pages
from dashboard.server import moved

LINKS = [
    ("probe", "run=a&example=unlearn/train/0", "evidence", {"run": "a", "example": "unlearn/train/0", "among": "all"}),
    ("probe", "show=unlearn.leaked&among=Free+wording", "evidence", {"show": "unlearn.leaked", "among": "Free wording"}),
    ("probe", "probe=Rules&rules=kept_facts:1", "evidence", {"part": "Rules", "rules": "kept_facts:1"}),
    ("probe", "probe=Leak+probes&leak=sampling", "evidence", {"part": "Leak probes", "leak": "sampling"}),
    ("probe", "probe=One+subject&about=Ann", "evidence", {"part": "One subject", "who": "Ann"}),
    ("probe", "probe=Own+questions&run=a", "compare", {"view": "Many at once", "run": "a"}),
    ("scores", "", "evidence", {"part": "Scores"}),
    ("scores", "run=a&beside=b,c", "evidence", {"part": "Scores", "run": "a", "beside": "b,c"}),
    ("scores", "part=By+subject&subject=Ann", "evidence", {"part": "One subject", "who": "Ann"}),
    ("scores", "part=All+metrics&on=x", "evidence", {"part": "Metrics", "on": "x"}),
    ("scores", "part=Settings+that+differ", "evidence", {"part": "Scores"}),
    ("scores", "step=8", "evidence", {"part": "Steps", "step": "8"}),
    ("scores", "across=Unlearn+Success&published=true", "evidence", {"part": "Trade-off", "across": "Unlearn Success"}),
    ("scores", "part=Methods", "methods", {}),
    ("scores", "part=Controls&run=a", "./", {"controls": "true", "run": "a"}),
    ("scores", "part=What+we+found", "help", {}),
    ("run", "run=a&view=This+run", "runs", {"run": "a", "view": "This run"}),
    ("run", "view=New+run&new.preset=Paper", "runs", {"view": "New run", "new.preset": "Paper"}),
    ("run", "run=a&again=a", "runs", {"view": "New run", "run": "a", "again": "a"}),
    ("run", "run=a", "runs", {"view": "This run", "run": "a"}),
    ("run", "", "runs", {"view": "New run"}),
    ("admin", "", "runs", {"view": "Disk and memory"}),
    ("documents", "document=How+cost+grows", "help", {"document": "How cost grows"}),
    ("localize", "run=a&cell=x", "./", {"run": "a", "cell": "x"}),
    ("localize", "", "./", {}),
]


@pytest.mark.parametrize(("old", "query", "now", "says"), LINKS)
def test_an_old_link_leads_to_what_it_showed(old: str, query: str, now: str, says: dict[str, str]) -> None:
    client = TestClient(Starlette(routes=moved.routes()), follow_redirects=False)
    answer = client.get(f"/{old}?{query}" if query else f"/{old}")
    assert answer.status_code == 307
    address, _, rest = answer.headers["location"].partition("?")
    assert address == now
    assert says.items() <= dict(parse_qsl(rest)).items()


def test_every_line_of_the_table_is_tried_and_leads_somewhere() -> None:
    there = {page.address for page in (*pages.ALL, *pages.HELP)}
    paths = there - {pages.LOCALIZE.address}  # the first page's is empty
    for line in pages.MOVED:
        assert line.page.address in there
        assert line.address not in paths, "an address that is used again cannot lead away"
    assert {line.address for line in pages.MOVED} == {old for old, *_ in LINKS}
    with pytest.raises(KeyError):
        pages.moved("compare", "")


def test_the_navigation_has_five_entries_and_a_menu_of_help() -> None:
    assert [page.title for page in pages.ALL] == ["Localize", "Compare", "Evidence", "Report", "Runs"]
    assert {page.address for page in pages.HELP} == {"help", "methods"}
