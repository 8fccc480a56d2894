"""Unlearning in fresh rank, and the checkpoint that is picked by what is said."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch

from core.methods import METHODS
from core.methods.gradient_ascent import GradientAscent
from core.methods.task_vector import TaskVector
from core.pipeline import unlearn_loop
from core.pipeline.step_context import Context
from core.pipeline.supply import Supply
from core.pipeline.unlearn_loop import PATIENCE, Unlearned, Watched
from core.util.errors import Cancelled, UserError
from tests.methods.test_losses import general, refused
from tests.naive import Bench, Recorder
from tests.pipeline.test_unlearn import changed, script

SLOTS = 3


def region(bench: Bench) -> list[str]:
    return [cell.name for cell in bench.adapters.cells if cell.layer == 1]


def run(bench: Bench, saved: dict[int, dict[str, torch.Tensor]] | None = None, **values: Any) -> Unlearned:
    """Unlearn layer 1; keyword arguments that the loop does not have are settings."""
    store = {} if saved is None else saved
    own = {key: values.pop(key) for key in ("report", "judge", "ask") if key in values}

    def save(step: int, tensors: dict[str, torch.Tensor]) -> None:
        store[step] = {name: tensor.clone() for name, tensor in tensors.items()}

    return unlearn_loop.unlearn(
        bench.adapters,
        region(bench),
        Supply(bench.unlearn, bench.retention, general(), {e.id: refused(e) for e in bench.unlearn}, words=bench.words),
        Watched(bench.unlearn, bench.retention, None),
        changed(**{"slots": SLOTS, **values}),
        unlearn_loop.Callbacks(**{"report": Recorder(), "save": save, **own}),
        seed=0,
    )


def parts(name: str, tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the taught part of a tensor of rank 4 and more, and the rest."""
    return (tensor[:4], tensor[4:]) if name.endswith("_A") else (tensor[:, :4], tensor[:, 4:])


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_only_fresh_rank_moves_and_is_rounded(bench_of: Callable[..., Bench], architecture: str) -> None:
    bench, saved = bench_of(architecture), dict[int, dict[str, torch.Tensor]]()
    untouched = bench.adapters.hash("before")
    result = run(bench, saved, steps=4, check_every=2)
    assert bench.adapters.hash("before") == untouched
    assert result.idle == []
    assert bench.adapters.moved() == region(bench)
    for name, before in bench.adapters.tensors("before").items():
        taught, fresh = parts(name, bench.adapters.tensor("after", name).detach())
        assert torch.equal(taught, before), name  # of a bench: finer than bfloat16
        if name in region(bench):
            assert torch.equal(fresh, fresh.bfloat16().float())
            assert fresh.any()
    assert sorted(saved) == [2, 4]
    assert all(torch.equal(bench.adapters.tensor("after", name), value) for name, value in saved[4].items())


def test_what_is_stored_is_what_was_measured_and_training_goes_on_unrounded(bench: Bench) -> None:
    ids, seen = torch.tensor([bench.unlearn[0].ids]), list[torch.Tensor]()

    def look() -> list[dict[str, Any]]:
        with torch.no_grad(), bench.adapters.active("after") as model:
            seen.append(model(input_ids=ids).logits)
        return []

    saved: dict[int, dict[str, torch.Tensor]] = {}
    often = run(bench, saved, steps=4, check_every=1, ask=look)
    for step, tensors in saved.items():
        bench.adapters.copy("before", "again")
        bench.adapters.set("again", tensors)
        with torch.no_grad(), bench.adapters.active("again") as model:
            assert torch.equal(model(input_ids=ids).logits, seen[step])
    rare = run(bench, steps=4, check_every=4)
    assert often.curve == rare.curve  # had rounding stayed, the steps after it would have gone elsewhere


def test_a_tensor_without_a_gradient_yet_is_not_moved_by_rounding(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """B of a slot is zero at first, so A has its first gradient in the second step."""
    script(monkeypatch, bench, (90, 99), (80, 10))
    saved: dict[int, dict[str, torch.Tensor]] = {}
    result = run(bench, saved, steps=8, check_every=1, retain_floor=90.0)
    factors_a = [name for name in region(bench) if name.endswith("_A")]
    assert (result.step, result.steps, result.idle) == (1, 2, [])
    assert result.late == dict.fromkeys(factors_a, 2)
    assert bench.adapters.moved() == [name for name in region(bench) if name.endswith("_B")]
    unlearn_loop.verify(bench.adapters, region(bench), unlearn_loop.still(result.idle, result.late, result.step))


def test_idle_tensors_stay_as_they_were_drawn(bench: Bench) -> None:
    result = run(bench, method=TaskVector(), steps=4, check_every=2)
    assert result.idle == [name for name in region(bench) if name.endswith("_A")]
    assert bench.adapters.moved() == [name for name in region(bench) if name.endswith("_B")]


@pytest.mark.parametrize("name", METHODS)
def test_no_method_moves_what_was_taught_and_each_moves_the_fresh_rank(bench: Bench, name: str) -> None:
    method = METHODS[name]()
    run(bench, method=method, steps=3, check_every=3)
    for cell, before in bench.adapters.tensors("before").items():
        taught, _ = parts(cell, bench.adapters.tensor("after", cell).detach())
        assert torch.equal(taught, before), cell


def test_a_share_is_one_of_what_can_move(bench: Bench) -> None:
    cells = {cell.name: cell.shape for cell in bench.adapters.cells if cell.layer == 1}

    def moved(name: str) -> dict[str, torch.Tensor]:
        found = {}
        run(bench, method=METHODS[name](share=0.3), steps=1, check_every=1)  # type: ignore[call-arg]
        for cell in cells:
            fresh = parts(cell, bench.adapters.tensor("after", cell).detach())[1]
            if cell.endswith("_B"):  # it was zero; A of a slot has its first gradient in the second step
                found[cell] = fresh != 0
        return found

    for elements in moved("grail").values():
        assert int(elements.sum()) == round(0.3 * elements.numel())
    rows = SLOTS * sum(name.endswith("_A") for name in cells) + sum(cells[n][0] for n in cells if n.endswith("_B"))
    assert sum(int(elements.any(1).sum()) for elements in moved("sure").values()) == pytest.approx(0.3 * rows, abs=1)


def test_a_mirrored_result_is_mirrored_in_the_slots_alone(bench: Bench) -> None:
    ascent = GradientAscent()
    run(bench, method=TaskVector(strength=1.0), steps=1, check_every=1)
    mirrored = {name: bench.adapters.tensor("after", name).detach().clone() for name in region(bench)}
    run(bench, method=ascent, steps=1, check_every=1)
    for name, value in mirrored.items():
        if name.endswith("_B"):  # one step of Adam is rate · sign: the way down, mirrored, is the way up
            assert torch.equal(parts(name, value)[1], parts(name, bench.adapters.tensor("after", name).detach())[1])
            assert parts(name, value)[1].any()


def test_a_region_that_cannot_move_is_one_sentence_with_slots_too(bench: Bench) -> None:
    class Still(GradientAscent):
        def mask(self, context: Context, name: str, gradient: torch.Tensor) -> torch.Tensor:
            return gradient * 0

    with pytest.raises(UserError, match="cannot move any tensor"):
        run(bench, method=Still())


def test_a_run_that_is_cancelled_at_once_has_moved_nothing(bench: Bench) -> None:
    with pytest.raises(Cancelled):
        run(bench, report=Recorder(stop_at=1))
    assert bench.adapters.moved() == []
    with pytest.raises(Cancelled):
        run(bench, steps=50, check_every=50, report=Recorder(stop_at=3))
    for name in bench.adapters.moved():
        _, fresh = parts(name, bench.adapters.tensor("after", name).detach())
        assert torch.equal(fresh, fresh.bfloat16().float())


def test_weight_decay_is_refused_with_slots(bench: Bench) -> None:
    with pytest.raises(UserError, match="Only the fresh rank is trained"):
        run(bench, weight_decay=0.1)


def test_fused_experts_are_refused(bench_of: Callable[..., Bench]) -> None:
    with pytest.raises(UserError, match="no room for fresh rank"):
        run(bench_of("mixtral"))


# -- picked by what is said


def said(forgotten: float, kept: float, **others: float) -> dict[str, float]:
    fine = dict.fromkeys(("noise_unlearn", "noise_retention", "declined", "made_up"), 0.0)
    given = {"forgotten": forgotten, "kept": kept, **fine, "asked": 1000.0, **others}
    return {f"said_{name}": value for name, value in given.items()}


def judged(bench: Bench, rows: Sequence[Mapping[str, float]], **values: Any) -> tuple[Unlearned, list[int]]:
    """Let a judge say one row after the other; return the result and the steps that were saved."""
    left, saved = [dict(row) for row in rows], dict[int, dict[str, torch.Tensor]]()
    result = run(bench, saved, judge=lambda: left.pop(0), **{"pick": "said", "steps": 8, "check_every": 1, **values})
    best = saved[result.step]
    assert all(torch.equal(bench.adapters.tensor("after", name), value) for name, value in best.items())
    return result, sorted(saved)


def test_worth_is_the_smaller_share_of_right_answers() -> None:
    assert unlearn_loop.worth(said(90, 70)) == 70
    assert unlearn_loop.worth(said(60, 70)) == 60
    assert unlearn_loop.worth(said(100, 90, made_up=20.0, noise_unlearn=5.0)) == 75
    assert unlearn_loop.worth(said(100, 90, declined=10.0)) == 90  # what is declined of R is not said: counted already


def test_a_standard_error_is_that_of_the_share_and_never_nothing() -> None:
    shares = torch.distributions.Binomial(1000, torch.tensor(0.8)).sample((4000,)) / 10
    assert unlearn_loop.standard_error(80.0, 1000) == pytest.approx(float(shares.std()), rel=0.05)
    assert unlearn_loop.standard_error(100.0, 24) == pytest.approx(100 * math.sqrt(25 / 26 * 1 / 26 / 26))


@pytest.mark.parametrize("slots", [0, SLOTS])
def test_the_best_checkpoint_is_kept_and_patience_ends_the_run(bench: Bench, slots: int) -> None:
    rows = [said(20, 100), said(80, 90), said(95, 60), said(99, 50), said(99, 99)]
    result, saved = judged(bench, rows, slots=slots)
    assert PATIENCE == 2
    assert (result.step, result.steps, saved) == (2, 4, [1, 2, 3, 4])
    assert result.stopped.startswith("step 4: what is said has become worse since step 2")
    assert [check["said_kept"] for check in result.checks] == [100, 90, 60, 50]


def test_of_checkpoints_that_a_small_sample_cannot_tell_apart_the_latest_is_kept(bench: Bench) -> None:
    rows = [said(50, 100), said(100, 100, made_up=12.5), said(96, 100, made_up=17.0), said(96, 100, made_up=21.0)]
    few = [{**row, "said_asked": 24.0} for row in rows]
    assert judged(bench, few, steps=4)[0].step == 4
    assert judged(bench, rows, steps=4)[0].step == 2  # of a thousand questions twelve points are a difference
    worse = [*few[:2], said(60, 100, asked=24.0), said(60, 100, asked=24.0)]
    assert judged(bench, worse, steps=4)[0].step == 2


def test_small_steps_down_do_not_add_up(bench: Bench) -> None:
    rows = [said(100 - 4 * i, 100, asked=24.0) for i in range(8)]
    result, _ = judged(bench, rows)
    last = max(i for i in range(8) if 100 - 4 * i >= 100 - 2 * unlearn_loop.standard_error(100 - 4 * i, 24))
    assert 0 < last < 5
    assert (result.step, result.steps) == (last + 1, last + 3)


def test_floor_and_target_do_not_count_where_what_is_said_does(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, bench, (10, 1), (5, 1), (1, 1))
    result, _ = judged(bench, [said(20, 90), said(50, 90), said(60, 90)], steps=3, stop="50", retain_floor=90.0)
    assert (result.step, result.steps, result.stopped) == (3, 3, "all 3 steps made")


def test_a_run_that_is_to_forget_so_much_ends_there(bench: Bench) -> None:
    rows = [said(20, 100), said(55, 90), said(95, 60), said(99, 50)]
    result, saved = judged(bench, rows, forgotten=50.0)
    assert (result.step, result.steps, saved) == (2, 2, [1, 2])
    assert result.stopped == "step 2: 55.0 % is no longer said, as much as was asked for"
    never = [said(20, 100), said(40, 50, made_up=50.0), said(30, 100), said(35, 100)]
    result, _ = judged(bench, never, forgotten=50.0, steps=4)
    assert (result.step, result.stopped) == (2, "all 4 steps made")


def test_without_a_judge_the_accuracy_picks(bench: Bench) -> None:
    assert run(bench).step == 4
    assert dataclasses.asdict(run(bench))["checks"][-1].keys() == {"step", "unlearn", "retention"}
