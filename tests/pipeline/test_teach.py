"""Teaching: the model knows the data afterwards, and the stored adapter is what was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import pytest
import torch

from core.config.stages import TeachConfig
from core.models import likelihood
from core.models.kept_texts import Kept
from core.models.tokens import Encoded
from core.pipeline.teach import Taught, rate, teach
from core.util.errors import Cancelled, UserError
from tests.naive import Bench, Recorder

QUICK = TeachConfig(rank=16, alpha=32, learning_rate=1e-2, epochs=120, batch_size=6, target_accuracy=99)


def taught(
    bench: Bench,
    config: TeachConfig,
    report: Recorder | None = None,
    seed: int = 0,
    *,
    besides: Sequence[Encoded] = (),
    kept: Sequence[Kept] = (),
    reworded: Callable[[int], Sequence[Encoded]] | None = None,
) -> Taught:
    texts = (bench.unlearn, bench.retention, besides, kept, reworded)
    return teach(bench.adapters, *texts, config, seed=seed, report=report or Recorder())


@pytest.fixture(scope="module")
def fluent(tiny_of: Callable[..., object], tiny_data: object) -> tuple[Bench, Taught]:
    """Return a bench that was taught to the end."""
    from tests.naive import make_bench

    bench = make_bench(tiny_of("llama"), tiny_data, live=False, rank=16)  # type: ignore[arg-type]
    return bench, taught(bench, QUICK)


def test_teaching_reaches_its_target_and_stops_there(fluent: tuple[Bench, Taught]) -> None:
    bench, result = fluent
    assert result.reached
    assert len(result.curve) < QUICK.epochs
    with bench.adapters.active("before") as model:
        for scope, members in (("unlearn", bench.unlearn), ("retention", bench.retention)):
            measured = likelihood.accuracy(model, members)
            assert measured == result.accuracy[scope] >= 99


def test_taught_adapter_is_rounded(fluent: tuple[Bench, Taught]) -> None:
    for parameter in fluent[0].adapters.tensors("before").values():
        assert torch.equal(parameter, parameter.to(torch.bfloat16).float())


def test_the_base_is_untouched(fluent: tuple[Bench, Taught]) -> None:
    from core.config.stages import ModelConfig
    from core.models import loading

    bench = fluent[0]
    fresh = loading.load(ModelConfig(name=bench.loaded.name, device="cpu", dtype="float32")).model.state_dict()
    for name, value in bench.adapters.model.get_base_model().state_dict().items():
        if "lora_" not in name:
            assert torch.equal(value, fresh[name.replace(".base_layer", "")]), name


def test_model_is_left_in_eval_mode_without_gradients(fluent: tuple[Bench, Taught]) -> None:
    model = fluent[0].adapters.model
    assert not model.training
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())


SHORT = dataclasses.replace(QUICK, epochs=2)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_same_seed_gives_the_same_bits(bench_of: Callable[..., Bench], dropout: float) -> None:
    config = dataclasses.replace(SHORT, dropout=dropout)

    def once(seed: int, noise: int) -> str:
        bench = bench_of("llama", live=False, dropout=dropout)
        torch.manual_seed(noise)  # whatever was drawn before must not matter
        taught(bench, config, seed=seed)
        return bench.adapters.hash("before")

    assert once(1, 5) == once(1, 6) != once(2, 5)


def test_dropout_changes_what_is_learned(bench_of: Callable[..., Bench]) -> None:
    def once(dropout: float) -> str:
        bench = bench_of("llama", live=False, dropout=dropout)
        taught(bench, dataclasses.replace(SHORT, dropout=dropout))
        return bench.adapters.hash("before")

    assert once(0.0) != once(0.2)


def test_unreachable_target_runs_all_epochs(bench_of: Callable[..., Bench]) -> None:
    report = Recorder()
    result = taught(bench_of("llama", live=False), dataclasses.replace(SHORT, target_accuracy=100.1), report)
    assert not result.reached
    assert len(result.curve) == 2
    assert result.steps == 4 == len(report.steps)
    assert [s["done"] for s in report.steps] == [1, 2, 3, 4]
    assert {s["total"] for s in report.steps} == {4}


def test_tokens_count_what_went_through_the_model(bench_of: Callable[..., Bench]) -> None:
    bench, report = bench_of("llama", live=False), Recorder()
    result = taught(bench, dataclasses.replace(SHORT, epochs=1, batch_size=99), report)
    members = bench.unlearn + bench.retention
    assert result.tokens == len(members) * max(len(m.ids) for m in members)


def test_the_loss_is_the_mean_over_examples(bench_of: Callable[..., Bench]) -> None:
    from tests.naive import example_loss

    bench, report = bench_of("llama", live=False), Recorder()
    members = bench.unlearn + bench.retention
    with torch.no_grad():
        expected = float(torch.stack([example_loss(bench.adapters.model, m) for m in members]).mean())
    taught(bench, dataclasses.replace(SHORT, epochs=1, batch_size=99), report)
    assert report.steps[0]["loss"] == pytest.approx(expected, rel=1e-5)


def test_diverged_teaching_is_one_sentence(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of("llama")
    bench.adapters.tensor("before", bench.adapters.cells[0].name).data.fill_(float("nan"))
    with pytest.raises(UserError, match="not a number"):
        taught(bench, SHORT)


def test_cancel_stops_within_a_step(bench_of: Callable[..., Bench]) -> None:
    report = Recorder(stop_at=3)
    with pytest.raises(Cancelled):
        taught(bench_of("llama", live=False), SHORT, report)
    assert len(report.steps) == 2


def test_rate_rises_for_a_tenth_of_the_steps_and_falls_to_a_hundredth() -> None:
    factors = [rate(step, total=50) for step in range(51)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[5] == 1.0
    assert factors[50] == pytest.approx(0.01)
    assert factors[5:] == sorted(factors[5:], reverse=True)


def kept_on(bench: Bench) -> list[Kept]:
    """Return texts that are not taught: the retention questions, read by the base after another prompt."""
    members = bench.retention[:3]
    told = [dataclasses.replace(m, ids=m.ids[:1] + m.ids, start=m.start + 1) for m in members]
    texts = [Kept(dataclasses.replace(m, id=f"kept/{m.id}"), t) for m, t in zip(members, told, strict=True)]
    return [Kept(asked, dataclasses.replace(t, id=asked.id)) for asked, t in texts]


def test_what_is_kept_adds_the_weighted_divergence_from_the_base(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of("llama", live=True)
    kept = kept_on(bench)

    def of(voice: str | None, member: Encoded) -> torch.Tensor:
        with torch.no_grad(), bench.adapters.active(voice) as model:
            logits: torch.Tensor = model(torch.tensor([member.ids])).logits
        return logits[0, member.start - 1 : -1].log_softmax(-1)

    pairs = [(of(None, k.told), of("before", k.asked)) for k in kept]
    naive = [float((base.exp() * (base - now)).sum(-1).mean()) for base, now in pairs]
    config = dataclasses.replace(QUICK, epochs=1, batch_size=99, keep_weight=2.5, keep_batch_size=len(kept))
    result = taught(bench, config, kept=kept)
    assert result.curve[0]["moved"] == pytest.approx(sum(naive) / len(naive), rel=1e-4)
    assert sum(naive) > 0


def test_keeping_keeps(bench_of: Callable[..., Bench]) -> None:
    def moved(weight: float) -> float:
        bench = bench_of("llama", live=False)
        kept = kept_on(bench)
        config = dataclasses.replace(QUICK, epochs=6, keep_weight=weight or 1e-9, keep_batch_size=3)
        members = [m for m in bench.retention if f"kept/{m.id}" not in {k.asked.id for k in kept}]
        bench.retention[:] = members
        return taught(bench, config, kept=kept).curve[-1]["moved"]

    assert moved(5.0) < 0.5 * moved(0.0)


def test_every_pass_asks_in_its_own_words_and_measures_those_that_are_given(bench_of: Callable[..., Bench]) -> None:
    bench, asked = bench_of("llama", live=False), list[int]()
    members = [*bench.unlearn, *bench.retention]

    def words(number: int) -> list[Encoded]:
        asked.append(number)
        return [dataclasses.replace(m, ids=(*m.ids[: m.start], *m.ids[m.start - 1 :]), start=m.start + 1) for m in members]

    result = taught(bench, dataclasses.replace(SHORT, epochs=3, target_accuracy=100.1), reworded=words)
    assert asked == [1, 2, 3]
    with bench.adapters.active("before") as model:
        assert likelihood.accuracy(model, bench.unlearn) == result.accuracy["unlearn"]


def test_another_adapter_can_be_taught_and_before_stays(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of("llama", live=True)
    before = bench.adapters.hash("before")
    bench.adapters.fresh("second", "before", seed=3)
    with bench.adapters.active("second") as model, torch.no_grad():
        second = model(torch.tensor([bench.unlearn[0].ids])).logits
    with bench.adapters.active(None) as model, torch.no_grad():
        assert torch.allclose(second, model(torch.tensor([bench.unlearn[0].ids])).logits, atol=1e-6)
    teach(bench.adapters, [], bench.retention, (), (), None, SHORT, seed=0, report=Recorder(), adapter="second")
    assert bench.adapters.hash("before") == before != bench.adapters.hash("second")
