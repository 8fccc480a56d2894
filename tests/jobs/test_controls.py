"""Controls of a run, and requests that follow each other."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

from core.config.run_config import RunConfig
from core.jobs import controls, lifecycle, unlearning_series, worker
from core.jobs import sweep as sweep_
from core.jobs.sweep import Sweep
from core.metrics import paired, random_regions
from core.metrics.paired import Mean
from core.metrics.random_regions import Said
from core.pipeline import unlearn
from core.pipeline.pipeline import execute
from core.pipeline.setup import set_up
from core.regions import Cells, Layers, Located, Random, Swapped, choose
from core.runs import asked, manifest, store
from core.runs.scores import Scores
from core.runs.store import Run
from core.util import files
from core.util.errors import UserError
from tests.naive import Recorder
from tests.pipeline.test_pipeline import small
from tests.processes import state

KNOWN = {"teach__epochs": 60, "teach__rank": 16, "teach__alpha": 32}


@pytest.fixture(scope="module")
def controlled(tiny_llama: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Sweep]:
    folder = tmp_path_factory.mktemp("controls")
    config = small(tiny_llama, tiny_data, **KNOWN, unlearn__steps=6)
    run = store.create(config, folder)
    execute(set_up(run, config, folder, Recorder()))
    files.write_json(run.path / "status.json", store.fresh_status() | {"state": "done"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORGETSCOPE_QUEUE", str(folder / "queue"))
        patch.setattr(controls, "DRAWS", 3)
        assert controls.find(run, folder) is None
        sweep = controls.create(run, folder)
        assert worker.work("sweep", sweep.as_run) == 0
    return run, sweep


def test_controls_are_the_same_run_on_other_regions(controlled: tuple[Run, Sweep]) -> None:
    run, sweep = controlled
    entries = sweep.entries()
    names = [entry.coordinates["control"] for entry in entries]
    assert names == [
        "given",
        "all",
        "random 0",
        "random 1",
        "random 2",
        "complement",
        "scopes exchanged",
        "modules that hold it",
        "other random answers",
    ]
    assert entries[0].run == run
    for entry in entries[1:]:
        config, given = entry.run.config(), run.config()
        assert (config.unlearn, config.teach, config.data, config.seed) == (
            controls.as_far(run, given.unlearn),
            given.teach,
            given.data,
            given.seed,
        )
        assert entry.run.json("manifest.json")["adapters"]["before"] == run.json("manifest.json")["adapters"]["before"]
    regions = {name: set(entry.run.json("region.json")["tensors"]) for name, entry in zip(names, entries, strict=True)}
    assert len(regions["random 0"]) == len(regions["random 1"]) == len(regions["given"])
    assert regions["random 0"] != regions["random 1"]
    assert not regions["complement"] & regions["given"]
    assert regions["complement"] | regions["given"] == regions["all"]
    localized = [entry.run.json("manifest.json")["stages"]["localize"] for entry in entries]
    assert [stage["reused"] for stage in localized[1:]] == [True] * 7 + [False]
    tables = [entry.run.table("localization") for entry in (entries[0], entries[-1])]
    assert tables[0] is not None
    assert tables[1] is not None
    assert not np.allclose(tables[0]["cos"], tables[1]["cos"])


def naive_average(run: Run) -> float:
    tokens = run.table("tokens")
    assert tokens is not None
    means: dict[str, list[float]] = {"unlearn": [], "retention": []}
    for (scope, split, _), rows in tokens.groupby(["scope", "split", "example"]):
        if split == "val":
            right = sum(rank == 1 for rank in rows["rank_after"]) / len(rows)
            means[scope].append(100 - 100 * right if scope == "unlearn" else 100 * right)
    return sum(sum(values) / len(values) for values in means.values()) / 2


def naive_said(run: Run) -> float:
    """Mean of the shares of U that is not said and of R that is, of the questions of val."""
    leaked, kept = (run.json("metrics.json")["metrics"]["asked"]["values"]["after"][part] for part in SAID_ON_VAL)
    return (100 - leaked + kept) / 2


SAID_ON_VAL = ("unlearn/val/leaked", "retention/val/kept")


def test_sentence_says_what_the_token_tables_say(controlled: tuple[Run, Sweep]) -> None:
    run, sweep = controlled
    shown = controls.read(run, sweep.folder)
    assert shown is not None
    entries = sweep.entries()
    draws = [e.run for e in entries if str(e.coordinates["control"]).startswith("random")]
    for naive, shown_of in ((naive_average, shown.next_word), (naive_said, shown.said)):
        expected = naive(run) - sum(map(naive, draws)) / 3
        assert shown_of is not None
        assert shown_of.value == pytest.approx(expected, abs=1e-9)
        assert shown_of.low <= expected <= shown_of.high
        assert f"{expected:.1f}".replace("-", "−") in shown.sentence
    brief = asked.brief(Scores.read(run))
    assert brief is not None
    lead = f"the located region still says {brief.leaked} to forget and {brief.kept} to keep. 3 random regions"
    assert shown.sentence.startswith(f"Asked what was taught and held out from unlearning, {lead}")
    assert "By next-word accuracy, correct beginning given, the located region" in shown.sentence
    for entry, row in zip(entries, shown.rows, strict=True):
        assert row["interval"][0] == pytest.approx(naive_average(entry.run))
        assert row["asked"][0] == pytest.approx(naive_said(entry.run))
    assert (shown.sweep, shown.state) == (sweep.id, "done")
    advantages = [naive_said(run) - naive_said(draw) for draw in draws]
    assert shown.p == pytest.approx((1 + sum(value <= 0 for value in advantages)) / 4)
    assert shown.on_average is not None
    assert shown.said is not None
    assert shown.on_average.value == pytest.approx(shown.said.value)
    assert shown.on_average.half <= shown.said.half
    assert shown.verdict.startswith("Undecided:")
    assert shown.verdict.endswith("over 1 teaching; at least 2 more teachings would decide.")
    assert shown.verdict in shown.sentence


def test_what_controls_said_goes_with_the_run(controlled: tuple[Run, Sweep], tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(controlled[0].path, tmp_path / "run")))
    made = controls.result(controlled[1])
    kept = controls.read(run, tmp_path)
    assert made.rows[0]["run"] != run.id  # a copy has another name
    assert kept == dataclasses.replace(made, rows=[made.rows[0] | {"run": run.id}, *made.rows[1:]], state="done")
    assert kept.in_short == made.in_short
    assert {str(path.name) for path in manifest.listed(run)}.isdisjoint({controls.FILE})
    hostile: list[Any] = [
        {"rows": 3},
        {"format": 1, "rows": "x"},
        {"format": 2, "rows": [{}]},
        [],
        {"format": 1, "rows": [7]},
    ]
    for record in hostile:
        files.write_json(run.path / controls.FILE, record)
        assert controls.read(run, tmp_path) is None
    row = {"control": "<b>", "interval": ["1", 2, 3], "asked": [1, 2], "unlearn": 7}
    files.write_json(run.path / controls.FILE, {"format": 1, "rows": [row], "p": "x", "said": {"value": 1}, "sentence": 5})
    damaged = controls.read(run, tmp_path)
    assert damaged is not None
    assert (damaged.rows[0]["interval"], damaged.rows[0]["asked"]) == (None, None)
    assert (damaged.p, damaged.said, damaged.sentence, damaged.in_short) == (None, None, "5", controls.UNDECIDED)


def test_controls_are_asked_what_the_run_is_judged_by(controlled: tuple[Run, Sweep], tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(controlled[0].path, tmp_path / "run")))
    assert controls.members(run)[1].config.evaluate.splits == ("val",)
    scores = run.json("metrics.json")
    table = scores["metrics"]["asked"]
    for part in ("values", "counts"):
        after = table[part]["after"]
        after |= {name.replace("/val/", "/free/"): value for name, value in after.items() if "/val/" in name}
    files.write_json(run.path / "metrics.json", scores)
    assert controls.members(run)[1].config.evaluate.splits == ("val", "free")
    rows = [row | {"split": "untaught"} if row["split"] == "val" else row for row in run.answers()]
    (run.path / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert controls.members(run)[1].config.evaluate.splits == ("free",)  # data need not have val


def test_controls_say_what_becomes_of_other_facts(controlled: tuple[Run, Sweep], tmp_path: Path) -> None:
    """A region may keep what it trained on better than random ones do, and lose other facts: both are said."""
    folder = Path(shutil.copytree(controlled[1].folder, tmp_path / "runs", symlinks=True))
    sweep = sweep_.find(controlled[1].id, folder)
    assert controls.result(sweep).others is None
    for entry in sweep.entries():  # their questions are of other facts now, and asked in free wording all say as much
        rows = [row for row in entry.run.answers() if row["split"] == "val"]
        free = [row | {"example": f"{row['example']}/free", "split": "free"} for row in rows]
        text = "".join(json.dumps(row) + "\n" for row in [*(row | {"kind": "other"} for row in rows), *free])
        (entry.run.path / "answers.jsonl").write_text(text, encoding="utf-8")
        scores = entry.run.json("metrics.json")
        table = scores["metrics"]["asked"]
        table["examples"]["after"] |= {row["example"]: 50.0 for row in free}
        for after in (table["values"]["after"], table["counts"]["after"]):
            of_val = {name: value for name, value in after.items() if "/val/" in name}
            after |= {name.replace("val", kind): value for name, value in of_val.items() for kind in ("free", "other")}
        files.write_json(entry.run.path / "metrics.json", scores)
    told = controls.result(sweep)
    given, *draws = (naive_said(e.run) for e in sweep.entries() if e.coordinates["control"][:5] in ("given", "rando"))
    assert told.others is not None
    assert told.others.value == pytest.approx(given - sum(draws) / 3)
    assert told.on_average is not None
    assert told.on_average.value == 0.0
    assert "Asked for other facts, the located region still says" in told.sentence
    assert "Asked for facts that unlearning never saw, it is" in told.in_short


def test_controls_of_another_seed_are_another_teaching(controlled: tuple[Run, Sweep], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(controlled[1].folder, tmp_path / "runs", symlinks=True))
    sweep = sweep_.find(controlled[1].id, folder)
    other = Sweep(Path(shutil.copytree(sweep.path, sweep.path.with_name(f"{sweep.id}-b"))))
    run = sweep.entries()[0].run
    again = Run(Path(shutil.copytree(run.path, run.path.with_name("again"))))
    config = again.config().with_setting("seed", 7).with_setting("name", "another")
    # A retrained reference says nothing here, so one teaching may have it and another not.
    config.with_setting("teach.retrain", not config.teach.retrain).save(again.path / "config.json")
    (again.path / controls.FILE).unlink()
    record = other.record()
    record["runs"][0]["run"] = again.id
    files.write_json(other.path / "sweep.json", {**record, "id": other.id})
    assert "over 2 teachings" in controls.result(sweep).verdict
    few = [one for one in record["runs"] if one["coordinates"]["control"] not in ("random 1", "random 2")]
    files.write_json(other.path / "sweep.json", {**record, "id": other.id, "runs": few})
    assert "over 1 teaching;" in controls.result(sweep).verdict  # one draw of another teaching says nothing, as of this one
    controls.keep(other)
    assert "over 1 teaching;" in controls.result(sweep).verdict
    files.write_json(other.path / "sweep.json", {**record, "id": other.id})
    controls.keep(other)
    shutil.rmtree(other.path)  # its runs may be elsewhere: what is kept counts
    assert "over 2 teachings" in controls.result(sweep).verdict
    again.config().with_setting("unlearn.learning_rate", 0.5).save(again.path / "config.json")
    assert "over 1 teaching;" in controls.result(sweep).verdict


def test_controls_stop_where_as_much_is_forgotten(controlled: tuple[Run, Sweep], tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(controlled[0].path, tmp_path / "run")))
    record = run.json("unlearn.json")
    kept = next(check for check in record["checks"] if check["step"] == record["step"])
    plain = run.config().unlearn
    stop, often = f"{kept['unlearn']:.2f}", plain.check_every // 2 or 1
    alike = dataclasses.replace(plain, watch=0)
    # Other regions may need more steps, and a rate that falls would fall later.
    constant = dataclasses.replace(plain, schedule="constant", epochs=2)
    longer = dataclasses.replace(constant, stop=stop, steps=2 * plain.steps, epochs=4, check_every=often, watch=0)
    assert controls.as_far(run, constant) == longer
    falling = dataclasses.replace(plain, schedule="cosine")
    assert controls.as_far(run, falling) == dataclasses.replace(falling, stop=stop, check_every=often, watch=0)
    said = dataclasses.replace(alike, pick="said", result_step=4, picked_on="dev")
    kept["said_forgotten"] = 62.5
    files.write_json(run.path / "unlearn.json", record)
    wanted = dataclasses.replace(said, forgotten=62.5, result_step=0, picked_on="")
    assert controls.as_far(run, said) == wanted
    (run.path / "unlearn.json").unlink()
    assert controls.as_far(run, plain) == alike


def test_controls_of_another_taught_model_compare_nothing(controlled: tuple[Run, Sweep], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(controlled[1].folder, tmp_path / "runs", symlinks=True))
    sweep = sweep_.find(controlled[1].id, folder)
    given = next(entry.run for entry in sweep.entries() if entry.role == "given")
    manifest = given.json("manifest.json")
    manifest["adapters"]["before"] = "0" * 64
    files.write_json(given.path / "manifest.json", manifest)
    result = controls.result(sweep)
    assert result.sentence == controls.APART
    assert (result.said, result.next_word) == (None, None)


def tokens(right: dict[str, list[float]]) -> pd.DataFrame:
    """Make a token table: scope -> share of right tokens of each example, in tenths."""
    rows = []
    for scope, shares in right.items():
        for number, share in enumerate(shares):
            rows += [(f"{scope}/val/{number}", scope, "val", 1 if token < round(10 * share) else 2) for token in range(10)]
    return pd.DataFrame(rows, columns=["example", "scope", "split", "rank_after"])


def successes(right: dict[str, list[float]]) -> paired.Successes:
    return paired.success(tokens(right), "val")


def test_interval_is_that_of_paired_differences() -> None:
    source = np.random.default_rng(0)
    easy = source.integers(2, 8, 200) / 10
    given = successes({"unlearn": list(easy), "retention": list(easy)})
    # Better by exactly a tenth on each question: as certain as can be, although questions differ much.
    other = successes({"unlearn": list(easy + 0.1), "retention": list(easy - 0.1)})
    difference = paired.difference(given, [other])
    assert (difference.value, difference.low, difference.high) == pytest.approx((10.0, 10.0, 10.0))
    # Unpaired noise: the half-width is 1.96 standard errors of the mean difference.
    noisy = successes({"unlearn": list(source.integers(2, 8, 200) / 10), "retention": list(source.integers(2, 8, 200) / 10)})
    difference = paired.difference(given, [noisy])
    variance = sum(float((given[s] - noisy[s]).var(ddof=0)) / 200 / 4 for s in ("unlearn", "retention"))
    assert difference.half == pytest.approx(1.96 * variance**0.5, rel=0.1)
    # The mean of all such regions is surer than one more of them.
    several = [successes({"unlearn": list(easy + d), "retention": list(easy)}) for d in (-0.2, 0.0, 0.2)]
    mean = paired.difference(given, several, one_more=False)
    assert mean.half == pytest.approx(4.302653 * 10 / 3**0.5, abs=0.01)
    assert paired.advantages(given, several) == pytest.approx([-10.0, 0.0, 10.0], abs=1e-9)
    # Draws of random regions that differ widen the interval, though each is exact on every question: the means differ by
    # −10, 0 and 10 points, a fourth would lie within t(2) · 10 · √(1 + 1/3) of theirs.
    spread = [successes({"unlearn": list(easy + d), "retention": list(easy)}) for d in (-0.2, 0.0, 0.2)]
    wide = paired.difference(given, spread)
    assert wide.value == pytest.approx(0.0, abs=1e-9)
    assert (wide.low, wide.high) == pytest.approx((-49.69, 49.69), abs=0.01)
    assert paired.average(given).value == pytest.approx(50.0)
    with pytest.raises(UserError, match="same questions"):
        paired.difference(given, [successes({"unlearn": [0.1], "retention": [0.1]})])
    with pytest.raises(UserError, match="split dev"):
        paired.success(tokens({"unlearn": [0.1], "retention": [0.1]}), "dev")


def test_a_region_that_is_one_more_random_one_rarely_beats_them() -> None:
    """Four regions drawn from one distribution: the first is above the interval in 2.5 % of such draws, not in a quarter."""
    source, beats = np.random.default_rng(3), 0
    for _ in range(200):
        shares = source.normal(0.5, 0.1, (4, 2, 1)) + source.normal(0, 0.1, (4, 2, 20))
        given, *others = [successes(dict(zip(paired.SCOPES, one.clip(0, 1).tolist(), strict=True))) for one in shares]
        beats += paired.difference(given, others).low > 0
    assert beats <= 14  # 2.5 % are 5, with a standard deviation of 2.2


def test_sentences_in_words() -> None:
    better, worse, region = Mean(4.1, 2.9, 5.3), Mean(-2.0, -3.5, -0.5), "the located region"
    said = Said("Asked so, it says 1 of 20.", worse)
    assert random_regions.sentence(region, 3, 0, said, better) == (
        "Asked so, it says 1 of 20. Over both scopes, the located region falls behind 3 random ones: −2.0 ± 1.5 points. "
        "By next-word accuracy, correct beginning given, the located region beats 3 random ones by 4.1 ± 1.2 points of "
        "average success."
    )
    assert "Asked" not in random_regions.sentence(region, 3, 0, None, better)
    broken = random_regions.sentence(region, 3, 1, said, better)
    assert "beat" not in broken
    assert broken.endswith("But one of these diverged: nothing can be said of the regions.")
    alone = random_regions.sentence(region, 1, 0, said, better)
    assert "differs from one random region by −2.0 ± 1.5 points" in alone
    assert alone.endswith("That says nothing about others.")
    assert "does not stand out from 3" in random_regions.sentence(region, 3, 0, None, Mean(4.0, -0.1, 8.0))
    assert random_regions.sentence(region, 3, 0, None, None) == ""


def test_runs_without_counted_answers_are_compared_by_next_words_alone(
    controlled: tuple[Run, Sweep], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(controlled[1].folder, tmp_path / "runs", symlinks=True))
    sweep = sweep_.find(controlled[1].id, folder)
    draw = next(entry.run for entry in sweep.entries() if entry.coordinates["control"] == "random 1")
    measured = draw.json("metrics.json")
    del measured["metrics"]["asked"]
    files.write_json(draw.path / "metrics.json", measured)
    result = controls.result(sweep)
    assert result.said is None
    assert result.next_word == controls.result(controlled[1]).next_word
    assert result.sentence.startswith("By next-word accuracy")


def test_what_has_no_controls_says_so(controlled: tuple[Run, Sweep], tmp_path: Path) -> None:
    run = controlled[0]
    for path, value, match in (("audit.after", "somewhere", "audit"), ("unlearn.result_step", 4, "picked")):
        other = store.create(run.config().with_setting(path, value), tmp_path)
        files.write_json(other.path / "status.json", store.fresh_status() | {"state": "done"})
        with pytest.raises(UserError, match=match):
            controls.members(other)


def test_regions_of_other_rules_get_controls_of_their_size(controlled: tuple[Run, Sweep], tmp_path: Path) -> None:
    run, _ = controlled
    rules = {name: rule for name, rule, _ in controls.regions(run, Layers(0, 0))}
    assert list(rules) == ["all", *(f"random {draw}" for draw in range(19)), "complement", "modules that hold it"]
    assert isinstance(rules["random 0"], Cells)
    assert len(rules["random 0"].cells) == run.json("region.json")["count"]
    for rule in (Random(), Swapped()):
        with pytest.raises(UserError, match="control itself"):
            controls.regions(run, rule)
    unfinished = store.create(RunConfig(), tmp_path)
    with pytest.raises(UserError, match="not finished"):
        controls.create(unfinished, tmp_path)


def test_swapped_is_the_paper_rule_with_the_other_magnitude(controlled: tuple[Run, Sweep]) -> None:
    table = controlled[0].table("localization")
    assert table is not None
    live = table[table["has_gradient"]]
    mu, sigma = live["cos"].quantile(0.5), live["mag_retain"].quantile(0.5)
    expected = live.loc[(live["cos"] < mu) & (live["mag_retain"] > sigma), "name"].tolist()
    assert choose(Swapped(), table) == expected
    assert Swapped().limits(table) == (mu, sigma)
    assert choose(Located(), table) != expected


# -- requests


@pytest.fixture(scope="module")
def requested(tiny_llama: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    folder = tmp_path_factory.mktemp("requests")
    base = small(tiny_llama, tiny_data, **KNOWN, unlearn__steps=4, unlearn__method="o3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORGETSCOPE_QUEUE", str(folder / "queue"))
        sweep = unlearning_series.create(base, ["Orla Venning", "Sana Iqbar", "Pavel Drost"], folder)
        assert worker.work("sweep", sweep.as_run) == 0
    assert [state(run) for run in sweep_.members(sweep)] == ["done"] * 3
    return sweep


def test_each_request_goes_on_from_the_one_before(requested: Sweep) -> None:
    runs = sweep_.members(requested)
    hashes = [run.json("manifest.json")["adapters"] for run in runs]
    assert hashes[0]["after"] == hashes[1]["before"]
    assert hashes[1]["after"] == hashes[2]["before"]
    for run, subject in zip(runs, ("Orla Venning", "Sana Iqbar", "Pavel Drost"), strict=True):
        rows = run.answers()
        assert {row["subject"] for row in rows if row["scope"] == "unlearn"} == {subject}
        assert {row["subject"] for row in rows if row["scope"] == "retention"} == {
            "Orla Venning",
            "Sana Iqbar",
            "Pavel Drost",
        }
    # The first one was taught all of it, although it forgets one subject only.
    first = unlearning_series.read(requested)["states"][0]
    assert first["state"] == "taught"
    assert min(accuracies["train"] for accuracies in first["unlearn"].values()) > 90


def test_a_request_does_not_go_on_from_one_that_did_not_end(requested: Sweep, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(requested.folder, tmp_path / "runs", symlinks=True))
    first, second, _ = sweep_.members(sweep_.find(requested.id, folder))
    (first.path / "manifest.json").unlink()
    again = store.create(second.config(), folder)
    with pytest.raises(UserError, match="has not ended well"):
        execute(set_up(again, again.config(), folder, Recorder()))


def test_a_request_is_resumed_with_its_sequence_only(requested: Sweep, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(requested.folder, tmp_path / "runs", symlinks=True))
    run = sweep_.members(sweep_.find(requested.id, folder))[1]
    files.write_json(
        run.path / "status.json", {**run.status(), "state": "failed", "error": "No space left.", "sweep": requested.id}
    )
    with pytest.raises(UserError, match="is a step of the sweep") as raised:
        lifecycle.resume(run)
    assert f"core requests --resume {requested.id}" in raised.value.fix


def test_states_are_measured_as_the_runs_measure_themselves(requested: Sweep) -> None:
    value = unlearning_series.read(requested)
    assert [s["state"] for s in value["states"]] == ["taught", "never taught", "Orla Venning", "Sana Iqbar", "Pavel Drost"]
    for run, measured in zip(sweep_.members(requested), value["states"][2:], strict=True):
        accuracy: Any = run.json("metrics.json")["metrics"]["accuracy"]["values"]["after"]
        assert measured["unlearn"][measured["state"]]["val"] == pytest.approx(accuracy["unlearn/val"], abs=1e-4)
        assert measured["retention"]["train"] == pytest.approx(accuracy["retention/train"], abs=1e-4)
    rows = unlearning_series.table(value)
    assert [row[0] for row in rows[1:]] == ["taught", *(f"after forgetting {s}" for s in value["subjects"]), "never taught"]
    said = unlearning_series.sentences(value)
    assert len(said) == 3
    assert said[0].startswith("Orla Venning ")


def test_updates_of_earlier_requests_are_at_hand(requested: Sweep) -> None:
    first, second, third = sweep_.members(requested)
    updates = unlearn.updates(second.id, requested.folder)
    assert len(updates) == 2
    for run, update in zip((first, second), updates, strict=True):
        before = load_file(run.path / "before" / "adapter_model.safetensors")
        after = load_file(run.path / "after" / "region.safetensors")
        assert set(update) == set(after)
        for name, value in update.items():
            assert (value == after[name].float() - before[f"base_model.model.{name}.weight"].float()).all()
    assert third.config().teach.from_run == second.id
    assert unlearn.updates("", requested.folder) == []


def test_sentences_about_coming_back() -> None:
    def at(state: str, a: float, b: float, kept: float) -> dict[str, Any]:
        return {"state": state, "unlearn": {"A": {"val": a}, "B": {"val": b}}, "retention": {"val": kept}}

    value = {"subjects": ["A", "B"], "states": [at("taught", 90, 90, 95), at("A", 20, 88, 90), at("B", 35, 10, 80)]}
    back, kept = unlearning_series.sentences(value)
    assert back.startswith("A came back in part: 90.0 % of its answer words were right before, 20.0 %")
    assert "from 95.0 to 80.0 %" in kept
    value["states"][2]["unlearn"]["A"]["val"] = 20.5
    assert unlearning_series.sentences(value)[0].startswith("A did not come back")
    value["states"][1]["unlearn"]["A"]["val"] = 89.5
    assert "was not forgotten by its request" in unlearning_series.sentences(value)[0]


def test_wrong_subjects_are_refused_with_the_nearest(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    base = small(tiny_llama, tiny_data)
    with pytest.raises(UserError, match="Orla Venning"):
        unlearning_series.create(base, ["Orla Vening", "Sana Iqbar"], tmp_path)
    with pytest.raises(UserError, match="two different"):
        unlearning_series.create(base, ["Sana Iqbar", "Sana Iqbar"], tmp_path)
