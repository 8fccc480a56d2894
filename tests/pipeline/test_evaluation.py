"""A whole run with everything recorded: files against the model, metrics against files."""

from __future__ import annotations

import json
import math
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from core.data.corpus import SCOPES
from core.metrics import METRICS, evaluation
from core.metrics.rouge import compute as rouge
from core.models import adapter_files, loading
from core.models import adapters as adapters_
from core.pipeline import extras
from core.pipeline.pipeline import execute
from core.pipeline.setup import set_up
from core.pipeline.voices import general_lines
from core.runs import store
from core.runs.store import Run
from core.util import files
from core.util.errors import UserError
from tests.naive import Recorder
from tests.pipeline.test_pipeline import small

VOICES = ("before", "after", "never")


@pytest.fixture(scope="module")
def recorded(tiny_llama: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Recorder]:
    """Return a finished run of a tiny model with all extras."""
    folder, report = tmp_path_factory.mktemp("runs"), Recorder()
    config = small(tiny_llama, tiny_data, teach__epochs=30, evaluate__extras=True, unlearn__learning_rate=0.05)
    run = store.create(config, folder)
    execute(set_up(run, config, folder, report))
    return run, report


@pytest.fixture(scope="module")
def run(recorded: tuple[Run, Recorder]) -> Run:
    return recorded[0]


# -- files against the model


class Plain:
    """The run's model, asked one text at a time, without padding, with full logits."""

    def __init__(self, run: Run) -> None:
        loaded = loading.load(run.config().model)
        self.tokenizer = loaded.tokenizer
        self.adapters = adapters_.load(loaded.model, "float32", run.path / "before")
        self.adapters.copy("before", "after")
        self.adapters.set("after", adapter_files.read_tensors(run.path / "after" / "region.safetensors"))

    def logprobs(self, voice: str, ids: list[int]) -> torch.Tensor:
        """Return (len(ids) − 1, vocabulary): what follows each token."""
        with self.adapters.active(None if voice == "never" else voice) as model, torch.no_grad():
            return torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0, :-1].double(), dim=-1)

    def answer(self, voice: str, question: str, answer: str, *, ends: bool = True) -> tuple[torch.Tensor, list[int]]:
        """Return the distributions at the answer's tokens, and these tokens."""
        prompt = list(self.tokenizer(f"{question}\n\n")["input_ids"])
        tokens = list(self.tokenizer(answer, add_special_tokens=False)["input_ids"]) + ([1] if ends else [])
        return self.logprobs(voice, [*prompt, *tokens])[len(prompt) - 1 :], tokens

    def mean(self, voice: str, question: str, answer: str) -> float:
        """Return the mean log-probability per token."""
        distributions, tokens = self.answer(voice, question, answer)
        return float(distributions.gather(1, torch.tensor(tokens)[:, None]).mean())


@pytest.fixture(scope="module")
def plain(run: Run) -> Plain:
    return Plain(run)


@pytest.mark.parametrize("voice", VOICES)
def test_mean_and_deviation_over_the_vocabulary(run: Run, plain: Plain, voice: str) -> None:
    tokens = run.table("tokens")
    assert tokens is not None
    for row in [row for row in run.answers() if row["split"]][::5]:  # our own questions are only asked
        distributions, _ = plain.answer(voice, row["question"], row["truth"])
        mine = tokens[tokens["example"] == row["example"]]
        mean = (distributions.exp() * distributions).sum(-1)
        std = ((distributions.exp() * distributions.square()).sum(-1) - mean.square()).clamp(min=0).sqrt()
        np.testing.assert_allclose(mine[f"mean_{voice}"], mean, atol=1e-4)
        np.testing.assert_allclose(mine[f"std_{voice}"], std, atol=2e-3)


@pytest.mark.parametrize("voice", VOICES)
def test_wrong_answers_and_options_are_scored_as_by_the_plain_model(run: Run, plain: Plain, voice: str) -> None:
    recorded = run.json("recorded.json")
    rows = {row["example"]: row for row in run.answers()}
    for example, texts in list(recorded["wrong_texts"].items())[::4]:
        expected = [plain.mean(voice, rows[example]["question"], text) for text in texts]
        assert recorded["wrong"][voice][example] == pytest.approx(expected, abs=1e-4)
    for number in (0, 57, 119):
        question = extras.choices()[number]
        sums = []
        for text in question["options"]:
            distributions, tokens = plain.answer(voice, question["question"], text, ends=False)
            sums.append(float(distributions.gather(1, torch.tensor(tokens)[:, None]).sum()) / len(text))
        assert recorded["choices"][voice][number] == pytest.approx(sums, abs=1e-4)


@pytest.mark.parametrize("voice", ["after", "never"])
def test_kl_on_the_general_text(run: Run, plain: Plain, voice: str) -> None:
    divergences = run.json("recorded.json")["kl"][voice]
    for line, value in list(zip(general_lines()[:: extras.KL_EVERY], divergences, strict=True))[::8]:
        ids = list(plain.tokenizer(line)["input_ids"])
        before, other = (plain.logprobs(name, ids) for name in ("before", voice))
        assert value == pytest.approx(float((before.exp() * (before - other)).sum(-1).mean()), abs=1e-4)


def test_never_seen_questions_are_recorded_token_by_token(run: Run, plain: Plain) -> None:
    table, texts = run.table("unseen"), run.json("recorded.json")["unseen"]
    assert table is not None
    assert set(table["example"]) == set(texts)
    assert len(texts) >= 50  # some are longer than what the tiny model can read
    known = {e.id: e for e in extras.unseen("privacy")}
    for name in list(texts)[::20]:
        mine = table[table["example"] == name]
        assert plain.tokenizer.decode(mine["token"].tolist()) == f"{texts[name]}<end>"
        for voice in VOICES:
            expected = plain.mean(voice, known[name].question, known[name].answer)
            assert mine[f"logprob_{voice}"].mean() == pytest.approx(expected, abs=1e-4)


def test_progress_of_the_extras_reaches_its_end(recorded: tuple[Run, Recorder]) -> None:
    steps = [step for step in recorded[1].steps if step["unit"] == "passages"]
    ends = [step for step in steps if step["done"] == step["total"]]
    assert len(ends) == 2  # of preflight, and of evaluation
    assert all(step["done"] <= step["total"] for step in steps)


# -- metrics against files


def naive(run: Run, voice: str) -> dict[str, dict[str, float]]:
    """Compute per-example metrics from tokens.parquet alone, row by row."""
    tokens = pd.read_parquet(run.path / "tokens.parquet")
    scores: dict[str, dict[str, float]] = {}
    for example in dict.fromkeys(tokens["example"][tokens["scope"].isin(SCOPES)]):
        mine = tokens[tokens["example"] == example].to_dict("records")
        ranks, logs = [r[f"rank_{voice}"] for r in mine], [r[f"logprob_{voice}"] for r in mine]
        own = ranks[:-1]  # the last token ends the answer
        needed = next((k for k in range(len(own)) if set(own[k:]) == {1}), len(own))
        values = {
            "accuracy": 100 * ranks.count(1) / len(ranks),
            "perplexity": math.exp(-sum(logs) / len(logs)),
            "probability": 100 * math.exp(sum(logs) / len(logs)),
            "extraction_strength": 100 * (1 - needed / len(own)),
            "exact_memorization": 100.0 * (own.count(1) == len(own)),
        }
        for name, value in values.items():
            scores.setdefault(name, {})[example] = value
    return scores


def assert_equal_to_naive(run: Run, voice: str) -> int:
    metrics, checked = run.json("metrics.json")["metrics"], 0
    for name, values in naive(run, voice).items():
        recorded = metrics.get(name, {}).get("examples", {}).get(voice)
        if recorded is None:
            continue  # a run that is older than this metric
        checked += 1
        assert recorded.keys() == values.keys()
        assert max(abs(recorded[i] - values[i]) / max(1.0, abs(values[i])) for i in values) < 1e-6, name
    return checked


@pytest.mark.parametrize("voice", VOICES)
def test_per_example_values_equal_an_independent_computation(run: Run, voice: str) -> None:
    assert assert_equal_to_naive(run, voice) == 5


@pytest.mark.parametrize("bundled", store.bundled_runs(), ids=lambda run: run.id)
@pytest.mark.parametrize("voice", VOICES)
def test_per_example_values_of_the_bundled_runs(bundled: Run, voice: str) -> None:
    assert assert_equal_to_naive(bundled, voice) >= 2


def test_metrics_computed_again_are_the_same(run: Run, tmp_path: Path) -> None:
    copied = Run(Path(shutil.copytree(run.path, tmp_path / "copy")))
    (copied.path / "metrics.json").unlink()
    evaluation.measure(copied)
    assert copied.json("metrics.json") == run.json("metrics.json")


def test_every_metric_of_a_whole_run_has_values_or_a_reason(run: Run) -> None:
    metrics = run.json("metrics.json")["metrics"]
    assert set(metrics) == set(METRICS)
    for name, score in metrics.items():
        if name in ("forget_quality", "model_utility"):
            assert score["values"] == {}
            assert {"forget_quality": "core reference", "model_utility": "no fact"}[name] in score["reasons"]["all"]
        elif name == "never_knew_example":  # two epochs teach a tiny model nothing by that much
            assert score["values"]["after"] or "before was surer" in score["reasons"]["after"]
        else:
            assert score["values"]["after"], name


def test_membership_inference_from_the_files(run: Run) -> None:
    tokens, unseen = run.table("tokens"), run.table("unseen")
    assert tokens is not None
    assert unseen is not None
    truth = {row["example"]: row["truth"] for row in run.answers()} | run.json("recorded.json")["unseen"]

    def side(table: pd.DataFrame, ids: Any) -> list[float]:
        return [
            table.loc[table["example"] == i, "logprob_before"][:-1].mean() / len(zlib.compress(truth[i].encode()))
            for i in ids  # without the end token, as published
        ]

    inside = side(tokens, sorted({i for i in tokens["example"] if i.startswith("unlearn/train")}))
    outside = side(unseen, sorted(set(unseen["example"])))
    expected = sum((a > b) + 0.5 * (a == b) for a in inside for b in outside) / (len(inside) * len(outside))
    assert run.json("metrics.json")["metrics"]["membership"]["values"]["before"]["zlib"] == pytest.approx(expected, abs=1e-6)


def test_a_taught_model_can_be_told_from_a_never_taught_one(run: Run) -> None:
    values = run.json("metrics.json")["metrics"]["membership"]["values"]
    assert values["before"]["reference"] > 0.9
    assert values["never"]["reference"] == 0.5


def test_only_some_splits_can_be_measured(run: Run, tmp_path: Path) -> None:
    copied = Run(Path(shutil.copytree(run.path, tmp_path / "copy")))
    tokens = copied.table("tokens")
    assert tokens is not None
    tokens[tokens["split"] == "val"].to_parquet(copied.path / "tokens.parquet")
    rows = [row for row in copied.answers() if row["split"] == "val"]
    files.write_text(copied.path / "answers.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    evaluation.measure(copied)
    metrics = copied.json("metrics.json")["metrics"]
    assert set(metrics["accuracy"]["values"]["after"]) == {"unlearn/val", "retention/val"}
    assert set(metrics["never_knew"]["values"]["after"]) <= {"val", "val/knowledge"}
    assert metrics["membership"]["values"] == {}
    assert "U-train" in metrics["membership"]["reasons"]["all"]


def test_without_extras_the_rest_is_the_same_and_the_others_say_why(
    run: Run, tiny_llama: Path, tiny_data: Path, tmp_path: Path
) -> None:
    config = small(tiny_llama, tiny_data, teach__epochs=30, evaluate__extras=False, unlearn__learning_rate=0.05)
    other = store.create(config, tmp_path)
    execute(set_up(other, config, tmp_path, Recorder()))
    full, less = (r.json("metrics.json")["metrics"] for r in (run, other))
    assert less["accuracy"] == full["accuracy"]
    assert less["degenerate"] == full["degenerate"]
    for name in ("truth_ratio", "model_utility", "membership", "choices", "kl"):
        assert less[name]["values"] == {}
        assert "evaluate.extras" in less[name]["reasons"]["all"], name


def test_a_run_without_recorded_answers_is_one_sentence(run: Run, tmp_path: Path) -> None:
    copied = Run(Path(shutil.copytree(run.path, tmp_path / "copy")))
    (copied.path / "tokens.parquet").unlink()
    with pytest.raises(UserError, match="no recorded answers"):
        evaluation.measure(copied)


def test_rouge_is_computed_once_for_equal_texts(run: Run) -> None:
    from core.metrics import rouge as module

    known = evaluation.evidence(run)
    rouge(known)
    misses = module._rouge.cache_info().misses
    rouge(known)
    assert module._rouge.cache_info().misses == misses
