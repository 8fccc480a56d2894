"""Runs on a Ray cluster: two real nodes on loopback, one of which is lost. `make test-ray` installs Ray and runs this."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from core.cli.main import main
from core.config.run_config import RunConfig
from core.jobs import lifecycle, ray_cluster
from core.jobs import sweep as sweep_
from core.jobs.ray_cluster import Resources
from core.jobs.sweep import Member
from core.runs import store
from core.runs.store import Run
from core.util import files
from core.util.errors import UserError
from tests.jobs.test_sweep import alone, same_result
from tests.processes import ROOT, last_json, quick, state, until

pytestmark = pytest.mark.usefixtures("no_process_left")

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (make test-ray)")


class Node:
    """One node of the cluster: its raylet and whatever that started. Its temporary folder tells its processes from
    others."""

    def __init__(self, place: Path, *arguments: str) -> None:
        self.place = place
        # Ray starts its workers at niceness 15, which on a busy machine means: not at all.
        environment = {**os.environ, "TMPDIR": str(place), "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
        environment |= {"FORGETSCOPE_QUEUE": str(place / "queue"), "FORGETSCOPE_ANSWERER": str(place / "answerer")}
        place.mkdir()
        started = subprocess.run(
            [
                sys.executable,
                "-m",
                "ray.scripts.scripts",
                "start",
                *arguments,
                "--num-cpus",
                "1",
                "--temp-dir",
                str(place),
                "--object-store-memory",
                "80000000",
                "--disable-usage-stats",
            ],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert started.returncode == 0, started.stdout + started.stderr

    def processes(self) -> list[psutil.Process]:
        processes = [p for p in psutil.process_iter(["cmdline"]) if f"{self.place}/" in " ".join(p.info["cmdline"] or ())]
        return [*processes, *(child for p in processes for child in p.children(recursive=True))]

    def kill(self) -> None:
        for process in self.processes():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue


class Cluster:
    """A head and a second node, with one CPU each."""

    def __init__(self, place: Path) -> None:
        port = free_port()
        self.address = f"127.0.0.2:{port}"
        self.nodes = [
            Node(place / "a", "--head", "--node-ip-address", "127.0.0.2", "--port", str(port), "--include-dashboard=false")
        ]
        self.nodes.append(Node(place / "b", "--address", self.address, "--node-ip-address", "127.0.0.3"))


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.2", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # Ray puts sockets into its folders, and a socket's path has at most 107 bytes.
    place = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    made: list[Cluster] = []
    try:
        made.append(Cluster(place))
        yield made[0]
    finally:
        for letter in "ab":
            node = Node.__new__(Node)
            node.place = place / letter
            node.kill()
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def at_cluster(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("FORGETSCOPE_RAY", cluster.address)
    return cluster


def made_once(run: Run) -> bool:
    """Say whether a run ended once, and made each stage once: another time it can only have been taken from the cache."""
    stages = [e["name"] for e in run.events() if e["kind"] == "stage" and e["state"] == "done" and e["name"] != "region"]
    ends = [e["state"] for e in run.events() if e["kind"] == "end"]
    return ends == ["done"] and len(stages) == len(set(stages))


@pytest.fixture(scope="module")
def mistaken(tiny_llama: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run for an address at which something listens that is no Ray; the cluster starts meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORGETSCOPE_RAY", f"127.0.0.1:{other.getsockname()[1]}")
        run = lifecycle.submit(quick(tiny_llama, tiny_data), tmp_path_factory.mktemp("mistaken"), Resources())
        yield run
        lifecycle.kill(run)


@needs_ray
def test_progress_and_cancel_arrive_as_locally(
    mistaken: Run, at_cluster: Cluster, tiny_llama: Path, tiny_data: Path, tmp_path: Path
) -> None:
    slow = quick(tiny_llama, tiny_data, unlearn__steps=100_000, unlearn__check_every=5)
    # Other seeds, so that none of them waits for a stage of another one.
    runs = [lifecycle.submit(slow.with_setting("seed", seed), tmp_path, Resources()) for seed in range(3)]
    until(lambda: sum(any((run.path / "checkpoints").glob("*")) for run in runs) == 2, "checkpoints of two runs", 120)
    waiting = next(run for run in runs if not (run.path / "checkpoints").exists())
    at_work = next(run for run in runs if run != waiting)
    assert sorted(map(state, runs)) == ["queued", "running", "running"]  # two side by side: one on each node
    waiting.cancel()
    until(lambda: state(waiting) == "cancelled", "taking the waiting run back", 20)
    stage = at_work.status()["stages"]["unlearn"]
    assert stage["done"] > 0
    assert stage["total"] == 100_000
    assert at_work.status()["pid"] != at_work.manager.status()["pid"]
    for run in runs:
        run.cancel()
    until(lambda: all(state(run) == "cancelled" for run in runs), "cancelling", 20)
    assert (at_work.path / "after" / "region.safetensors").exists()
    until(
        lambda: (lifecycle.reap(), all(run.manager.status()["state"] == "done" for run in runs))[1], "the managers' end", 20
    )


@needs_ray
def test_what_is_no_cluster_is_said_in_time(mistaken: Run) -> None:
    until(lambda: state(mistaken) == "failed", "giving up", 60)
    status = mistaken.status()
    assert "No Ray cluster answers at 127.0.0.1:" in status["error"]
    assert status["heartbeat"] - status["created"] < 20


@needs_ray
def test_lost_node_costs_neither_a_run_nor_a_stage(
    at_cluster: Cluster, tiny_llama: Path, tiny_data: Path, tmp_path: Path
) -> None:
    folder, settings = tmp_path / "runs", tmp_path / "settings.json"
    quick(tiny_llama, tiny_data, unlearn__steps=40, unlearn__check_every=1).save(settings)
    asked = ("--backend", "ray", "--config", str(settings), "--seeds", "0,1,2", "--runs", str(folder), "--json")
    shell = subprocess.Popen(
        [sys.executable, "-m", "core", "sweep", *asked], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    victim = at_cluster.nodes[1]

    def hit() -> list[Run]:
        there = {p.pid for p in victim.processes()}
        return [
            run
            for run in store.list_runs(folder)
            if run.status().get("pid") in there and any((run.path / "checkpoints").glob("*"))
        ]

    until(hit, "a checkpoint on the second node", 120)
    lost = hit()[0]
    victim.kill()
    printed, said = shell.communicate(timeout=180)
    assert shell.returncode == 0, said
    assert last_json(printed)["counts"] == {"done": 3}
    runs = sweep_.members(sweep_.list_sweeps(folder)[0])
    assert all(made_once(run) for run in runs)
    assert [run.status().get("losses") for run in runs] == [1 if run == lost else None for run in runs]
    assert {"teach", "preflight", "localize"} <= {e["name"] for e in lost.events() if e.get("state") == "reused"}
    for number, run in enumerate(runs):
        assert same_result(run, alone(run.config(), tmp_path / f"alone{number}")), number


# -- without a cluster


def started(*more: str, runs: Path) -> int:
    return main(["run", "--backend", "ray", "--runs", str(runs), *more])


@pytest.fixture
def as_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "installed", lambda: True)


def test_without_ray_one_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ray_cluster, "installed", lambda: False)
    assert started(runs=tmp_path) == 1
    assert capsys.readouterr().err.startswith("Ray is not installed.")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("address", "says"), [("", "Nobody said where"), ("127.0.0.1:1", "No Ray cluster answers at 127.0.0.1:1.")]
)
def test_where_no_cluster_is_nothing_is_begun(
    as_installed: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    address: str,
    says: str,
) -> None:
    monkeypatch.setenv("FORGETSCOPE_RAY", address)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert started(runs=tmp_path) == 1
    assert main(["sweep", "--backend", "ray", "--seeds", "0,1", "--runs", str(tmp_path)]) == 1
    assert [line[: len(says)] for line in capsys.readouterr().err.splitlines()] == [says, says]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("--backend", "ray", "--cpus", "0"), "at least a part of one CPU"), (("--cpus", "2"), "reserved on a cluster")],
)
def test_resources_that_make_no_sense_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    assert main(["run", "--runs", str(tmp_path), *arguments]) == 1
    assert says in capsys.readouterr().err


def test_sweeps_that_need_one_machine_are_refused(as_installed: None, tmp_path: Path) -> None:
    member = Member(RunConfig(), {"number": 0})
    for kind, asked in (("requests", {}), ("tune", {"seconds": 60.0})):
        with pytest.raises(UserError, match="Leave out"):
            lifecycle.start("sweep", sweep_.create(kind, "test", asked, [member], tmp_path).as_run, Resources())


def test_lost_worker_is_no_failure_while_a_manager_lives(tmp_path: Path) -> None:
    run = store.create(RunConfig(), tmp_path)
    mine = {"pid": os.getpid(), "started_process": psutil.Process().create_time()}
    ray_cluster.prepare(run.manager, [run], Resources())
    gone = {**(run.json("status.json") or {}), "state": "running", "pid": 2**22, "heartbeat": 0}
    files.write_json(run.path / "status.json", gone)
    files.write_json(run.manager.path / "status.json", store.fresh_status() | mine | {"state": "running"})
    assert state(run) == "running"
    files.write_json(run.manager.path / "status.json", store.fresh_status() | mine | {"state": "done"})
    assert state(run) == "failed"
