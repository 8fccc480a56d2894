"""`python -m dashboard`: reads streamlit_config.toml and serves the pages on this machine."""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.util
import ipaddress
import logging
import os
import pkgutil
import socket
import sys
import threading
import time
import tomllib
import webbrowser
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from core.runs import overview, store
from core.util import access, logs
from core.util.errors import UserError
from core.util.paths import ROOT
from core.util.version import version
from dashboard import charts, localize, runs, widgets
from dashboard.server import memory, moved
from dashboard.server.compressed import Compressed
from dashboard.server.first_page import FirstPage
from dashboard.server.headers import SecurityHeaders
from dashboard.server.health import healthz
from dashboard.server.visitors import Known

LOG = logging.getLogger("dashboard")
CONFIG = ROOT / "streamlit_config.toml"
TRIED_PORTS = 50


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m dashboard", description="Open the Forgetscope dashboard.")
    parser.add_argument("--port", type=int, help="first port to try (default: 8501)")
    parser.add_argument("--address", help="address to listen on (default: 127.0.0.1, only this machine)")
    parser.add_argument("--runs", help="folder of the runs (default: FORGETSCOPE_RUNS, else ./runs)")
    parser.add_argument("--read-only", action="store_true", help="look and ask: nothing can be started, changed or deleted")
    parser.add_argument(
        "--allow", metavar="LIST", help="who may sign in, by comma: addresses (ada@uni.org) and domains (@uni.org)"
    )
    parser.add_argument(
        "--admins", metavar="LIST", help="who of them sees the view “Disk and memory”, in the same way (else everybody)"
    )
    parser.add_argument(
        "--trusted-network",
        action="store_true",
        help="listen on another address without sign-in: everybody who reaches it can start runs and read all results",
    )
    parser.add_argument(
        "--proxy",
        metavar="NAME",
        help="the name under which a reverse proxy on this machine lets others in: they sign in, as with --address",
    )
    parser.add_argument(
        "--log-format",
        choices=logs.FORMATS,
        help=f"of this and all processes it starts (default: {logs.VARIABLE}, else text)",
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    return parser.parse_args(given)


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested tables into dotted names; lists stay as they are."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flattened(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def configuration(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the file's settings without those that a STREAMLIT_ variable sets: the variable wins."""
    with CONFIG.open("rb") as file:
        settings = flattened(tomllib.load(file))
    return {name: value for name, value in settings.items() if variable(name) not in environment}


def variable(name: str) -> str:
    """Return the environment variable of a setting: server.maxUploadSize is STREAMLIT_SERVER_MAX_UPLOAD_SIZE."""
    words = "".join(f"_{c}" if c.isupper() else c for c in name.replace(".", "_"))
    return f"STREAMLIT_{words.upper()}"


def loopback(address: str) -> bool:
    """Say whether only this machine can reach an address."""
    try:
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def login_configured() -> bool:
    """Say whether st.login has an identity provider: an [auth] table in a secrets file, and Authlib installed."""
    if importlib.util.find_spec("authlib") is None:
        return False
    for folder in (Path.cwd(), Path.home()):
        try:
            secrets = tomllib.loads((folder / ".streamlit" / "secrets.toml").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if "auth" in secrets:
            return True
    return False


def reach(address: str, trusted: bool) -> None:
    """Let others reach the dashboard: signed in, or all of them where the network is trusted. Raises UserError otherwise."""
    if login_configured():
        os.environ[access.LOGIN] = "required"
    elif trusted:
        sys.stdout.write(
            f"Trusted network: everybody who reaches {address} can start and delete runs, read every question and "
            "answer, and "
            "ask the models. Nothing is encrypted. With --read-only they can only look and ask.\n"
        )
    else:
        raise UserError(
            f"{address} would let anybody on the network start runs here.",
            "Leave --address away; or configure sign-in: pip install streamlit[auth] and an [auth] table in "
            "secrets.toml; or give "
            "--trusted-network if everybody there may do everything.",
        )


def free_port(address: str, first: int) -> int:
    """Return the first free port from `first` on. Raises UserError where none of the next ones is free."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for port in range(first, min(first + TRIED_PORTS, 65536)):
        with socket.socket(family) as probe:
            # As the server does itself: the port of one that has just ended would count as taken for a minute.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except PermissionError:
                raise UserError(f"Port {port} needs administrator rights.", "Choose one from 1024 on.") from None
            except OverflowError:
                break
            except OSError:
                continue
            return port
    raise UserError(f"No port from {first} on is free at {address}.", "Choose another with --port.")


def desktop(environment: Mapping[str, str]) -> bool:
    """Say whether there is a screen to open a browser on."""
    return sys.platform in ("darwin", "win32") or any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


@asynccontextmanager
async def warm(_: Any) -> AsyncIterator[dict[str, Any]]:
    """Get ready for visitors while the browser is still on its way; by now all loggers have their handlers."""
    from streamlit.runtime import Runtime

    logs.adopt("streamlit", "uvicorn", "websockets")

    def load() -> None:
        """Import what the first pages need."""
        modules = (
            m.name
            for room in (charts, widgets, localize, runs)
            for m in pkgutil.iter_modules(room.__path__, f"{room.__name__}.")
        )
        shown = [name for name in modules if not name.endswith("page")]  # a page's script draws it
        for name in ("pandas", "pyarrow.parquet", "psutil", "core.regions", "core.jobs.lifecycle", *shown):
            importlib.import_module(name)
        # Modules live as long as the server: from here on no collection of garbage looks through their objects again.
        gc.collect()
        gc.freeze()

    def look() -> None:
        """Look at every run: thousands take seconds for the first time; each is remembered until its files change."""
        for run in store.list_runs(store.runs_folder()):
            overview.overview(run)

    async def visit() -> None:
        """Open the first page before anybody else does: what it reads and draws is kept for those who come."""
        await asyncio.to_thread(load)
        await Runtime.instance().does_script_run_without_error()
        threading.Thread(target=look, daemon=True).start()

    visiting = asyncio.create_task(visit())
    yield {}
    visiting.cancel()


def announce(address: str, port: int, wanted: int, browser: bool) -> None:
    """Wait until the server answers, then name its address and open it."""
    host = f"[{address}]" if ":" in address else address
    url = f"http://{host}:{port}"
    moved = f" (port {wanted} was taken)" if port != wanted else ""
    for _ in range(600):
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            if probe.connect_ex((address, port)) == 0:
                break
        time.sleep(0.05)
    sys.stdout.write(f"Forgetscope is at {url}{moved}. Ctrl-C ends it; runs go on.\n")
    sys.stdout.flush()
    if browser:
        webbrowser.open(url)


def serve(given: argparse.Namespace) -> None:
    """Check address and port, then serve until interrupted. Raises UserError for what is wrong with either."""
    if given.log_format:
        os.environ[logs.VARIABLE] = given.log_format
    logs.start()
    settings = configuration(os.environ)
    address = given.address or os.environ.get("STREAMLIT_SERVER_ADDRESS") or settings["server.address"]
    if given.proxy or not loopback(address):
        reach(given.proxy or address, given.trusted_network)
    hosts = ["*"]
    if loopback(address):
        settings["server.allowedHosts"] = ["localhost", "127.0.0.1", "::1", *filter(None, [given.proxy])]
        hosts = [*settings["server.allowedHosts"], "["]  # the last is what Starlette makes of [::1]:8501
    wanted = given.port or int(os.environ.get("STREAMLIT_SERVER_PORT") or settings["server.port"])
    port = free_port(address, wanted)
    memory.keep_little()
    # In the environment, not handed on: pages read it, and so does every process that they start.
    if given.read_only:
        os.environ[access.READ_ONLY] = "1"
    if given.allow is not None:
        os.environ[access.ALLOWED] = given.allow
    if given.admins is not None:
        os.environ[access.ADMINS] = given.admins
    if given.runs:
        os.environ["FORGETSCOPE_RUNS"] = str(Path(given.runs).expanduser().absolute())
    settings |= {"server.address": address, "server.port": port}
    browser = not given.no_browser and desktop(os.environ)
    LOG.info("version %s at %s, port %d", version(), address, port)
    threading.Thread(target=announce, args=(address, port, wanted, browser), daemon=True).start()

    import streamlit as st
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.routing import BaseRoute, Mount, Route
    from starlette.staticfiles import StaticFiles

    served: list[BaseRoute] = [
        Mount(f"/{name}", StaticFiles(directory=ROOT / "assets" / name)) for name in ("fonts", "vendor")
    ]
    served += [Route("/healthz", healthz), *moved.routes()]
    # A name that a stranger points at this machine would make his page one of the same origin.
    named = Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)
    # The first is the outermost: its headers come upon every answer, refusals of those further in included.
    layers = [Middleware(SecurityHeaders), named, Middleware(Compressed), Middleware(FirstPage), Middleware(Known)]
    st.App(ROOT / "dashboard" / "app.py", routes=served, middleware=layers, lifespan=warm).run(config=settings)


def main() -> int:
    """Run the command; return the exit status."""
    try:
        serve(arguments())
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
