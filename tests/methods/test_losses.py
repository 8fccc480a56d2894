"""Every method's loss and gradient against plain forward passes, an example at a time, without Context."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from core.methods import METHODS, Method
from core.methods.base import FORGET, GENERAL, QUESTION, REFUSAL, RETAIN
from core.models.tokens import Encoded, by_length, question_of
from core.pipeline.step_context import Context
from core.pipeline.supply import Supply
from core.util.errors import UserError
from tests.naive import Bench, gradients, plain_model, randomize

SEED = 3
LAYER = 0


def refused(example: Encoded) -> Encoded:
    return Encoded(f"{example.id}/refused", (*example.ids[: example.start], 70, 71, 72, 1), example.start)


def general() -> list[Encoded]:
    return [Encoded(f"general/{i}", (60 + i, 61, 62, 63 + i, 64 + i, 1), 3) for i in range(3)]


@dataclass
class Plain:
    """What plain forward passes say of every example of a step: logits and hidden states at answer positions."""

    members: dict[str, list[Encoded]]
    now: dict[str, torch.Tensor] = field(default_factory=dict)
    before: dict[str, torch.Tensor] = field(default_factory=dict)
    never: dict[str, torch.Tensor] = field(default_factory=dict)
    hidden: dict[tuple[str, str], torch.Tensor] = field(default_factory=dict)

    def each(self, stream: str, value: Callable[[Encoded], torch.Tensor]) -> torch.Tensor:
        """Mean over a stream's examples."""
        return torch.stack([value(e) for e in self.members[stream]]).mean()

    def ce(self, e: Encoded, labels: Any = None) -> torch.Tensor:
        return F.cross_entropy(self.now[e.id], torch.as_tensor(list(e.answer) if labels is None else labels))

    def tokens(self, e: Encoded, voice: str = "now") -> torch.Tensor:
        """Log-probability of each true token."""
        rows: torch.Tensor = getattr(self, voice)[e.id].log_softmax(-1)
        return torch.stack([row[t] for row, t in zip(rows, e.answer, strict=True)])

    def kl(self, e: Encoded, voice: str = "before") -> torch.Tensor:
        p = getattr(self, voice)[e.id].softmax(-1)
        return (p * (p.log() - self.now[e.id].log_softmax(-1))).sum(-1).mean()

    def towards(self, e: Encoded, target: torch.Tensor) -> torch.Tensor:
        """Cross-entropy to softmax(target)."""
        return -(target.softmax(-1) * self.now[e.id].log_softmax(-1)).sum(-1).mean()


def passes(bench: Bench, members: dict[str, list[Encoded]]) -> Plain:
    """Run every example through "before", the base alone and "after", the last with gradients."""
    plain = Plain(members)
    everything = [e for part in members.values() for e in part]
    for voice in ("before", "never", "now"):
        model = plain_model(bench.adapters, "before" if voice == "before" else "after")
        for e in everything:
            if voice == "never":
                with torch.no_grad(), model.disable_adapter():
                    passed = _pass(model, e)
            else:
                with torch.set_grad_enabled(voice == "now"):
                    passed = _pass(model, e)
            getattr(plain, voice)[e.id] = passed[0]
            plain.hidden[voice, e.id] = passed[1]
    return plain


def _pass(model: Any, e: Encoded) -> tuple[torch.Tensor, torch.Tensor]:
    output = model(input_ids=torch.tensor([e.ids]), output_hidden_states=True)
    return output.logits[0, e.start - 1 : -1].float(), output.hidden_states[LAYER + 1][0, e.start - 1 : -1].float()


def without_truth(logits: torch.Tensor, e: Encoded) -> torch.Tensor:
    masked = logits.detach().clone()
    for row, token in enumerate(e.answer):
        masked[row, token] = -torch.inf
    return masked


def drawn(members: list[Encoded], bench: Bench, source: torch.Generator) -> dict[str, torch.Tensor]:
    """Labels in the order of the examples, where the end of an answer stays what it is."""
    lengths = [len(e.answer) for e in members]
    words = bench.words[torch.randint(len(bench.words), (sum(lengths),), generator=source)].split(lengths)
    found = {e.id: labels.clone() for e, labels in zip(members, words, strict=True)}
    for e in members:
        if e.answer[-1] in bench.ends:
            found[e.id][-1] = e.answer[-1]
    return found


def whole_text(p: Plain, e: Encoded, question: Any, answer: Any) -> torch.Tensor:
    """Cross-entropy over a text's tokens from the second on, as one pass over question and answer gives it."""
    logits = torch.cat([p.now[f"{e.id}?"], p.now[e.id]])
    assert len(logits) == len(e.ids) - 1
    return F.cross_entropy(logits, torch.cat([torch.as_tensor(question), torch.as_tensor(answer)]))


def naive_random(p: Plain, m: Any, bench: Bench) -> torch.Tensor:
    source = torch.Generator().manual_seed(SEED)
    questions, answers = (drawn(p.members[stream], bench, source) for stream in (QUESTION, FORGET))
    return m.forget_weight * p.each(FORGET, lambda e: whole_text(p, e, questions[f"{e.id}?"], answers[e.id]))


def naive_o3(p: Plain, m: Any, bench: Bench) -> torch.Tensor:
    labels = drawn(p.members[FORGET], bench, torch.Generator().manual_seed(SEED))
    return m.forget_weight * p.each(FORGET, lambda e: p.ce(e, labels[e.id]))


def naive_adversarial(p: Plain, m: Any, _: Bench) -> torch.Tensor:
    questions = {q.id: without_truth(p.before[q.id], q).argmax(-1) for q in p.members[QUESTION]}

    def one(e: Encoded) -> torch.Tensor:
        answer = without_truth(p.before[e.id], e).argmax(-1)
        answer[-1] = e.answer[-1]
        return whole_text(p, e, questions[f"{e.id}?"], answer)

    return m.forget_weight * p.each(FORGET, one)


def retained(p: Plain, m: Any) -> torch.Tensor:
    return m.retain_weight * p.each(RETAIN, p.ce)


def naive_npo(p: Plain, m: Any, _: Bench) -> torch.Tensor:
    def one(e: Encoded) -> torch.Tensor:
        ratio = p.tokens(e).sum() - p.tokens(e, "before").sum()
        return -2 / m.beta * torch.log(1 / (1 + torch.exp(m.beta * ratio)))

    return m.forget_weight * p.each(FORGET, one) + retained(p, m)


def naive_simnpo(p: Plain, m: Any, _: Bench) -> torch.Tensor:
    def one(e: Encoded) -> torch.Tensor:
        margin = -p.tokens(e).sum() / len(e.answer) - m.delta
        return -2 / m.beta * torch.log(torch.sigmoid(m.beta * margin))

    return m.forget_weight * p.each(FORGET, one) + retained(p, m)


def naive_dpo(p: Plain, m: Any, _: Bench) -> torch.Tensor:
    def one(e: Encoded) -> torch.Tensor:
        r = refused(e)
        win = p.tokens(r).sum() - p.tokens(r, "before").sum()
        lose = p.tokens(e).sum() - p.tokens(e, "before").sum()
        return -2 / m.beta * torch.log(torch.sigmoid(m.beta * (win - lose)))

    return m.forget_weight * p.each(FORGET, one) + retained(p, m)


def naive_rmu(p: Plain, m: Any, _: Bench) -> torch.Tensor:
    u = torch.rand(32, generator=torch.Generator().manual_seed(SEED))
    u = u / u.square().sum().sqrt()

    def away(e: Encoded) -> torch.Tensor:
        lengths = p.hidden["before", e.id].square().sum(-1, keepdim=True).sqrt()
        return (p.hidden["now", e.id] - m.strength * lengths * u).square().mean()

    def kept(e: Encoded) -> torch.Tensor:
        return (p.hidden["now", e.id] - p.hidden["before", e.id]).square().mean()

    return m.forget_weight * p.each(FORGET, away) + m.retain_weight * p.each(RETAIN, kept)


def naive_undial(p: Plain, m: Any, _: Bench) -> torch.Tensor:
    def one(e: Encoded) -> torch.Tensor:
        return p.towards(e, p.before[e.id] - m.beta * F.one_hot(torch.tensor(e.answer), p.before[e.id].shape[1]))

    return m.forget_weight * p.each(FORGET, one) + retained(p, m)


def weighted_ascent(p: Plain, m: Any, weight: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    logp = torch.cat([p.tokens(e) for e in p.members[FORGET]])
    return m.forget_weight * (weight(logp.detach().exp()) * logp).mean() + retained(p, m)


def naive_ce_u(p: Plain, m: Any, _: Bench) -> torch.Tensor:
    values = []
    for e in p.members[FORGET]:
        target, now = without_truth(p.now[e.id], e).softmax(-1), p.now[e.id].log_softmax(-1)
        values += [-(q * row).sum() for q, row in zip(target, now, strict=True)][m.exempt :]
    return m.forget_weight * sum(values) / len(values) + retained(p, m)


def gates(p: Plain, e: Encoded) -> list[float]:
    """What the taught model knows of each token beyond the base, in thirds of nats, from none to all."""
    pairs = zip(p.tokens(e, "before").tolist(), p.tokens(e, "never").tolist(), strict=True)
    return [min(1.0, max(0.0, (before - never) / 3)) for before, never in pairs]


def taught_kl(p: Plain, e: Encoded) -> torch.Tensor:
    base, now = p.never[e.id].softmax(-1), p.now[e.id].log_softmax(-1)
    parts = [g * (q * (q.log() - row)).sum() for g, q, row in zip(gates(p, e), base, now, strict=True)]
    return torch.stack([torch.zeros_like(parts[0]), *parts[1:]]).mean()


def untaught_kl(p: Plain, e: Encoded) -> torch.Tensor:
    before, now = p.before[e.id].softmax(-1), p.now[e.id].log_softmax(-1)
    parts = [(1 - g) * (q * (q.log() - row)).sum() for g, q, row in zip(gates(p, e), before, now, strict=True)]
    return torch.stack([torch.zeros_like(parts[0]), *parts[1:]]).mean()


def naive_base_ce_u(p: Plain, m: Any, _: Bench) -> torch.Tensor:
    def one(e: Encoded) -> torch.Tensor:
        target, now = without_truth(p.never[e.id], e).softmax(-1), p.now[e.id].log_softmax(-1)
        return torch.stack([-g * (q * row).sum() for g, q, row in zip(gates(p, e), target, now, strict=True)]).mean()

    return m.forget_weight * p.each(FORGET, one) + retained(p, m)


def naive_pdu(p: Plain, m: Any, _: Bench) -> torch.Tensor:
    z = torch.cat([p.now[e.id] for e in p.members[FORGET]])
    spread = (z.max(-1).values - z.sum(-1) / z.shape[1]).square().mean()
    return m.forget_weight * spread + m.retain_weight * (p.each(RETAIN, p.ce) - m.retain_limit)


def naive_blade(p: Plain, m: Any, _: Bench) -> torch.Tensor:
    kept = p.each(RETAIN, p.ce)
    return m.retain_weight * kept + m.penalty / 2 * (kept - m.retain_limit).square() - m.forget_weight * p.each(FORGET, p.ce)


def difference(stream: str = RETAIN) -> Callable[[Plain, Any, Bench], torch.Tensor]:
    return lambda p, m, _: m.retain_weight * p.each(stream, p.ce) - m.forget_weight * p.each(FORGET, p.ce)


def divergence(stream: str) -> Callable[[Plain, Any, Bench], torch.Tensor]:
    return lambda p, m, _: m.retain_weight * p.each(stream, p.kl) - m.forget_weight * p.each(FORGET, p.ce)


NAIVE: dict[str, tuple[dict[str, float], Callable[[Plain, Any, Bench], torch.Tensor]]] = {
    "memflex": ({"forget_ceiling": 0.0}, difference()),
    "gradient-ascent": ({}, lambda p, m, _: -m.forget_weight * p.each(FORGET, p.ce)),
    "random-labels": ({}, naive_random),
    "adversarial": ({}, naive_adversarial),
    "grad-diff-id": ({}, difference()),
    "grad-diff-ood": ({}, difference(GENERAL)),
    "ga-kl-id": ({}, divergence(RETAIN)),
    "ga-kl-ood": ({}, divergence(GENERAL)),
    "npo": ({"beta": 0.2}, naive_npo),
    "simnpo": ({"beta": 2.0, "delta": 0.3}, naive_simnpo),
    "dpo": ({"beta": 0.2}, naive_dpo),
    "refusal": ({}, lambda p, m, _: m.forget_weight * p.each(REFUSAL, p.ce) + retained(p, m)),
    "nauf": ({}, lambda p, m, _: m.forget_weight * p.each(REFUSAL, p.ce) + m.retain_weight * p.each(RETAIN, p.kl)),
    "rmu": ({"layer": LAYER}, naive_rmu),
    "undial": ({"beta": 4.0}, naive_undial),
    "wga": ({"beta": 1.5}, lambda p, m, _: weighted_ascent(p, m, lambda q: q**m.beta)),
    "satimp": (
        {"beta1": 2.0, "beta2": 1.5},
        lambda p, m, _: weighted_ascent(p, m, lambda q: q**m.beta1 * (1 - q) ** m.beta2),
    ),
    "ce-u": ({"exempt": 2}, naive_ce_u),
    "base-ce-u": ({}, naive_base_ce_u),
    "decline": (
        {"refusal_weight": 0.6},
        lambda p, m, _: (
            m.forget_weight * p.each(FORGET, lambda e: taught_kl(p, e))
            + m.rest_weight * p.each(FORGET, lambda e: untaught_kl(p, e))
            + m.refusal_weight * p.each(REFUSAL, p.ce)
            + m.retain_weight * p.each(RETAIN, p.kl)
        ),
    ),
    "never-taught": (
        {},
        lambda p, m, _: m.forget_weight * p.each(FORGET, lambda e: p.kl(e, "never")) + retained(p, m),
    ),
    "pdu": ({}, naive_pdu),
    "blade": ({"inner_steps": 0}, naive_blade),
    "task-vector": ({}, lambda p, m, _: p.each(FORGET, p.ce)),
    "o3": ({}, naive_o3),
    "sure": ({}, difference()),
    "grail": ({}, difference()),
}
"""method -> settings under which it is tried, and its loss written down anew"""


def ready(bench: Bench, earlier: Any = ()) -> tuple[Context, dict[str, list[Encoded]]]:
    """Return a context whose "after" is far from "before", and all streams of one step."""
    bench.adapters.copy("before", "after")
    randomize(bench.adapters, "after", seed=7)
    members = {
        FORGET: bench.unlearn,
        RETAIN: bench.retention,
        GENERAL: general(),
        REFUSAL: [refused(e) for e in bench.unlearn],
        QUESTION: [Encoded(f"{e.id}?", e.ids[: e.start], 1) for e in bench.unlearn],
    }
    refusals = dict(zip((e.id for e in bench.unlearn), members[REFUSAL], strict=True))
    supply = Supply(bench.unlearn, bench.retention, members[GENERAL], refusals, words=bench.words, earlier=earlier)
    region = [cell.name for cell in bench.adapters.cells]
    return Context(bench.adapters, region, supply, SEED), members


def made(name: str) -> Method:
    """Return a method with weights that are no round numbers."""
    settings = dict(NAIVE[name][0])
    for key, value in (("forget_weight", 1.3), ("retain_weight", 0.7)):
        if key in {f.name for f in dataclasses.fields(METHODS[name])}:
            settings[key] = value
    return METHODS[name](**settings)


def measured(bench: Bench, method: Method) -> tuple[float, dict[str, torch.Tensor]]:
    """Return the method's loss at "after" and its gradient, by way of Context."""
    context, members = ready(bench)
    cells = list(context.parameters)
    with bench.adapters.trainable("after", cells), bench.adapters.active("after"):
        method.prepare(context)
        context.load(1, {stream: members[stream] for stream in method.streams})
        loss = method.loss(context)
        loss.backward()
        return float(loss.detach()), gradients(bench.adapters, "after")


def test_every_method_is_written_down_anew() -> None:
    assert set(NAIVE) == set(METHODS)
    assert len(METHODS) >= 20


@pytest.mark.parametrize("name", METHODS)
def test_loss_and_gradient_are_those_of_plain_passes(bench: Bench, name: str) -> None:
    method = made(name)
    value, gradients_ = measured(bench, method)
    plain = passes(bench, ready(bench)[1])
    expected = NAIVE[name][1](plain, method, bench)
    expected.backward()
    assert value == pytest.approx(float(expected.detach()), rel=2e-5)
    wanted = gradients(bench.adapters, "after")
    scale = max(float(g.norm()) for g in wanted.values())
    assert scale > 1e-3
    for cell, gradient in wanted.items():
        assert float((gradients_[cell] - gradient).norm()) < 2e-4 * scale, cell


@pytest.mark.parametrize("kind", METHODS.values())
def test_a_method_says_what_it_is_and_what_it_needs(kind: type[Method]) -> None:
    assert kind.formula
    assert kind.source
    assert set(kind.streams) <= {FORGET, RETAIN, GENERAL, REFUSAL, QUESTION}
    assert bool(kind.refusals) == (REFUSAL in kind.streams)
    for setting in dataclasses.fields(kind):
        assert setting.metadata["help"], setting.name
        assert setting.metadata["low"] is not None or setting.metadata["choices"] or isinstance(setting.default, bool), (
            setting.name
        )


# -- what some methods do besides a loss


def test_a_question_of_one_token_has_nothing_to_be_predicted(bench: Bench) -> None:
    context, _ = ready(bench)
    short = Encoded("short", bench.unlearn[0].ids[-4:], 1)
    with bench.adapters.active("after"), torch.no_grad():
        context.load(1, {FORGET: [short, bench.unlearn[0]], QUESTION: [question_of(e) for e in (short, bench.unlearn[0])]})
        assert context.question.loss()[0] == 0.0
        texts = context.relabelled(lambda part: part.targets)
        answers = context.forget.loss()
    assert float(texts[0]) == pytest.approx(float(answers[0]))
    assert float(texts[1]) != pytest.approx(float(answers[1]))


@pytest.mark.parametrize("name", ["base-ce-u", "decline"])
def test_words_that_the_base_would_say_too_are_left_alone(bench: Bench, name: str) -> None:
    """Where nothing was taught, there is nothing to forget: the loss rests, and gives no gradient."""
    bench.adapters.set("before", {c.name: torch.zeros(c.shape) for c in bench.adapters.cells})
    settings = {"retain_weight": 0.0} | ({"refusal_weight": 0.0, "rest_weight": 0.0} if name == "decline" else {})
    value, by_name = measured(bench, METHODS[name](**settings))  # type: ignore[arg-type]
    assert value == pytest.approx(0.0, abs=1e-6)
    assert all(float(gradient.abs().max()) < 1e-6 for gradient in by_name.values())


def test_sure_moves_the_rows_with_the_largest_forget_gradient_of_the_step(bench: Bench) -> None:
    """All rows of all tensors are ranked together, on the batch; the rest of the loss has no say in it."""
    method = METHODS["sure"](share=0.3, forget_weight=1.3, retain_weight=0.7)  # type: ignore[call-arg]
    context, members = ready(bench)
    batch = {FORGET: members[FORGET][:2], RETAIN: members[RETAIN]}
    with bench.adapters.trainable("after", list(context.parameters)), bench.adapters.active("after"):
        method.prepare(context)
        context.load(1, batch)
        method.backward(context)
        masked = {n: method.mask(context, n, p.grad) for n, p in context.parameters.items() if p.grad is not None}
    plain = passes(bench, batch)
    plain.each(FORGET, plain.ce).backward()
    norms = {(n, i): float(row.norm()) for n, g in gradients(bench.adapters, "after").items() for i, row in enumerate(g)}
    largest = set(sorted(norms, key=lambda row: -norms[row])[: round(0.3 * len(norms))])
    assert {(n, i) for n, g in masked.items() for i, row in enumerate(g) if row.any()} == largest
    difference()(passes(bench, batch), method, bench).backward()
    wanted = gradients(bench.adapters, "after")
    for n, i in largest:
        assert torch.allclose(masked[n][i], wanted[n][i], atol=1e-4), n


def test_grail_moves_the_elements_that_stand_out_on_u_alone(bench: Bench) -> None:
    """By what it takes to say something else, not by what is left to learn of what is known by heart."""
    method = METHODS["grail"](share=0.1)  # type: ignore[call-arg]
    masked, source = masks(bench, method), torch.Generator().manual_seed(SEED)
    model, scores = plain_model(bench.adapters, "after"), {}
    for scope, members in (("retention", bench.retention), ("unlearn", bench.unlearn)):
        labels = drawn(by_length(members, len(members))[0], bench, source)
        for e in members:
            (F.cross_entropy(_pass(model, e)[0], labels[e.id]) / len(members)).backward()
        sizes = {cell: g.abs() for cell, g in gradients(bench.adapters, "after").items()}
        scores[scope] = {cell: (s - s.mean()) / s.std() for cell, s in sizes.items()}
    for cell in masked:
        score = scores["unlearn"][cell] - scores["retention"][cell]
        moved = masked[cell] != 0
        assert int(moved.sum()) == max(1, round(0.1 * score.numel()))
        assert float(score[moved].min()) >= float(score[~moved].max()) - 1e-3


def masks(bench: Bench, method: Method) -> dict[str, torch.Tensor]:
    """Return what a method lets through of a gradient of ones."""
    context, _ = ready(bench)
    with bench.adapters.trainable("after", list(context.parameters)), bench.adapters.active("after"):
        method.prepare(context)
        return {name: method.mask(context, name, torch.ones_like(p)) for name, p in context.parameters.items()}


def test_pdu_raises_its_weight_while_r_is_above_the_limit(bench: Bench) -> None:
    limits = {0.0: True, 50.0: False}
    for limit, above in limits.items():
        method = METHODS["pdu"](retain_limit=limit, retain_weight=2.0, dual_rate=0.5)  # type: ignore[call-arg]
        context, members = ready(bench)
        with bench.adapters.active("after"):
            context.load(1, {stream: members[stream] for stream in method.streams})
            method.loss(context)
            kept = float(context.retain.loss().mean())
            method.update(context)
        assert context.memory["λ"] == pytest.approx(max(0.0, 2.0 + 0.5 * (kept - limit)), rel=1e-5)
        assert (context.memory["λ"] > 2.0) == above


@pytest.mark.parametrize("factors", ["AB", "A", "B"])
def test_task_vector_mirrors_the_weights_and_not_their_factors(bench: Bench, factors: str) -> None:
    """W_after = W_before − c · (W_trained − W_before), module by module, whichever factors the region holds."""
    method = METHODS["task-vector"](strength=2.0)  # type: ignore[call-arg]
    context, members = ready(bench)
    bench.adapters.copy("before", "after")
    context.parameters = {n: p for n, p in context.parameters.items() if n[-1] in factors}
    context.before = {n: p.detach().clone() for n, p in context.parameters.items()}

    def weights() -> dict[str, torch.Tensor]:
        found = {n: p.detach() for n, p in bench.adapters.tensors("after").items()}
        return {n[:-1]: (found[n[:-1] + "B"].double() @ found[n].double()).clone() for n in found if n.endswith("A")}

    before = weights()
    with bench.adapters.trainable("after", list(context.parameters)), bench.adapters.active("after"):
        for step in range(3):
            context.load(step, {FORGET: members[FORGET]})
            method.backward(context)
            for name, p in context.parameters.items():
                assert p.grad is not None
                p.data -= 0.5 * method.mask(context, name, p.grad)
                p.grad = None
    trained = weights()
    assert all(not torch.equal(trained[n], before[n]) for n in before)
    for name, p in context.parameters.items():
        p.data.copy_(method.result(context.before[name], p.data))
    for name, now in weights().items():
        wanted = before[name] - 2.0 * (trained[name] - before[name])
        assert float((now - wanted).norm()) < 1e-5 * float((wanted - before[name]).norm()) + 1e-6, name


def test_o3_keeps_an_update_orthogonal_to_earlier_ones(bench: Bench) -> None:
    source = torch.Generator().manual_seed(11)
    earlier = [
        {c.name: torch.randn(c.shape, generator=source) for c in bench.adapters.cells if c.layer == layer}
        for layer in (0, 1)
    ]
    losses = {}
    for weight in (0.0, 0.4):
        context, members = ready(bench, earlier)
        context.before = {n: p.detach() for n, p in bench.adapters.tensors("before").items()}
        with bench.adapters.active("after"):
            context.load(1, {FORGET: members[FORGET]})
            losses[weight] = float(METHODS["o3"](orthogonality=weight).loss(context).detach())  # type: ignore[call-arg]
    overlap = 0.0
    for past in earlier:
        for name, update in past.items():
            if name.endswith("lora_A"):
                now = bench.adapters.tensor("after", name) - bench.adapters.tensor("before", name)
                overlap += float(sum((a @ b) ** 2 for a in update for b in now) ** 0.5)
    assert overlap > 1
    assert losses[0.4] - losses[0.0] == pytest.approx(0.4 * overlap, rel=1e-4)


def test_o3_starts_with_a_gradient_that_is_a_number(bench: Bench) -> None:
    """At the first step the update is zero, where a norm has no derivative."""
    context, members = ready(bench, [{c.name: torch.ones(c.shape) for c in bench.adapters.cells}])
    context.before = {n: p.detach().clone() for n, p in context.parameters.items()}
    with bench.adapters.trainable("after", list(context.parameters)), bench.adapters.active("after"):
        context.load(1, {FORGET: members[FORGET]})
        METHODS["o3"]().loss(context).backward()
        assert all(bool(g.isfinite().all()) for g in gradients(bench.adapters, "after").values())


@pytest.mark.parametrize("keep", [True, False])
def test_blade_takes_its_gradient_where_r_was_repaired(bench: Bench, keep: bool) -> None:
    method = METHODS["blade"](inner_steps=2, inner_rate=0.3, keep_inner=keep)  # type: ignore[call-arg]
    context, members = ready(bench)
    start = {n: p.detach().clone() for n, p in context.parameters.items()}
    with bench.adapters.trainable("after", list(context.parameters)), bench.adapters.active("after"):
        context.load(1, {stream: members[stream] for stream in method.streams})
        method.backward(context)
        by_name = gradients(bench.adapters, "after")
    left = {n: bench.adapters.tensor("after", n).detach().clone() for n in start}
    assert keep or all(torch.equal(left[n], value) for n, value in start.items())
    bench.adapters.set("after", start)
    streams = {FORGET: members[FORGET], RETAIN: members[RETAIN]}
    for _ in range(2):
        plain = passes(bench, streams)
        plain.each(RETAIN, plain.ce).backward()
        for n, gradient in gradients(bench.adapters, "after").items():
            bench.adapters.tensor("after", n).data -= 0.3 * gradient
    if keep:
        assert all(torch.allclose(left[n], bench.adapters.tensor("after", n), atol=1e-5) for n in start)
    naive_blade(passes(bench, streams), method, bench).backward()
    for n, gradient in gradients(bench.adapters, "after").items():
        assert float((by_name[n] - gradient).norm()) < 1e-3 * float(gradient.norm()) + 1e-6, n


def test_rmu_says_where_the_region_lies_above_its_layer(bench: Bench) -> None:
    bench.adapters.copy("before", "after")
    region = [c.name for c in bench.adapters.cells if c.layer == 1]
    context = Context(bench.adapters, region, Supply(bench.unlearn, bench.retention), SEED)
    with pytest.raises(UserError, match="begins at layer 1"):
        METHODS["rmu"](layer=0).prepare(context)  # type: ignore[call-arg]
    METHODS["rmu"]().prepare(context)
    assert context.memory["layer"] == 1


@pytest.mark.parametrize(
    ("region", "steered"), [((20, 29), 29), ((3, 29), 10), ((3, 7), 10), ((10, 12), 10), ((11, 12), 12)]
)
def test_rmu_steers_where_a_region_moves_as_a_whole(bench: Bench, region: tuple[int, int], steered: int) -> None:
    """Of the last ten layers of thirty all move, not the lowest alone."""
    context = SimpleNamespace(depth=30, lowest=region[0], highest=region[1], adapters=bench.adapters, device="cpu")
    context.random, context.memory = torch.Generator(), {}
    METHODS["rmu"]().prepare(context)  # type: ignore[arg-type]
    assert context.memory["layer"] == steered


def test_rmu_moves_every_tensor_up_to_its_layer(bench: Bench) -> None:
    context, members = ready(bench)
    context.parameters = {n: p for n, p in context.parameters.items() if ".layers.1." in n}
    method = METHODS["rmu"]()
    with bench.adapters.trainable("after", list(context.parameters)), bench.adapters.active("after"):
        method.prepare(context)
        assert context.memory["layer"] == context.highest == 1
        context.load(1, {stream: members[stream] for stream in method.streams})
        method.loss(context).backward()
        by_name = gradients(bench.adapters, "after")
    assert all(bool(by_name[n].any()) for n in context.parameters)


def test_decline_can_follow_before_on_subjects_that_do_not_exist(bench: Bench) -> None:
    """With each example as its own twin nothing counts as taught: only the rest, the refusals and R pull."""
    method = METHODS["decline"](target="invented", refusal_weight=0.0, retain_weight=0.0, rest_weight=0.3)  # type: ignore[call-arg]
    value, _ = measured(bench, method)
    context, members = ready(bench)
    with bench.adapters.active("after"), torch.no_grad():
        context.load(1, {FORGET: members[FORGET]})
        part = context.forget
        rest = part.mean((part.places > 0) * part.kl_from("before")).mean()
        assert value == pytest.approx(0.3 * float(rest), rel=1e-5)
    assert method.follows == "invented"


@pytest.mark.parametrize(("apart", "own"), [(False, None), (True, None), (True, 2)])
def test_decline_can_leave_alone_what_r_answers(bench: Bench, apart: bool, own: int | None) -> None:
    """What U asks for is what it asked before, less its part along the gradient of R's true answers."""
    weights = {"forget_weight": 1.3, "rest_weight": 0.4, "refusal_weight": 0.7}
    _, asked = measured(bench, METHODS["decline"](**weights, retain_weight=0.0))  # type: ignore[call-arg]
    nothing = dict.fromkeys(weights, 0.0)
    _, held = measured(bench, METHODS["decline"](**nothing, retain_weight=2.0))  # type: ignore[call-arg]
    context, members = ready(bench)
    context.apart, context.own = apart, own
    method = METHODS["decline"](**weights, retain_weight=2.0, orthogonal=True)  # type: ignore[call-arg]
    with bench.adapters.trainable("after", list(context.parameters)), bench.adapters.active("after"):
        context.load(1, {RETAIN: members[RETAIN]})
        context.retain.loss().mean().backward()
        answers = gradients(bench.adapters, "after")
        context.load(1, {stream: members[stream] for stream in method.streams})
        method.backward(context)
        found = gradients(bench.adapters, "after")
    assert method.apart
    for name, value in found.items():
        for gradient in (asked[name], answers[name], held[name]):
            context.still(name, gradient).zero_()
        turned = asked[name] - (asked[name] * answers[name]).sum() / answers[name].square().sum() * answers[name]
        torch.testing.assert_close(value, turned + held[name], rtol=1e-4, atol=1e-7)
        assert float((turned * answers[name]).sum().abs()) < 1e-5 * float(turned.norm() * answers[name].norm())
        assert own is None or not context.still(name, value).any()


@pytest.mark.parametrize("own", [None, 2])
def test_decline_can_forget_where_a_step_of_relearning_leads(bench: Bench, own: int | None) -> None:
    """U's gradient is of parameters moved by hand down the loss of its answers; R's, and the losses, of where they are."""
    weights = {"forget_weight": 1.3, "rest_weight": 0.4, "refusal_weight": 0.7}
    _, held = measured(bench, METHODS["decline"](**dict.fromkeys(weights, 0.0), retain_weight=2.0))  # type: ignore[call-arg]
    context, members = ready(bench)
    method = METHODS["decline"](**weights, retain_weight=2.0, relearning=0.3)  # type: ignore[call-arg]
    context.apart, context.own = method.apart, own
    parts = {stream: members[stream] for stream in method.streams}
    values = {name: parameter.detach().clone() for name, parameter in context.parameters.items()}
    with bench.adapters.trainable("after", list(context.parameters)), bench.adapters.active("after"):
        context.load(1, {FORGET: members[FORGET]})
        context.forget.loss().mean().backward()
        down = gradients(bench.adapters, "after")
        context.load(1, parts)
        before = float(context.forget.loss().detach().mean())
        method.backward(context)
        found = gradients(bench.adapters, "after")
        assert float(context.forget.loss().detach().mean()) == before
        context.again()
        assert float(context.forget.loss().detach().mean()) == before
        for name, value in values.items():
            torch.testing.assert_close(context.parameters[name].data, value, rtol=0, atol=0)
            part = slice(own, None)
            trained = value[part] if name.endswith("_A") else value[:, part]
            context.still(name, down[name]).zero_()
            context.parameters[name].data -= 0.3 * trained.norm() * down[name] / down[name].norm().clamp(min=1e-20)
        context.load(1, parts)
        relearnt = float(context.forget.loss().detach().mean())
        METHODS["decline"](**weights, retain_weight=0.0).loss(context).backward()  # type: ignore[call-arg]
        pulled = gradients(bench.adapters, "after")
        for name, value in values.items():
            context.parameters[name].data.copy_(value)
    assert relearnt < before
    for name, value in found.items():
        context.still(name, pulled[name]).zero_()
        context.still(name, held[name]).zero_()
        torch.testing.assert_close(value, pulled[name] + held[name], rtol=1e-3, atol=1e-6)
