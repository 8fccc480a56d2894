"""Logit lens and activation patching, against layers that are called one by one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig

from core.config.stages import ModelConfig
from core.models import adapters as adapters_
from core.models import loading
from core.models.tokens import Encoded, collate
from core.probes import hidden_states, logit_lens, patching
from core.probes.base import Unavailable
from core.probes.context import ProbeContext, open_context
from core.util.progress import Reporter
from tests.naive import Recorder
from tests.probing import make_run

VOICES = (("before", "before"), ("after", "after"), ("never", None))


@pytest.fixture(scope="module")
def bench_of(
    tiny_of: Callable[[str], Path], tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], ProbeContext]:
    made: dict[str, ProbeContext] = {}

    def bench(architecture: str) -> ProbeContext:
        if architecture not in made:
            run = make_run(tiny_of(architecture), tiny_data, tmp_path_factory.mktemp(architecture))
            made[architecture] = open_context(run, Reporter())
        return made[architecture]

    return bench


def parts(base: Any) -> tuple[Any, Any, Callable[[int, torch.Tensor], torch.Tensor]]:
    """Return the final norm, the output layer, and a function that runs one block on (1, length, width)."""
    if hasattr(base, "transformer"):
        return base.transformer.ln_f, base.lm_head, lambda i, h: _first(base.transformer.h[i](h, attention_mask=_causal(h)))

    def block(i: int, h: torch.Tensor) -> torch.Tensor:
        turn = base.model.rotary_emb(h, torch.arange(h.shape[1])[None])
        return _first(base.model.layers[i](h, attention_mask=_causal(h), position_embeddings=turn))

    return base.model.norm, base.lm_head, block


def _causal(h: torch.Tensor) -> torch.Tensor:
    length = h.shape[1]
    return torch.full((length, length), float("-inf")).triu(1)[None, None]


def _first(output: Any) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output


def walked(base: Any, ids: tuple[int, ...], depth: int) -> list[torch.Tensor]:
    """Return the output of each block, (1, length, width), one block after the other."""
    where = torch.tensor([ids])
    if hasattr(base, "transformer"):
        h = base.transformer.wte(where) + base.transformer.wpe(torch.arange(len(ids)))[None]
    else:
        h = base.model.embed_tokens(where)
    states = []
    for i in range(depth):
        h = parts(base)[2](i, h)
        states.append(h)
    return states


def predictions(base: Any, h: torch.Tensor, member: Encoded) -> torch.Tensor:
    norm, head, _ = parts(base)
    return torch.log_softmax(head(norm(h))[0, member.start - 1 : -1], -1)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@torch.no_grad()
def test_maps_equal_layers_called_one_by_one(bench_of: Callable[[str], ProbeContext], architecture: str) -> None:
    bench = bench_of(architecture)
    for member in bench.encoded(bench.sample(2)):
        maps = hidden_states.layer_maps(bench.adapters, member, [name for _, name in VOICES])
        for (_, voice), layer_map in zip(VOICES, maps, strict=True):
            with bench.adapters.active(voice) as model:
                base = model.get_base_model()
                for layer, h in enumerate(walked(base, member.ids, 2)):
                    expected = predictions(base, h, member)
                    for position, token in enumerate(member.answer):
                        assert layer_map["logprob"][layer][position] == pytest.approx(
                            float(expected[position, token]), abs=1e-3
                        )
                        higher = int((expected[position] > expected[position, token]).sum())
                        assert abs(layer_map["rank"][layer][position] - 1 - higher) <= 1  # near ties


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@torch.no_grad()
def test_patching_equals_layers_called_one_by_one(bench_of: Callable[[str], ProbeContext], architecture: str) -> None:
    bench = bench_of(architecture)
    members = bench.encoded(bench.sample(3))  # of unequal lengths, so that one is padded
    batch = collate(members)
    states, ends = hidden_states.block_outputs(bench.adapters, "before", batch)
    for layer in range(2):
        logits = hidden_states.patched_logits(bench.adapters, "after", batch, layer, states[layer])
        for member, (mine,) in hidden_states.split_answers(members, torch.log_softmax(logits, -1).T):
            with bench.adapters.active("before") as model:
                given = walked(model.get_base_model(), member.ids, 2)[layer]
            with bench.adapters.active("after") as model:
                base = model.get_base_model()
                h = walked(base, member.ids, 2)[layer]
                h[:, member.start - 1 : -1] = given[:, member.start - 1 : -1]
                for i in range(layer + 1, 2):
                    h = parts(base)[2](i, h)
                expected = predictions(base, h, member)
            torch.testing.assert_close(mine.T, expected, atol=1e-4, rtol=1e-4)
    # With the last layer's states after says what before says: nothing above them was changed.
    torch.testing.assert_close(logits, ends, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["qwen3", "gemma2", "phi3", "gpt_neox", "opt", "falcon", "mixtral"])
def test_the_lens_fits_the_other_architectures(bench_of: Callable[[str], ProbeContext], architecture: str) -> None:
    bench = bench_of(architecture)
    (member,) = bench.encoded(bench.sample(1))
    (layer_map,) = hidden_states.layer_maps(bench.adapters, member, ["after"])
    with bench.adapters.active("after") as model:
        from core.models.likelihood import score

        plain = dict(score(model, [member]))[member.id]
    assert layer_map["logprob"][-1] == pytest.approx(plain.logprob, abs=1e-3)
    assert len(layer_map["rank"]) == hidden_states.depth(bench.adapters)


def test_no_hook_stays_behind_even_where_a_pass_fails(bench_of: Callable[[str], ProbeContext]) -> None:
    bench = bench_of("llama")
    (member,) = bench.encoded(bench.sample(1))
    batch = collate([member])
    wrong = torch.zeros(1, 3)  # of another shape than any state
    with pytest.raises(RuntimeError):
        hidden_states.patched_logits(bench.adapters, "after", batch, 0, wrong)
    hidden_states.layer_maps(bench.adapters, member, ["after"])
    assert not [m for m in bench.adapters.model.modules() if m._forward_hooks or m._forward_pre_hooks]


def test_where_something_else_makes_the_words_it_says_so(
    bench_of: Callable[[str], ProbeContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = bench_of("llama")
    (member,) = bench.encoded(bench.sample(1))
    base = bench.adapters.model.get_base_model()
    plain = base.forward

    def scaled(*args: Any, **values: Any) -> Any:
        output = plain(*args, **values)
        output.logits = 3 * output.logits
        return output

    monkeypatch.setattr(base, "forward", scaled)
    with pytest.raises(Unavailable, match="could not be applied"):
        hidden_states.layer_maps(bench.adapters, member, ["after"])


def all_known(_: ProbeContext, sample: list[Encoded]) -> list[tuple[Encoded, list[int]]]:
    return [(member, list(range(1, len(member.answer)))) for member in sample]


@pytest.mark.parametrize(
    "targets", [{"target_modules": ["q_proj", "lm_head"]}, {"target_modules": ["q_proj"], "layers_to_transform": [0]}]
)
def test_an_adapter_that_is_not_on_all_layers_alone_is_not_read(tiny_llama: Path, targets: dict[str, Any]) -> None:
    loaded = loading.load(ModelConfig(name=str(tiny_llama), device="cpu", dtype="float32"))
    adapters = adapters_.wrap(loaded.model, "float32", LoraConfig(r=2, **targets))
    with pytest.raises(Unavailable, match="not on all layers alone"):
        hidden_states.depth(adapters)


def test_lens_finding_is_the_mean_over_questions(
    bench_of: Callable[[str], ProbeContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = bench_of("llama")
    monkeypatch.setattr(ProbeContext, "knowledge_tokens", all_known)
    finding = logit_lens.LogitLens(questions=3).run(bench)
    members = bench.encoded(bench.sample(3))
    for voice, adapter in VOICES:
        each, probability = [], []
        for member in members:
            (layer_map,) = hidden_states.layer_maps(bench.adapters, member, [adapter])
            ranks, logprobs = torch.tensor(layer_map["rank"])[:, 1:], torch.tensor(layer_map["logprob"])[:, 1:]
            each.append(float((ranks == 1).any(0).float().mean()))
            probability.append(float(logprobs[0].exp().mean()))
        assert finding.rates[voice]["value"] == pytest.approx(100 * sum(each) / 3, abs=1e-3)
        assert finding.detail["curve"][voice][0]["probability"] == pytest.approx(100 * sum(probability) / 3, abs=0.05)
    assert sum(finding.detail["after"].values()) == pytest.approx(100, abs=1e-3)
    kept = finding.detail["maps"]
    assert [len(layer_map["tokens"]) for layer_map in kept] == [len(member.answer) for member in members]
    assert "".join(kept[0]["tokens"]).startswith(bench.examples[[e.id for e in bench.examples].index(members[0].id)].answer)


def test_patching_ends_where_before_is(bench_of: Callable[[str], ProbeContext], monkeypatch: pytest.MonkeyPatch) -> None:
    bench = bench_of("gpt2")
    monkeypatch.setattr(ProbeContext, "knowledge_tokens", all_known)
    finding = patching.Patching(questions=3).run(bench)
    assert [point["layer"] for point in finding.detail["curve"]] == [1, 2]
    assert finding.detail["curve"][-1]["probability"] == pytest.approx(finding.rates["before"]["value"], abs=1e-3)
    assert finding.detail["changed"] == [1, 2]


def test_knowledge_is_what_before_says_and_never_taught_does_not(
    bench_of: Callable[[str], ProbeContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, sample = bench_of("llama"), bench_of("llama").encoded(bench_of("llama").sample(2))

    class Ranks:
        def __init__(self, rank: list[int]) -> None:
            self.rank = rank

    turns = iter([[1, 1, 5, 1], [2, 1, 3, 9]])  # before, then never taught
    monkeypatch.setattr(
        "core.probes.context.score",
        lambda _, members, *__, **___: [(m.id, Ranks(rank)) for rank in [next(turns)] for m in members],
    )
    assert [at for _, at in bench.knowledge_tokens(sample)] == [[0, 3]] * 2


def test_where_it_comes_back() -> None:
    def curve(*values: float) -> list[dict[str, Any]]:
        return [{"layer": 3 * n, "probability": value} for n, value in enumerate(values, start=1)]

    assert patching.comes_back(curve(2, 60, 40, 55, 90), before=90, after=2) == 12
    assert patching.comes_back(curve(2, 3), before=90, after=2) is None
    assert patching.comes_back(curve(50, 50), before=50, after=50) is None
    assert patching.spread(30, 10) == [2, 5, 8, 11, 14, 17, 20, 23, 26, 29]
    assert patching.spread(4, 0) == [0, 1, 2, 3]
    assert patching.spread(3, 9) == [0, 1, 2]


def test_cancel_is_looked_for_between_passes(
    bench_of: Callable[[str], ProbeContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.util.errors import Cancelled

    bench = bench_of("llama")
    monkeypatch.setattr(bench, "report", Recorder(stop_at=4))
    monkeypatch.setattr(ProbeContext, "knowledge_tokens", all_known)
    with pytest.raises(Cancelled):
        patching.Patching(questions=2).run(bench)
    assert not [m for m in bench.adapters.model.modules() if m._forward_hooks]
