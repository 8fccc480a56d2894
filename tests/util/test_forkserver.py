"""Processes forked from one that has the heavy libraries imported: what they inherit, and every bad end."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from core.util import forkserver
from core.util.forkserver import Command, Forked
from core.util.process import environment
from tests.processes import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")

TELL = """
import json, os, random, sys
import numpy
print(json.dumps({
    "heavy": "torch" in sys.modules and "peft" in sys.modules, "argv": sys.argv[1:], "pid": os.getpid(), "sid": os.getsid(0),
    "folder": os.getcwd(), "name": __name__,
    "word": os.environ.get("FORGETSCOPE_WORD"),
    "blas": os.environ.get("OPENBLAS_NUM_THREADS"),
    "threads": len(os.listdir("/proc/self/task")), "random": random.random(), "numpy": float(numpy.random.random()),
    "open": [os.readlink(f"/proc/self/fd/{n}") for n in range(3, 20) if os.path.exists(f"/proc/self/fd/{n}")],
}))
"""


Begin = Callable[..., Forked]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Return a function that starts a script of the test's own as a module."""
    began = []

    def start(name: str, source: str, *arguments: str, **values: str) -> Forked:
        (tmp_path / f"{name}.py").write_text(
            f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{source}", encoding="utf-8"
        )
        # The server looks for modules where it was started: a runner of our own finds the test's.
        command = Command(
            "tests.util.script", (str(tmp_path / f"{name}.py"), *arguments), tmp_path / f"{name}.log", environment() | values
        )
        process = forkserver.start(command)
        assert isinstance(process, Forked)
        began.append(process)
        return process

    yield start
    for process in began:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)


def said(folder: Path, name: str) -> dict[str, object]:
    value = json.loads((folder / f"{name}.log").read_text(encoding="utf-8").splitlines()[-1])
    assert isinstance(value, dict)
    return value


def test_what_is_forked_has_the_libraries_and_nothing_else_of_the_server(begin: Begin, tmp_path: Path) -> None:
    one = begin("one", TELL, "a", "b c", FORGETSCOPE_WORD="x")
    two = begin("two", TELL)
    assert one.wait(60) == 0
    assert two.wait(60) == 0
    told, other = said(tmp_path, "one"), said(tmp_path, "two")
    assert told["heavy"]
    assert told["argv"] == ["a", "b c"]
    assert told["name"] == "__main__"
    assert told["word"] == "x"
    assert other["word"] is None, "each has the environment that was given"
    assert told["blas"] == os.environ.get("OPENBLAS_NUM_THREADS"), "what made the server safe is not inherited"
    assert told["pid"] == told["sid"] == one.pid, "a session of its own"
    assert told["folder"] == os.getcwd()
    assert told["threads"] == 1
    assert told["random"] != other["random"]
    assert told["numpy"] != other["numpy"]
    assert told["open"] == other["open"] == [], "no socket of the server, none of a sibling"


def test_it_is_listed_as_what_it_executes_and_starts_without_waiting(begin: Begin, tmp_path: Path) -> None:
    begin("first", "").wait(60)  # the server has imported
    process = begin("long", "import time; time.sleep(60)", "word")
    assert process.poll() is None
    until(lambda: " ".join(psutil.Process(process.pid).cmdline()).startswith("python -m tests.util.script "), "its name")
    assert " ".join(psutil.Process(process.pid).cmdline()).split()[-1] == "word"
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("source", "status", "word"),
    [
        ("raise SystemExit(3)", 3, ""),
        ("raise SystemExit", 0, ""),
        ("raise SystemExit('a sentence')", 1, "a sentence"),
        ("raise ValueError('why')", 1, "ValueError: why"),
        ("import atexit; atexit.register(print, 'last'); print('first')", 0, "first\nlast"),
        ("import torch; print((torch.ones(300, 300) @ torch.ones(300, 300)).sum().item())", 0, "27000000.0"),
    ],
)
def test_it_ends_as_any_process(source: str, status: int, word: str, begin: Begin, tmp_path: Path) -> None:
    assert begin("script", source).wait(60) == status
    assert word in (tmp_path / "script.log").read_text(encoding="utf-8")


def test_several_threads_may_start_processes_at_once(begin: Begin, tmp_path: Path) -> None:
    processes: list[Forked] = []
    threads = [threading.Thread(target=lambda n=n: processes.append(begin(f"n{n}", TELL, str(n)))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(60) for process in processes] == [0] * 8
    assert all(said(tmp_path, f"n{n}")["argv"] == [str(n)] for n in range(8))


def test_a_server_that_was_killed_is_started_again_and_what_it_forked_lives_on(begin: Begin, tmp_path: Path) -> None:
    living = begin("living", "import time; time.sleep(60)")
    pid = living.pid
    server = forkserver._server
    assert server is not None
    server.process.kill()
    server.process.wait(10)
    assert psutil.Process(pid).is_running()
    assert living.poll() == -1, "nobody saw its end"
    assert begin("next", TELL).wait(60) == 0
    assert forkserver._server is not server
    assert said(tmp_path, "next")["heavy"]
    os.kill(pid, signal.SIGKILL)


def test_what_a_dying_server_never_began_is_started_as_any_command(begin: Begin, tmp_path: Path) -> None:
    begin("first", "").wait(60)
    server = forkserver._server
    assert server is not None
    server.process.send_signal(signal.SIGSTOP)
    process = begin("stranded", TELL, "still")
    server.process.kill()
    assert process.wait(60) == 0
    assert said(tmp_path, "stranded")["argv"] == ["still"]
    assert not said(tmp_path, "stranded")["heavy"]


def test_another_environment_gets_another_server_and_the_old_one_ends(begin: Begin, tmp_path: Path) -> None:
    begin("first", "").wait(60)
    old = forkserver._server
    assert old is not None
    begin("ours", "", FORGETSCOPE_WORD="other").wait(60)
    assert forkserver._server is old, "no library reads our own variables"
    assert begin("theirs", TELL, HF_HOME=str(tmp_path)).wait(60) == 0
    assert forkserver._server is not old
    until(lambda: old.process.poll() is not None, "the end of the old one")


def test_elsewhere_than_on_linux_nothing_is_forked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forkserver.sys, "platform", "darwin")
    process = forkserver.start(Command("platform", (), tmp_path / "log", environment()))
    assert not isinstance(process, Forked)
    assert process.wait(60) == 0


def test_where_a_library_starts_threads_the_server_is_tried_once_and_then_all_start_as_usual(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin("first", "").wait(60)
    server = forkserver._server
    assert server is not None
    server.process.kill()
    server.process.wait(10)
    monkeypatch.setattr(server.process, "returncode", forkserver.UNSAFE)  # as if it had ended of itself
    monkeypatch.setattr(forkserver, "Server", None)  # no other one may be made
    process = forkserver.start(Command("platform", (), tmp_path / "log", environment()))
    assert not isinstance(process, Forked)
    assert process.wait(60) == 0
