from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient

from core.util.paths import ROOT
from dashboard.server import first_page
from dashboard.server.first_page import CODE, KINDS, PLOTLY, FirstPage, needed, prepared

BROWSER = {"accept": "text/html,application/xhtml+xml"}
OWN = (first_page.static() / "index.html").read_text(encoding="utf-8")


@pytest.fixture
def client() -> TestClient:
    """Streamlit's first page, and two answers that are something else."""
    routes: list[Any] = [
        Route("/other", lambda _: HTMLResponse("<html><head></head></html>")),
        Route("/data", lambda _: JSONResponse({"a": 1})),
        Mount("/", StaticFiles(directory=first_page.static(), html=True)),
    ]
    return TestClient(Starlette(routes=routes, middleware=[Middleware(FirstPage)]))


def test_the_page_names_what_it_is_going_to_need(client: TestClient) -> None:
    page = client.get("/", headers=BROWSER)
    assert int(page.headers["content-length"]) == len(page.content)
    assert page.text.count(PLOTLY) == 1
    for kind in KINDS:
        assert len(re.findall(rf'modulepreload" crossorigin href="\./static/js/{kind}\.[\w-]+\.js"', page.text)) == 1
    assert 'as="font"' not in page.text


def test_what_it_names_is_there() -> None:
    assert (ROOT / "assets" / PLOTLY.lstrip("/")).is_file()
    page = prepared(OWN, first_page.static() / CODE)
    named = re.findall(r'"\./(static/[^"]+)"', page)
    assert len(named) == len(set(named)) > len(re.findall(r'"\./(static/js/[^"]+)"', OWN))
    assert all((first_page.static() / file).is_file() for file in named)


def test_files_are_followed_to_what_they_import(tmp_path: Path) -> None:
    (tmp_path / "Html.1.js").write_text(
        'import{a as b}from"./a.2.js";import"./named.3.js";let c=()=>import(`./later.4.js`);'
    )
    (tmp_path / "a.2.js").write_text('export{x}from"./Html.1.js";import"./b-c.5.js";')
    (tmp_path / "b-c.5.js").write_text("")
    assert needed(f'src="./{CODE}named.3.js"', tmp_path) == ["Html.1.js", "a.2.js", "b-c.5.js"]


def test_a_kind_that_streamlit_does_not_have_is_left_out(tmp_path: Path) -> None:
    assert needed("", tmp_path) == []


@pytest.mark.parametrize("path", ["/other", "/data", "/static/css/none.css"])
def test_other_answers_stay_as_they_are(client: TestClient, path: str) -> None:
    plain = client.get(path)
    asked = client.get(path, headers=BROWSER)
    assert (plain.status_code, plain.content) == (asked.status_code, asked.content)


def test_a_browser_that_has_an_older_page_gets_this_one(client: TestClient) -> None:
    own = client.get("/")  # no browser: Streamlit's file, with its version
    assert own.text == OWN
    assert PLOTLY in client.get("/", headers={**BROWSER, "if-none-match": own.headers["etag"]}).text
