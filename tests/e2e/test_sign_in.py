"""Signing in with OpenID Connect, in a real browser, against a real provider on this machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from core.localization.measures import MEASURES
from core.runs import store

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.e2e.serving import Server

HEADING = MEASURES["held"].heading

PEOPLE = {
    "ada": {"email": "ada@uni.example", "email_verified": True},
    "bea": {"email": "bea@uni.example", "email_verified": True},
    "eve": {"email": "eve@elsewhere.example", "email_verified": True},
    "mallory": {"email": "mallory@uni.example", "email_verified": False},
    "other-audience": {"email": "ada@uni.example", "email_verified": True, "aud": "somebody-else"},
    "expired": {"email": "ada@uni.example", "email_verified": True, "exp": 1_000_000_000},
}


@pytest.fixture(scope="module")
def server(browser: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A dashboard that listens on every address, so that people have to sign in; only those at uni.example come in."""
    from tests.e2e.serving import Server

    mock = pytest.importorskip("oidc_provider_mock")
    place = tmp_path_factory.mktemp("signed")
    users = [mock.User(sub=name, claims=claims) for name, claims in PEOPLE.items()]
    with mock.run_server_in_thread(user_claims=users) as provider, pytest.MonkeyPatch.context() as patch:
        made = Server(place)
        (place / ".streamlit").mkdir(parents=True)
        (place / ".streamlit" / "secrets.toml").write_text(
            f"""[auth]
redirect_uri = "{made.url}/oauth2callback"
cookie_secret = "a secret of this test alone, long enough"
client_id = "forgetscope"
client_secret = "known to the provider"
server_metadata_url = "http://127.0.0.1:{provider.server_port}/.well-known/openid-configuration"
"""
        )
        for name, value in {
            "HOME": str(place),
            "STREAMLIT_SERVER_ADDRESS": "0.0.0.0",
            "FORGETSCOPE_ALLOWED": "@uni.example",
        }.items():
            patch.setenv(name, value)
        made.start()
        yield made
        made.stop()


def sign_in(page: Page, url: str, name: str) -> None:
    """Press Sign in and choose a person at the provider."""
    page.goto(url)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(re.compile("authorize|authorization"))
    page.get_by_role("button", name=name, exact=True).first.click()


def test_nothing_is_shown_before_signing_in(server: Server, page: Page) -> None:
    from playwright.sync_api import expect

    for path in ("", "compare", "evidence", "report", "runs"):
        page.goto(f"{server.url}/{path}")
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()
        for run in store.bundled_runs():
            assert page.get_by_text(run.id).count() == page.get_by_text(run.config().name).count() == 0


def test_somebody_on_the_list_comes_in_in_two_tabs_and_out_again(server: Server, page: Page) -> None:
    from playwright.sync_api import expect

    sign_in(page, server.url, "ada")
    expect(page.get_by_role("heading", name=HEADING)).to_be_visible()
    second = page.context.new_page()
    second.goto(server.url)
    expect(second.get_by_role("heading", name=HEADING)).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(re.compile("end_session"))  # the provider asks whether to end its own session too
    page.goto(server.url)
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    second.reload()
    expect(second.get_by_role("button", name="Sign in")).to_be_visible()


def test_what_a_person_asked_is_there_in_all_their_browsers_and_in_nobody_elses(
    server: Server, window: Callable[..., Page]
) -> None:
    from playwright.sync_api import expect

    from tests.e2e.serving import rest

    first, second, other = (window() for _ in range(3))
    for page, name in ((first, "ada"), (second, "ada"), (other, "bea")):
        sign_in(page, server.url, name)
        expect(page.get_by_role("heading", name=HEADING)).to_be_visible()
    first.goto(f"{server.url}/compare")
    rest(first)
    first.get_by_role("button", name="☆ Star").click()
    expect(first.get_by_role("button", name="★ Starred")).to_be_visible()
    rest(first)
    question = first.get_by_role("heading", level=3).first.inner_text()
    for page in (second, other):
        page.goto(f"{server.url}/compare?view=History")
        rest(page)
    expect(second.get_by_role("button", name=question)).to_be_visible()
    expect(other.get_by_text("Nothing yet.")).to_be_visible()
    expect(other.get_by_role("button", name=question)).to_have_count(0)


@pytest.mark.parametrize("name", ["eve", "mallory"])
def test_somebody_else_or_an_address_that_is_not_verified_stays_out(server: Server, page: Page, name: str) -> None:
    from playwright.sync_api import expect

    sign_in(page, server.url, name)
    expect(page.get_by_role("heading", name="Not on the list")).to_be_visible()
    assert not page.get_by_role("heading", name=HEADING).count()


@pytest.mark.parametrize("name", ["other-audience", "expired"])
def test_a_token_for_somebody_else_or_of_yesterday_is_refused(server: Server, page: Page, name: str) -> None:
    from playwright.sync_api import expect

    sign_in(page, server.url, name)
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    page.goto(server.url)
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_a_forged_cookie_is_nobody(server: Server, window: Callable[..., Page]) -> None:
    from playwright.sync_api import expect

    page = window()
    page.context.add_cookies(
        [{"name": "_streamlit_user", "value": "eyJlbWFpbCI6ICJhZGFAdW5pLmV4YW1wbGUifQ", "url": server.url}]
    )
    page.goto(server.url)
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_secrets_are_not_in_runs_or_logs(server: Server) -> None:
    for path in [server.log, *server.runs.rglob("*")]:
        if path.is_file():
            assert b"known to the provider" not in Path(path).read_bytes()
