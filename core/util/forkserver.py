"""Processes that begin with torch, transformers and peft in memory: forked from one that has imported them.

Importing these libraries takes seconds of a processor, in every worker and answerer anew. `start` lets a server do it once,
a process beside the one that asks: it imports them, has no thread, no model and no CUDA context, and forks. What it forked
lives in a session of its own, outlives both, and looks like `python -m MODULE …` to whoever lists processes. The server
ends with the process that it belongs to; killed, it is started again by the next call.

Where nothing can be forked safely (macOS, a library that starts threads when imported) the same command starts as usual.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import logging
import os
import runpy
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from setproctitle import setproctitle

LOG = logging.getLogger("core.util.forkserver")

PRELOAD = (
    "setproctitle",  # looks for the place of the command line in memory, which it finds only before the environment changes
    "torch",
    "safetensors.torch",
    "pandas",
    "pyarrow.parquet",
    "filelock",
    "psutil",
    "transformers.models.llama.modeling_llama",
    "transformers.generation.utils",
    "accelerate",
    "peft",
)
"""what every process that computes imports; our own modules are not among them, so that a new one sees today's code"""
SAFE = {
    "OPENBLAS_NUM_THREADS": "1",  # numpy's BLAS starts its threads when it is loaded
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # so does the allocator of pyarrow
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # is there a GPU? asked without a context, which a forked process could not use
}
"""environment of the server, so that it has one thread and no GPU"""
OUR_OWN = ("FORGETSCOPE_", "PYTEST_")
"""variables that no library reads when it is imported: a server need not be started anew for another value"""
UNSAFE = 3
"""exit status of a server in which a library started threads: another one would find the same"""
LARGEST = 2**18
"""bytes of a request"""


class Forked:
    """A process that the server was asked for; it may be about to begin."""

    def __init__(self, reply: socket.socket, command: Command) -> None:
        """Listen for the process id, and later for the exit status."""
        self._reply, self._command = reply, command
        self._heard: list[int] = []
        self._instead: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; waits until the process is there."""
        while not self._heard and self._instead is None:
            self._listen(wait=True)
        return self._instead.pid if self._instead else self._heard[0]

    def wait(self, timeout: float) -> int:
        """Return the exit status when the process has ended. Raises TimeoutError after so many seconds."""
        end = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > end:
                raise TimeoutError(f"{self._command.module} has not ended within {timeout:g} s")
            time.sleep(0.02)
        return status

    def poll(self) -> int | None:
        """Return the exit status, None while the process lives; −1 where the server is gone and did not see its end."""
        if self._instead is None:
            self._listen(wait=False)
        if self._instead is not None:
            return self._instead.poll()
        return self._heard[1] if len(self._heard) > 1 else None

    def _listen(self, *, wait: bool) -> None:
        while len(self._heard) < 2 and self._instead is None:
            try:
                message = self._reply.recv(64, 0 if wait and not self._heard else socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except ConnectionError:
                message = b""
            if message:
                self._heard.append(int(message))
            elif self._heard:
                self._heard.append(-1)
            else:
                LOG.warning("The server that forks processes ended before it began %s.", self._command.module)
                self._instead = self._command.plainly()


Process = Forked | subprocess.Popen[bytes]


@dataclass(frozen=True)
class Command:
    """What a new process executes."""

    module: str
    arguments: tuple[str, ...]
    log: Path
    """file to which its output is appended"""
    environment: Mapping[str, str]

    def plainly(self) -> subprocess.Popen[bytes]:
        """Start it as any command."""
        with self.log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", self.module, *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=dict(self.environment),
            )

    def request(self) -> bytes:
        """Write it for the server."""
        values = {
            "module": self.module,
            "arguments": self.arguments,
            "environment": dict(self.environment),
            "folder": os.getcwd(),
        }
        return json.dumps(values).encode()


class Server:
    """The side of whoever starts processes."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Start the server; it imports while nobody waits for it."""
        self.imported = _read_at_import(environment)
        self._control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # A packet goes whole or not at all, and environments can be longer than the usual buffer.
        self._control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
        with other:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "core.util.forkserver", str(other.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[other.fileno()],
                env={**environment, **SAFE},
            )

    def fork(self, command: Command) -> Forked:
        """Ask for a process. Raises OSError where the server is gone."""
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Nothing here keeps the other end open: where the server is gone, `mine` then reads an end.
        with theirs, command.log.open("ab") as output:
            socket.send_fds(self._control, [command.request()], [theirs.fileno(), output.fileno()])
        return Forked(mine, command)

    def close(self) -> None:
        """Let the server end; what it has forked lives on."""
        self._control.close()
        self.process.poll()


_server: Server | None = None
_lock = threading.Lock()


def start(command: Command) -> Process:
    """Start a process that outlives this one, without waiting for it. Raises OSError where the log cannot be written."""
    global _server
    if sys.platform != "linux":
        return command.plainly()
    with _lock:
        if _server and _server.imported == _read_at_import(command.environment) and _server.process.poll() == UNSAFE:
            return command.plainly()
        if _server and (_server.process.poll() is not None or _server.imported != _read_at_import(command.environment)):
            _server.close()
            _server = None
        for _ in range(2):  # the server may have been killed a moment ago
            _server = _server or Server(command.environment)
            with contextlib.suppress(BrokenPipeError, ConnectionError):
                return _server.fork(command)
            _server.close()
            _server = None
    return command.plainly()


def _read_at_import(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(OUR_OWN)}


# -- the server -------------------------------------------------------------------------------------------------------


def threads() -> int:
    """Return how many threads this process has, those of libraries included."""
    return len(os.listdir("/proc/self/task"))


def serve(control: socket.socket) -> dict[str, Any] | None:
    """Fork a process for each request. Returns its request in each of these, None in the server when its owner is gone."""
    with contextlib.ExitStack() as mine:
        ready = mine.enter_context(selectors.DefaultSelector())
        mine.enter_context(control)
        ready.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is not control:
                    _tell_end(ready, key)
                    continue
                content, handles, _, _ = socket.recv_fds(control, LARGEST, 2)
                if not content:
                    return None
                reply = socket.socket(fileno=handles[0])
                if not (pid := os.fork()):
                    _become(handles[1])
                    # Copies of the others' sockets in this process would hide from them that the server is gone.
                    for other in list(ready.get_map().values()):
                        if other.data:
                            os.close(int(other.fd))
                            other.data[1].close()
                    reply.close()
                    request: dict[str, Any] = json.loads(content)
                    return request
                os.close(handles[1])
                _send(reply, pid)
                ready.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, reply))


def _tell_end(ready: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    pid, reply = key.data
    ready.unregister(key.fileobj)
    os.close(int(key.fd))
    _, status = os.waitpid(pid, 0)
    _send(reply, os.waitstatus_to_exitcode(status))
    reply.close()


def _send(reply: socket.socket, value: int) -> None:
    with contextlib.suppress(OSError):  # whoever asked may be gone; the process goes on
        reply.send(str(value).encode())


def _become(output: int) -> None:
    """Let go of the server's session and output."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    for handle in (nothing, output):
        os.close(handle)


def _execute(request: Mapping[str, Any]) -> NoReturn:
    """Run a module as `python -m` would, and end this process."""
    import numpy as np

    command = ["python", "-m", request["module"], *request["arguments"]]
    setproctitle(" ".join(command))
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    np.random.seed()  # or all processes would draw the same; Python's own generator sees to that itself
    sys.argv = command[2:]
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    # An ordinary end would take a million objects apart, and with them copy each page that is shared: half a second.
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def main(handle: int) -> None:
    """Import what all processes need, then fork them; in each of these, execute what was asked for."""
    gc.disable()  # the libraries make a million objects that stay; looking through them again and again finds nothing
    for name in PRELOAD:
        importlib.import_module(name)
    if (count := threads()) > 1:
        LOG.error("A library started %d threads when it was imported: nothing can be forked safely.", count - 1)
        raise SystemExit(UNSAFE)
    gc.freeze()  # a forked process then shares these pages for good
    gc.enable()
    request = serve(socket.socket(fileno=handle))
    if request is not None:
        _execute(request)


if __name__ == "__main__":
    main(int(sys.argv[1]))
