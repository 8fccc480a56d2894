"""The verb audit: two models made elsewhere, measured beside each other."""

from __future__ import annotations

import argparse

from core import audit as audit_
from core import config, jobs, store, trust
from core.commands import STATUS, note, out, scores
from core.errors import UserError
from core.stages import AuditConfig
from core.summary import summary


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
    from core import progress_bar

    chosen = config.preset("this-machine")
    for path, value in (("data.source", given.data), ("data.subset", given.subset), ("name", given.name)):
        if value is not None:
            chosen = chosen.with_setting(path, value)
    for setting in given.set:
        path, separator, value = setting.partition("=")
        if not separator:
            raise UserError(f"“{setting}” is not a setting.", "Write it as --set stage.key=value.")
        chosen = chosen.with_setting(path.strip(), value.strip())
    chosen = audit_.configured(chosen, AuditConfig(given.before, given.after, given.never or ""))
    chosen = trust.given(chosen, given.trust_remote_code, {one.base for one in audit_.sides(chosen.audit)})
    run = jobs.submit(chosen, store.runs_folder(given.runs))
    note(f"Audit {run.id}")
    state = progress_bar.follow(run)
    status = run.status()
    if state != "done":
        note(f"{state.capitalize()}: {status.get('error', '')} {status.get('fix', '')}".strip())
    found = {"kind": audit_.KIND, **summary(run)}
    if state == "failed":
        found |= {"error": status.get("error", ""), "fix": status.get("fix", "")}
    out(given, found, scores(run) if state == "done" else [])
    return STATUS.get(state, 1)
