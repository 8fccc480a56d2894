from __future__ import annotations

import json
import logging
import socket
import urllib.request
from pathlib import Path

import pytest

from core.util import logs
from core.util.version import version
from dashboard.server import sign_in
from tests.dashboard.conftest import MakeRun, Open
from tests.processes import until


def test_the_dashboard_and_the_libraries_below_it_log_for_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("playwright")  # the server's helper waits for pages too
    from tests.e2e.serving import Server

    monkeypatch.setenv(logs.VARIABLE, "json")
    server = Server(tmp_path)
    server.start()
    try:
        with urllib.request.urlopen(f"{server.url}/compare?q=what+somebody+asks", timeout=30) as answer:
            assert answer.status == 200
        with socket.create_connection(("127.0.0.1", server.port)) as rude:
            rude.sendall(b"NOT HTTP\r\n\r\n")
            assert b"400" in rude.recv(100)
        until(lambda: "Invalid HTTP" in server.log.read_text(), "a warning of the server's library")
    finally:
        server.stop()
    lines = [line for line in server.log.read_text().splitlines() if not line.startswith("Forgetscope is at")]
    records = [json.loads(line) for line in lines]
    assert "somebody" not in "".join(lines)
    assert records[0]["message"] == f"version {version()} at 127.0.0.1, port {server.port}"
    assert [line["logger"] for line in records if "Invalid HTTP" in line["message"]] == ["uvicorn.error"]


def test_what_a_page_logs_names_the_run_in_its_address(
    open_page: Open, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kept(logging.Handler):
        """Formats where the record is made, as a handler that writes does."""

        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(logs.Json().format(record)))

    lines: list[dict[str, str]] = []
    handler, log = Kept(), logging.getLogger("dashboard.server.sign_in")
    log.addHandler(handler)
    monkeypatch.setattr(sign_in, "check", lambda: log.warning("here"))
    try:
        open_page("", make_run("mine").id)
        open_page("", "no such\nrun")
    finally:
        log.removeHandler(handler)
    assert [line["run"] for line in lines] == ["mine", "no such\nrun"]
