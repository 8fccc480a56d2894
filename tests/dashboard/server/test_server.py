from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from core.util import access, logs
from core.util.errors import UserError
from dashboard.__main__ import ROOT, configuration, flattened, free_port, loopback, main, reach, variable
from dashboard.server import sign_in
from dashboard.server.visitors import COOKIE, Known
from tests.dashboard.conftest import PAGES

HEAVY = ("torch", "transformers", "peft", "datasets", "accelerate")


def test_pages_import_no_engine_of_deep_learning() -> None:
    code = f"""
import sys
from streamlit.testing.v1 import AppTest
app = AppTest.from_file({str(ROOT / "dashboard" / "app.py")!r}, default_timeout=60).run()
for page in {tuple(PAGES.values())!r}:
    app.switch_page(page).run()
    assert not app.exception, app.exception
import dashboard.__main__
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr


def test_settings_are_flattened_and_variables_win() -> None:
    assert flattened({"a": {"b": 1, "c": [1]}}) == {"a.b": 1, "a.c": [1]}
    assert variable("server.maxUploadSize") == "STREAMLIT_SERVER_MAX_UPLOAD_SIZE"
    assert configuration({})["server.address"] == "127.0.0.1"
    assert "server.maxUploadSize" not in configuration({"STREAMLIT_SERVER_MAX_UPLOAD_SIZE": "5"})


def test_a_taken_port_moves_to_the_next_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", port) > port


def test_no_free_port_is_said() -> None:
    with pytest.raises(UserError, match="No port"):
        free_port("127.0.0.1", 65536)


@pytest.mark.parametrize(
    ("address", "own"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("host", False)]
)
def test_loopback(address: str, own: bool) -> None:
    assert loopback(address) is own


def test_other_addresses_need_a_login(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(logs, "start", lambda: None)
    monkeypatch.setattr(sys, "argv", ["dashboard", "--address", "0.0.0.0", "--no-browser"])
    assert main() == 1
    assert "configure sign-in" in capsys.readouterr().err


def test_a_trusted_network_says_what_it_means(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(access.LOGIN, raising=False)
    reach("10.0.0.5", trusted=True)
    assert "everybody who reaches 10.0.0.5 can start and delete runs" in capsys.readouterr().out
    assert access.LOGIN not in os.environ


@pytest.mark.parametrize(
    ("person", "wanted", "inside"),
    [
        ({"email": "ada@uni.org", "email_verified": True}, "", True),
        ({}, "", True),
        ({"email": "Ada@Uni.org", "email_verified": True}, "ada@uni.org", True),
        ({"email": "ada@uni.org", "email_verified": True}, "@uni.org", True),
        ({"email": "ada@uni.org", "email_verified": False}, "@uni.org", False),
        ({"email": "ada@uni.org"}, "@uni.org", False),
        ({"email": "ada@uni.org", "email_verified": "true"}, "@uni.org", False),
        ({"email": "ada@evil-uni.org", "email_verified": True}, "@uni.org", False),
        ({"email": "ada@uni.org.evil.net", "email_verified": True}, "@uni.org", False),
        ({"email": "ada@evil.net@uni.org", "email_verified": True}, "ada@evil.net", False),
        ({"email": "@uni.org", "email_verified": True}, "@uni.org", False),
        ({"email_verified": True}, "@uni.org", False),
    ],
)
def test_only_verified_addresses_on_the_list_come_in(person: dict[str, object], wanted: str, inside: bool) -> None:
    assert sign_in.allowed(person, sign_in.listed(wanted)) is inside


def shown_to(monkeypatch: pytest.MonkeyPatch, cookie: str = "", **told: str) -> str:
    """Return the name under which something is kept for a browser with a cookie, or for whom a provider tells of."""
    context = SimpleNamespace(cookies={COOKIE: cookie} if cookie else {})
    monkeypatch.setattr(sign_in, "st", SimpleNamespace(context=context, user=SimpleNamespace(to_dict=lambda: told)))
    return sign_in.person()


def test_files_of_one_browser_are_no_other_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(access.LOGIN, raising=False)
    one, other = (shown_to(monkeypatch, digit * 32) for digit in "ab")
    assert one == shown_to(monkeypatch, "a" * 32) != other
    assert len(one) == 64
    assert "a" * 32 not in one
    for made_up in ("", "a", "../../etc/passwd", "A" * 32, "a" * 33, f"{'a' * 32}\n"):
        assert shown_to(monkeypatch, made_up) == ""


def test_files_of_a_person_are_those_of_the_account_not_of_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(access.LOGIN, "1")
    ada = shown_to(monkeypatch, "a" * 32, iss="https://login", sub="1", email="ada@uni.example")
    assert ada == shown_to(monkeypatch, "b" * 32, iss="https://login", sub="1")
    assert ada != shown_to(monkeypatch, "a" * 32, iss="https://login", sub="2", email="ada@uni.example")
    assert shown_to(monkeypatch, "a" * 32, email="ada@uni.example") == ""


def answered(kind: str, cookie: str = "") -> list[str]:
    """Return the cookies that an answer of some kind sets, for a browser that has some already."""
    sent: list[dict[str, Any]] = []

    async def page(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind.encode())]})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asked = Known(page)({"type": "http", "headers": [(b"cookie", cookie.encode())]}, None, send)
    # In a thread of its own: a browser of other tests keeps a loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, asked).result()
    return [value.decode() for key, value in sent[0]["headers"] if key == b"set-cookie"]


def test_a_browser_is_known_again_and_no_script_reads_by_what() -> None:
    first, second = answered("text/html"), answered("text/html; charset=utf-8", "other=1")
    assert all(
        len(cookies) == 1 and "HttpOnly" in cookies[0] and "SameSite=Lax" in cookies[0] for cookies in (first, second)
    )
    assert first != second
    assert answered("text/html", f"a=1; {first[0].partition(';')[0]}") == []
    assert answered("application/javascript") == []
    assert COOKIE in first[0]


@pytest.mark.parametrize(
    "options", [["--proxy", "forgetscope.uni.example"], ["--address", "127.0.0.1", "--proxy", "forgetscope.uni.example"]]
)
def test_who_comes_through_a_proxy_has_to_sign_in(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(logs, "start", lambda: None)
    monkeypatch.setattr(sys, "argv", ["dashboard", *options, "--no-browser"])
    assert main() == 1
    assert "forgetscope.uni.example would let anybody on the network start runs here" in capsys.readouterr().err
