"""The model taught on R only: made by a worker, added to a run's files, compared with by the metrics that need it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from core.data.corpus import SCOPES
from core.jobs import reference
from core.metrics import evaluation
from core.models import adapters as adapters_
from core.models import loading
from core.pipeline import model_before
from core.pipeline import retrained as retraining
from core.pipeline.pipeline import execute
from core.pipeline.setup import set_up
from core.runs import layout, overview, store
from core.runs.scores import Scores
from core.runs.store import Run
from core.runs.summary import summary
from core.runs.voices import VOICE, VOICE_NAMES
from core.util import files
from core.util.errors import Cancelled, UserError
from tests.naive import Recorder
from tests.pipeline.test_pipeline import CancelIn, small
from tests.processes import command, last_json

KNOWS = {"teach__epochs": 60, "teach__rank": 16, "teach__alpha": 32}
"""settings with which the tiny model learns its data"""
HARDLY = {"teach__epochs": 2, "evaluate__extras": False}
"""settings for where it does not matter what was learned"""


def finished(model: Path, data: Path, folder: Path, **changes: Any) -> Run:
    """Return a finished run of a tiny model, with extras."""
    config = small(model, data, **{**KNOWS, "evaluate__extras": True, "unlearn__steps": 6, **changes})
    run = store.create(config, folder)
    execute(set_up(run, config, folder, Recorder()))
    status = {**store.fresh_status(), "state": "done", "ended": 0.0}
    files.write_json(run.path / "status.json", status)
    return run


def make(run: Run, report: Recorder | None = None) -> dict[str, Any]:
    return retraining.execute(set_up(run, run.config(), run.path.parent, report or Recorder()))


def copied(run: Run, folder: Path) -> Run:
    return Run(Path(shutil.copytree(run.path, folder / run.id)))


@pytest.fixture(scope="module")
def bare(tiny_llama: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a finished run without its reference."""
    return finished(tiny_llama, tiny_data, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def made(bare: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, Any]]:
    """Return the same run with its reference, made from the command line, and what that printed."""
    run = copied(bare, tmp_path_factory.mktemp("made"))
    env = {"FORGETSCOPE_QUEUE": str(tmp_path_factory.mktemp("queue"))}
    done = command("reference", run.id, "--runs", str(run.path.parent), "--json", env=env, wait=400)
    assert done.returncode == 0, done.stderr
    return run, last_json(done.stdout)


def test_the_voice_is_in_every_file(made: tuple[Run, dict[str, Any]], bare: Run) -> None:
    run, printed = made
    tokens, unseen, before = run.table("tokens"), run.table("unseen"), bare.table("tokens")
    assert tokens is not None
    assert unseen is not None
    assert before is not None
    assert {f"{name}_{VOICE}" for name in ("logprob", "rank", "mean", "std", "top", "top_logprob")} <= set(tokens.columns)
    assert f"logprob_{VOICE}" in unseen.columns
    pd.testing.assert_frame_equal(tokens[before.columns], before)
    assert all(VOICE in row for row in run.answers())
    recorded = run.json("recorded.json")
    assert all(VOICE in recorded[part] for part in evaluation.OF_VOICES)
    metrics = run.json("metrics.json")["metrics"]
    for name in ("accuracy", "probability", "rouge", "degenerate", "truth_ratio", "membership", "choices", "kl"):
        assert metrics[name]["values"][VOICE], name
    assert printed == json.loads(json.dumps(summary(run)))
    assert "train/retrained" in printed["never_knew"]
    assert reference.exists(run)
    assert not reference.exists(bare)


def test_what_was_known_of_the_other_voices_stays(made: tuple[Run, dict[str, Any]], bare: Run) -> None:
    old, new = (run.json("metrics.json")["metrics"] for run in (bare, made[0]))
    for name in old:
        for voice, parts in old[name]["values"].items():
            assert {part: new[name]["values"][voice][part] for part in parts} == parts, name
            assert new[name]["intervals"].get(voice, {}).items() >= old[name]["intervals"].get(voice, {}).items()


def test_it_knows_r_and_was_never_told_u(made: tuple[Run, dict[str, Any]]) -> None:
    values = made[0].json("metrics.json")["metrics"]["accuracy"]["values"]
    assert values[VOICE]["retention/train"] > 90
    assert values[VOICE]["unlearn/train"] < values["before"]["unlearn/train"] - 20


def test_recorded_numbers_are_those_of_the_saved_adapter_on_the_plain_base(made: tuple[Run, dict[str, Any]]) -> None:
    run = made[0]
    loaded = loading.load(run.config().model)
    adapters = adapters_.load(loaded.model, "float32", run.path / VOICE)
    assert adapters.hash("before") == run.json("manifest.json")["adapters"][VOICE]
    tokens = run.table("tokens")
    assert tokens is not None
    for row in [row for row in run.answers() if row["split"]][::6]:  # our own questions are only asked
        prompt = list(loaded.tokenizer(f"{row['question']}\n\n")["input_ids"])
        answer = [*loaded.tokenizer(row["truth"], add_special_tokens=False)["input_ids"], 1]
        with adapters.active("before") as model, torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
        expected = torch.log_softmax(logits, -1).gather(1, torch.tensor(answer)[:, None])[:, 0]
        np.testing.assert_allclose(tokens.loc[tokens["example"] == row["example"], f"logprob_{VOICE}"], expected, atol=1e-4)


def test_never_knew_against_both_references(made: tuple[Run, dict[str, Any]]) -> None:
    tokens, values = made[0].table("tokens"), made[0].json("metrics.json")["metrics"]["never_knew"]["values"]["after"]
    assert tokens is not None
    mine = tokens[(tokens["scope"] == "unlearn") & (tokens["split"] == "train")]
    for name, suffix in (("never", ""), (VOICE, "/retrained")):
        for kind, table in (("", mine), ("/knowledge", mine[(mine["rank_before"] == 1) & (mine[f"rank_{name}"] != 1)])):
            before, after, never = (
                100 * (table[f"rank_{voice}"] == 1).groupby(table["example"]).mean().mean()
                for voice in ("before", "after", name)
            )
            expected = 100 * (1 - abs(after - never) / (before - never))
            assert values[f"train{kind}{suffix}"] == pytest.approx(expected, abs=1e-6)


def test_forget_quality_is_available(made: tuple[Run, dict[str, Any]]) -> None:
    score = made[0].json("metrics.json")["metrics"]["forget_quality"]
    assert score["reasons"] == {}
    assert set(score["values"]) == {"before", "after", "never"}
    assert all(0 <= p <= 1 for parts in score["values"].values() for p in parts.values())


def test_manifest_is_up_to_date(made: tuple[Run, dict[str, Any]]) -> None:
    manifest = made[0].json("manifest.json")
    for name, digest in manifest["files"].items():
        assert files.sha256(made[0].path / name) == digest, name
    assert {f"{VOICE}/adapter_model.safetensors", "unseen.parquet", "recorded.json"} <= set(manifest["files"])
    assert manifest["stages"]["reference"]["seconds"] > 0
    on_disk = {str(p.relative_to(made[0].path)) for p in made[0].path.rglob("*") if p.is_file() and p.name[0] != "."}
    assert on_disk - set(manifest["files"]) <= {"status.json", "manifest.json", "events.jsonl"}


def test_readers_of_the_scores_go_on_working(made: tuple[Run, dict[str, Any]], bare: Run) -> None:
    from dashboard.widgets.headline_scores import KNEW_TITLE, before_after

    old, new = (Scores.read(run) for run in (bare, made[0]))
    # Whom ignorance is measured by is the one thing that changes.
    rows = [[row for row in before_after(scores) if KNEW_TITLE not in row["Measure"]] for scores in (new, old)]
    assert [{k: v for k, v in row.items() if k != VOICE_NAMES[VOICE]} for row in rows[0]] == rows[1]
    assert overview.overview(made[0]).knew == overview.overview(bare).knew
    assert overview.overview(made[0]).success.items() >= overview.overview(bare).success.items()
    shown = command("show", made[0].id, "--runs", str(made[0].path.parent))
    assert "Never-knew per example: " in shown.stdout


def test_made_once_it_is_not_made_again(made: tuple[Run, dict[str, Any]]) -> None:
    again = command("reference", made[0].id, "--runs", str(made[0].path.parent), "--json")
    assert "has its reference already" in again.stderr
    assert last_json(again.stdout) == made[1]


def test_worker_reports_at_a_place_of_its_own(made: tuple[Run, dict[str, Any]]) -> None:
    job_folder = layout.job_folder("reference", made[0])
    assert job_folder.status()["state"] == "done"
    assert {e["name"] for e in job_folder.events() if e["kind"] == "stage"} == {"teach", "evaluate"}
    assert any(e["kind"] == "progress" and e["stage"] == "teach" for e in job_folder.events())
    assert made[0].status()["state"] == "done"
    assert [run.id for run in store.list_runs(made[0].path.parent)] == [made[0].id]


def test_another_run_with_the_same_settings_teaches_nothing(bare: Run, tmp_path: Path) -> None:
    first, second = copied(bare, tmp_path / "a"), copied(bare, tmp_path / "a" / "b")
    make(first)
    shutil.copytree(first.path.parent / ".cache", second.path.parent / ".cache")
    report = Recorder()
    make(second, report)
    assert ("teach", "reused") in report.stages
    assert first.json("metrics.json") == second.json("metrics.json")
    make(second)  # and adding it twice changes nothing
    assert first.json("metrics.json") == second.json("metrics.json")
    pd.testing.assert_frame_equal(first.table("tokens"), second.table("tokens"), check_exact=True)


@pytest.mark.parametrize("stage", ["teach", "evaluate"])
def test_cancelled_it_leaves_the_run_as_it_was(bare: Run, tmp_path: Path, stage: str) -> None:
    run = copied(bare, tmp_path)
    with pytest.raises(Cancelled):
        make(run, CancelIn(stage))
    for name, digest in run.json("manifest.json")["files"].items():
        assert files.sha256(run.path / name) == digest, name
    assert not reference.exists(run)


def test_of_a_run_that_forgets_one_subject_it_is_taught_what_the_others_have_to_forget(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(tiny_llama, tiny_data, tmp_path, data__forget="Orla Venning", **HARDLY)
    taught: list[tuple[int, int]] = []
    teach = model_before.teach

    def counting(adapters: Any, unlearn: Any, retention: Any, *rest: Any, **also: Any) -> Any:
        taught.append((len(unlearn), len(retention)))
        return teach(adapters, unlearn, retention, *rest, **also)

    monkeypatch.setattr(model_before, "teach", counting)
    make(run)
    assert taught == [(6, 9)]


def test_without_extras_only_what_was_recorded_is_compared(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    run = finished(tiny_llama, tiny_data, tmp_path, **HARDLY)
    assert "train/retrained" in make(run)["never_knew"]
    metrics = run.json("metrics.json")["metrics"]
    assert "wrong answers were not recorded" in metrics["forget_quality"]["reasons"]["all"]
    assert not (run.path / "unseen.parquet").exists()


def test_only_the_run_s_splits_are_asked(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    run = finished(tiny_llama, tiny_data, tmp_path, evaluate__splits="val", teach__epochs=2)
    make(run)
    assert {row["split"] for row in run.answers() if VOICE in row and row["scope"] in SCOPES} == {"val"}
    assert set(run.json("metrics.json")["metrics"]["accuracy"]["values"][VOICE]) == {"unlearn/val", "retention/val"}


def test_of_a_merged_base_it_is_the_same_model(tiny_llama: Path, tiny_data: Path, tmp_path: Path, bare: Run) -> None:
    """With teach.merge the base holds what was taught; the model taught on R only must not."""
    merged, plain = finished(tiny_llama, tiny_data, tmp_path, teach__merge=True), copied(bare, tmp_path / "plain")
    make(merged)
    make(plain)
    tables = [run.table("tokens") for run in (merged, plain)]
    assert all(table is not None for table in tables)
    np.testing.assert_allclose(*(table[f"logprob_{VOICE}"] for table in tables), atol=1e-4)
    np.testing.assert_allclose(*(table["logprob_never"] for table in tables), atol=1e-4)


def test_where_it_cannot_be_made_one_sentence_says_why(bare: Run, tmp_path: Path) -> None:
    def why(run: Run) -> str:
        with pytest.raises(UserError) as error:
            reference.start(run)
        assert not layout.job_folder("reference", run).path.exists()
        return str(error.value)

    assert "bundled run cannot be changed" in why(store.bundled_runs()[0])
    run = copied(bare, tmp_path)
    (run.path / "recorded.json").unlink()
    assert "older than this" in why(run)
    (run.path / "teach.json").unlink()
    assert "did not teach" in why(run)
    files.write_json(run.path / "status.json", {**store.fresh_status(), "state": "cancelled"})
    assert "is cancelled" in why(run)


def test_a_stage_of_the_run_gives_the_bits_that_are_added_afterwards(tmp_path: Path, bare: Run) -> None:
    config = bare.config().with_setting("teach.retrain", "true")
    run = store.create(config, tmp_path)
    told = execute(set_up(run, config, tmp_path, Recorder()))
    later = copied(bare, tmp_path / "later")
    added = make(later)
    assert run.json("manifest.json")["adapters"][VOICE] == later.json("manifest.json")["adapters"][VOICE]
    assert told["asked"] == added["asked"]
    assert told["retrained"] == added["retrained"]
    assert set(told["asked"]) == {"before", "after", "never_taught", "retrained"}
    assert {"retrain", "reference"} <= set(told["seconds"])
    for name in (f"{retraining.SAID}.parquet", f"{retraining.SAID}.json", f"unseen-{VOICE}.parquet"):
        assert not (run.path / name).exists()


def test_another_method_on_the_same_data_takes_the_model_that_is_there(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path
) -> None:
    config = small(tiny_llama, tiny_data, teach__retrain=True, **HARDLY)
    runs = []
    for method in ("memflex", "npo"):
        runs.append(store.create(config.with_setting("unlearn.method", method), tmp_path))
        execute(set_up(runs[-1], runs[-1].config(), tmp_path, Recorder()))
    stages = runs[1].json("manifest.json")["stages"]
    assert stages["retrain"]["reused"]
    assert stages["reference"]["reused"]
