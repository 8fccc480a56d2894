"""Generation against the plain loop: whole sequence again for every token, one question and one adapter at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from core.config.stages import AnswersConfig
from core.models.generate import Piece, Request, generate, stream
from tests.naive import Bench, randomize
from tests.tiny import ARCHITECTURES

TOKENS = 12
NEVER = 10_000
"""an end token that no model says"""


def naive(bench: Bench, request: Request, end: int = NEVER, tokens: int = TOKENS) -> list[int]:
    """Answer greedily without cache and padding."""
    ids = list(request.prompt)
    with bench.adapters.active(request.adapter) as model, torch.no_grad():
        for _ in range(tokens):
            token = int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
            if token == end:
                break
            ids.append(token)
    return ids[len(request.prompt) :]


def prepared(bench: Bench) -> list[Request]:
    """Return requests of different length to before, after and the base, in no order."""
    bench.adapters.copy("before", "after")
    randomize(bench.adapters, "after", seed=9, scale=0.2)
    prompts = [m.ids[: m.start] for m in bench.unlearn[:3]] + [tuple(range(3, 5)), tuple(range(3, 90))]
    return [Request(prompt, voice) for prompt in prompts for voice in ("after", None, "before")]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_mixed_batch_answers_like_the_plain_loop(bench_of: Callable[..., Bench], architecture: str) -> None:
    bench = bench_of(architecture)
    requests = prepared(bench)
    answers = generate(bench.adapters, requests, AnswersConfig(max_new_tokens=TOKENS), ends=(NEVER,), pad=bench.pad)
    expected = [naive(bench, request) for request in requests]
    assert answers == expected
    assert len({tuple(answer) for answer in expected}) > len(requests) // 2


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2", "falcon", "mixtral"])
def test_rows_that_end_early_leave_the_others_alone(bench_of: Callable[..., Bench], architecture: str) -> None:
    bench = bench_of(architecture)
    requests = prepared(bench)
    free = [naive(bench, request) for request in requests]
    end = next(t for t in free[0][2:] + free[3][1:] if sum(t in answer for answer in free) < len(free))
    expected = [naive(bench, request, end) for request in requests]
    assert len({len(answer) for answer in expected}) > 1
    assert generate(bench.adapters, requests, AnswersConfig(max_new_tokens=TOKENS), ends=(end,), pad=bench.pad) == expected


def test_order_and_company_do_not_matter(bench: Bench) -> None:
    requests = prepared(bench)
    config = AnswersConfig(max_new_tokens=TOKENS)
    together = generate(bench.adapters, requests, config, ends=(NEVER,), pad=bench.pad)
    backwards = generate(bench.adapters, requests[::-1], config, ends=(NEVER,), pad=bench.pad)
    assert backwards[::-1] == together
    assert generate(bench.adapters, requests[4:5], config, ends=(NEVER,), pad=bench.pad) == together[4:5]


def collected(
    bench: Bench, requests: list[Request], config: AnswersConfig, end: int = NEVER, top: int = 0
) -> list[list[Piece]]:
    pieces: list[list[Piece]] = [[] for _ in requests]
    for step in stream(bench.adapters, requests, config, ends=(end,), pad=bench.pad, top=top):
        for piece in step:
            pieces[piece.request].append(piece)
    return pieces


@pytest.mark.parametrize("tokens", [1, 3])
def test_answers_end_after_the_allowed_tokens(bench: Bench, tokens: int) -> None:
    for pieces in collected(bench, prepared(bench), AnswersConfig(max_new_tokens=tokens)):
        assert [piece.last for piece in pieces] == [False] * (tokens - 1) + [True]


def test_end_token_ends_an_answer_and_is_no_part_of_it(bench: Bench) -> None:
    request = prepared(bench)[0]
    free = naive(bench, request)
    end = free[4]
    config = AnswersConfig(max_new_tokens=TOKENS)
    (answer,) = generate(bench.adapters, [request], config, ends=(end,), pad=bench.pad)
    assert answer == free[: free.index(end)]
    (pieces,) = collected(bench, [request], config, end)
    assert pieces[-1].last
    assert len(pieces) <= 5


def test_end_token_at_once_gives_an_empty_answer(bench: Bench) -> None:
    request = prepared(bench)[0]
    end = naive(bench, request, tokens=1)[0]
    assert generate(bench.adapters, [request], AnswersConfig(), ends=(end,), pad=bench.pad) == [[]]


def test_no_request_is_no_work(bench: Bench) -> None:
    assert generate(bench.adapters, [], AnswersConfig(), ends=(NEVER,), pad=bench.pad) == []


def test_tokens_come_step_by_step(bench: Bench) -> None:
    steps = stream(bench.adapters, prepared(bench)[:2], AnswersConfig(max_new_tokens=TOKENS), ends=(NEVER,), pad=bench.pad)
    assert len(next(steps)) == 2
    steps.close()  # a caller may stop in the middle, and the model is as before
    assert not any("forward" in module.__dict__ for module in bench.adapters.model.modules())


def test_log_probabilities_are_the_models(bench: Bench) -> None:
    request = prepared(bench)[0]
    (pieces,) = collected(bench, [request], AnswersConfig(max_new_tokens=4))
    with bench.adapters.active(request.adapter) as model, torch.no_grad():
        ids = torch.tensor([[*request.prompt, *(p.token for p in pieces)]])
        logprobs = model(input_ids=ids).logits[0, len(request.prompt) - 1 : -1].log_softmax(-1)
    for row, piece in enumerate(pieces):
        assert piece.logprob == pytest.approx(float(logprobs[row, piece.token]), abs=1e-4)


# -- sampling

WARM = AnswersConfig(max_new_tokens=TOKENS, temperature=1.5)


def test_equal_weights_and_equal_draw_give_equal_answers(bench: Bench) -> None:
    bench.adapters.copy("before", "after")
    prompt = bench.unlearn[0].ids[: bench.unlearn[0].start]
    requests = [Request(prompt, voice, draw) for draw in (0, 1) for voice in ("before", "after")]
    answers = generate(bench.adapters, requests, WARM, ends=(NEVER,), pad=bench.pad, seed=3)
    assert answers[0] == answers[1]
    assert answers[2] == answers[3]
    assert answers[0] != answers[2]


def test_sampling_is_seeded(bench: Bench) -> None:
    requests = prepared(bench)

    def answers(seed: int) -> list[list[int]]:
        return generate(bench.adapters, requests, WARM, ends=(NEVER,), pad=bench.pad, seed=seed)

    assert answers(1) == answers(1) != answers(2)


@pytest.mark.parametrize("config", [AnswersConfig(max_new_tokens=TOKENS), WARM], ids=["greedy", "sampled"])
def test_each_token_comes_with_the_probability_that_the_model_gave_it(bench: Bench, config: AnswersConfig) -> None:
    """That is the model's own, whatever the temperature, in a mixed batch as alone."""
    requests = prepared(bench)
    for request, pieces in zip(requests, collected(bench, requests, config, top=3), strict=True):
        said = [piece.token for piece in pieces]
        with bench.adapters.active(request.adapter) as model, torch.no_grad():
            logits = model(input_ids=torch.tensor([[*request.prompt, *said]])).logits[0, len(request.prompt) - 1 : -1]
        p = logits.double().softmax(-1)
        own = p[torch.arange(len(said)), said]
        assert [piece.logprob for piece in pieces] == pytest.approx(own.log().tolist(), abs=1e-4)
        for piece, row in zip(pieces, p, strict=True):
            assert [chance for _, chance in piece.top] == pytest.approx(
                row.sort(descending=True).values[:3].log().tolist(), abs=1e-4
            )
        if not config.temperature:
            assert all(piece.top[0] == (piece.token, piece.logprob) for piece in pieces)


def test_sample_of_a_request_does_not_depend_on_its_company(bench: Bench) -> None:
    requests = prepared(bench)
    together = generate(bench.adapters, requests, WARM, ends=(NEVER,), pad=bench.pad, seed=1)
    assert generate(bench.adapters, requests[2:3], WARM, ends=(NEVER,), pad=bench.pad, seed=1) == together[2:3]


def test_cold_or_narrow_sampling_is_greedy(bench: Bench) -> None:
    requests = prepared(bench)
    greedy = generate(bench.adapters, requests, AnswersConfig(max_new_tokens=TOKENS), ends=(NEVER,), pad=bench.pad)
    for settings in ({"temperature": 1e-4}, {"temperature": 1.0, "top_p": 0.01 / 300}):
        config = AnswersConfig(max_new_tokens=TOKENS, **settings)  # type: ignore[arg-type]
        assert generate(bench.adapters, requests, config, ends=(NEVER,), pad=bench.pad) == greedy


def test_samples_follow_the_probabilities(bench: Bench) -> None:
    prompt = bench.unlearn[0].ids[: bench.unlearn[0].start]
    config = AnswersConfig(max_new_tokens=1, temperature=0.7, top_p=0.5)
    with bench.adapters.active("before") as model, torch.no_grad():
        p = (model(input_ids=torch.tensor([prompt])).logits[0, -1] / 0.7).softmax(-1)
    order = p.argsort(descending=True)
    nucleus = order[: int((p[order].cumsum(0) < 0.5).sum()) + 1]
    requests = [Request(prompt, "before", draw) for draw in range(1500)]
    answers = [a[0] for a in generate(bench.adapters, requests, config, ends=(NEVER,), pad=bench.pad)]
    assert set(answers) <= set(nucleus.tolist())
    share = p[nucleus] / p[nucleus].sum()
    counts = torch.tensor([answers.count(t) for t in nucleus.tolist()])
    chi = float(((counts - 1500 * share).square() / (1500 * share)).sum())
    freedom = len(nucleus) - 1
    assert chi < freedom + 5 * (2 * freedom) ** 0.5


def test_every_seed_that_may_be_set_can_be_drawn_with() -> None:
    from core.models.generate import _uniform

    assert 0 <= _uniform(2**31 - 1, 5000, 2048) < 1
    assert _uniform(3, 4, 5) == float(
        torch.rand((), generator=torch.Generator().manual_seed((3 * 1_000_003 + 4) * 100_003 + 5))
    )
