"""What a step offers to a method: each figure as in plain passes, references computed once, nothing computed that is not
asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from core.methods.base import FORGET, GENERAL, REFUSAL, RETAIN
from core.models import references
from core.models.adapters import Adapters
from core.models.likelihood import soft_nll
from core.models.prefix import Prefix
from core.models.tokens import Batch, Encoded
from core.pipeline import step_context
from core.pipeline.step_context import Context, aligned
from core.pipeline.supply import Supply
from core.util.errors import UserError
from tests.naive import Bench, example_loss, gradients, make_bench, plain_model, randomize
from tests.tiny import ARCHITECTURES

CHUNKS = 130
"""rows: two whole chunks and a part"""


@pytest.fixture
def context(bench: Bench) -> Context:
    """Return a context with a batch of both scopes, whose "after" differs from "before"."""
    bench.adapters.copy("before", "after")
    randomize(bench.adapters, "after", seed=7)
    made = Context(bench.adapters, [c.name for c in bench.adapters.cells], supply(bench), seed=0)
    made.load(1, {FORGET: bench.unlearn, RETAIN: bench.retention})
    return made


def supply(bench: Bench) -> Supply:
    return Supply(bench.unlearn, bench.retention, words=bench.words)


# -- soft targets


def soft(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    logits = torch.randn(CHUNKS, 37, generator=source).requires_grad_(True)
    return logits, torch.randn(CHUNKS, 37, generator=source), torch.randint(37, (CHUNKS,), generator=source)


@pytest.mark.parametrize("shift", [0.0, -3.0, float("-inf")])
def test_soft_loss_and_its_gradient_are_those_of_torch(shift: float) -> None:
    logits, target, tokens = soft()
    weights = torch.linspace(0.5, 2, CHUNKS)
    loss = soft_nll(logits, target, tokens if shift else None, shift)
    (loss * weights).sum().backward()
    gradient, logits.grad = logits.grad, None
    changed = target.clone()
    changed[range(CHUNKS), tokens] += shift
    expected = F.cross_entropy(logits, changed.softmax(-1), reduction="none")
    (expected * weights).sum().backward()
    assert gradient is not None
    assert torch.allclose(loss, expected, atol=1e-5)
    assert torch.allclose(gradient, logits.grad, atol=1e-6)


def test_divergence_is_that_of_torch_and_zero_from_itself() -> None:
    logits, target, _ = soft(1)
    expected = F.kl_div(logits.log_softmax(-1), target.log_softmax(-1), reduction="none", log_target=True).sum(-1)
    assert torch.allclose(soft_nll(logits, target, divergence=True), expected, atol=1e-5)
    assert float(soft_nll(target, target, divergence=True).abs().max()) < 1e-5


def test_soft_loss_leaves_its_target_alone() -> None:
    logits, target, tokens = soft(2)
    kept = target.clone()
    soft_nll(logits, target.requires_grad_(True), tokens, float("-inf")).sum().backward()
    assert torch.equal(target, kept)
    assert target.grad is None


def test_soft_loss_in_bfloat16_keeps_the_number_format_of_the_logits() -> None:
    logits, target, _ = soft(3)
    low = logits.detach().bfloat16().requires_grad_(True)
    loss = soft_nll(low, target.bfloat16())
    loss.sum().backward()
    assert (loss.dtype, low.grad.dtype) == (torch.float32, torch.bfloat16)  # type: ignore[union-attr]
    assert torch.allclose(loss, soft_nll(logits, target), atol=0.1)


# -- references


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_references_are_before_and_the_base_while_after_is_trained(
    bench_of: Callable[..., Bench], architecture: str
) -> None:
    """Asked inside a step, with the fused layers of "after" in place."""
    bench = bench_of(architecture)
    bench.adapters.copy("before", "after")
    randomize(bench.adapters, "after", seed=7)
    made = Context(bench.adapters, [c.name for c in bench.adapters.cells], supply(bench), seed=0)
    with bench.adapters.trainable("after", made.parameters), bench.adapters.active("after"):
        made.load(1, {FORGET: bench.unlearn})
        by_voice = {"before": made.forget.reference_logits("before"), "never": made.forget.reference_logits("never")}
        by_voice["after"] = made.forget.logits.detach()
        nll = {voice: made.forget.reference_nll(voice) for voice in ("before", "never")}
        assert all(p.requires_grad for p in made.parameters.values())
    for voice, logits in by_voice.items():
        model = plain_model(bench.adapters, "before" if voice == "before" else "after")
        with torch.no_grad():
            if voice == "never":
                with model.disable_adapter():
                    expected = torch.cat([rows(model, e) for e in bench.unlearn])
            else:
                expected = torch.cat([rows(model, e) for e in bench.unlearn])
        model.requires_grad_(False)
        assert torch.allclose(logits.float(), expected, atol=2e-4), voice
        if voice in nll:
            assert torch.allclose(nll[voice], F.cross_entropy(expected, made.forget.targets, reduction="none"), atol=2e-4)


def test_references_of_an_adapter_on_the_output_layer_are_its_own(tiny_llama: Path, tiny_data: Path) -> None:
    bench = make_bench(tiny_llama, tiny_data, targets=("q_proj", "down_proj", "lm_head"))
    bench.adapters.copy("before", "after")
    randomize(bench.adapters, "after", seed=7)
    made = Context(bench.adapters, [c.name for c in bench.adapters.cells], supply(bench), seed=0)
    with bench.adapters.trainable("after", made.parameters), bench.adapters.active("after"):
        made.load(1, {FORGET: bench.unlearn})
        by_voice = {voice: made.forget.reference_logits(voice) for voice in ("before", "never")}
    assert made.lowest == 0
    for voice, logits in by_voice.items():
        with torch.no_grad(), bench.adapters.active("before" if voice == "before" else None) as model:
            assert torch.allclose(logits.float(), torch.cat([rows(model, e) for e in bench.unlearn]), atol=2e-4), voice


def rows(model: torch.nn.Module, e: Encoded) -> torch.Tensor:
    """Logits at one example's answer positions, from a plain pass."""
    logits: torch.Tensor = model(input_ids=torch.tensor([e.ids])).logits
    return logits[0, e.start - 1 : -1].float()


def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the number of examples at each forward pass."""
    seen, run = list[int](), references.run

    def counted(adapters: Adapters, batch: Batch, layers: dict[int, torch.Tensor], prefix: Prefix | None) -> torch.Tensor:
        seen.append(len(batch))
        return run(adapters, batch, layers, prefix)

    for module in (step_context, references):
        monkeypatch.setattr(module, "run", counted)
    return seen


def test_a_reference_is_computed_once_for_each_example(
    bench: Bench, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = passes(monkeypatch)
    with bench.adapters.active("after"):
        first = context.forget.reference_logits("before")
        context.forget.kl_from("before")
        context.forget.reference_nll("before")
        context.load(2, {FORGET: bench.unlearn[:2], RETAIN: bench.retention})
        again = context.forget.reference_logits("before")
    assert seen == [len(bench.unlearn), len(bench.unlearn) + len(bench.retention)]  # and one pass of "after" for the KL
    assert torch.equal(again, first[: len(again)])


def test_whatever_is_computed_once_is_remembered_by_example(bench: Bench, context: Context) -> None:
    asked: list[str] = []

    def lengths(members: list[Encoded], targets: torch.Tensor) -> torch.Tensor:
        asked.extend(m.id for m in members)
        return targets * 10

    assert torch.equal(context.forget.once("x", lengths), context.forget.targets * 10)  # type: ignore[arg-type]
    context.load(2, {FORGET: [bench.unlearn[1], bench.unlearn[0]]})
    assert torch.equal(context.forget.once("x", lengths), context.forget.targets * 10)  # type: ignore[arg-type]
    assert asked == [e.id for e in bench.unlearn]


# -- the model now


def test_all_streams_share_one_pass_until_the_parameters_change(
    bench: Bench, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = passes(monkeypatch)
    both = len(bench.unlearn) + len(bench.retention)
    with bench.adapters.active("after"), torch.no_grad():
        old = context.forget.loss()
        context.retain.loss()
        context.retain.nll_of(context.retain.random_labels())
        assert seen == [both]
        randomize(bench.adapters, "after", seed=8)
        assert torch.equal(context.forget.loss(), old)
        context.again()
        assert not torch.equal(context.forget.loss(), old)
    assert seen == [both, both]


def test_losses_and_their_gradient_do_not_depend_on_which_streams_are_read(bench: Bench, context: Context) -> None:
    """The logits are cut once for all streams; what is not read gives no gradient."""
    with bench.adapters.trainable("after", context.parameters), bench.adapters.active("after"):
        context.forget.loss().mean().backward()
        by_name = gradients(bench.adapters, "after")
    model = plain_model(bench.adapters, "after")
    for e in bench.unlearn:
        (example_loss(model, e) / len(bench.unlearn)).backward()
    for name, gradient in gradients(bench.adapters, "after").items():
        assert torch.allclose(by_name[name], gradient, atol=1e-4), name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_hidden_states_are_those_after_a_layer(bench_of: Callable[..., Bench], architecture: str) -> None:
    bench = bench_of(architecture)
    bench.adapters.copy("before", "after")
    made = Context(bench.adapters, [bench.adapters.cells[0].name], supply(bench), seed=0)
    with bench.adapters.active("after"), torch.no_grad():
        made.load(1, {FORGET: bench.unlearn})
        logits = made.forget.logits
        hidden = made.forget.hidden(0)
        assert torch.allclose(made.forget.logits, logits, atol=1e-5)
        reference = made.forget.reference_hidden(0)
    model = plain_model(bench.adapters, "before")
    with torch.no_grad():
        states = [
            model(input_ids=torch.tensor([e.ids]), output_hidden_states=True).hidden_states[1][0, e.start - 1 : -1]
            for e in bench.unlearn
        ]
    model.requires_grad_(False)
    assert torch.allclose(hidden, torch.cat(states).float(), atol=2e-4)
    assert torch.allclose(reference, hidden, atol=2e-4)


def test_a_layer_that_does_not_exist_is_one_sentence(context: Context) -> None:
    with pytest.raises(UserError, match="no layer 7"):
        context.block(7)


def test_sums_means_and_owners(bench: Bench, context: Context) -> None:
    part = context.retain
    ones = torch.ones(len(part.targets))
    lengths = [float(len(e.answer)) for e in bench.retention]
    assert part.sum(ones).tolist() == lengths
    assert part.mean(ones).tolist() == [1.0] * len(lengths)
    assert part.owners.tolist() == [i for i, e in enumerate(bench.retention) for _ in e.answer]
    assert part.targets.tolist() == [t for e in bench.retention for t in e.answer]


def test_random_labels_are_drawn_anew_from_the_words_alone(bench: Bench, context: Context) -> None:
    first, second = context.forget.random_labels(), context.forget.random_labels()
    assert not torch.equal(first, second)
    ends = torch.tensor([token for e in bench.unlearn for token in [0] * (len(e.answer) - 1) + [1]]).bool()
    assert set(first[~ends].tolist()) | set(second[~ends].tolist()) <= set(bench.words.tolist())
    assert set(first[ends].tolist()) | set(second[ends].tolist()) == set(bench.ends)
    context.supply = dataclasses.replace(context.supply, words=None)
    with pytest.raises(UserError, match="vocabulary"):
        context.forget.random_labels()


@pytest.mark.parametrize("stream", [FORGET, RETAIN])
def test_gradient_of_a_whole_scope(bench: Bench, context: Context, stream: str) -> None:
    with bench.adapters.trainable("after", context.parameters), bench.adapters.active("after"):
        by_name = context.gradient(stream, size=2)
        assert all(p.grad is None for p in context.parameters.values())
    model, members = plain_model(bench.adapters, "after"), bench.unlearn if stream == FORGET else bench.retention
    for e in members:
        (example_loss(model, e) / len(members)).backward()
    for name, gradient in gradients(bench.adapters, "after").items():
        assert torch.allclose(by_name[name], gradient, atol=1e-4), name


# -- the supply


def test_supply_says_what_is_missing(bench: Bench) -> None:
    given = supply(bench)
    given.check("memflex", (FORGET, RETAIN))
    with pytest.raises(UserError, match="needs general text"):
        given.check("grad-diff-ood", (FORGET, GENERAL))
    with pytest.raises(UserError, match="needs a refusal"):
        given.check("dpo", (FORGET, REFUSAL))


def test_fingerprint_changes_with_anything_a_method_may_train_on(bench: Bench) -> None:
    given = supply(bench)
    other = Encoded("g", (5, 6, 7), 1)
    variants = [
        given,
        dataclasses.replace(given, forget=given.forget[1:]),
        dataclasses.replace(given, retain=given.retain[1:]),
        dataclasses.replace(given, general=[other]),
        dataclasses.replace(given, refusals={given.forget[0].id: other}),
        dataclasses.replace(given, earlier=[{"a": torch.ones(2)}]),
        dataclasses.replace(given, earlier=[{"a": torch.zeros(2)}]),
    ]
    assert len({v.fingerprint() for v in variants}) == len(variants)
    assert given.fingerprint() == supply(bench).fingerprint()


@pytest.mark.parametrize(
    ("one", "other", "places"),
    [
        ([1, 2, 3], [1, 2, 3], [0, 1, 2]),
        ([7, 2, 3], [8, 9, 2, 3], [None, 2, 3]),
        ([1, 7, 7, 3], [1, 8, 3], [0, None, None, 2]),
        ([5, 5], [5, 5, 5], [0, 1]),
        ([1, 2], [3, 4], [None, None]),
    ],
)
def test_answers_that_differ_by_a_name_are_laid_side_by_side(
    one: list[int], other: list[int], places: list[int | None]
) -> None:
    assert aligned(one, other) == places


def test_the_reference_about_others_has_their_logits_where_answers_correspond(bench: Bench) -> None:
    """And before's own at a name, and for an example that has no twin."""
    first, second = bench.unlearn[:2]
    twin = Encoded(
        f"{first.id}/other",
        (*first.ids[: first.start], first.ids[first.start] + 1, *first.ids[first.start + 1 :]),
        first.start,
    )
    supply = Supply(bench.unlearn, bench.retention, invented={first.id: twin})
    bench.adapters.copy("before", "after")
    context = Context(bench.adapters, [c.name for c in bench.adapters.cells], supply, 0)
    with bench.adapters.active("after"):
        found = context.reference("invented", [first, second])
        own, theirs = (context.reference("before", [e]) for e in (first, twin))
        alone = context.reference("before", [second])
    assert torch.equal(found, torch.cat([own[:1], theirs[1:], alone]))
