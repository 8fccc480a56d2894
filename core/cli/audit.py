"""The verb audit: two models made elsewhere, measured beside each other."""

from __future__ import annotations

import argparse

from core.cli.progress_bar import finished
from core.cli.terminal import note, with_settings
from core.config import run_config, trust
from core.config.stages import AuditConfig
from core.jobs import lifecycle
from core.runs import audit as audit_
from core.runs import store


def options(command: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    command.add_argument(
        "--before", metavar="M1", required=True, help="the model or adapter that knows: hub id, folder, GGUF"
    )
    command.add_argument("--after", metavar="M2", required=True, help="the model or adapter that is said to have forgotten")
    command.add_argument("--never", metavar="M0", help="a model that never knew; not needed where before is an adapter")
    command.add_argument(
        "--data", metavar="D", required=True, help="demo, knowundo (hub), a folder in its layout, or a file"
    )
    command.add_argument("--subset", metavar="S", help="privacy (default), copyright, …")
    command.add_argument(
        "--set", metavar="STAGE.KEY=VALUE", action="append", default=[], help="any setting; may be repeated"
    )
    command.add_argument("--trust-remote-code", action="store_true", help="let a hub repository run its own code")
    command.add_argument("--name", metavar="NAME", help="shown in lists")


def audit(given: argparse.Namespace) -> int:
    """Check models and data, audit, print the scores."""
    chosen = run_config.preset("this-machine")
    for path, text in (("data.source", given.data), ("data.subset", given.subset), ("name", given.name)):
        if text is not None:
            chosen = chosen.with_setting(path, text)
    chosen = audit_.configured(with_settings(chosen, given.set), AuditConfig(given.before, given.after, given.never or ""))
    chosen = trust.given(chosen, given.trust_remote_code, {side.base for side in audit_.sides(chosen.audit)})
    run = lifecycle.submit(chosen, store.runs_folder(given.runs))
    note(f"Audit {run.id}")
    return finished(given, run, run, kind=audit_.KIND)
