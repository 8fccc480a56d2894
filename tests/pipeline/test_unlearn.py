"""The update loop: the right gradient, on the region alone, stopped at the right moment."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

from core.config.stages import UnlearnConfig
from core.methods import Method
from core.methods.gradient_ascent import GradientAscent
from core.methods.memflex import MemFlex
from core.methods.rmu import RMU
from core.methods.sure import SURE
from core.methods.task_vector import TaskVector
from core.models.tokens import Encoded
from core.pipeline import unlearn_loop as unlearn_
from core.pipeline.step_context import Context
from core.pipeline.supply import Supply, spread
from core.pipeline.unlearn_loop import Unlearned, Watched
from core.util.errors import Cancelled, UserError
from tests.naive import Bench, Recorder, example_loss, gradients, plain_model
from tests.tiny import ARCHITECTURES

CONFIG = UnlearnConfig(
    learning_rate=1e-2, warmup=0.0, steps=4, batch_size=3, retain_batch_size=4, check_every=2, stop="never", retain_floor=0.0
)


def changed(**values: Any) -> UnlearnConfig:
    return dataclasses.replace(CONFIG, **values)


def every_third(bench: Bench) -> list[str]:
    return [c.name for c in bench.adapters.cells][1::3]


def run(
    bench: Bench,
    config: UnlearnConfig,
    *,
    region: list[str] | None = None,
    never: float | None = None,
    seed: int = 0,
    report: Recorder | None = None,
    saved: dict[int, dict[str, torch.Tensor]] | None = None,
) -> Unlearned:
    store: dict[int, dict[str, torch.Tensor]] = {} if saved is None else saved
    return unlearn_.unlearn(
        bench.adapters,
        region or every_third(bench),
        Supply(bench.unlearn, bench.retention),
        Watched(bench.unlearn, bench.retention, never),
        config,
        unlearn_.Callbacks(
            report or Recorder(), lambda step, tensors: store.__setitem__(step, {n: t.clone() for n, t in tensors.items()})
        ),
        seed=seed,
    )


# -- the gradient


@pytest.fixture
def plain_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the optimizer subtract rate × gradient, so that a step shows the gradient."""
    monkeypatch.setattr(torch.optim, "AdamW", lambda p, lr, weight_decay: torch.optim.SGD(p, lr=lr))


def step_of(bench: Bench, method: Method) -> dict[str, torch.Tensor]:
    """Return the gradient that one step on all examples follows, per cell of the region."""
    rate = 0.01
    run(bench, changed(method=method, learning_rate=rate, steps=1, batch_size=99, retain_batch_size=99))
    return {n: (bench.adapters.tensor("before", n) - bench.adapters.tensor("after", n)) / rate for n in every_third(bench)}


def naive_step(bench: Bench, forget: float, retain: float, members: list[Encoded]) -> dict[str, torch.Tensor]:
    """Return the gradient of −forget · mean CE(members) + retain · mean CE(R), an example at a time."""
    model = plain_model(bench.adapters, "before")
    for member in members:
        (-forget * example_loss(model, member) / len(bench.unlearn)).backward()
    for member in bench.retention:
        (retain * example_loss(model, member) / len(bench.retention)).backward()
    model.requires_grad_(False)
    return gradients(bench.adapters, "before")


def token_losses(model: Any, example: Encoded) -> torch.Tensor:
    """Return −log p of each answer token, from all logits of one example."""
    logits = model(input_ids=torch.tensor([example.ids])).logits[0].float()
    return torch.nn.functional.cross_entropy(logits[example.start - 1 : -1], torch.tensor(example.answer), reduction="none")


def assert_same_direction(step: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    for name, value in step.items():
        assert float(expected[name].norm()) > 0
        # Differences of parameters of about 0.1 carry a rounding error of 1e-8 / rate.
        assert float((value - expected[name]).norm()) < 1e-3 * float(expected[name].norm()) + 1e-5, name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.usefixtures("plain_steps")
def test_memflex_descends_its_loss(bench_of: Callable[..., Bench], architecture: str) -> None:
    bench = bench_of(architecture)
    step = step_of(bench, MemFlex(forget_weight=0.4, retain_weight=2.0, forget_ceiling=0.0))
    assert_same_direction(step, naive_step(bench, 0.4, 2.0, bench.unlearn))


@pytest.mark.usefixtures("plain_steps")
def test_ceiling_pauses_the_ascent_on_tokens_above_it(bench: Bench) -> None:
    model = plain_model(bench.adapters, "before")
    tokens = [token_losses(model, member) for member in bench.unlearn]
    ceiling = float(torch.cat(tokens).detach().median()) + 1e-4
    for losses in tokens:
        # Divided by all tokens of the answer, those above the ceiling included: they only stop moving.
        (-(losses * (losses.detach() < ceiling)).sum() / len(losses) / len(tokens)).backward()
    for member in bench.retention:
        (2.0 * example_loss(model, member) / len(bench.retention)).backward()
    model.requires_grad_(False)
    expected = gradients(bench.adapters, "before")
    assert_same_direction(step_of(bench, MemFlex(forget_weight=1.0, retain_weight=2.0, forget_ceiling=ceiling)), expected)


@pytest.mark.usefixtures("plain_steps")
def test_gradient_ascent_ignores_the_retention_scope(bench: Bench) -> None:
    assert_same_direction(step_of(bench, GradientAscent(1.5)), naive_step(bench, 1.5, 0.0, bench.unlearn))


def test_curve_records_the_mean_losses(bench: Bench) -> None:
    with bench.adapters.active("before") as model, torch.no_grad():
        forget, retain = (
            float(torch.stack([example_loss(model, m) for m in part]).mean()) for part in (bench.unlearn, bench.retention)
        )
    first = run(bench, changed(batch_size=99, retain_batch_size=99)).curve[0]
    assert first["forget_loss"] == pytest.approx(forget, rel=1e-5)
    assert first["retain_loss"] == pytest.approx(retain, rel=1e-5)
    assert "retain_loss" not in run(bench, changed(method=GradientAscent())).curve[0]


def test_curve_records_the_rate_that_each_step_was_made_with(bench: Bench) -> None:
    config = changed(warmup=0.5, steps=4)
    rates = [row["rate"] for row in run(bench, config).curve]
    assert rates == pytest.approx([1e-2 * unlearn_.rate(step, config) for step in range(4)])
    assert rates[0] < rates[1] < rates[2]


def test_weight_decay_is_refused_where_parts_of_tensors_are_trained(bench: Bench) -> None:
    with pytest.raises(UserError, match="weight decay would move the rest"):
        run(bench, changed(method=SURE(), weight_decay=0.1))


# -- the region


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_exactly_the_region_changes(bench_of: Callable[..., Bench], architecture: str) -> None:
    bench = bench_of(architecture)
    before = bench.adapters.hash("before")
    region = every_third(bench)
    run(bench, CONFIG, region=region)
    assert bench.adapters.hash("before") == before
    for cell in bench.adapters.cells:
        same = torch.equal(bench.adapters.tensor("before", cell.name), bench.adapters.tensor("after", cell.name))
        assert same == (cell.name not in region)


def test_check_finds_a_change_outside_the_region(bench: Bench) -> None:
    region = every_third(bench)
    run(bench, CONFIG, region=region)
    unlearn_.verify(bench.adapters, region)
    bench.adapters.tensor("after", bench.adapters.cells[0].name).data[0, 0] += 1e-7
    with pytest.raises(UserError, match="outside the region"):
        unlearn_.verify(bench.adapters, region)


def test_check_finds_a_tensor_of_the_region_that_stood_still(bench: Bench) -> None:
    region = every_third(bench)
    run(bench, CONFIG, region=region)
    bench.adapters.set("after", {region[2]: bench.adapters.tensor("before", region[2]).detach()})
    with pytest.raises(UserError, match="did not change"):
        unlearn_.verify(bench.adapters, region)


def test_tensors_that_a_method_cannot_move_are_named(bench: Bench) -> None:
    """RMU's loss ends at a layer: what lies above it has no gradient."""
    region, report = every_third(bench), Recorder()
    above = [c.name for c in bench.adapters.cells if c.layer == 1 and c.name in region]
    result = run(bench, changed(method=RMU(layer=0)), region=region, report=report)
    assert result.idle == above
    assert any("no gradient" in values["text"] for kind, values in report.events if kind == "finding")
    unlearn_.verify(bench.adapters, region, result.idle)
    with pytest.raises(UserError, match="did not change"):
        unlearn_.verify(bench.adapters, region)


def test_a_region_that_a_method_cannot_move_at_all_is_one_sentence(bench: Bench) -> None:
    @dataclass(frozen=True)
    class Still(Method):
        name: ClassVar[str] = "still"

        def loss(self, context: Context) -> torch.Tensor:
            return 0.0 * context.retain.loss().mean()

    with pytest.raises(UserError, match="still cannot move any tensor"):
        run(bench, changed(method=Still()))


def test_loop_itself_runs_the_check(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.optim, "AdamW", lambda p, lr, weight_decay: torch.optim.SGD(p, lr=0.0))
    with pytest.raises(UserError, match="did not change"):
        run(bench, CONFIG)


# -- checkpoints and stopping


def script(monkeypatch: pytest.MonkeyPatch, bench: Bench, *pairs: tuple[float, float]) -> None:
    """Let successive measurements give these accuracies on U and R."""
    values = {id(bench.unlearn): [u for u, _ in pairs], id(bench.retention): [r for _, r in pairs]}
    monkeypatch.setattr(unlearn_, "accuracy", lambda _model, members, *_, **__: values[id(members)].pop(0))


def assert_after_is(bench: Bench, tensors: dict[str, torch.Tensor]) -> None:
    assert all(torch.equal(bench.adapters.tensor("after", n), t) for n, t in tensors.items())


def test_checkpoints_are_saved_at_their_steps(bench: Bench) -> None:
    saved: dict[int, dict[str, torch.Tensor]] = {}
    result = run(bench, changed(steps=5), saved=saved)
    assert sorted(saved) == [2, 4, 5] == [int(c["step"]) for c in result.checks]
    assert all(set(tensors) == set(every_third(bench)) for tensors in saved.values())
    assert_after_is(bench, saved[5])
    assert (result.step, result.steps) == (5, 5)
    assert result.stopped == "all 5 steps made"


def test_checkpoints_measure_the_watched_examples(bench: Bench) -> None:
    from core.models.likelihood import accuracy

    result = run(bench, CONFIG)
    with bench.adapters.active("after") as model:
        assert result.checks[-1]["unlearn"] == pytest.approx(accuracy(model, bench.unlearn))
        assert result.checks[-1]["retention"] == pytest.approx(accuracy(model, bench.retention))


def test_stops_at_the_first_checkpoint_at_the_target(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, bench, (90, 99), (51, 98), (49, 97), (20, 97))
    saved: dict[int, dict[str, torch.Tensor]] = {}
    result = run(bench, changed(steps=8, check_every=1, stop="never-taught", retain_floor=90.0), never=50.0, saved=saved)
    assert (result.step, result.steps, result.target) == (3, 3, 50.0)
    assert "target" in result.stopped
    assert_after_is(bench, saved[3])


def test_target_in_percent(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, bench, (90, 99), (60, 98))
    assert run(bench, changed(steps=8, check_every=1, stop="60"), never=10.0).steps == 2


def test_floor_keeps_the_last_checkpoint_above_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, bench, (90, 99), (80, 91), (70, 89))
    saved: dict[int, dict[str, torch.Tensor]] = {}
    result = run(bench, changed(steps=8, check_every=1, retain_floor=90.0), saved=saved)
    assert (result.step, result.steps) == (2, 3)
    assert "floor" in result.stopped
    assert_after_is(bench, saved[2])


def test_floor_counts_before_the_target(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, bench, (90, 99), (10, 50))
    result = run(bench, changed(steps=8, check_every=1, stop="20", retain_floor=90.0))
    assert (result.step, result.steps) == (1, 2)


def test_floor_broken_at_once_still_leaves_a_result(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, bench, (10, 50))
    result = run(bench, changed(steps=8, check_every=1, retain_floor=90.0))
    assert (result.step, result.steps) == (1, 1)


@pytest.mark.parametrize(("stop", "level"), [("never", None), ("never-taught", 47.5), ("30", 30.0), ("0", 0.0)])
def test_stop_levels(stop: str, level: float | None) -> None:
    assert unlearn_.stop_level(stop, 47.5) == level


@pytest.mark.parametrize("stop", ["soon", "101", "-1", "nan"])
def test_unreadable_stop_is_one_sentence(stop: str) -> None:
    with pytest.raises(UserError, match="cannot be"):
        changed(stop=stop)


def test_without_a_reference_all_steps_are_made(bench: Bench) -> None:
    assert run(bench, changed(stop="never-taught")).steps == CONFIG.steps


# -- losses that are not a number


@dataclass(frozen=True)
class Breaking(Method):
    """MemFlex whose loss is no number from the given step on."""

    name: ClassVar[str] = "breaking"
    at: int = 3
    calls: list[int] = dataclasses.field(default_factory=list)

    def loss(self, context: Context) -> torch.Tensor:
        self.calls.append(1)
        value = MemFlex(forget_ceiling=0.0).loss(context)
        return value * math.nan if len(self.calls) >= self.at else value


@pytest.mark.parametrize("check_every", [1, 2])
def test_loss_that_is_no_number_keeps_the_last_checkpoint(bench: Bench, check_every: int) -> None:
    saved: dict[int, dict[str, torch.Tensor]] = {}
    report = Recorder()
    result = run(bench, changed(method=Breaking(), steps=9, check_every=check_every), saved=saved, report=report)
    assert (result.step, result.steps) == (2, 2)
    assert result.stopped.startswith("diverged at step 3")
    assert_after_is(bench, saved[2])
    assert ("diverged", {"step": 3}) in report.events
    assert all(p.isfinite().all() for p in bench.adapters.tensors("after").values())


def test_gradient_that_is_no_number_never_reaches_the_weights(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def overflow(self: MemFlex, context: Context) -> torch.Tensor:
        loss = context.forget.loss().mean() + context.retain.loss().mean()
        calls.append(1)
        if len(calls) >= 3:
            loss.register_hook(lambda gradient: gradient * math.inf)
        return loss

    monkeypatch.setattr(MemFlex, "loss", overflow)
    result = run(bench, changed(steps=9, check_every=1))
    assert result.step == 2
    assert all(p.isfinite().all() for p in bench.adapters.tensors("after").values())


def test_divergence_before_any_checkpoint_is_one_sentence(bench: Bench) -> None:
    with pytest.raises(UserError, match="diverged before the first checkpoint"):
        run(bench, changed(method=Breaking(at=1)))


# -- schedule, seeds, cancel


def test_constant_rate_after_the_warm_up() -> None:
    config = UnlearnConfig(steps=100, warmup=0.03, schedule="constant")
    factors = [unlearn_.rate(step, config) for step in range(100)]
    assert factors[:3] == sorted(factors[:3])
    assert 0 < factors[0] < factors[2] < 1
    assert set(factors[3:]) == {1.0}


def test_cosine_falls_from_one_to_zero() -> None:
    config = UnlearnConfig(steps=100, warmup=0.03, schedule="cosine")
    factors = [unlearn_.rate(step, config) for step in range(101)]
    assert factors[3] == 1.0
    assert factors[100] == pytest.approx(0.0, abs=1e-12)
    assert factors[3 + 48] == pytest.approx(0.5 * (1 + math.cos(math.pi * 48 / 97)))
    assert factors[3:] == sorted(factors[3:], reverse=True)


def test_same_seed_gives_the_same_bits(bench_of: Callable[..., Bench]) -> None:
    def once(seed: int) -> tuple[str, list[dict[str, float]]]:
        bench = bench_of("llama")
        result = run(bench, CONFIG, seed=seed)
        return bench.adapters.hash("after"), result.curve

    assert once(1) == once(1) != once(2)


def test_cancel_stops_within_a_step_and_leaves_what_is_there(bench: Bench) -> None:
    report = Recorder(stop_at=3)
    with pytest.raises(Cancelled):
        run(bench, changed(steps=50, check_every=50), report=report)
    assert len(report.steps) == 2
    unlearn_.verify(bench.adapters, every_third(bench))
    assert not any(p.requires_grad for p in bench.adapters.model.parameters())


def test_what_is_left_of_a_cancelled_run_is_the_methods_result_so_far(bench: Bench) -> None:
    """Trained towards U and then mirrored: without the mirror it would know U better than before."""
    run(bench, changed(steps=2, method=TaskVector()))
    whole = bench.adapters.hash("after")
    with pytest.raises(Cancelled):
        run(bench, changed(steps=50, check_every=50, method=TaskVector()), report=Recorder(stop_at=3))
    assert bench.adapters.hash("after") == whole


def test_second_run_starts_from_before_again(bench: Bench) -> None:
    run(bench, CONFIG)
    first = bench.adapters.hash("after")
    run(bench, CONFIG)
    assert bench.adapters.hash("after") == first


def test_spread_covers_all_lengths() -> None:
    members = [Encoded(str(i), (5,) * (3 + i), 1) for i in range(40)]
    chosen = spread(members[::-1], 8)
    assert [len(m.ids) for m in chosen] == [3 + 5 * i for i in range(8)]
    assert len(spread(members, 99)) == 40
    assert spread([], 8) == []


def test_weight_decay_is_refused_where_the_result_is_turned_round(bench: Bench) -> None:
    with pytest.raises(UserError, match="weight decay would be taken for a part of that"):
        run(bench, changed(method=TaskVector(), weight_decay=0.1))


@pytest.mark.parametrize(("last", "kept"), [(76.0, 4), (74.0, 2)])
def test_for_a_model_under_the_floor_to_begin_with_it_is_lowered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, last: float, kept: int
) -> None:
    script(monkeypatch, bench, (90, 80), (80, last))
    report, config = Recorder(), changed(retain_floor=90.0)
    watched = Watched(bench.unlearn, bench.retention, None, before=85.0)
    result = unlearn_.unlearn(
        bench.adapters,
        every_third(bench),
        Supply(bench.unlearn, bench.retention),
        watched,
        config,
        unlearn_.Callbacks(report, lambda *_: None),
        seed=0,
    )
    assert (result.steps, result.step) == (4, kept)
    assert any("at 75.0 %" in v.get("text", "") for _, v in report.events)


@dataclass(frozen=True)
class Later(GradientAscent):
    """Leaves one tensor alone until the third step."""

    tensor: str = ""

    def mask(self, context: Context, name: str, gradient: torch.Tensor) -> torch.Tensor:
        """Return no gradient for the tensor in the first two steps."""
        return gradient * 0 if name == self.tensor and context.step < 3 else gradient


def test_a_tensor_that_moves_late_had_not_moved_at_an_earlier_checkpoint(bench: Bench) -> None:
    name = every_third(bench)[1]
    saved: dict[int, dict[str, torch.Tensor]] = {}
    result = run(bench, changed(method=Later(tensor=name)), saved=saved)
    assert (result.idle, result.late) == ([], {name: 3})
    bench.adapters.set("after", saved[2])
    with pytest.raises(UserError, match="did not change"):
        unlearn_.verify(bench.adapters, every_third(bench))
    unlearn_.verify(bench.adapters, every_third(bench), unlearn_.still(result.idle, result.late, 2))
    assert unlearn_.still(["a"], {"b": 3}, 3) == ["a"]


def test_ranking_a_whole_scope_can_be_cancelled(bench: Bench) -> None:
    report = Recorder(stop_at=1)
    with pytest.raises(Cancelled):
        run(bench, changed(method=SURE()), report=report)
    assert report.steps == []  # not even of the ranking
