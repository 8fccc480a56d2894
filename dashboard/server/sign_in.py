"""Who is let in: nobody has to sign in on this machine alone; over a network those whom an identity provider knows and we
allow.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from core.util import access
from dashboard.server.visitors import COOKIE, OURS
from dashboard.text import md


def allowed(person: Mapping[str, Any], wanted: Sequence[str]) -> bool:
    """Say whether a signed-in person is one of those wanted: by an address that the provider has verified."""
    if not wanted:
        return True
    address = str(person.get("email") or "").strip().lower()
    name, at, domain = address.rpartition("@")
    if not name or not at or person.get("email_verified") is not True:
        return False
    return any(address == entry or (entry.startswith("@") and f"@{domain}" == entry) for entry in wanted)


def listed(text: str) -> list[str]:
    """Return the addresses and domains of a list by comma."""
    return [part.strip().lower() for part in text.split(",") if part.strip()]


def me() -> str:
    """Return for whom a page acts: the signed-in address, else the browser, else this one tab of it."""
    context = get_script_run_ctx(suppress_warning=True)
    if context is None:
        return access.of_process()
    if os.environ.get(access.LOGIN):
        person = st.user.to_dict()
        address = str(person.get("email") or person.get("sub") or "somebody").strip().lower()
        return address if person.get("email_verified") is True else f"{address} (not verified)"
    visitor = str(st.context.cookies.get(COOKIE) or context.session_id)
    return f"browser {hashlib.sha256(visitor.encode()).hexdigest()[:8]}"


def person() -> str:
    """Return a name for whoever a page is shown to, for files of their own: a hash that nobody else can have or guess.

    Empty where there is neither a sign-in nor a cookie. Longer than what `me` shows, for that can be tried out.
    """
    if os.environ.get(access.LOGIN):
        told = st.user.to_dict()
        # Not the address: one that the provider has not verified can be claimed by anybody.
        who = f"{told['iss']} {told['sub']}" if told.get("iss") and told.get("sub") else ""
    else:
        cookie = str(st.context.cookies.get(COOKIE, ""))
        who = cookie if OURS.fullmatch(cookie) else ""  # one that a visitor made up may be made up by another
    return hashlib.sha256(who.encode("utf-8", "replace")).hexdigest() if who else ""


def admin() -> bool:
    """Say whether this visitor sees all people's work, memory and disk: where nobody signs in, whoever comes in does."""
    if not os.environ.get(access.LOGIN):
        return True
    wanted = listed(os.environ.get(access.ADMINS, ""))
    return bool(wanted) and allowed(st.user.to_dict(), wanted)


def check() -> None:
    """Stop the page for whoever is not let in; say on every page that it is read-only where it is."""
    access.identify(me)
    if os.environ.get(access.LOGIN):
        if not st.user.is_logged_in:
            st.title("Forgetscope")
            st.write("People sign in here, so that not everybody on the network can start runs.")
            st.button("Sign in", on_click=st.login, type="primary")
            st.stop()
        if not allowed(st.user.to_dict(), listed(os.environ.get(access.ALLOWED, ""))):
            st.title("Not on the list")
            address = str(st.user.get("email") or "without an e-mail address")
            st.write(
                f"You are signed in as {md(address)}. Only addresses that your provider has verified and that are "
                "on the list of this dashboard come in."
            )
            st.button("Sign out", on_click=st.logout)
            st.stop()
        with st.sidebar:
            st.caption(f"Signed in as {md(str(st.user.get('email') or st.user.get('name') or 'somebody'))}")
            st.button("Sign out", on_click=st.logout)
    if access.read_only():
        st.caption(":material/lock: Read-only: look and ask. Nothing can be started, changed or deleted here.")
