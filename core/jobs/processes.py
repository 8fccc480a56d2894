"""The processes of Forgetscope that this user has on this machine, with their memory: servers, workers, answerers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MODULES = {
    "dashboard": "server",
    "core.jobs.worker": "worker",
    "core.jobs.ray_manager": "manager on the cluster",
    "core.jobs.estimate": "estimate",
    "core.serve.server": "answerer",
}
"""module that a process executes -> what it is"""


@dataclass(frozen=True)
class Process:
    """A process, as it is now."""

    pid: int
    what: str
    """one of MODULES"""
    memory: int
    """bytes of its resident set; pages that it shares with others count for each"""
    since: float
    """seconds since 1970"""


def ours() -> list[Process]:
    """Return the processes, largest first."""
    import psutil

    me, found = psutil.Process().username(), []
    for process in psutil.process_iter(["pid", "cmdline", "memory_info", "create_time", "username"]):
        of = process.info
        command = of["cmdline"] or []
        what = MODULES.get(module(command), "")
        if what and of["username"] == me and of["memory_info"]:
            found.append(Process(of["pid"], what, of["memory_info"].rss, of["create_time"]))
    return sorted(found, key=lambda one: -one.memory)


def module(command: Sequence[str]) -> str:
    """Return the module that a command (python -m MODULE …) executes, an empty text for any other."""
    words = " ".join(command).split()  # what was forked has its command as one text
    return words[2] if len(words) > 2 and words[1] == "-m" and "python" in words[0] else ""
