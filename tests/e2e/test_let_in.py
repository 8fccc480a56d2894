"""What the server answers to those who come without the browser's manners: headers, foreign pages, foreign names, odd
paths."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

import pytest
from websockets.typing import Origin, Subprotocol

from dashboard.server.headers import HEADERS

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.e2e.serving import Server


def get(server: Server, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


@pytest.mark.parametrize(
    "path",
    ["/", "/compare", "/_stcore/health", "/static/nothing.js", "/fonts/inter-latin.woff2", "/_stcore/upload_file/x/y"],
)
def test_every_answer_has_the_headers(server: Server, path: str) -> None:
    answer = get(server, path)
    for name, value in HEADERS.items():
        assert answer.headers.get_all(name) == [value]
    policy = answer.headers["content-security-policy"]
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
    assert "http:" not in policy
    assert "https:" not in policy


@pytest.mark.parametrize(
    "path",
    ["/vendor/../../README.md", "/vendor/%2e%2e/%2e%2e/README.md", "/fonts//etc/passwd", "/vendor/..%2f..%2fREADME.md"],
)
def test_no_path_leads_out_of_the_assets(server: Server, path: str) -> None:
    answer = get(server, path)
    text = answer.read()
    assert b"Forgetscope\n" not in text
    assert b"root:" not in text
    assert answer.status in (400, 403, 404) or b"<title>" in text  # Streamlit answers an unknown page with its own


def test_another_site_cannot_open_a_session_here(server: Server) -> None:
    """The browser sends where a page comes from; a page from elsewhere must not reach the dashboard on this machine."""
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    stream, protocols = f"ws://127.0.0.1:{server.port}/_stcore/stream", [Subprotocol("streamlit")]
    connect(stream, origin=Origin(server.url), subprotocols=protocols).close()
    with pytest.raises(InvalidStatus, match=r"40[03]"):
        connect(stream, origin=Origin("https://elsewhere.example"), subprotocols=protocols)


def test_another_name_for_this_machine_is_refused(server: Server) -> None:
    """A name that a stranger points at 127.0.0.1 makes his page one of the same origin."""
    assert get(server, "/", Host="elsewhere.example").status in (400, 403)


def test_a_script_that_got_into_a_page_does_not_run(server: Server, page: Page) -> None:
    from tests.e2e.serving import rest

    page.goto(server.url)
    rest(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("""async () => {
        const script = document.createElement("script"); script.textContent = "window.ran = 1"; document.body.append(script);
        const image = document.createElement("img"); image.setAttribute("onerror", "window.ran = 2");
        const failed = new Promise((done) => image.addEventListener("error", done));
        image.src = "/nothing.png"; document.body.append(image);
        await failed;  // its attribute would have been run by now
        await fetch("http://127.0.0.1:9/").catch(() => 0);
    }""")
    assert page.evaluate("window.ran") is None
    # A component's own script comes as a blob: made in this page, asked of nobody.
    assert not [url for url in asked if not url.removeprefix("blob:").startswith(server.url)]
