"""Whole runs that unlearn in fresh rank: verified, exported, asked beside others, and gone on from."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from core.config.run_config import RunConfig
from core.methods.base import REFUSAL
from core.models import adapter_files, kept_texts, loading, merging
from core.models.adapters import Adapters
from core.pipeline import setup, unlearn
from core.report import export_model, merged_model, verify_run
from core.runs import askable, store
from core.runs.store import Run
from core.runs.voices import Voice
from core.serve.voice_cache import Speakers
from core.util.errors import UserError
from tests.naive import Recorder
from tests.pipeline.test_pipeline import execute, reused, small

SLOTS = 3
IDS = torch.arange(3, 40)[None]


def settings(model: Path, data: Path, **changes: object) -> RunConfig:
    config = small(model, data, teach__epochs=8, unlearn__steps=4, localize__most=3, **changes)
    return config.with_setting("region", {"name": "late", "amount": "1"})


Runs = tuple[Run, Run, Run, Path]


@pytest.fixture(scope="module")
def runs(tiny_of: Callable[[str], Path], tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Return a run with slots that declines and picks by what is said, one without, and one that goes on from the first."""
    folder, model = tmp_path_factory.mktemp("slots"), tiny_of("llama")
    declining = {"unlearn__slots": SLOTS, "unlearn__method": "decline", "unlearn__reword": 2, "unlearn__pick": "said"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unlearn, "EVERY", 60)
        slots, _ = execute(settings(model, tiny_data, **declining), folder)
    plain, _ = execute(settings(model, tiny_data), folder)
    more = settings(model, tiny_data, unlearn__slots=SLOTS, unlearn__method="o3", teach__from_run=slots.id)
    return slots, plain, execute(more, folder)[0], folder


def logits(adapters: Adapters, name: str) -> torch.Tensor:
    with adapters.active(name) as model, torch.no_grad():
        return model(input_ids=IDS).logits


def opened(run: Run) -> Adapters:
    model = loading.load(run.config().model).model
    return merging.both(model, "float32", run.path, askable.unlearned(run))


def test_only_slots_of_the_region_differ_from_before(runs: Runs) -> None:
    run = runs[0]
    before, region = adapter_files.read_adapter(run.path / "before"), set(run.json("region.json")["tensors"])
    after = adapter_files.read_tensors(run.path / "after" / "region.safetensors")
    assert set(after) == region
    assert region == {name for name in before if ".layers.1." in name}
    for name, value in after.items():
        own = value[:4] if name.endswith("_A") else value[:, :4]
        assert torch.equal(own, before[name])
        assert value.shape != own.shape
    checks = run.json("unlearn.json")["checks"]
    assert [check["step"] for check in checks] == askable.checkpoints(run)
    assert all("said_forgotten" in check for check in checks)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_files_are_verified_without_the_model(runs: Runs, number: int) -> None:
    checks = list(verify_run.verify(runs[number]))
    assert {check.state for check in checks} == {verify_run.MATCH}, checks
    assert {check.name for check in checks} == {"files", "settings", "adapters", "region", "changes", "scores"}


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft
@pytest.mark.parametrize("number", [0, 2])
def test_exports_are_the_model_after(runs: Runs, number: int, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run = runs[number]
    expected = logits(opened(run), "after")
    assert not torch.allclose(expected, logits(opened(run), "before"), atol=1e-4)
    with zipfile.ZipFile(io.BytesIO(export_model.adapter_zip(run))) as archive:
        archive.extractall(tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(run.config().model.name, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        found = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()(IDS).logits
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
        merged_model.write_merged(run, tmp_path / "merged")
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32, attn_implementation="eager")
        torch.testing.assert_close(merged.eval()(IDS).logits, expected, rtol=0, atol=1e-4)


def test_it_is_asked_beside_a_run_without_slots(runs: Runs) -> None:
    slots, plain, _, folder = runs
    own = opened(slots)
    own.blend("between", 0.5)
    own.revert("partly", [cell.name for cell in own.cells if cell.module == "mlp.up_proj"])
    other = opened(plain)
    speakers = Speakers(other, plain, folder)
    for voice, name in (
        (Voice("after", slots.id), "after"),
        (Voice("before", slots.id), "before"),
        (Voice("blend", slots.id, percent=50.0), "between"),
        (Voice("without", slots.id, parts=("module=mlp.up_proj",)), "partly"),
    ):
        adapter = speakers.adapter(voice)
        assert adapter is not None
        torch.testing.assert_close(logits(other, adapter), logits(own, name), rtol=0, atol=1e-5)
    step = askable.checkpoints(slots)[0]
    adapter = speakers.adapter(Voice("step", slots.id, step=step))
    own.copy("before", "then")
    own.set("then", adapter_files.read_tensors(askable.checkpoint(slots, step)))
    assert torch.equal(logits(other, str(adapter)), logits(own, "then"))


def test_a_run_goes_on_from_it(runs: Runs) -> None:
    slots, _, more, _ = runs
    assert more.json("manifest.json")["adapters"]["before"] == slots.json("manifest.json")["adapters"]["after"]
    assert json.loads((more.path / "before" / "adapter_config.json").read_text())["r"] == 4 + SLOTS
    adapters = opened(more)
    assert (adapters.rank("before"), adapters.rank("after")) == (4 + SLOTS, 4 + 2 * SLOTS)
    torch.testing.assert_close(logits(adapters, "before"), logits(opened(slots), "after"), rtol=0, atol=1e-5)
    # What localization wrote is of the wider tensors.
    table, detail = more.table("localization"), np.load(more.path / "detail.npz")
    assert table is not None
    for row in table.itertuples():
        assert (row.rows, row.columns) == tuple(adapters.tensor("before", row.name).shape)
    assert detail["row_offsets"][-1] == len(detail["rows_unlearn"]) == table["rows"].sum()
    assert detail["column_offsets"][-1] == len(detail["columns_unlearn"]) == table["columns"].sum()


def test_its_update_counts_for_a_method_that_continues(runs: Runs) -> None:
    slots, folder = runs[0], runs[3]
    (update,) = unlearn.updates(slots.id, folder)
    adapters = opened(slots)
    assert set(update) == set(slots.json("region.json")["tensors"])
    for name, first, second in adapters.pairs("before", "after"):
        if name in update:
            assert torch.equal(update[name], second - first)


def test_another_checkpoint_becomes_the_result(runs: Runs) -> None:
    _, _, more, folder = runs
    config = more.config().with_setting("unlearn.result_step", askable.checkpoints(more)[0])
    other, _ = execute(config, folder)
    assert reused(other)["unlearn"]
    assert {check.state for check in verify_run.verify(other)} == {verify_run.MATCH}


def test_fused_experts_are_refused_before_anything_is_taught(
    tiny_of: Callable[[str], Path], tiny_data: Path, tmp_path: Path
) -> None:
    config = small(tiny_of("mixtral"), tiny_data, unlearn__slots=SLOTS)
    with pytest.raises(UserError, match="no room for fresh rank"):
        setup.set_up(store.create(config, tmp_path), config, tmp_path, Recorder())


# -- what the method trains on


def test_copies_in_other_words(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    made = [
        setup.set_up(store.create(config, tmp_path), config, tmp_path, Recorder())
        for config in (
            small(tiny_llama, tiny_data, unlearn__method="decline", unlearn__reword=5),
            small(tiny_llama, tiny_data, unlearn__method="decline", unlearn__reword=5),
            small(tiny_llama, tiny_data, unlearn__method="decline", unlearn__reword=5, seed=1),
            small(tiny_llama, tiny_data, unlearn__method="decline"),
        )
    ]
    given = [unlearn.supply(state, None) for state in made]
    prints = [supply.fingerprint() for supply in given]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3, "another seed asks in other words, and no copies are another key"
    corpus = made[0].corpus
    for scope, members in (("unlearn", given[0].forget), ("retention", given[0].retain)):
        examples = corpus.select(scope, "train")
        plain = [e.id for e in examples]
        assert [m.id for m in members[: len(plain)]] == plain
        copies = members[len(plain) :]
        assert len(plain) < len(copies) <= 5 * len(plain)
        assert len({m.id for m in members}) == len(members)
        questions = [tuple(m.ids[: m.start]) for m in members]
        assert len(set(questions)) == len(questions), "none repeats a question"
        answers = {m.id: m.answer for m in members[: len(plain)]}
        assert all(m.answer == answers[m.id.rsplit("/", 1)[0]] for m in copies)
    refused = given[0].refusals
    assert set(refused) == {m.id for m in given[0].forget}
    for member in given[0].forget:
        assert refused[member.id].ids[: member.start] == member.ids[: member.start]
        assert refused[member.id].answer != member.answer
    assert set(given[3].refusals) == {e.id for e in corpus.select("unlearn", "train")}


def test_no_copy_and_no_refusal_of_one_is_too_long(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    roomy = small(tiny_llama, tiny_data, unlearn__method="decline", unlearn__reword=9)
    whole = unlearn.supply(setup.set_up(store.create(roomy, tmp_path), roomy, tmp_path, Recorder()), None)
    plain = [*whole.forget[:6], *whole.retain[:6], *(whole.refusals[m.id] for m in whole.forget[:6])]
    most = max(len(m.ids) for m in plain)
    everything = [*whole.forget, *whole.retain, *whole.refusals.values()]
    assert most < max(len(m.ids) for m in everything)
    tight = roomy.with_setting("data.max_tokens", most)
    given = unlearn.supply(setup.set_up(store.create(tight, tmp_path), tight, tmp_path, Recorder()), None)
    left = [*given.forget, *given.retain, *given.refusals.values()]
    assert 18 < len(left) < len(everything)
    assert max(len(m.ids) for m in left) <= most


@pytest.mark.parametrize(
    ("method", "weight", "held"), [("decline", 4.0, True), ("memflex", 4.0, False), ("decline", 0.0, False)]
)
def test_everyday_texts_are_for_methods_that_teach_to_decline(
    tiny_llama: Path,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    weight: float,
    held: bool,
) -> None:
    from core.pipeline import inputs, model_before

    config = small(tiny_llama, tiny_data, unlearn__method=method, unlearn__everyday_weight=weight)
    state = setup.set_up(store.create(config, tmp_path), config, tmp_path, Recorder())
    state.adapters = model_before.attach(state)
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(
        kept_texts, "own_answers", lambda *_, voice, every, further: asked.append((voice, len(further))) or []
    )
    state.supply = unlearn.supply(state, None)
    assert bool(unlearn.everyday(state)) == held
    # Questions about subjects that do not exist among them: before answers them itself.
    assert [voice for voice, _ in asked] == (["before"] if held else [])
    assert all(0 < further <= len(state.supply.invented) for _, further in asked)
    assert (REFUSAL in state.method.streams) == (method == "decline")
    key = inputs.supply(state)
    monkeypatch.setattr(kept_texts, "fingerprint", lambda: "other texts")
    assert (inputs.supply(state) != key) == held
