from __future__ import annotations

from pathlib import Path

from tests import timed_server
from tests.e2e.serving import Server
from tests.visitor import Visitor


def test_the_server_notes_each_script_run_and_what_it_was_asked_for(tmp_path: Path) -> None:
    times = tmp_path / "times.jsonl"
    server = Server(tmp_path, times)
    server.start()
    try:
        with Visitor(server.url) as visitor:
            visitor.open(run="privacy-memflex")
            visitor.move("mu", 0.4)
            visitor.open("report", run="privacy-memflex")
    finally:
        server.stop()
    # The server's own visit before anybody else's is noted as well.
    *_, opened, moved, changed = timed_server.read(times)
    assert (opened.page, opened.what) == ("", ["page"])
    assert moved.page == ""
    assert "mu" in moved.what
    assert (changed.page, changed.what) == ("report", ["page"])
    assert all(0 < one.work < one.wall for one in (opened, moved, changed))
