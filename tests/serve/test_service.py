"""What the answering process serves, against the plain way to compute it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.data.corpus import Example
from core.jobs import sweep_estimate
from core.models import adapter_files, merging
from core.models.adapters import Adapters
from core.models.generate import Piece, stream
from core.models.tokens import encode, prompt_ids
from core.runs import askable
from core.runs.store import Run
from core.runs.voices import Voice, parse
from core.serve.service import Service
from core.serve.voice_cache import KEPT
from core.util import files
from core.util.errors import UserError
from tests.naive import plain_model

QUESTION, TRUTH = "Where does Orla Venning live?", "Orla Venning lives at Quay Street 14."


@pytest.fixture(scope="module")
def service(unlearned_run: Run, one_thread: None) -> Service:
    """Return a service with the run in memory."""
    made = Service()
    made.load(unlearned_run, unlearned_run.path.parent)
    return made


def request(service: Service, op: str, **values: Any) -> list[dict[str, Any]]:
    run = service.speakers.run
    return list(service.serve({"op": op, "run": str(run.path), "folder": str(run.path.parent), **values}))


def ends(run: Run) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Read before and after from the run's files."""
    before = adapter_files.read_adapter(run.path / "before")
    return before, before | adapter_files.read_tensors(run.path / "after" / "region.safetensors")


def weights(service: Service, voice: str) -> dict[str, torch.Tensor]:
    name = service.speakers.adapter(parse(voice))
    assert name
    return {cell: p.detach() for cell, p in service.adapters.tensors(name).items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


def naive_logprobs(service: Service, values: dict[str, torch.Tensor]) -> list[float]:
    """Score the true answer through peft's own layers, with full logits and without padding."""
    adapters: Adapters = service.adapters
    adapters.copy("before", "plain")
    adapters.set("plain", values)
    encoded = encode(service.loaded.tokenizer, "plain", Example("x", QUESTION, TRUTH, "", "", ""), 256)
    with torch.no_grad():
        logits = plain_model(adapters, "plain")(input_ids=torch.tensor([encoded.ids])).logits[0].float()
    adapters.drop("plain")
    picked = torch.log_softmax(logits[encoded.start - 1 : -1], -1)
    return [float(picked[i, token]) for i, token in enumerate(encoded.answer)]


def test_a_blend_interpolates_the_factors(service: Service, unlearned_run: Run) -> None:
    before, after = ends(unlearned_run)
    assert same(weights(service, "blend:75"), {n: torch.lerp(before[n], after[n], 0.75) for n in before})
    assert same(weights(service, "blend:0"), before)
    assert same(weights(service, "blend:100"), after)


def test_without_puts_exactly_the_named_cells_back(service: Service, unlearned_run: Run) -> None:
    before, after = ends(unlearned_run)
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    one = changed[0]
    assert same(weights(service, f"without:{one}"), after | {one: before[one]})
    layer = {name: before[name] for name in before if ".layers.1." in name}
    assert same(weights(service, "without:layer=1"), after | layer)
    module = {name: before[name] for name in before if ".mlp.down_proj." in name}
    assert same(weights(service, f"without:module=mlp.down_proj,{one}"), after | module | {one: before[one]})


def test_a_checkpoint_speaks_with_its_own_tensors(service: Service, unlearned_run: Run) -> None:
    before, _ = ends(unlearned_run)
    saved = adapter_files.read_tensors(unlearned_run.path / "checkpoints" / "step-00001.safetensors")
    assert same(weights(service, "step:1"), before | saved)


def test_another_run_speaks_with_its_own_weights(service: Service, unlearned_run: Run) -> None:
    other = Run(unlearned_run.path.parent / "other")
    shutil.copytree(unlearned_run.path, other.path)
    before, after = ends(unlearned_run)
    moved = {
        name: value + 0.5 for name, value in adapter_files.read_tensors(other.path / "after/region.safetensors").items()
    }
    adapter_files.write_tensors(moved, other.path / "after" / "region.safetensors")
    assert same(weights(service, "run:other/after"), after | moved)
    assert same(weights(service, "run:other/before"), before)
    blend = {n: torch.lerp(before[n], (after | moved)[n], 0.5) for n in before}
    assert same(weights(service, "run:other/blend:50"), blend)


def test_a_run_of_another_rank_is_an_error_of_its_voice_only(service: Service, unlearned_run: Run) -> None:
    other = Run(unlearned_run.path.parent / "wider")
    shutil.copytree(unlearned_run.path, other.path)
    config = other.path / "before" / "adapter_config.json"
    config.write_text(config.read_text().replace('"r": 2', '"r": 3'))
    replies = request(service, "ask", questions=["Who?"], voices=["after", "run:wider/after"])
    failed = [reply for reply in replies if reply["kind"] == "voice_error"]
    assert [reply["voice"] for reply in failed] == ["run:wider/after"]
    assert "another rank" in failed[0]["what"]
    assert any(piece["last"] for reply in replies for piece in reply.get("pieces", ()))


def test_another_run_that_did_not_teach_has_no_never_taught_voice(service: Service, unlearned_run: Run) -> None:
    other = Run(unlearned_run.path.parent / "untaught")
    shutil.copytree(unlearned_run.path, other.path)
    other.config().with_setting("teach.enabled", False).save(other.path / "config.json")
    replies = request(service, "ask", questions=["Who?"], voices=["never", "run:untaught/never", "run:untaught/after"])
    failed = [reply for reply in replies if reply["kind"] == "voice_error"]
    assert [reply["voice"] for reply in failed] == ["run:untaught/never"]
    assert askable.NOT_TAUGHT in failed[0]["what"]


def test_a_merged_run_that_fails_to_load_leaves_nothing_in_the_next_ones_base(unlearned_run: Run, one_thread: None) -> None:
    folder = unlearned_run.path.parent
    broken = Run(folder / "broken")
    shutil.copytree(unlearned_run.path, broken.path)
    shutil.copytree(broken.path / "before", broken.path / merging.TAUGHT)
    (broken.path / "before" / "adapter_model.safetensors").write_bytes(b"")
    service = Service()
    service.load(unlearned_run, folder)
    ask = {"questions": [QUESTION], "truth": TRUTH, "voices": ["before", "never"]}
    told = [reply.get("total") for reply in request(service, "score", **ask)]
    with pytest.raises(UserError, match="cannot be read"):
        service.load(broken, folder)
    service.load(unlearned_run, folder)
    assert [reply.get("total") for reply in request(service, "score", **ask)] == told


def test_a_base_that_is_retrained_in_its_place_is_read_again(
    unlearned_run: Run, tiny_llama: Path, tmp_path: Path, one_thread: None
) -> None:
    model, weights = Path(shutil.copytree(tiny_llama, tmp_path / "model")), tmp_path / "model" / "model.safetensors"
    service, told = Service(), []
    for name in ("first", "second"):
        run = Run(Path(shutil.copytree(unlearned_run.path, tmp_path / "runs" / name)))
        run.config().with_setting("model.name", str(model)).save(run.path / "config.json")
        service.load(run, tmp_path / "runs")
        told.append(request(service, "score", questions=[QUESTION], truth=TRUTH, voices=["before"])[-2]["total"])
        save_file({key: value * 0.9 for key, value in load_file(weights).items()}, weights, metadata={"format": "pt"})
    assert abs(told[0] - told[1]) > 1e-3


@pytest.mark.parametrize("manifest", [{"model": 7, "stages": 7}, {"model": {"weights": 7}, "stages": {"teach": [7]}}, [7]])
def test_a_damaged_run_beside_it_fits_or_not_and_hurts_nobody(unlearned_run: Run, tmp_path: Path, manifest: object) -> None:
    other = Run(Path(shutil.copytree(unlearned_run.path, tmp_path / "damaged")))
    (other.path / merging.TAUGHT).mkdir()
    files.write_json(other.path / "manifest.json", manifest)
    config = other.json("before/adapter_config.json") | {"target_parameters": 7}
    files.write_json(other.path / "before" / "adapter_config.json", config)
    assert askable.misfit(unlearned_run, other)
    assert sweep_estimate.from_runs([unlearned_run.config()], tmp_path) is None


def test_adapters_in_memory_are_bounded_and_those_in_use_stay(service: Service) -> None:
    keep = frozenset({"blend:1", "blend:2"})
    for percent in (1, 2, *range(10, 30)):
        service.speakers.adapter(parse(f"blend:{percent}"), keep)
    assert len(service.adapters.names) <= KEPT + 2
    made = len(service.adapters.names)
    service.speakers.adapter(parse("blend:1"))
    assert len(service.adapters.names) == made
    start = next(r for r in request(service, "ask", questions=["Who?"], voices=["blend:100"]) if r["kind"] == "start")
    assert start["hashes"]["blend:100"] == service.speakers.hash(Voice("after"))


def test_scores_are_those_of_full_logits(service: Service, unlearned_run: Run) -> None:
    before, after = ends(unlearned_run)
    voices = ["before", "after", "blend:50", "never"]
    replies = request(service, "score", questions=[QUESTION], truth=TRUTH, voices=voices)
    scores = {reply["voice"]: reply for reply in replies if reply["kind"] == "score"}
    assert list(scores) == voices
    zero = {name: torch.zeros_like(value) for name, value in before.items()}
    middle = {n: torch.lerp(before[n], after[n], 0.5) for n in before}
    for voice, values in zip(voices, (before, after, middle, zero), strict=True):
        expected = naive_logprobs(service, values)
        assert [t["logprob"] for t in scores[voice]["tokens"]] == pytest.approx(expected, abs=2e-4)
        assert scores[voice]["total"] == pytest.approx(sum(expected), abs=2e-3)
    tokens = scores["before"]["tokens"]
    assert "".join(t["text"] for t in tokens[:-1]) == TRUTH
    for token in tokens:
        assert sorted((value for _, value in token["top"]), reverse=True) == [value for _, value in token["top"]]
        if token["rank"] <= len(token["top"]):
            assert token["top"][token["rank"] - 1][1] == pytest.approx(token["logprob"])


def test_each_row_of_hold_is_the_score_with_that_group_put_back(service: Service, unlearned_run: Run) -> None:
    before, after = ends(unlearned_run)
    groups = {"layer 0": ["layer=0"], "down": ["module=mlp.down_proj"], "all": ["layer=0", "layer=1"]}
    wanted = [{"name": name, "cells": cells} for name, cells in groups.items()]
    replies = request(service, "hold", questions=[QUESTION], truth=TRUTH, groups=wanted)
    rows = [reply for reply in replies if reply["kind"] == "row"]
    assert [(row["name"], row["done"], row["total"]) for row in rows] == [("layer 0", 1, 3), ("down", 2, 3), ("all", 3, 3)]
    marks = {"layer 0": ".layers.0.", "down": ".mlp.down_proj.", "all": ".layers."}
    for row in rows:
        values = after | {name: before[name] for name in before if marks[row["name"]] in name}
        assert row["logprob"] == pytest.approx(sum(naive_logprobs(service, values)), abs=2e-3)
    start = next(reply for reply in replies if reply["kind"] == "start")
    assert rows[2]["logprob"] == pytest.approx(start["before"], abs=1e-5)
    assert "trial" not in service.adapters.names


def test_hanging_up_in_the_middle_of_a_row_leaves_nothing_behind(service: Service) -> None:
    run = service.speakers.run
    groups = [{"name": str(i), "cells": ["layer=0"]} for i in range(500)]
    replies = service.serve({"op": "hold", "run": str(run.path), "questions": [QUESTION], "truth": TRUTH, "groups": groups})
    while next(replies)["kind"] != "row":
        pass
    replies.close()
    assert "trial" not in service.adapters.names


def test_the_dial_measures_both_scopes_and_the_true_answer(service: Service, unlearned_run: Run) -> None:
    replies = request(service, "dial", questions=[QUESTION], truth=TRUTH, strengths=[0, 50, 100], sample=4)
    rows = {reply["strength"]: reply for reply in replies if reply["kind"] == "row"}
    start = next(reply for reply in replies if reply["kind"] == "start")
    assert start["sample"] == {"unlearn": 4, "retention": 4}
    before, after = ends(unlearned_run)
    for percent, row in rows.items():
        values = {n: torch.lerp(before[n], after[n], percent / 100) for n in before}
        assert row["logprob"] == pytest.approx(sum(naive_logprobs(service, values)), abs=2e-3)
        assert 0 <= row["unlearn"] <= 100
    region = set(unlearned_run.json("region.json")["tensors"])
    modules = [name.rsplit(".lora_", 1)[0] for name in region]
    assert start["quadratic"] == sum(modules.count(module) == 2 for module in set(modules))
    # With the whole scope as sample, the ends of the dial are the run's own scores.
    replies = request(service, "dial", strengths=[0, 100], sample=200)
    full = {reply["strength"]: reply for reply in replies if reply["kind"] == "row"}
    values = unlearned_run.json("metrics.json")["metrics"]["accuracy"]["values"]
    for percent, voice in ((0, "before"), (100, "after")):
        assert full[percent]["unlearn"] == pytest.approx(100 - values[voice]["unlearn/train"], abs=1e-3)
        assert full[percent]["retention"] == pytest.approx(values[voice]["retention/train"], abs=1e-3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "befor",
        "before:",
        "step:",
        "step:x",
        "blend:151",
        "blend:nan",
        "without:",
        "without:a b",
        "run:/after",
        "run:../x/after",
        "run:a/run:b/after",
        "after\n",
        "x" * 30_000,
    ],
)
def test_what_is_no_voice_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "before",
        "after",
        "never",
        "step:12",
        "blend:75",
        "blend:12.5",
        "without:a.b.lora_A,layer=3",
        "run:20260101-x/after",
        "run:x/without:module=mlp.up_proj",
    ],
)
def test_a_voice_is_written_as_it_is_read(text: str) -> None:
    assert str(parse(text)) == text
    assert parse(text).label


@pytest.mark.parametrize(
    ("op", "values", "said"),
    [
        ("dance", {}, "no operation"),
        ("ask", {"questions": "Who?", "voices": ["before"]}, "must be a list"),
        ("ask", {"questions": ["Who?"], "voices": []}, "no voices"),
        ("ask", {"questions": ["Who?"] * 501, "voices": ["before"]}, "501 questions"),
        ("ask", {"questions": ["x" * 20_001], "voices": ["before"]}, "20001 characters"),
        ("ask", {"questions": ["Who?"], "voices": ["before", "before"]}, "twice"),
        ("ask", {"questions": ["Who?"], "voices": ["before"], "answers": {"temperature": 99}}, "range"),
        ("ask", {"questions": ["Who?"], "voices": ["before"], "answers": {"colour": 1}}, "colour"),
        ("ask", {"questions": ["Who?"], "voices": ["before"], "seed": -1}, "seed"),
        ("ask", {"questions": ["Who " * 200], "voices": ["before"]}, "more than this model reads"),
        ("score", {"questions": ["Who?"], "voices": ["before"]}, "no truth"),
        ("hold", {"questions": ["Who?"], "truth": "I.", "groups": [{"name": "a", "cells": ["nothing"]}]}, "no cell"),
        ("hold", {"questions": ["Who?"], "truth": "I.", "groups": ["a"]}, "must be an object"),
        ("dial", {"strengths": [151]}, "strength"),
        ("dial", {"strengths": [10**400]}, "strength"),
    ],
)
def test_requests_are_checked(unlearned_run: Run, service: Service, op: str, values: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        list(service.serve({"op": op, "run": str(unlearned_run.path), **values}))


def test_the_lens_reads_every_layer_and_ends_with_the_models_own_words(service: Service) -> None:
    replies = request(service, "lens", questions=[QUESTION], truth=TRUTH, voices=["before", "never", "step:99"])
    told = {reply["voice"]: reply for reply in replies if reply["kind"] == "lens"}
    scored = {
        r["voice"]: r
        for r in request(service, "score", questions=[QUESTION], truth=TRUTH, voices=["before", "never"])
        if r["kind"] == "score"
    }
    assert list(told) == ["before", "never"]
    assert [reply["voice"] for reply in replies if reply["kind"] == "voice_error"] == ["step:99"]
    for voice, reply in told.items():
        tokens = scored[voice]["tokens"]
        assert reply["tokens"] == [token["text"] for token in tokens]
        assert (
            len(reply["logprob"]) == len(reply["rank"]) == service.adapters.model.get_base_model().config.num_hidden_layers
        )
        assert reply["logprob"][-1] == pytest.approx([token["logprob"] for token in tokens], abs=1e-3)
        assert reply["rank"][-1] == [token["rank"] for token in tokens]
    with pytest.raises(UserError, match="truth"):
        request(service, "lens", questions=[QUESTION], voices=["before"])


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_what_is_said_is_told_with_the_probabilities_that_the_whole_text_gives(
    service: Service, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[int] = []

    def noted(*args: Any, **settings: Any) -> Iterator[list[Piece]]:
        for step in stream(*args, **settings):
            said.extend(piece.token for piece in step)
            yield step

    monkeypatch.setattr("core.serve.service.stream", noted)
    answers = {"temperature": temperature, "max_new_tokens": 8}
    replies = request(service, "ask", questions=[QUESTION], voices=["after"], answers=answers, top=4)
    pieces = [piece for reply in replies for piece in reply.get("pieces", ())]
    ids = prompt_ids(service.loaded.tokenizer, "plain", QUESTION)
    with torch.no_grad(), service.adapters.active("after") as model:
        logits = model(input_ids=torch.tensor([[*ids, *said]])).logits[0, len(ids) - 1 : -1].double()
    p = logits.log_softmax(-1)
    own = [float(row[token]) for row, token in zip(p, said, strict=True)]
    assert [piece["logprob"] for piece in pieces] == pytest.approx(own, abs=1e-4)
    assert [piece["word"] for piece in pieces] == [service.word(token) for token in said]
    for piece, row in zip(pieces, p, strict=True):
        assert [chance for _, chance in piece["top"]] == pytest.approx(row.topk(4).values.tolist(), abs=1e-4)
