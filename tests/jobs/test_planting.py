"""Plantings of facts: made once each, gone on with, told in time, and shown on the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.cli.main import main
from core.jobs import planting
from core.jobs.planting import Settings
from core.localization import SCORES
from core.localization.plantings import together
from core.util.errors import UserError
from tests.jobs.in_process import here
from tests.pipeline.test_pipeline import small

__all__ = ["here"]

SMALL = Settings(plants=2, seeds=1, cells=3, facts=4, steps=3)


def test_plantings_are_made_once_and_shown(
    here: None, deep_tiny_of: Callable[[str], Path], tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, runs = small(deep_tiny_of("llama"), tiny_data), tmp_path / "runs"
    at = planting.start(config, SMALL, runs)
    assert at.status()["state"] == "done", at.status()
    record = planting.result(at)
    assert [(one["plant"], one["seed"]) for one in record["plantings"]] == [(0, 0), (1, 0)]
    first = record["plantings"][0]
    assert first["sets"].count(0) == first["sets"].count(1) == 3
    assert set(first["scores"]) == {*SCORES, "located", "ablation"}
    assert all(len(values) == len(first["modules"]) for values in first["scores"].values())
    assert len(first["facts"]["unlearn"]) == 4
    assert record["scores"] == together(record["plantings"])
    assert {"forgetscope", "torch"} <= set(record["versions"])

    written = (at.path / "0-0" / "planting.json").stat().st_mtime_ns
    (at.path / "1-0" / "planting.json").unlink()  # as if it had been stopped there
    left, how = planting.seconds(config, SMALL, runs) or (0.0, "")
    assert left == pytest.approx(sum(first["seconds"].values()))
    assert how == "from 1 planting made here"
    again = planting.result(planting.start(config, SMALL, runs))
    assert (at.path / "0-0" / "planting.json").stat().st_mtime_ns == written
    assert again["plantings"][1]["scores"] == record["plantings"][1]["scores"]

    assert main(["plant", "--show", "--runs", str(runs), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == again["scores"]
    assert main(["plant", "--show", "--runs", str(runs)]) == 0
    assert "of 2 plantings" in capsys.readouterr().out


def test_the_command_writes_what_it_found(
    here: None, deep_tiny_of: Callable[[str], Path], tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, folder, target = str(deep_tiny_of("llama")), str(tmp_path / "runs"), tmp_path / "out"
    options = ["--model", model, "--data", str(tiny_data), "--runs", folder, "--cells", "3", "--facts", "4", "--json"]
    settings = ["--set", "model.dtype=float32", "--set", "model.device=cpu", "--set", "data.subset=privacy"]
    assert main(["plant", *options, *settings, "--dry-run"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["plantings"] == 1  # of a model of one's own
    assert told["seconds"] > 0
    assert not (tmp_path / "runs").exists()
    assert main(["plant", *options, *settings, "-o", str(target)]) == 0
    shown = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert json.loads((target / "planted.json").read_text())["scores"] == shown["scores"]
    assert main(["plant", "--show", "-o", str(target)]) == 0


def test_a_planting_that_is_stopped_keeps_what_is_made(
    here: None, deep_tiny_of: Callable[[str], Path], tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, runs = small(deep_tiny_of("llama"), tiny_data), tmp_path / "runs"
    write = planting.write

    def then_stop(at: Any, settings: Settings, about: dict[str, Any], data: str) -> None:
        write(at, settings, about, data)
        at.cancel()

    monkeypatch.setattr(planting, "write", then_stop)
    at = planting.start(config, SMALL, runs)
    assert at.status()["state"] == "cancelled"
    assert len(planting.result(at)["plantings"]) == 1


def test_what_cannot_be_planted_is_one_sentence(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    config = small(tiny_llama, tiny_data)
    for name, value in (("plants", 0), ("cells", 1), ("facts", 3)):
        with pytest.raises(UserError, match=f"--{name} cannot be {value}"):
            planting.start(config, Settings(**{name: value}), tmp_path)
    with pytest.raises(UserError, match="Nothing has been planted"):
        planting.latest(tmp_path)


def test_plantings_of_data_as_they_were_are_not_those_of_now(
    here: None, deep_tiny_of: Callable[[str], Path], tiny_data: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    config = small(deep_tiny_of("llama"), data).with_setting("data.dev_share", 0.2)
    at = planting.start(config, SMALL, tmp_path / "runs")
    assert len(planting.made(at, SMALL)) == len(planting.result(at)["plantings"]) == 2
    for file in data.rglob("*.json*"):
        file.write_text(file.read_text().replace("Quay Street 14", "Quay Street 15"))
    assert planting.made(at, SMALL) == []


def test_plantings_of_other_settings_lie_elsewhere(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    config = small(tiny_llama, tiny_data)
    at = planting.job_folder(config, Settings(), tmp_path)
    assert at == planting.job_folder(config, Settings(plants=5, seeds=3), tmp_path)
    assert at != planting.job_folder(config, Settings(steps=5), tmp_path)
    assert at != planting.job_folder(config.with_setting("seed", 1), Settings(), tmp_path)
    assert at == planting.job_folder(config.with_setting("unlearn.steps", 7), Settings(), tmp_path)


def test_time_is_told_from_work_and_speed(
    deep_tiny_of: Callable[[str], Path], tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(deep_tiny_of("llama"), tiny_data)
    monkeypatch.setattr(planting, "speed", lambda: 1e9)
    first = planting.seconds(config, SMALL, tmp_path)
    more = planting.seconds(config, Settings(plants=4, seeds=1, cells=3, facts=4, steps=3), tmp_path)
    assert first is not None
    assert more is not None
    np.testing.assert_allclose(more[0], 2 * first[0])
    assert planting.seconds(config.with_setting("model.name", "nobody/has-this"), SMALL, tmp_path) is None
