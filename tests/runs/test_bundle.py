"""Runs that ship with the project: what is copied, and what a user's own run takes from them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core import probes
from core.cli import progress_bar
from core.config.run_config import RunConfig, preset
from core.jobs import controls, lifecycle
from core.jobs import probes as job
from core.pipeline.pipeline import execute
from core.pipeline.setup import set_up
from core.probes import PROBES
from core.report import rescore, verify_run
from core.runs import archive, askable, stage_files, store
from core.runs import manifest as manifests
from core.runs.store import Run
from core.util import files as files_
from core.util.errors import UserError
from tests import bundle
from tests.naive import Recorder
from tests.pipeline.test_pipeline import reused, small


def finish(config: RunConfig, folder: Path, report: Recorder | None = None) -> Run:
    """Execute a run in this process as a worker would leave it."""
    run = store.create(config, folder)
    execute(set_up(run, config, folder, report or Recorder()))
    status = {**run.json("status.json"), "state": "done", "stage": "evaluate", "began": 1.0, "ended": 2.0}
    files_.write_json(run.path / "status.json", status)
    (run.path / "worker.log").write_text("private", encoding="utf-8")
    return run


@pytest.fixture(scope="module")
def made(tiny_llama: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, RunConfig]:
    """Return a finished run, with the configuration that it was made with."""
    folder, config = tmp_path_factory.mktemp("made"), small(tiny_llama, tiny_data)
    return finish(config, folder), config


@pytest.fixture(scope="module")
def shipped(made: tuple[Run, RunConfig], tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, RunConfig]:
    """Return the same run in a folder of bundled runs."""
    target = tmp_path_factory.mktemp("bundled") / "tiny-memflex"
    bundle.copy(made[0], target)
    return Run(target), made[1]


def test_copy_has_true_hashes_and_nothing_private(shipped: tuple[Run, RunConfig]) -> None:
    run = shipped[0]
    assert not {path.name for path in run.path.iterdir()} & {"worker.log", "cancel", ".worker.lock"}
    status = run.json("status.json")
    assert (status["state"], status["host"], status["pid"]) == ("done", "bundled", None)
    files = run.json("manifest.json")["files"]
    assert {"before/adapter_model.safetensors", "changes.parquet", "detail.npz"} <= set(files)
    for name, digest in files.items():
        assert files_.sha256(run.path / name) == digest, name


def test_what_others_link_to_can_be_made_anew(
    place: Path, made: tuple[Run, RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "LARGE", 2000)
    old, beside = Run(place / "privacy-memflex"), Run(place / "privacy-other")
    bundle.copy(made[0], old.path)
    bundle.copy(made[0], beside.path)
    before = {path: path.read_bytes() for path in beside.path.rglob("*") if path.is_file()}
    assert any(path.is_symlink() for path in before)
    with bundle.set_aside(old.path):
        assert {path: path.read_bytes() for path in before} == before, "while it is away"
        other = Path(shutil.copytree(made[0].path, place / ".made"))
        (other / "localization.parquet").write_bytes(b"of other gradients" * 200)
        bundle.copy(Run(other), old.path)
    assert {path: path.read_bytes() for path in before} == before
    assert not (beside.path / "localization.parquet").is_symlink()
    assert (beside.path / "before" / "adapter_model.safetensors").is_symlink()
    assert [path.name for path in place.iterdir() if path.name.startswith(".")] == [".made"]


@pytest.mark.parametrize(("kept", "there"), [(1, {1, 4, 7}), (2, {1, 2, 4, 7}), (7, {1, 4, 7})])
def test_copy_keeps_the_first_the_middle_the_last_and_the_kept_checkpoint(
    made: tuple[Run, RunConfig], tmp_path: Path, kept: int, there: set[int]
) -> None:
    run = Run(Path(shutil.copytree(made[0].path, tmp_path / "runs" / "many", ignore=shutil.ignore_patterns("checkpoints"))))
    (run.path / "checkpoints").mkdir()
    for step in (1, 2, 4, 6, 7):
        (run.path / "checkpoints" / f"step-{step:05d}.safetensors").write_text(f"of step {step}")
    files_.write_json(run.path / "unlearn.json", {**run.json("unlearn.json"), "step": kept})
    manifests.renew(run, {}, {})
    bundle.copy(run, tmp_path / "bundled" / "many")
    copied = Run(tmp_path / "bundled" / "many")
    assert set(askable.checkpoints(copied)) == there
    listed = {name for name in copied.json("manifest.json")["files"] if name.startswith("checkpoints/")}
    assert listed == {f"checkpoints/step-{step:05d}.safetensors" for step in there}


def test_large_files_of_another_bundled_run_are_links_and_no_reader_minds(
    made: tuple[Run, RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "LARGE", 2000)
    monkeypatch.setattr(store, "BUNDLED_RUNS", tmp_path / "bundled")
    first, second = (Run(tmp_path / "bundled" / name) for name in ("first", "second"))
    for run in (first, second, first):  # what others link to is made anew, too
        bundle.copy(made[0], run.path)
    for run in (first, second):
        for path in (path for path in run.path.rglob("*") if path.is_file()):
            assert path.read_bytes() == (first.path / path.relative_to(run.path)).read_bytes() or path.name == "status.json"
    linked = {path.relative_to(second.path).as_posix(): path for path in second.path.rglob("*") if path.is_symlink()}
    assert {"before/adapter_model.safetensors", "after/region.safetensors"} <= set(linked)
    for path in linked.values():
        assert not path.readlink().is_absolute()
        assert path.resolve().is_relative_to(tmp_path / "bundled")
    (check,) = (check for check in verify_run.verify(second) if check.name == "files")
    assert check.state == verify_run.MATCH, check.says
    (run,) = archive.import_(archive.export([second], tmp_path / "second.zip"), tmp_path / "runs")
    for path in linked:
        assert not (run.path / path).is_symlink()
        assert (run.path / path).read_bytes() == (second.path / path).read_bytes()


def test_own_run_takes_teaching_and_gradients_from_it_and_says_so(
    shipped: tuple[Run, RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "BUNDLED_RUNS", shipped[0].path.parent)
    report = Recorder()
    own = finish(shipped[1].with_setting("unlearn.steps", 2), tmp_path, report)
    assert {name for name, hit in reused(own).items() if hit} == {"teach", "preflight", "localize"}
    stages = own.json("manifest.json")["stages"]
    assert stages["preflight"]["source"] == "bundled run tiny-memflex"
    for name in ("teach", "localize"):
        assert stages[name]["source"] == "bundled run tiny-memflex"
        for file in stage_files.SHIPPED[name]:
            assert (own.path / file).read_bytes() == (shipped[0].path / file).read_bytes()
    again = finish(shipped[1].with_setting("unlearn.steps", 1), tmp_path)
    assert again.json("manifest.json")["stages"]["teach"]["source"] == "bundled run tiny-memflex"


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ("seed", set()),
        ("localize.copies", {"teach", "preflight"}),
        ("answers.max_new_tokens", {"teach", "localize"}),
        ("evaluate.top", {"teach", "localize"}),
        ("evaluate.extras", {"teach", "localize"}),
    ],
)
def test_own_run_with_other_settings_takes_no_more_than_fits(
    shipped: tuple[Run, RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, kept: set[str]
) -> None:
    monkeypatch.setattr(store, "BUNDLED_RUNS", shipped[0].path.parent)
    own = finish(shipped[1].with_setting(change, 1), tmp_path)
    assert {name for name, hit in reused(own).items() if hit} == kept


TOLD = ("tokens.parquet", "answers.jsonl", "recorded.json", "unseen.parquet", "metrics.json", "preflight.json")
"""files of a run with what its voices say and how that is scored"""


@pytest.fixture(scope="module")
def told(tiny_llama: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, RunConfig]:
    """Return a bundled run that recorded everything of every voice, with its configuration."""
    folder = tmp_path_factory.mktemp("told")
    config = small(tiny_llama, tiny_data, evaluate__extras=True, teach__retrain=True)
    bundle.copy(finish(config, folder), folder / "bundled" / "tiny-told")
    return Run(folder / "bundled" / "tiny-told"), config


def test_own_run_says_the_same_whether_its_references_were_asked_or_taken(
    told: tuple[Run, RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = told[1].with_setting("unlearn.steps", 2)
    monkeypatch.setattr(store, "BUNDLED_RUNS", tmp_path / "nothing")
    asked = finish(config, tmp_path / "asked")
    monkeypatch.setattr(store, "BUNDLED_RUNS", told[0].path.parent)
    taken = finish(config, tmp_path / "taken")
    assert not any(reused(asked).values())
    assert {name for name, hit in reused(taken).items() if hit} == {"teach", "preflight", "localize", "retrain", "reference"}
    for stage in ("preflight", "reference"):
        assert taken.json("manifest.json")["stages"][stage]["source"] == "bundled run tiny-told"
        (made,), (found,) = ((tmp_path / name / ".cache" / stage).glob("*/") for name in ("asked", "taken"))
        assert {path.name: path.read_bytes() for path in found.iterdir() if path.name != ".complete"} == {
            path.name: path.read_bytes() for path in made.iterdir() if path.name != ".complete"
        }
    assert {"before", "never", "retrained", "after"} <= set(taken.answers()[0])
    for name in TOLD:
        assert (taken.path / name).read_bytes() == (asked.path / name).read_bytes(), name


def test_verification_of_a_run_whose_references_were_taken_finds_nothing_wrong(
    told: tuple[Run, RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "BUNDLED_RUNS", told[0].path.parent)
    run = finish(told[1].with_setting("unlearn.steps", 2), tmp_path)
    found = [*verify_run.verify(run), *rescore.rescore(run, sample=6, seed=0)]
    assert {"files", "scores", "model", "rescored"} <= {check.name for check in found}
    assert not [check for check in found if check.state == verify_run.MISMATCH]
    (again,) = (check.says for check in found if check.name == "rescored")
    assert all(voice in again for voice in ("before", "never", "retrained"))
    # What was taken is checked like what was asked: a voice that would say something else is found.
    table = run.table("tokens")
    table.assign(logprob_retrained=table["logprob_retrained"] - 1).to_parquet(run.path / "tokens.parquet")
    *_, last = rescore.rescore(run, sample=6, seed=0)
    assert last.state == verify_run.MISMATCH
    assert "retrained" in last.says


def without_last_row(run: Run) -> None:
    table = run.table("tokens")
    table.iloc[:-1].to_parquet(run.path / "tokens.parquet")


def without_general_text(run: Run) -> None:
    content = run.json("recorded.json")
    files_.write_json(run.path / "recorded.json", {name: part for name, part in content.items() if name != "general"})


def without_an_answer(run: Run) -> None:
    first, *others = run.answers()
    rows = [{name: value for name, value in first.items() if name != "before"}, *others]
    (run.path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def without_unseen(run: Run) -> None:
    (run.path / "unseen.parquet").unlink()


@pytest.mark.parametrize("vouched", [False, True], ids=["changed", "shipped so"])
@pytest.mark.parametrize("damage", [without_last_row, without_general_text, without_an_answer, without_unseen])
def test_what_is_not_whole_is_asked_anew_and_a_sentence_says_why(
    told: tuple[Run, RunConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Run], None],
    vouched: bool,
) -> None:
    other = Run(Path(shutil.copytree(told[0].path, tmp_path / "bundled" / "tiny-told")))
    damage(other)
    if vouched:
        manifests.renew(other, {}, {})
    monkeypatch.setattr(store, "BUNDLED_RUNS", other.path.parent)
    report = Recorder()
    run = finish(told[1].with_setting("unlearn.steps", 1), tmp_path / "runs", report)
    assert {name for name, hit in reused(run).items() if hit} >= {"teach", "localize", "retrain"}
    assert not reused(run)["preflight"]
    said = [values["text"] for kind, values in report.events if kind == "finding" and "was not used" in values["text"]]
    assert said[0].startswith("The bundled run tiny-told was not used for preflight: ")
    assert ("it did not record all" if vouched else "is not the one that was shipped") in said[0]


def test_a_taught_adapter_that_was_changed_is_taught_anew(
    told: tuple[Run, RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Run(Path(shutil.copytree(told[0].path, tmp_path / "bundled" / "tiny-told")))
    path = other.path / "before" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    monkeypatch.setattr(store, "BUNDLED_RUNS", other.path.parent)
    report = Recorder()
    run = finish(told[1].with_setting("unlearn.steps", 1), tmp_path / "runs", report)
    assert not reused(run)["teach"]
    assert reused(run)["preflight"]  # the adapter that was taught anew is the same
    (said,) = (values["text"] for kind, values in report.events if "was not used" in values.get("text", ""))
    assert "for teach: its file before/adapter_model.safetensors" in said


def test_a_bundled_run_that_asked_fewer_questions_of_after_lacks_tokens_and_is_not_used(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "BUNDLED_RUNS", tmp_path / "bundled")
    config = small(tiny_llama, tiny_data)
    bundle.copy(finish(config.with_setting("evaluate.splits", "val"), tmp_path / "few"), tmp_path / "bundled" / "tiny-few")
    run = finish(config, tmp_path / "runs")
    assert {name for name, hit in reused(run).items() if hit} == {"teach", "localize"}


def test_terminal_says_where_a_stage_came_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    event = {"kind": "stage", "name": "teach", "state": "reused", "seconds": 0.1, "source": "bundled run privacy-memflex"}
    progress_bar._Bars(Run(tmp_path)).show(event)
    assert "from the bundled run privacy-memflex" in capsys.readouterr().err


@pytest.fixture
def place(tmp_path: Path, shipped: tuple[Run, RunConfig], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of bundled runs with an old one in it."""
    shutil.copytree(shipped[0].path, tmp_path / "privacy-memflex")
    (tmp_path / "privacy-memflex" / "old").touch()
    monkeypatch.setattr(store, "BUNDLED_RUNS", tmp_path)
    return tmp_path


def test_successor_takes_nothing_from_the_old_run(
    place: Path, shipped: tuple[Run, RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def submit(config: RunConfig, folder: Path) -> Run:
        seen.append((config.data.subset, store.bundled_runs()))
        return Run(Path(shutil.copytree(shipped[0].path, folder / "new")))

    def examine(run: Run, names: list[str]) -> Run:
        assert set(names) == set(PROBES) - bundle.SLOW
        (run.path / "probes").mkdir()
        (run.path / "probes" / "prefix.json").touch()
        return run

    old = place / "privacy-memflex"
    (old / bundle.CONTROLS).write_text("{}", encoding="utf-8")
    monkeypatch.setattr(lifecycle, "submit", submit)
    monkeypatch.setattr(job, "start", examine)
    monkeypatch.setattr(progress_bar, "follow", lambda _: "done")
    assert bundle.main(["privacy-memflex"]) == 0
    assert seen[:1] == [("privacy", [])]
    assert [path.name for path in place.iterdir()] == ["privacy-memflex"]
    assert not (place / "privacy-memflex" / "old").exists()
    assert (place / "privacy-memflex" / "probes" / "prefix.json").exists()
    assert (old / bundle.CONTROLS).read_text(encoding="utf-8") == "{}", "of the same result they say what they said"
    (old / bundle.RESULT).unlink()
    (old / bundle.RESULT).write_bytes(b"another")
    assert bundle.main(["privacy-memflex"]) == 0
    assert not (old / bundle.CONTROLS).exists()


def test_old_run_comes_back_when_its_successor_fails(
    place: Path, shipped: tuple[Run, RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "submit", lambda *_: shipped[0])
    monkeypatch.setattr(progress_bar, "follow", lambda _: "failed")
    with pytest.raises(UserError, match="It ended"):
        bundle.main([])
    assert [path.name for path in place.iterdir()] == ["privacy-memflex"]
    assert (place / "privacy-memflex" / "old").exists()


def test_unknown_subset_is_refused_before_anything_starts(place: Path) -> None:
    with pytest.raises(UserError, match="Did you mean “privacy-clean”"):
        bundle.main(["privacy-claen"])


def test_a_visitor_begins_with_clean() -> None:
    assert {run.id for run in store.bundled_runs()} == set(bundle.RUNS)
    assert store.bundled_runs()[0].id == "privacy-clean"


@pytest.mark.parametrize("name", bundle.RUNS)
def test_shipped_runs_hold_what_they_claim(name: str) -> None:
    run, (subset, of_preset, title) = Run(store.BUNDLED_RUNS / name), bundle.RUNS[name]
    manifest = run.json("manifest.json")
    assert run.config() == preset(of_preset).with_setting("data.subset", subset).with_setting("name", title)
    on_disk = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}
    found = probes.read(run)
    assert set(found) == set(PROBES) - bundle.SLOW
    findings = {f"probes/{name}.json" for name in found}
    said = controls.kept(run)
    told = {controls.FILE} if said else set()
    assert on_disk - set(manifest["files"]) == {"status.json", "events.jsonl", "manifest.json"} | findings | told
    if said:
        assert said.rows[0]["run"] == name
        # A draw of `clean` runs all layers, its preset a third of them: few were made, on more than one teaching.
        draws = {"privacy-memflex": controls.DRAWS, "privacy-clean": 4}[name]
        assert sum(str(row["control"]).startswith("random") for row in said.rows) == draws
        assert f"than {draws} random regions like it" in said.in_short
        teachings = {"privacy-memflex": 4, "privacy-clean": 3}[name]
        assert f"{teachings} teachings" in said.verdict
    assert not [name for name, value in found.items() if value["stale"]]
    assert not [name for name, value in found.items() if value["unavailable"]]
    for name, digest in manifest["files"].items():
        assert files_.sha256(run.path / name) == digest, name
    result = run.json("unlearn.json")
    assert result["watched"][0]["step"] == 0
    assert result["step"] in askable.checkpoints(run)
    assert len(askable.checkpoints(run)) >= 3  # “stop here” has something to choose from on the first visit
    assert askable.checkpoint(run, result["step"]).read_bytes() == askable.unlearned(run).read_bytes()


def test_shipped_runs_hold_large_files_once_and_every_link_leads_to_one() -> None:
    paths = [path for path in store.BUNDLED_RUNS.rglob("*") if path.is_symlink() or path.is_file()]
    links = [path for path in paths if path.is_symlink()]
    for path in links:
        assert path.exists(), path
        assert not path.readlink().is_absolute()
        assert path.resolve().is_relative_to(store.BUNDLED_RUNS)
    whole = [files_.sha256(path) for path in paths if path not in links and path.stat().st_size >= bundle.LARGE]
    assert links
    assert len(set(whole)) == len(whole)


def test_shipped_runs_are_small() -> None:
    # Of a link counts the link.
    assert sum(path.lstat().st_size for path in store.BUNDLED_RUNS.rglob("*") if not path.is_dir()) <= 80e6
