"""One browser and one server for all journeys, a folder of runs for each file, a fresh window for each journey.

A server of their own have: test_sign_in.py (listens on every address, with a provider), and outside of this folder
tests/dashboard/server/test_visitors.py (whether one who asks delays another: nobody else may ask), test_adversity.py in
tests/jobs (two servers on one folder) and tests/chaos.py (kills it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from core.serve import client
from tests.processes import end_all

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from core.runs.store import Run
    from tests.e2e.serving import Server, Windows


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api")
    from tests.e2e.serving import CHROMIUM, PATIENCE

    if not Path(CHROMIUM).exists():
        pytest.skip("no Chromium on this machine")
    api.expect.set_options(timeout=PATIENCE)
    with api.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def shared(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start the dashboard once for all modules: what it imports, and the models that answer, are there for the next one."""
    from tests.e2e.serving import Server

    made = Server(tmp_path_factory.mktemp("served"))
    made.start()
    yield made
    made.stop()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in made.folders.items():
            patch.setenv(name, value)
        client.leave()


@pytest.fixture(scope="module")
def server(shared: Server) -> Iterator[Server]:
    """Return the dashboard with an empty folder of runs. A module may fill it, end the server and start it again."""
    shared.begin()
    yield shared
    end_all(shared.runs)  # workers of runs that a failed journey left
    shared.empty()


@pytest.fixture(scope="module")
def tiny_run(server: Server, unlearned_run: Run) -> str:
    """Return the id of a finished run of a tiny model, among the server's."""
    import shutil

    # With what other runs can re-use of it.
    # A worker that has said "done" may still be giving back the room that it kept on the disk.
    passing = shutil.ignore_patterns(".room")
    shutil.copytree(unlearned_run.path.parent, server.runs, dirs_exist_ok=True, symlinks=True, ignore=passing)
    return unlearned_run.id


@pytest.fixture(scope="session")
def windows(browser: Browser) -> Iterator[Windows]:
    from tests.e2e.serving import Windows

    made = Windows(browser)
    yield made
    made.close()


@pytest.fixture
def window(windows: Windows, server: Server) -> Iterator[Callable[..., Page]]:
    """Return a function that opens a page as in a browser of its own: no cookies and no state are shared."""
    from tests.e2e.serving import ROOT

    broken: list[str] = []
    pages: list[Page] = []

    def note(error: object) -> None:
        broken.append(str(error))

    def opened(**settings: Any) -> Page:
        page = windows.take(settings)
        page.on("pageerror", note)
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.remove_listener("pageerror", note)
        windows.give_back(page, server.url)
    assert not broken, broken
    # Streamlit itself may complain of a browser that went away in the middle of a message.
    assert f'File "{ROOT}/dashboard' not in server.said(), server.said()


@pytest.fixture
def page(window: Callable[..., Page]) -> Page:
    return window()
