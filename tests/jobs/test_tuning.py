"""The tuner: equal numbers of trials, a time turned into steps, chosen on dev without a look at val."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from core.config.run_config import RunConfig
from core.jobs import sweep as sweep_
from core.jobs import sweep_runs, tuning, worker
from core.jobs.sweep import Entry, Sweep
from core.jobs.tuning import OBJECTIVES, Trial
from core.methods import METHODS, Method
from core.runs.asked import Outcomes
from core.runs.scores import Value
from core.settings import setting
from core.util import files
from core.util.errors import UserError
from tests.pipeline.test_pipeline import small


@dataclass(frozen=True)
class Invented(Method):
    """A method with three settings, two of which say where to look."""

    name: ClassVar[str] = "invented"
    weight: float = setting(1.0, "a weight", tune=(0.1, 10.0))
    layer: int = setting(4, "a layer", tune=(2, 12, "linear"))
    fixed: float = setting(7.0, "not tuned")


INVENTED = dataclasses.replace(RunConfig(), unlearn=dataclasses.replace(RunConfig().unlearn, method=Invented()))


def test_space_is_the_rate_and_what_the_method_names() -> None:
    rate, weight, layer = tuning.space(INVENTED)
    usual = RunConfig().unlearn.learning_rate
    assert (rate.path, rate.low, rate.high, rate.scale) == ("unlearn.learning_rate", usual / 4, usual * 4, "log")
    assert (weight.path, weight.low, weight.high, weight.scale) == ("unlearn.weight", 0.1, 10.0, "log")
    assert (layer.path, layer.scale, layer.whole) == ("unlearn.layer", "linear", True)
    assert weight.at(0.5) == pytest.approx(1.0)
    assert [layer.at(x) for x in (0.0, 0.5, 0.999)] == [2, 7, 12]


@pytest.mark.parametrize("kind", METHODS.values())
def test_weights_that_compete_and_what_shapes_the_loss_are_looked_for(kind: type[Method]) -> None:
    """A range on one side of a ratio alone caps it: SimNPO's forget weight of .125 never outweighed R."""
    method, fields = kind(), dataclasses.fields(kind)
    weights = {f.name for f in fields if f.name.endswith("_weight")}
    tuned = {f.name: f.metadata["tune"] for f in fields if f.metadata["tune"]}
    if len(weights) > 1:
        assert weights <= set(tuned)
    assert {f.name for f in fields if f.name.startswith(("beta", "delta"))} <= set(tuned)
    for name, (low, high, _) in tuned.items():
        assert low <= getattr(method, name) <= high, name


def test_points_are_repeatable_and_spread_evenly() -> None:
    points = tuning.points(2, 64, seed=3)
    assert points == tuning.points(2, 64, seed=3) != tuning.points(2, 64, seed=4)
    for j in range(2):
        # No interval of an eighth is empty or holds much more than its share, as it would with random draws.
        counts = [sum(int(8 * point[j]) == part for point in points) for part in range(8)]
        assert min(counts) >= 6
        assert max(counts) <= 10
    corners = {(x > 0.5, y > 0.5): 0 for x, y in points}
    assert len(corners) == 4
    # In one dimension: the golden ratio.
    (a,), (b,) = tuning.points(1, 2, seed=0)
    assert (b - a) % 1 == pytest.approx((math.sqrt(5) - 1) / 2)


def test_every_pair_gets_the_same_trials_and_the_first_has_the_defaults() -> None:
    pairs = [(INVENTED, {"method": "invented"}), (RunConfig(), {"method": "memflex"})]
    trials = tuning.members(pairs, 5, 0.25)
    assert [m.coordinates["method"] for m in trials] == ["invented", "memflex"] * 5
    assert [m.coordinates["trial"] for m in trials] == [n for n in range(5) for _ in range(2)]
    first = trials[0].config
    assert first.unlearn.method == Invented()
    assert first.unlearn.learning_rate == RunConfig().unlearn.learning_rate
    assert len({m.config.unlearn.learning_rate for m in trials if m.coordinates["method"] == "memflex"}) == 5
    assert all(m.config.unlearn.method.fixed == 7.0 for m in trials[::2])
    for member in trials:
        assert (member.config.data.dev_share, member.config.evaluate.splits) == (0.25, ("dev",))
        assert member.config.unlearn.watch == 0
        assert member.config.unlearn.steps / member.config.unlearn.check_every <= tuning.CHECKS


def test_seconds_become_steps() -> None:
    assert sweep_runs.steps({"step": 0.5, "before": 0.0}, 60) == 120
    assert sweep_runs.steps({"step": 0.5, "before": 20.0}, 60) == 80
    assert sweep_runs.steps({"step": 100.0, "before": 0.0}, 60) == 1


@pytest.fixture(scope="module")
def tuned(tiny_llama: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    folder = tmp_path_factory.mktemp("tuned")
    base = small(tiny_llama, tiny_data, teach__epochs=60, teach__rank=16, teach__alpha=32)
    # One rate of memflex is far too high: it diverges or not, and no other trial is hurt.
    pairs = [(base, {"method": "memflex", "region": "located"})]
    pairs.append(
        (base.with_setting("unlearn.method", "gradient-ascent"), {"method": "gradient-ascent", "region": "located"})
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORGETSCOPE_QUEUE", str(folder / "queue"))
        sweep = sweep_.create("tune", "tune", {"seconds": 0.5}, tuning.members(pairs, 3, 0.5), folder)
        assert worker.work("sweep", sweep.as_run) == 0
    return sweep


def test_trials_make_the_steps_that_fit_into_the_time(tuned: Sweep) -> None:
    calibration = tuned.record()["calibration"]
    assert set(calibration) == {"memflex, located", "gradient-ascent, located"}
    for entry in tuned.entries():
        measured = calibration[tuning.pair(entry.coordinates)]
        assert entry.run.config().unlearn.steps == sweep_runs.steps(measured, 0.5)
        assert entry.run.json("unlearn.json")["steps"] == entry.run.config().unlearn.steps
        assert 0 < measured["step"] < 60
    assert not (tuned.path / "calibration").exists()


def test_no_trial_looks_at_val(tuned: Sweep) -> None:
    for run in sweep_.members(tuned):
        tokens = run.table("tokens")
        assert tokens is not None
        assert set(tokens["split"]) == {"dev"}
        metrics = run.json("metrics.json")["metrics"]
        for name in ("accuracy", "degenerate", "perplexity", "rouge"):
            assert all(part.endswith("/dev") for part in metrics[name]["values"]["after"]), name
        recorded = {row["split"]: "after" in row for row in run.answers()}
        assert recorded == {"train": False, "dev": True, "val": False}
        assert run.json("unlearn.json")["split"] == "dev"


def test_scores_are_those_of_dev(tuned: Sweep) -> None:
    for trial in tuning.read(tuned):
        tokens = trial.entry.run.table("tokens")
        assert tokens is not None
        right = (tokens["rank_after"] == 1).groupby([tokens["scope"], tokens["example"]]).mean().groupby(
            "scope"
        ).mean() * 100
        assert trial.unlearn == pytest.approx(100 - right["unlearn"])
        assert trial.average == pytest.approx((100 - right["unlearn"] + right["retention"]) / 2)
        rows = [row for row in trial.entry.run.answers() if row["split"] == "dev"]
        assert [each.n for each in (trial.forget, trial.keep) if each] == [
            sum(row["scope"] == scope for row in rows) for scope in ("unlearn", "retention")
        ]
        assert trial.balance is not None
        assert trial.state == "done"


def trial(method: str, unlearn: float | None, retention: float | None, knew: float | None, noise: float = 0.0) -> Trial:
    entry = Entry(sweep_.Run(Path("x")), {"method": method, "trial": 0}, "trial")
    return Trial(entry, "done", "", {}, 1, 1, 1.0, unlearn, retention, knew, noise)


def test_winners_by_both_objectives() -> None:
    a, b = trial("a", 90, 80, 95), trial("a", 70, 90, 80, 25.0)
    c, broken = trial("c", 60, 95, 50), trial("d", None, None, None)
    assert tuning.winners([a, b, c, broken], "average") == [a, c]
    # a has the best score, but keeps too little; b's counts three quarters, since a quarter of its answers is noise.
    assert tuning.winners([a, b, c, broken], "never-knew") == [b, c]
    assert b.fluent == 60.0
    assert trial("a", 90, 80, -60, 100.0).fluent == -60.0, "gibberish makes no bad score better"
    assert all(tuning.winners([broken], objective) == [] for objective in OBJECTIVES)


def said(leaked: int, noise: int, kept: int, of: int = 20) -> list[Outcomes]:
    """Return what a trial says of U and of R, in answers."""
    forget = {"leaked": leaked, "noise": noise, "declined": 0, "ignorant": of - leaked - noise}
    keep = {"kept": kept, "lost": of - kept, "noise": 0, "declined": 0}
    return [Outcomes(of, {name: Value(100 * n / of) for name, n in scope.items()}, Value()) for scope in (forget, keep)]


def test_first_of_all_trials_are_chosen_by_what_they_say() -> None:
    noisy, quiet, silent = trial("a", 95, 95, 95), trial("b", 60, 90, 50), trial("c", 60, 90, 50)
    noisy, quiet, silent = (
        dataclasses.replace(each, forget=forget, keep=keep)
        for each, (forget, keep) in zip(
            (noisy, quiet, silent), (said(0, 16, 20), said(1, 1, 15), said(0, 0, 4)), strict=True
        )
    )
    assert [each.balance for each in (noisy, quiet, silent)] == pytest.approx([20.0, 75.0, 20.0])
    assert next(iter(OBJECTIVES)) == "asked"
    assert tuning.winners([noisy, quiet, silent], "asked") == [quiet, noisy, silent]  # of equal ones by average success
    assert tuning.winners([noisy, quiet, silent], "average")[0] == noisy
    assert tuning.winners([trial("d", 90, 90, 90)], "asked") == [], "it was never asked"


def test_refit_learns_from_all_of_train_with_the_steps_that_dev_chose(tuned: Sweep) -> None:
    best = tuning.winners(tuning.read(tuned), "average")[0]
    one, two = tuning.refit(best, [0, 5])
    assert (one.role, one.config.seed, two.config.seed, two.coordinates["seed"]) == ("refit", 0, 5, 5)
    before: Any = best.entry.run.config()
    after = one.config
    assert after.data.dev_share == 0
    assert after.evaluate.splits == ()
    assert after.unlearn.steps == best.kept
    assert after.unlearn.learning_rate == before.unlearn.learning_rate
    assert after.unlearn.method == before.unlearn.method


def test_a_falling_rate_is_refitted_as_it_fell(tuned: Sweep) -> None:
    best = tuning.winners(tuning.read(tuned), "average")[0]
    path = best.entry.run.path / "config.json"
    kept, steps = best.kept, best.kept + 5  # type: ignore[operator]
    own = best.entry.run.config()
    try:
        trial: Any = own.with_setting("unlearn.schedule", "cosine").with_setting("unlearn.steps", steps)
        files.write_json(path, trial.to_json())
        (again,) = tuning.refit(best, [0])
        files.write_json(path, trial.with_setting("unlearn.steps", kept).to_json())
        (whole,) = tuning.refit(best, [0])
    finally:
        files.write_json(path, own.to_json())
    unlearn = again.config.unlearn
    assert (unlearn.steps, unlearn.result_step, unlearn.picked_on) == (steps, kept, "dev")
    assert (whole.config.unlearn.steps, whole.config.unlearn.result_step) == (kept, 0)  # no other schedule, so no choice


def test_fewer_steps_are_refitted_with_the_warm_up_that_dev_has_seen(tuned: Sweep) -> None:
    from core.pipeline.unlearn_loop import rate

    best = tuning.winners(tuning.read(tuned), "average")[0]
    path, own = best.entry.run.path / "config.json", best.entry.run.config()
    trial: Any = own.with_setting("unlearn.steps", 60).with_setting("unlearn.warmup", 0.05)
    try:
        files.write_json(path, trial.to_json())
        (again,) = tuning.refit(dataclasses.replace(best, kept=7), [0])
        (whole,) = tuning.refit(dataclasses.replace(best, kept=5), [0])
    finally:
        files.write_json(path, own.to_json())
    unlearn = again.config.unlearn
    assert (unlearn.steps, unlearn.result_step) == (7, 0)
    assert [rate(step, unlearn) for step in range(7)] == [rate(step, trial.unlearn) for step in range(7)]
    assert (whole.config.unlearn.steps, whole.config.unlearn.result_step) == (60, 5)  # most of it would be warm-up


def test_split_without_examples_is_refused(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    from tests.pipeline.test_pipeline import execute

    with pytest.raises(UserError, match="no example in the split dev"):
        execute(small(tiny_llama, tiny_data, evaluate__splits="dev"), tmp_path)
    with pytest.raises(UserError, match="“val”"):
        execute(small(tiny_llama, tiny_data, evaluate__splits="vall"), tmp_path)
