from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient

from dashboard.server import compressed
from dashboard.server.compressed import Compressed

TEXT = "let much = 1;\n" * 1000


class Constant(StaticFiles):
    """Says, as Streamlit's does, that its files never change, and counts how often one was asked for."""

    asked = 0

    async def get_response(self, path: str, scope: Any) -> Response:
        type(self).asked += 1
        answer = await super().get_response(path, scope)
        answer.headers["cache-control"] = "public, immutable, max-age=31536000"
        return answer


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    """An application that compresses what it sends, as Streamlit's does."""
    (tmp_path / "a.js").write_text(TEXT)
    (tmp_path / "a.woff2").write_bytes(os.urandom(2000))
    routes = [
        Mount("/vendor", StaticFiles(directory=tmp_path)),
        Mount("/static/js", Constant(directory=tmp_path)),
        Route("/page", lambda _: PlainTextResponse(TEXT)),
    ]
    return TestClient(Starlette(routes=routes, middleware=[Middleware(Compressed), Middleware(GZipMiddleware)]))


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what was compressed for good."""
    made: list[int] = []
    compress = compressed.zlib.compress
    monkeypatch.setattr(compressed.zlib, "compress", lambda body, *how: (made.append(len(body)), compress(body, *how))[1])
    return made


def test_a_file_is_compressed_once_for_all(client: TestClient, count: list[int]) -> None:
    for _ in range(3):
        answer = client.get("/vendor/a.js")
        assert answer.text == TEXT
        assert answer.headers["content-encoding"] == "gzip"
        assert int(answer.headers["content-length"]) < len(TEXT) / 20
        assert answer.headers["vary"].lower() == "accept-encoding"
    assert count == [len(TEXT)]


def test_a_changed_file_is_seen(client: TestClient, tmp_path: Path) -> None:
    assert client.get("/vendor/a.js").text == TEXT
    (tmp_path / "a.js").write_text(TEXT + "let more = 2;")
    assert client.get("/vendor/a.js").text == TEXT + "let more = 2;"


def test_what_the_browser_has_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/vendor/a.js")
    again = client.get("/vendor/a.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_what_does_not_become_smaller_is_sent_as_it_is(client: TestClient, tmp_path: Path) -> None:
    font = client.get("/vendor/a.woff2")
    assert "content-encoding" not in font.headers
    assert font.content == (tmp_path / "a.woff2").read_bytes()


def test_who_cannot_read_it_gets_the_file_itself(client: TestClient) -> None:
    plain = client.get("/vendor/a.js", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.text == TEXT


def test_everything_else_is_compressed_each_time(client: TestClient, count: list[int]) -> None:
    answer = client.get("/page")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.text == TEXT
    assert count == []


def test_what_is_not_there_is_said(client: TestClient) -> None:
    assert client.get("/vendor/b.js").status_code == 404


def test_kept_bytes_are_those_of_the_file(client: TestClient) -> None:
    with client.stream("GET", "/vendor/a.js") as answer:
        raw = b"".join(answer.iter_raw())
    assert gzip.decompress(raw).decode() == TEXT


@pytest.mark.parametrize("name", ["a.js", "a.woff2"])
def test_a_file_that_never_changes_is_answered_from_memory(client: TestClient, tmp_path: Path, name: str) -> None:
    before, first = Constant.asked, client.get(f"/static/js/{name}")
    again = client.get(f"/static/js/{name}")
    assert first.content == again.content == (tmp_path / name).read_bytes()
    assert dict(first.headers) == dict(again.headers)
    assert first.headers.get("content-encoding") == ("gzip" if name == "a.js" else None)
    assert Constant.asked == before + 1


def test_what_the_browser_has_of_it_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/static/js/a.js")
    again = client.get("/static/js/a.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_part_of_it_is_a_part(client: TestClient, tmp_path: Path) -> None:
    client.get("/static/js/a.woff2")
    part = client.get("/static/js/a.woff2", headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, (tmp_path / "a.woff2").read_bytes()[10:20])


def test_other_ways_to_write_its_path_are_not_kept(client: TestClient) -> None:
    before = Constant.asked
    for _ in range(2):
        assert client.get("/static/js/x/%2e%2e/a.js").status_code == 200
    assert Constant.asked == before + 2
