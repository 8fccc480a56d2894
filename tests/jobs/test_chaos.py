"""The short form of `make chaos`: one kill while the worker writes; and that a loss would be seen."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from core.runs import store
from tests import chaos
from tests.processes import PLAIN


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> chaos.Ground:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("chaos")
        patch.setenv("FORGETSCOPE_QUEUE", str(folder / "queue"))
        patch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
        patch.setenv("FORGETSCOPE_CHAOS_COUNT", "")
        return chaos.ground(folder)


@pytest.fixture(autouse=True)
def hooked(on: chaos.Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(on.hook))


def test_worker_killed_at_a_write_loses_nothing(on: chaos.Ground, tmp_path: Path) -> None:
    outcome = chaos.trial(chaos.Plan(3, "worker", "unlearn", 0.6, in_write=True), tmp_path, on)
    assert not outcome.lost
    assert outcome.reused


def test_what_would_be_lost_is_seen(on: chaos.Ground) -> None:
    run = store.list_runs(on.undisturbed)[0]
    assert not chaos.different(run, on)
    name = next(iter(on.expected))
    assert chaos.different(run, dataclasses.replace(on, expected={**on.expected, name: "0"})) == [f"other bits: {name}"]


def test_drawn_kills_cover_every_stage_and_victim() -> None:
    drawn = chaos.plans(40, seed=0)
    assert {plan.stage for plan in drawn} == set(PLAIN)
    assert {victim: sum(p.victim == victim for p in drawn) for victim in ("worker", "server", "both")} == {
        "worker": 28,
        "server": 8,
        "both": 4,
    }
    assert sum(plan.in_write for plan in drawn) == 13
