"""The processes of Forgetscope that this user has on this machine, with their memory: servers, workers, answerers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from core.runs.layout import KINDS

OTHERS = {"dashboard": "server", "core.serve.server": "answerer"}
"""module that a process executes which does no job -> what it is"""
ON_RAY = "--ray"
"""last argument of a process that has a job done by a Ray cluster"""


@dataclass(frozen=True)
class Process:
    """A process, as it is now."""

    pid: int
    what: str
    """server, answerer, manager on the cluster, or as its kind of job says"""
    memory: int
    """bytes of its resident set; pages that it shares with others count for each"""
    since: float
    """seconds since 1970"""


def ours() -> list[Process]:
    """Return the processes, largest first."""
    me, found = psutil.Process().username(), []
    for process in psutil.process_iter(["pid", "cmdline", "memory_info", "create_time", "username"]):
        info = process.info
        name = what(info["cmdline"] or [])
        if name and info["username"] == me and info["memory_info"]:
            found.append(Process(info["pid"], name, info["memory_info"].rss, info["create_time"]))
    return sorted(found, key=lambda one: -one.memory)


def what(command: Sequence[str]) -> str:
    """Return what a command (python -m MODULE …) is the process of, an empty text for any that is not ours."""
    words = " ".join(command).split()  # what was forked has its command as one text
    if len(words) < 3 or words[1] != "-m" or "python" not in words[0]:
        return ""
    if words[2] != "core.jobs":
        return OTHERS.get(words[2], "")
    kind = KINDS.get(words[3]) if len(words) > 3 else None
    return "manager on the cluster" if words[-1] == ON_RAY else kind.process if kind else ""
