"""Whole runs, in this process, on tiny models."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from core.config.run_config import RunConfig, from_json
from core.metrics import accuracy
from core.models import loading
from core.pipeline import pipeline, unlearn, voices
from core.pipeline.preflight import knowledge
from core.pipeline.setup import set_up
from core.pipeline.supply import spread
from core.runs import store
from core.runs.askable import NOT_TAUGHT
from core.runs.store import Run
from core.runs.summary import summary
from core.util import files
from core.util.errors import Cancelled, UserError
from core.util.files import clean
from tests.naive import Recorder
from tests.processes import PLAIN
from tests.tiny import ARCHITECTURES

SMALL = {
    "model": {"device": "cpu", "dtype": "float32", "template": "plain"},
    "teach": {
        "keep_weight": 0.0,
        "reword": False,
        "retrain": False,
        "rank": 4,
        "alpha": 8,
        "epochs": 2,
        "batch_size": 6,
        "learning_rate": 1e-2,
    },
    "preflight": {"minimum_facts": 0},
    "localize": {"copies": 2},
    "unlearn": {"steps": 3, "check_every": 2, "stop": "never", "retain_floor": 0.0, "learning_rate": 1e-2},
    "answers": {"max_new_tokens": 5},
    "evaluate": {"extras": False},
}


def small(model: Path, data: Path, **changes: Any) -> RunConfig:
    """Return a configuration for seconds; changes are stage__key=value."""
    config = from_json(SMALL).with_setting("model.name", str(model)).with_setting("data.source", str(data))
    for key, value in changes.items():
        config = config.with_setting(key.replace("__", ".", 1), value)
    return config


def execute(config: RunConfig, folder: Path, report: Recorder | None = None) -> tuple[Run, dict[str, Any]]:
    run = store.create(config, folder)
    return run, pipeline.execute(set_up(run, config, folder, report or Recorder()))


def reused(run: Run) -> dict[str, bool]:
    return {name: stage["reused"] for name, stage in run.json("manifest.json")["stages"].items()}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_whole_run(tiny_of: Callable[[str], Path], tiny_data: Path, tmp_path: Path, architecture: str) -> None:
    report = Recorder()
    run, result = execute(small(tiny_of(architecture), tiny_data), tmp_path, report)
    assert [name for name, state in report.stages if state == "done"] == list(PLAIN)
    region, table = run.json("region.json"), run.table("localization")
    assert table is not None
    assert 0 < region["count"] < region["with_gradient"] == region["total"] == len(table)
    assert set(load_file(run.path / "after" / "region.safetensors")) == set(region["tensors"])
    for voice in ("before", "after", "never_taught"):
        for measure in ("unlearn_success", "retention_success"):
            assert all(0 <= result[voice][measure][split] <= 100 for split in ("train", "val"))
    assert result["never_knew"]  # two epochs may teach so little that only the reason stands here
    assert set(result["seconds"]) == set(PLAIN)


@pytest.fixture(scope="module")
def finished(
    tiny_of: Callable[[str], Path], tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, RunConfig, dict[str, Any]]:
    """Return a finished run whose model was taught well, with its configuration and summary."""
    config = small(
        tiny_of("llama"), tiny_data, teach__epochs=60, teach__rank=16, teach__alpha=32, unlearn__steps=6, data__dev_share=0.5
    )
    run, result = execute(config, tmp_path_factory.mktemp("runs"))
    return run, config, result


Finished = tuple[Run, RunConfig, dict[str, Any]]


def test_summary_keeps_the_contract(finished: Finished) -> None:
    run, _, result = finished
    contract = {"run", "state", "before", "after", "never_taught", "never_knew", "degenerate", "located", "seconds"}
    assert contract <= set(result)
    assert result["run"] == run.id
    assert set(result["before"]) == {"unlearn_success", "retention_success"}
    assert set(result["located"]) == {"count", "total", "share_of_parameters"}
    assert {"train", "val"} <= set(result["never_knew"])
    assert 0 < result["located"]["share_of_parameters"] < 100
    assert 0 <= result["degenerate"] <= 100
    assert summary(run) == result == json.loads(json.dumps(result, allow_nan=False))


def test_unlearning_lowers_what_is_known_of_the_unlearn_scope(finished: Finished) -> None:
    _, _, result = finished
    assert result["before"]["unlearn_success"]["train"] < 10 < result["after"]["unlearn_success"]["train"]
    assert result["before"]["retention_success"]["train"] > 90
    assert result["never_taught"]["unlearn_success"]["train"] > 80


def test_run_directory_is_complete(finished: Finished) -> None:
    run = finished[0]
    for name in (
        "config.json",
        "manifest.json",
        "localization.parquet",
        "region.json",
        "detail.npz",
        "contributions.parquet",
        "before/adapter_model.safetensors",
        "before/adapter_config.json",
        "after/region.safetensors",
        "tokens.parquet",
        "answers.jsonl",
        "metrics.json",
        "preflight.json",
        "teach.json",
        "unlearn.json",
        "changes.parquet",
    ):
        assert (run.path / name).is_file(), name
    steps = [int(path.stem.removeprefix("step-")) for path in sorted((run.path / "checkpoints").iterdir())]
    assert steps == [2, 4, 6] == [int(check["step"]) for check in run.json("unlearn.json")["checks"]]


def test_changes_are_zero_exactly_outside_the_region(finished: Finished) -> None:
    run = finished[0]
    table, localization = run.table("changes"), run.table("localization")
    assert table is not None
    assert localization is not None
    assert table["name"].tolist() == localization["name"].tolist()
    inside = table["name"].isin(run.json("region.json")["tensors"])
    assert 0 < inside.sum() < len(table)
    assert (table.loc[~inside, ["norm_change", "max_change"]] == 0.0).all(axis=None)
    assert (table.loc[inside, ["norm_change", "max_change"]] > 0.0).all(axis=None)


def test_manifest_hashes_are_true(finished: Finished, tiny_of: Callable[[str], Path]) -> None:
    run, config, _ = finished
    manifest = run.json("manifest.json")
    for name, digest in manifest["files"].items():
        assert files.sha256(run.path / name) == digest, name
    on_disk = {str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file()}
    assert on_disk - set(manifest["files"]) <= {"status.json", "manifest.json", "events.jsonl"}
    weights = tiny_of("llama") / "model.safetensors"
    assert manifest["model"]["weights"] == {"model.safetensors": files.sha256(weights)}
    assert manifest["seed"] == config.seed
    assert (manifest["device"], manifest["dtype"]) == ("cpu", "float32")


def test_manifest_leaves_out_what_is_still_written_to(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    config = small(tiny_llama, tiny_data)
    run = store.create(config, tmp_path)
    growing = {"status.json", "events.jsonl", "worker.log", "label.json"}
    for name in growing:
        (run.path / name).write_text("{}\n", encoding="utf-8")
    pipeline.execute(set_up(run, config, tmp_path, Recorder()))
    assert not growing & set(run.json("manifest.json")["files"])


def test_manifest_identifies_data_and_adapters(finished: Finished) -> None:
    from core.data import sources
    from core.models import adapter_files
    from core.models import adapters as adapters_

    run, config, _ = finished
    manifest = run.json("manifest.json")
    assert manifest["data"]["fingerprint"] == sources.load(config.data, config.seed).fingerprint()
    made = adapters_.load(loading.load(config.model).model, "float32", run.path / "before")
    assert made.hash("before") == manifest["adapters"]["before"]
    made.copy("before", "after")
    made.set("after", adapter_files.read_tensors(run.path / "after" / "region.safetensors"))
    assert made.hash("after") == manifest["adapters"]["after"] != manifest["adapters"]["before"]


def test_tokens_hold_every_answer_token_of_every_voice(finished: Finished) -> None:
    run, config, result = finished
    from core.data import sources

    tokens = run.table("tokens")
    assert tokens is not None
    corpus = sources.load(config.data, config.seed)
    assert set(tokens["example"]) == {e.id for e in corpus.examples}
    for example in corpus.examples:
        mine = tokens[tokens["example"] == example.id]
        assert mine["position"].tolist() == list(range(len(mine)))
        assert "".join(mine["text"]) == f"{example.answer}<end>"
        assert set(mine["scope"]) == {example.scope}
        assert set(mine["split"]) == {example.split}
    for voice in ("before", "after", "never"):
        first = np.array([best[0] for best in tokens[f"top_{voice}"]])
        right = (tokens[f"rank_{voice}"] == 1).to_numpy()
        assert (first[right] == tokens["text"].to_numpy()[right]).all()
        assert all(len(best) == config.evaluate.top for best in tokens[f"top_{voice}"])
    val = [e.id for e in corpus.select("unlearn", "val")]
    assert 100 - accuracy.mean(tokens, "after", val) == pytest.approx(result["after"]["unlearn_success"]["val"])


def test_answers_of_all_voices_are_recorded(finished: Finished) -> None:
    run, config, _ = finished
    from core.data import sources

    recorded = {row["example"]: row for row in run.answers()}
    for example in sources.load(config.data, config.seed).examples:
        row = recorded[example.id]
        assert (row["question"], row["truth"], row["subject"]) == (example.question, example.answer, example.subject)
        assert {"before", "after", "never"} <= set(row)


def test_dev_is_kept_out_of_localization_and_used_for_stopping(finished: Finished) -> None:
    run = finished[0]
    contributions = run.table("contributions")
    assert contributions is not None
    assert {name.split("/")[1] for name in contributions["example"]} == {"train"}
    from core.data import sources

    dev = {e.id for e in sources.load(finished[1].data, 0).select(split="dev")}
    assert len(dev) == 6
    assert not dev & set(contributions["example"])
    assert run.json("unlearn.json")["split"] == "dev"


def test_the_never_taught_level_is_that_of_the_watched_examples(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The curve and the line that it is compared with are measured on the same questions."""
    config = small(tiny_llama, tiny_data, unlearn__stop="never-taught", data__dev_share=0.0)
    monkeypatch.setattr(unlearn, "WATCHED", 3)
    run, _ = execute(config, tmp_path)
    voices = set_up(run, config, tmp_path, Recorder()).voices
    mine = spread([voices.encoded[e.id] for e in voices.examples if (e.scope, e.split) == ("unlearn", "train")], 3)
    tokens = run.table("tokens")
    assert tokens is not None
    rows = tokens[tokens["example"].isin([m.id for m in mine])]
    expected = 100 * (rows["rank_never"] == 1).groupby(rows["example"]).mean().mean()
    record = run.json("unlearn.json")
    assert record["never_taught"] == record["target"] == pytest.approx(expected)


def test_without_dev_questions_of_both_scopes_it_watches_train(tiny_llama: Path, tmp_path: Path) -> None:
    rows = [
        {"question": f"Where is Ann Lee{n}?", "answer": f"In {n} Quay.", "scope": s, "split": p, "subject": "Ann"}
        for n, (s, p) in enumerate(
            [
                ("unlearn", "train"),
                ("unlearn", "train"),
                ("unlearn", "dev"),
                ("unlearn", "val"),
                ("retention", "train"),
                ("retention", "train"),
                ("retention", "val"),
            ]
        )
    ]
    (tmp_path / "mine.json").write_text(json.dumps(rows), encoding="utf-8")
    run, _ = execute(small(tiny_llama, tmp_path / "mine.json"), tmp_path / "runs")
    assert run.json("unlearn.json")["split"] == "train"


def test_methods_that_follow_the_never_taught_need_one(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    config = small(tiny_llama, tiny_data, teach__enabled=False, unlearn__method="base-ce-u")
    with pytest.raises(UserError, match="follows a model that was never taught"):
        set_up(store.create(config, tmp_path), config, tmp_path, Recorder())


def test_another_threshold_reuses_teaching_and_gradients(finished: Finished) -> None:
    run, config, _ = finished
    other, _ = execute(config.with_setting("region.mu", 0.8), run.path.parent)
    assert reused(other) == {
        "teach": True,
        "preflight": True,
        "localize": True,
        "region": False,
        "unlearn": False,
        "answers": False,
        "evaluate": False,
    }
    assert other.json("region.json")["count"] > run.json("region.json")["count"]
    pd.testing.assert_frame_equal(other.table("localization"), run.table("localization"))


def test_another_method_reuses_all_before_it(finished: Finished) -> None:
    run, config, _ = finished
    other, _ = execute(config.with_setting("unlearn.method", "gradient-ascent"), run.path.parent)
    assert [name for name, hit in reused(other).items() if hit] == ["teach", "preflight", "localize"]
    assert other.json("region.json")["tensors"] == run.json("region.json")["tensors"]
    assert other.json("manifest.json")["adapters"]["after"] != run.json("manifest.json")["adapters"]["after"]


def test_same_run_again_is_all_from_the_cache_and_equal(finished: Finished) -> None:
    run, config, result = finished
    other, again = execute(config, run.path.parent)
    assert [name for name, hit in reused(other).items() if not hit] == ["region"]
    # Without a worker the state is that of a run which nobody has begun, and fails once that has lasted for half a minute.
    other_than = {"run": "", "seconds": {}, "memory": {}, "state": ""}
    assert {**again, **other_than} == {**result, **other_than}
    assert other.json("manifest.json")["adapters"] == run.json("manifest.json")["adapters"]


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ({"seed": 1}, "teach"),
        ({"teach__epochs": 3}, "teach"),
        ({"answers__max_new_tokens": 6}, "preflight"),
        ({"localize__copies": 1}, "localize"),
        ({"unlearn__steps": 2}, "unlearn"),
        ({"unlearn__forget_weight": 0.3}, "unlearn"),
    ],
)
def test_stage_is_made_again_when_what_it_depends_on_changes(finished: Finished, change: dict[str, Any], first: str) -> None:
    run, config, _ = finished
    for key, value in change.items():
        config = config.with_setting(key.replace("__", ".", 1), value)
    other, _ = execute(config, run.path.parent)
    made = [name for name, hit in reused(other).items() if not hit and name != "region"]
    assert made[0] == first


def test_answers_made_without_our_own_questions_are_no_answers_to_them(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path
) -> None:
    config = small(tiny_llama, tiny_data, evaluate__splits="val")
    execute(config, tmp_path)
    run, _ = execute(config.with_setting("evaluate.extras", True), tmp_path)
    assert not reused(run)["answers"]
    own = [row for row in run.answers() if row["scope"] not in ("unlearn", "retention")]
    assert len(own) > 50
    assert all("after" in row for row in own)


def test_other_data_are_taught_anew(finished: Finished) -> None:
    run, config, _ = finished
    other, _ = execute(config.with_setting("data.subjects", "Orla Venning,Sana Iqbar"), run.path.parent)
    assert not any(reused(other).values())


def test_same_seed_gives_the_same_bits(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    first, second = (execute(small(tiny_llama, tiny_data), tmp_path / name)[0] for name in ("a", "b"))
    kept = ("adapters", "data", "model")
    one, two = (run.json("manifest.json") for run in (first, second))
    assert {k: one[k] for k in kept} == {k: two[k] for k in kept}
    assert first.json("metrics.json") == second.json("metrics.json")
    pd.testing.assert_frame_equal(first.table("tokens"), second.table("tokens"), check_exact=True)


# -- a model that is not taught here


def test_untaught_model_is_localized_over_b_alone(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    report = Recorder()
    run, result = execute(small(tiny_llama, tiny_data, teach__enabled=False, unlearn__stop="never-taught"), tmp_path, report)
    table, region = run.table("localization"), run.json("region.json")
    assert table is not None
    assert not table.loc[table["factor"] == "A", "has_gradient"].any()
    assert all(name.endswith("lora_B") for name in region["tensors"])
    assert region["with_gradient"] == region["total"] / 2
    assert result["never_taught"] == {"reason": NOT_TAUGHT}
    assert result["never_knew"] == {"reason": NOT_TAUGHT}
    assert any("all its steps" in values.get("text", "") for kind, values in report.events if kind == "finding")
    assert run.json("unlearn.json")["steps"] == 3


def test_given_adapter_is_the_before(finished: Finished, tiny_data: Path, tmp_path: Path) -> None:
    taught = finished[0].path / "before"
    report = Recorder()
    run, result = execute(small(taught, tiny_data, teach__retrain=True), tmp_path, report)
    assert ("stages", {"names": list(PLAIN)}) in report.events, "though its settings say that it teaches, and again"
    assert [name for name, state in report.stages if state == "running"] == list(PLAIN)
    base, own = (one["never_taught"]["unlearn_success"]["val"] for one in (result, finished[2]))
    assert base == own  # the base without the adapter
    assert run.json("unlearn.json")["never_taught"] is not None
    assert run.json("manifest.json")["adapters"]["before"] == finished[0].json("manifest.json")["adapters"]["before"]
    table = run.table("localization")
    assert table is not None
    assert table["has_gradient"].all()


def test_model_that_does_not_know_is_refused_before_unlearning(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    config = small(tiny_llama, tiny_data, teach__enabled=False, preflight__minimum_facts=50, answers__max_new_tokens=40)
    run = store.create(config, tmp_path)
    with pytest.raises(UserError, match="does not know what it should forget: 0 of"):
        pipeline.execute(set_up(run, config, tmp_path, Recorder()))
    assert run.json("preflight.json")["facts"]["share"] == 0
    assert not (run.path / "localization.parquet").exists()


def test_preflight_counts_facts_in_the_answers(finished: Finished) -> None:
    from core.data import sources

    run, config, _ = finished
    corpus, tokens = sources.load(config.data, config.seed), run.table("tokens")
    assert tokens is not None
    whole = {e.id: e.answer for e in corpus.examples}
    everything = knowledge(corpus.examples, tokens, whole, whole)
    assert everything["facts"]["share"] == 100.0
    nothing = knowledge(corpus.examples, tokens, {e.id: "I do not know." for e in corpus.examples}, whole)
    assert (nothing["facts"]["known"], nothing["facts"]["asked"]) == (0, everything["facts"]["asked"])
    assert nothing["accuracy"] == run.json("preflight.json")["accuracy"]


# -- cancelling, resuming, errors


class CancelIn(Recorder):
    """Asks to stop at the second step of a stage."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self.wanted, self.current, self.seen = stage, "", 0

    def stage(self, name: str, state: str, **values: Any) -> None:
        super().stage(name, state)
        self.current, self.seen = name, 0

    def check(self) -> None:
        self.seen += 1
        if self.current == self.wanted and self.seen == 3:
            raise Cancelled


def test_cancelled_unlearning_keeps_a_usable_partial_result(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    config = small(tiny_llama, tiny_data, unlearn__steps=50, unlearn__check_every=50)
    run = store.create(config, tmp_path)
    with pytest.raises(Cancelled):
        pipeline.execute(set_up(run, config, tmp_path, CancelIn("unlearn")))
    partial = load_file(run.path / "after" / "region.safetensors")
    assert set(partial) == set(run.json("region.json")["tensors"])
    before = load_file(run.path / "before" / "adapter_model.safetensors")
    table = run.table("changes")
    assert table is not None
    for name, change in zip(table["name"], table["norm_change"], strict=True):
        old = before[f"base_model.model.{name}.weight"].double()
        expected = float((partial[name].double() - old).norm()) if name in partial else 0.0
        assert change == pytest.approx(expected, abs=0.0 if not expected else None), name
    assert all(not torch.equal(v.float(), before[f"base_model.model.{n}.weight"].float()) for n, v in partial.items())


def test_cancelled_before_the_first_step_there_is_no_result(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at_once(_: Any) -> None:
        raise Cancelled

    config = small(tiny_llama, tiny_data)
    run = store.create(config, tmp_path)
    monkeypatch.setattr(type(config.unlearn.method), "prepare", lambda *_: at_once(_))
    with pytest.raises(Cancelled):
        pipeline.execute(set_up(run, config, tmp_path, Recorder()))
    assert (run.path / "region.json").exists()
    assert not (run.path / "after").exists()


@pytest.mark.parametrize(
    ("method", "general", "said"), [("ga-kl-ood", "/nowhere.json", "no general text"), ("nauf", "", "no subject to name")]
)
def test_what_a_method_needs_is_looked_for_before_anything_is_taught(
    tiny_llama: Path, tmp_path: Path, method: str, general: str, said: str
) -> None:
    rows = [
        {"question": f"Where in {s}?", "answer": "Hill End.", "scope": s, "split": "train"} for s in ("unlearn", "retention")
    ]
    path, report = tmp_path / "own.jsonl", Recorder()
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UserError, match=said):
        execute(small(tiny_llama, path, unlearn__method=method, data__general=general), tmp_path, report)
    assert report.stages == []


def test_forgetting_somebody_without_train_questions_is_refused_at_once(tiny_llama: Path, tmp_path: Path) -> None:
    rows = [
        {
            "question": f"Where is {who} in {split}?",
            "answer": f"{who} Hill is here.",
            "scope": scope,
            "split": split,
            "subject": who,
        }
        for who, split in (("Ada", "train"), ("Ben", "val"))
        for scope in ("unlearn", "retention")
    ]
    path, report = tmp_path / "own.jsonl", Recorder()
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UserError, match="unlearn scope has no train example"):
        execute(small(tiny_llama, path, data__forget=("Ben",)), tmp_path, report)
    assert report.stages == []


def test_interrupted_run_goes_on_from_its_last_finished_stage(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    config = small(tiny_llama, tiny_data, localize__batch_size=2)
    whole, _ = execute(config, tmp_path / "whole")
    for stage in ("teach", "localize", "unlearn"):
        run = store.create(config, tmp_path / stage)
        with pytest.raises(Cancelled):
            pipeline.execute(set_up(run, config, tmp_path / stage, CancelIn(stage)))
        pipeline.execute(set_up(run, config, tmp_path / stage, Recorder()))
        expected = {name: PLAIN.index(name) < PLAIN.index(stage) and name != "region" for name in PLAIN}
        assert reused(run) == expected, stage
        assert run.json("manifest.json")["adapters"] == whole.json("manifest.json")["adapters"], stage


def test_full_disk_is_one_sentence(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, write, lacking = pd.DataFrame.to_parquet, Path.write_bytes, list[str]()

    def full(self: pd.DataFrame, path: Path | io.BytesIO, *rest: Any, **more: Any) -> None:
        if isinstance(path, Path) and path.name in lacking:
            raise OSError(28, "No space left on device")
        table(self, path, *rest, **more)

    def full_too(self: Path, data: bytes) -> int:
        if any(f".{name}." in self.name for name in lacking):
            raise OSError(28, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    monkeypatch.setattr(Path, "write_bytes", full_too)
    # Each goes on in the cache from where the one before had to stop.
    for name in ("reference.parquet", "localization.parquet", "after.parquet", "tokens.parquet"):
        lacking[:] = [name]
        with pytest.raises(UserError, match="No space left"):
            execute(small(tiny_llama, tiny_data), tmp_path)
    monkeypatch.undo()
    execute(small(tiny_llama, tiny_data), tmp_path)  # nothing half-written is taken from the cache


def test_region_that_selects_nothing_stops_with_a_sentence(finished: Finished) -> None:
    run, config, _ = finished
    with pytest.raises(UserError, match="no tensor"):
        execute(config.with_setting("region.mu", 0.0), run.path.parent)


def test_too_long_example_stops_before_the_first_stage(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    report = Recorder()
    with pytest.raises(UserError, match="more than 16"):
        execute(small(tiny_llama, tiny_data, data__max_tokens=16), tmp_path, report)
    assert report.stages == []


@pytest.mark.parametrize("dtype", ["bfloat16", "autocast"])
def test_half_precision_runs_too(tiny_llama: Path, tiny_data: Path, tmp_path: Path, dtype: str) -> None:
    run, result = execute(small(tiny_llama, tiny_data, model__dtype=dtype), tmp_path)
    assert run.json("manifest.json")["dtype"] == dtype
    assert 0 <= result["after"]["retention_success"]["val"] <= 100


def test_chat_template_is_used_throughout(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = Recorder()
    config = small(tiny_llama, tiny_data, model__template="chat", teach__epochs=1)
    run = store.create(config, tmp_path)
    state = set_up(run, config, tmp_path, report)
    texts = [state.loaded.tokenizer.decode(e.ids) for e in state.voices.encoded.values()]
    assert all(text.startswith("<user>") and "\n<assistant>" in text for text in texts)
    asked: list[tuple[int, ...]] = []
    monkeypatch.setattr(
        voices,
        "generate",
        lambda _a, requests, *_, **__: [asked.append(tuple(r.prompt)) or [] for r in requests],  # type: ignore[func-returns-value]
    )
    pipeline.execute(state)
    prompts = {tuple(e.ids[: e.start]) for e in state.voices.encoded.values()}
    assert set(asked) == prompts


def test_summary_of_an_unfinished_run_says_so(tmp_path: Path) -> None:
    result = summary(store.create(RunConfig(), tmp_path))
    assert result["state"] == "queued"
    assert result["after"] == {"reason": "not measured in this run"}


def test_values_that_json_lacks_are_replaced() -> None:
    value = {"a": np.float64("nan"), "b": [float("inf"), np.int64(3)], 4: (np.bool_(True),)}
    assert clean(value) == {"a": None, "b": [None, 3], "4": [True]}


def test_finished_run_can_be_read_through_its_copied_files_alone(finished: Finished, tmp_path: Path) -> None:
    import shutil

    copied = Run(Path(shutil.copytree(finished[0].path, tmp_path / finished[0].id)))
    assert copied.config() == dataclasses.replace(finished[1], name=copied.config().name)
    assert {**summary(copied), "state": ""} == {**finished[2], "state": ""}


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_what_the_model_cannot_read_is_said_before_anything_is_taught(
    tiny_of: Callable[[str], Path], tiny_data: Path, tmp_path: Path, architecture: str
) -> None:
    run, _ = execute(small(tiny_of(architecture), tiny_data, answers__max_new_tokens=1000, data__max_tokens=8192), tmp_path)
    assert all(row["after"] is not None for row in run.answers())  # answers end where the model can read no further
    long = tmp_path / "long.jsonl"
    rows = [{"question": f"What of {scope}?", "answer": "word " * 400, "scope": scope} for scope in ("unlearn", "retention")]
    long.write_text("\n".join(map(json.dumps, rows)))
    report = Recorder()
    with pytest.raises(UserError, match="more than the 256 that the model can read"):
        execute(small(tiny_of(architecture), long, data__max_tokens=8192), tmp_path, report)
    assert report.stages == []
