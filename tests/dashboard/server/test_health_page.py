from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dashboard.server.headers import HEADERS

if TYPE_CHECKING:
    from tests.e2e.serving import Server

TOKEN = "hf_a_token_for_health"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("playwright")  # the server's helper waits for pages too
    from tests.e2e.serving import Server

    made = Server(tmp_path_factory.mktemp("healthy"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", TOKEN)
        made.start()
    yield made
    made.stop()


def asked(server: Server, how: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request(how, "/healthz", headers=headers)
    answer = connection.getresponse()
    return answer, answer.read().decode()


def test_a_server_that_can_work_says_so_and_nothing_private(server: Server) -> None:
    answer, text = asked(server)
    body: dict[str, Any] = json.loads(text)
    assert answer.status == 200
    assert (body["status"], body["wrong"], body["queue"], body["writable"]) == ("ok", "", 0, True)
    assert set(body) == {"status", "wrong", "version", "readable", "writable", "free_disk_mb", "queue"}
    assert answer.headers["cache-control"] == "no-store"
    assert all(answer.headers.get_all(name) == [value] for name, value in HEADERS.items())
    assert not [word for word in (TOKEN, str(server.place), str(Path.home())) if word in text]


def test_only_looking_is_possible_and_only_under_its_own_name(server: Server) -> None:
    assert (asked(server, "HEAD")[0].status, asked(server, "HEAD")[1]) == (200, "")
    assert asked(server, "POST")[0].status == 405
    assert asked(server, Host="elsewhere.example")[0].status == 400


def test_a_server_that_cannot_keep_runs_is_not_healthy_until_it_can(server: Server) -> None:
    server.runs.write_text("in the way")
    answer, text = asked(server)
    assert answer.status == 503
    assert json.loads(text)["status"] == "unusable"
    assert str(server.place) not in text
    server.runs.unlink()
    assert asked(server)[0].status == 200
