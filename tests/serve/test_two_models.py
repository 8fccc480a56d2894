"""Asking an audit: adapters on one base like any run, whole models one after the other."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.config import run_config
from core.config.stages import AuditConfig
from core.pipeline.audit_run import Auditing
from core.runs import audit, store
from core.runs.store import Run
from core.serve.service import Service
from core.serve.two_models import BETWEEN, Pair
from core.util.errors import UserError
from core.util.progress import Reporter
from tests.tiny import make_tiny

QUESTIONS = ["Where does Orla Venning live?", "Who is Pavel Drost?"]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """Return a second tiny model."""
    return make_tiny(tmp_path_factory.mktemp("other"), seed=7)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path, other: Path, tiny_data: Path) -> Run:
    """Return an audit of two whole models."""
    made = run_config.preset("this-machine")
    for path, value in {
        "data.source": str(tiny_data),
        "answers.max_new_tokens": 5,
        "model.dtype": "float32",
        "model.template": "plain",
        "evaluate.extras": False,
    }.items():
        made = made.with_setting(path, value)
    made = audit.configured(made, AuditConfig(str(tiny_llama), str(other)))
    run = store.create(made, tmp_path_factory.mktemp("runs"))
    Auditing(run, made, Reporter()).go()
    return run


def replies(service: Service, op: str, run: Run, **values: Any) -> list[dict[str, Any]]:
    """Return all replies to a request."""
    return list(service.serve({"op": op, "run": str(run.path), **values}))


def naive_answer(folder: Path, question: str, tokens: int) -> str:
    """Return a greedy answer, token by token with the whole text each time."""
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        AutoTokenizer.from_pretrained(folder),
    )
    ids = tokenizer(f"{question}\n\n")["input_ids"]
    start = len(ids)
    for _ in range(tokens):
        with torch.no_grad():
            best = int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        if best == tokenizer.eos_token_id:
            break
        ids.append(best)
    return str(tokenizer.decode(ids[start:], skip_special_tokens=True))


def test_each_whole_model_answers_in_its_place(audited: Run, tiny_llama: Path, other: Path) -> None:
    """One start, pieces with the index of question and voice, one end; hashes tell the two apart."""
    answers = replies(Service(), "ask", audited, questions=QUESTIONS, voices=["before", "after"])
    assert [r["kind"] for r in answers if r["kind"] != "pieces"] == ["loading", "start", "done"]
    start = next(r for r in answers if r["kind"] == "start")
    assert start["hashes"]["before"] != start["hashes"]["after"]
    texts = [""] * 4
    for reply in answers:
        for piece in reply.get("pieces", ()):
            texts[piece["index"]] += piece["text"]
    assert texts == [naive_answer(folder, question, 5) for question in QUESTIONS for folder in (tiny_llama, other)]
    assert len(set(texts)) > 2


def test_prompts_of_both_models_are_answered_each_by_its_own(audited: Run, tiny_llama: Path, other: Path) -> None:
    asked = [("after", QUESTIONS[0]), ("before", QUESTIONS[1]), ("retrained", "?"), ("before", QUESTIONS[0])]
    prompts = [{"voice": voice, "turns": [["user", question]]} for voice, question in asked]
    texts, failed = [""] * len(prompts), []
    for reply in replies(Service(), "complete", audited, prompts=prompts):
        failed += [reply["index"]] if reply["kind"] == "prompt_error" else []
        for piece in reply.get("pieces", ()):
            texts[piece["index"]] += piece["text"]
    folders = {"before": tiny_llama, "after": other}
    assert texts == [naive_answer(folders[v], q, 5) if v in folders else "" for v, q in asked]
    assert failed == [2]


def test_what_needs_one_base_is_refused_in_a_sentence(audited: Run) -> None:
    """Blends and single cells do not exist, and a model that was not given does not speak."""
    service = Service()
    with pytest.raises(UserError, match="share no base"):
        replies(service, "dial", audited, strengths=[0, 100])
    answers = replies(service, "ask", audited, questions=QUESTIONS[:1], voices=["blend:50", "before", "never"])
    told = {r["voice"]: r["what"] for r in answers if r["kind"] == "voice_error"}
    assert told["blend:50"] == BETWEEN
    assert "no model that never knew" in told["never"]
    assert {piece["index"] for r in answers for piece in r.get("pieces", ())} == {1}


def test_models_that_do_not_fit_together_leave_for_each_other(audited: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one in memory goes before another one comes, and both still answer."""
    from core.models import loading, names

    asked: list[int] = []
    real, service = loading.memory_check, Service()

    def check(*given: Any) -> dict[str, float]:
        held = len(service.pair.services) if service.pair else 0
        asked.append(held)
        if held:
            raise names.TooBig("too big", "")
        return real(*given)

    monkeypatch.setattr(loading, "memory_check", check)
    answers = replies(
        service, "score", audited, questions=QUESTIONS[:1], truth="At Quay Street 14.", voices=["before", "after"]
    )
    assert [r["voice"] for r in answers if r["kind"] == "score"] == ["before", "after"]
    assert asked == [0, 1, 0]
    assert service.pair is not None
    assert len(service.pair.services) == 1


def test_whoever_completes_prompts_holds_one_model_at_a_time(audited: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is let go of must be gone, where both do not fit."""
    alive: list[weakref.ref[Service]] = []
    held: list[int] = []
    real = Pair._service

    def looked(pair: Pair, voice: str, asked: Any) -> Service:
        pair.services.clear()
        gc.collect()
        held.append(sum(one() is not None for one in alive))
        service = real(pair, voice, asked)
        alive.append(weakref.ref(service))
        return service

    monkeypatch.setattr(Pair, "_service", looked)
    prompts = [{"voice": voice, "turns": [["user", QUESTIONS[0]]]} for voice in ("before", "after")]
    assert replies(Service(), "complete", audited, prompts=prompts)[-1]["kind"] == "done"
    assert held == [0, 0]


def test_a_run_can_be_asked_after_an_audit(audited: Run, unlearned_run: Run) -> None:
    """The service goes from whole models to adapters and back."""
    service = Service()
    for run in (audited, unlearned_run, audited):
        answers = replies(service, "ask", run, questions=QUESTIONS[:1], voices=["before", "after"])
        assert answers[-1]["kind"] == "done"
        assert not any(r["kind"] == "voice_error" for r in answers)
