"""One browser and one server for all journeys, a folder of runs for each module, a fresh window for each journey."""

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
    from tests.e2e.serving import Server


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
    shutil.copytree(unlearned_run.path.parent, server.runs, dirs_exist_ok=True, symlinks=True)
    return unlearned_run.id


@pytest.fixture
def window(browser: Browser, server: Server) -> Iterator[Callable[..., Page]]:
    """Return a function that opens a page in a browser of its own: no cookies, no history, no state is shared."""
    from tests.e2e.serving import PATIENCE, ROOT

    contexts, broken = [], list[str]()

    def opened(**settings: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: broken.append(str(error)))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not broken, broken
    # Streamlit itself may complain of a browser that went away in the middle of a message.
    assert f'File "{ROOT}/dashboard' not in server.said(), server.said()


@pytest.fixture(scope="module")
def kept(browser: Browser) -> Iterator[dict[str, Page]]:
    """Return settings -> a page that stays open for the journeys of a module."""
    pages: dict[str, Page] = {}
    yield pages
    for page in pages.values():
        page.context.close()


@pytest.fixture
def same_window(browser: Browser, server: Server, kept: dict[str, Page]) -> Iterator[Callable[..., Page]]:
    """Return a function like `window` whose pages stay open: for looking at one address after the other.

    Each goes to its own address anew. What is saved is fetching and compiling the pages' code, nearly half of the time.
    """
    from tests.e2e.serving import PATIENCE, ROOT

    broken: list[str] = []
    watched: list[Page] = []

    def note(error: object) -> None:
        broken.append(str(error))

    def opened(**settings: Any) -> Page:
        name = repr(sorted(settings.items()))
        if name not in kept:
            kept[name] = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings}).new_page()
            kept[name].set_default_timeout(PATIENCE)
        kept[name].on("pageerror", note)
        watched.append(kept[name])
        return kept[name]

    yield opened
    for page in watched:
        page.remove_listener("pageerror", note)
    assert not broken, broken
    assert f'File "{ROOT}/dashboard' not in server.said(), server.said()


@pytest.fixture
def page(window: Callable[..., Page]) -> Page:
    return window()
