"""The verb serve: a run's models at an endpoint that programs know."""

from __future__ import annotations

import argparse
import json
import os

from core.cli.terminal import note, one_run, say
from core.runs import store
from core.serve import api, client

KEY = "FORGETSCOPE_KEY"
"""environment variable: what programs must send as their key; an option could be read in any list of processes"""


def options(command: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    one_run(command)
    command.add_argument("--host", metavar="A", default="127.0.0.1", help=f"another than this machine's own needs {KEY}")
    command.add_argument("--port", metavar="N", type=int, default=8010, help="8010; 0 takes a free one")


def serve(given: argparse.Namespace) -> int:
    """Serve a finished run's models until interrupted. Raises UserError for what would be wrong with every request."""
    key = os.environ.get(KEY, "")
    api.check_host(given.host, key)
    run = store.find(given.id, store.runs_folder(given.runs))
    models = api.voices(run)
    with api.bound(given.host, given.port) as listening:
        note(f"Loading the model of {run.id} …")
        for _ in client.call("load", run):
            pass
        host = f"[{given.host}]" if ":" in given.host else given.host
        url = f"http://{host}:{listening.getsockname()[1]}/v1"
        if given.json:
            say(json.dumps({"run": run.id, "url": url, "models": models}))
        else:
            say(f"{run.id} is served at {url} as {', '.join(models)}. Ctrl-C ends it.")
        api.serve(run, key, listening)
    return 0
