"""Fresh rank beside the taught one: what is applied stays, and files with it are the same model wherever they are read."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file

from core.config.stages import ModelConfig
from core.models import adapter_files, loading, merging, plain_tensors
from core.models import adapters as adapters_
from core.models.adapters import Adapters, rank_of
from core.util.errors import UserError
from tests.naive import Bench, randomize

IDS = torch.arange(3, 40)[None]
SLOTS = 3
DENSE = ("llama", "gpt2", "opt", "gpt_neox")


def logits(adapters: Adapters, name: str | None) -> torch.Tensor:
    with adapters.active(name) as model, torch.no_grad():
        return model(input_ids=IDS).logits


def fresh(adapters: Adapters, name: str, cell: str, rank: int = 4) -> torch.Tensor:
    """Return what an adapter has beyond a rank: rows of A, columns of B."""
    value = adapters.tensor(name, cell).detach()
    return value[rank:] if cell.endswith("_A") else value[:, rank:]


@pytest.fixture
def wide(bench: Bench) -> Adapters:
    """Return adapters before, of rank 4, and after, the same with slots that have moved everywhere."""
    adapters = bench.adapters
    adapters.copy("before", "after")
    adapters.widen("after", SLOTS)
    source = torch.Generator().manual_seed(5)
    for cell in adapters.cells:
        part = fresh(adapters, "after", cell.name)
        part.copy_((0.1 * torch.randn(part.shape, generator=source)).bfloat16())
    return adapters


# -- widening


@pytest.mark.parametrize("architecture", DENSE)
def test_what_is_applied_stays_as_it_was(bench_of: Callable[..., Bench], architecture: str) -> None:
    adapters = bench_of(architecture).adapters
    adapters.copy("before", "after")
    adapters.widen("after", SLOTS)
    assert (adapters.rank("before"), adapters.rank("after")) == (4, 7)
    assert torch.equal(logits(adapters, "after"), logits(adapters, "before"))
    for cell in adapters.cells:
        assert adapters.layer(cell.name).scaling["after"] == adapters.layer(cell.name).scaling["before"] == 2.0
        assert rank_of(cell.name, adapters.tensor("after", cell.name)) == 7
        own = adapters.tensor("after", cell.name)
        assert torch.equal(own[:4] if cell.factor == "A" else own[:, :4], adapters.tensor("before", cell.name))
        part = fresh(adapters, "after", cell.name)
        assert bool(part.any()) == (cell.factor == "A")
    assert adapters.moved() == []


def test_slots_are_drawn_by_name_as_peft_draws_them(bench: Bench) -> None:
    adapters = bench.adapters
    adapters.widen("before", 64)
    drawn = {cell.name: fresh(adapters, "before", cell.name) for cell in adapters.cells if cell.factor == "A"}
    for name, part in drawn.items():
        bound = 1 / math.sqrt(part.shape[1])
        # What peft draws an A with: torch.nn.init.kaiming_uniform_(a=√5), here with the seed that the name gives.
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
        expected = torch.empty(part.shape)
        torch.nn.init.kaiming_uniform_(expected, a=math.sqrt(5), generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(part, expected, rtol=0, atol=1e-7)
        assert part.abs().max() <= bound
        assert abs(float(part.std()) - bound / math.sqrt(3)) < 0.1 * bound
    assert len({part.flatten()[0].item() for part in drawn.values()}) == len(drawn)


def test_widening_in_two_steps_keeps_what_is_applied(wide: Adapters) -> None:
    first = logits(wide, "after")
    assert not torch.equal(first, logits(wide, "before"))
    wide.widen("after", 2)
    assert wide.rank("after") == 9
    torch.testing.assert_close(logits(wide, "after"), first, rtol=0, atol=1e-6)


def test_the_grid_has_the_shapes_that_the_first_adapter_has(bench: Bench) -> None:
    """Localization cuts profiles by them: of a run that goes on from one with slots, before is the wider one."""
    bench.adapters.widen("before", SLOTS)
    for cell in bench.adapters.cells:
        assert cell.shape == tuple(bench.adapters.tensor("before", cell.name).shape)


@pytest.mark.parametrize("architecture", ["mixtral", "qwen3_moe"])
def test_fused_experts_have_no_room(bench_of: Callable[..., Bench], architecture: str) -> None:
    adapters = bench_of(architecture).adapters
    untouched = adapters.hash("before")
    with pytest.raises(UserError, match="no room for fresh rank"):
        adapters.widen("before", SLOTS)
    assert adapters.hash("before") == untouched


@pytest.mark.parametrize("setting", ["rank_pattern", "alpha_pattern"])
def test_ranks_that_differ_by_layer_have_no_room(tiny_llama: Path, setting: str) -> None:
    model = loading.load(ModelConfig(name=str(tiny_llama), device="cpu", dtype="float32")).model
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], **{setting: {"q_proj": 2}})
    adapters = adapters_.wrap(model, "float32", config)
    with pytest.raises(UserError, match="of its own for some layers"):
        adapters.widen("before", SLOTS)


# -- arithmetic between ranks


def test_values_of_a_lower_rank_have_the_slots_as_they_were_at_first(bench: Bench) -> None:
    adapters = bench.adapters
    adapters.copy("before", "after")
    adapters.widen("after", SLOTS)
    for name, first, second in adapters.pairs("before", "after"):
        assert torch.equal(first, second), name
        assert torch.equal(adapters.value("before", name, 4), adapters.tensor("before", name))
        assert torch.equal(adapters.value("after", name, 4), adapters.tensor("after", name))
    assert [name for name, *_ in adapters.pairs("after", "before")] == [cell.name for cell in adapters.cells]


def test_moved_names_what_lies_off_its_first_values(bench: Bench) -> None:
    adapters = bench.adapters
    adapters.copy("before", "after")
    adapters.widen("after", SLOTS)
    chosen = [adapters.cells[n].name for n in (2, 5, 8)]
    for name in chosen:
        fresh(adapters, "after", name)[-1, -1] += 1e-6
    assert adapters.moved() == adapters.moved("after", "before") == chosen


def test_copies_take_over_the_rank(wide: Adapters) -> None:
    for name, rank in (("after", 7), ("before", 4), ("after", 7)):
        wide.copy(name, "copy")
        assert wide.rank("copy") == rank
        assert wide.hash("copy") == wide.hash(name)
        assert torch.equal(logits(wide, "copy"), logits(wide, name))


def test_setting_values_with_slots_widens(wide: Adapters) -> None:
    name = wide.cells[6].name
    wide.copy("before", "partly")
    wide.set("partly", {name: wide.tensor("after", name).detach()})
    assert wide.rank("partly") == 7
    assert wide.moved("before", "partly") == [name]
    assert torch.equal(wide.tensor("partly", name), wide.tensor("after", name))
    with pytest.raises(UserError, match="has shape"):
        wide.set("partly", {name: wide.tensor("before", name).detach()})


def test_blending_goes_from_no_slots_to_slots(wide: Adapters) -> None:
    for strength in (0.0, 0.25, 1.0, 1.5):
        wide.blend("mix", strength)
        for cell in wide.cells:
            start, end = wide.tensor("before", cell.name), wide.tensor("after", cell.name)
            if cell.factor == "A":
                drawn = torch.from_numpy(plain_tensors.fresh_rows(cell.name, SLOTS, start.shape[1]))
                start = torch.cat([start, drawn])
            else:
                start = torch.cat([start, torch.zeros(len(start), SLOTS)], 1)
            torch.testing.assert_close(wide.tensor("mix", cell.name), start + strength * (end - start), rtol=0, atol=1e-7)
    wide.blend("mix", 0.0)
    assert torch.equal(logits(wide, "mix"), logits(wide, "before"))
    wide.blend("mix", 1.0)
    assert torch.equal(logits(wide, "mix"), logits(wide, "after"))


def test_reverting_puts_slots_back_to_what_they_were_at_first(wide: Adapters) -> None:
    chosen = {wide.cells[3].name, wide.cells[8].name}
    wide.revert("partly", chosen)
    assert wide.moved("before", "partly") == [cell.name for cell in wide.cells if cell.name not in chosen]
    assert set(wide.moved("after", "partly")) == chosen
    wide.revert("partly", [cell.name for cell in wide.cells])
    assert wide.moved("before", "partly") == []
    assert torch.equal(logits(wide, "partly"), logits(wide, "before"))


# -- files


@pytest.mark.parametrize("rslora", [False, True])
def test_a_widened_adapter_comes_back_exactly(tiny_llama: Path, tmp_path: Path, rslora: bool) -> None:
    def base() -> torch.nn.Module:
        return loading.load(ModelConfig(name=str(tiny_llama), device="cpu", dtype="float32")).model

    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", use_rslora=rslora)
    adapters = adapters_.wrap(base(), "float32", config)
    randomize(adapters, "before", seed=1)
    taught = logits(adapters, "before")
    adapters.widen("before", SLOTS)
    adapters.save("before", tmp_path, str(tiny_llama))
    stored = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    scale = stored["lora_alpha"] / (math.sqrt(7) if rslora else 7)
    assert stored["r"] == 7
    assert scale == pytest.approx(4.0 if rslora else 2.0)
    again = adapters_.load(base(), "float32", tmp_path)
    assert again.hash("before") == adapters.hash("before")
    # The scale is a quotient again, and may round to its neighbour.
    torch.testing.assert_close(logits(again, "before"), taught, rtol=0, atol=1e-5)


def stored_run(adapters: Adapters, region: list[str], folder: Path) -> Path:
    """Write the two files of a run that tell its adapters."""
    adapters.save("before", folder / "before", "tiny")
    (folder / "after").mkdir()
    adapter_files.write_tensors(
        {name: adapters.tensor("after", name).detach() for name in region}, folder / "after" / "region.safetensors"
    )
    return folder


def unlearned(adapters: Adapters, region: list[str]) -> None:
    """Leave only a region moved."""
    adapters.revert("some", [cell.name for cell in adapters.cells if cell.name not in region])
    adapters.copy("some", "after")


PICKS = {"both factors": slice(0, 6), "B alone": slice(1, 8, 2), "A alone": slice(0, 8, 2), "one": slice(3, 4)}


@pytest.mark.parametrize("pick", PICKS)
def test_a_region_with_slots_is_the_same_model_with_torch_and_without(
    wide: Adapters, tiny_llama: Path, tmp_path: Path, pick: str
) -> None:
    region = [cell.name for cell in wide.cells][PICKS[pick]]
    unlearned(wide, region)
    run = stored_run(wide, region, tmp_path)
    assert {v.dtype for n, v in load_file(run / "after" / "region.safetensors").items() if n.endswith("_B")} <= {
        torch.float32  # of the bench, whose taught factors are no bfloat16
    }
    base = loading.load(ModelConfig(name=str(tiny_llama), device="cpu", dtype="float32")).model
    both = merging.both(base, "float32", run, run / "after" / "region.safetensors")
    assert both.rank("after") == 7
    assert both.hash("after") == wide.hash("after")
    assert torch.equal(logits(both, "after"), logits(wide, "after"))
    assert plain_tensors.slots(run) == SLOTS
    plain = plain_tensors.arrays(plain_tensors.cells(plain_tensors.after(run)))
    assert plain_tensors.content_hash(plain) == wide.hash("after")
    first = plain_tensors.arrays(plain_tensors.cells(plain_tensors.before(run, SLOTS)))
    assert sorted(name for name in first if not np.array_equal(first[name], plain[name])) == sorted(region)


def test_without_slots_nothing_is_widened(bench: Bench, tmp_path: Path) -> None:
    bench.adapters.copy("before", "after")
    randomize(bench.adapters, "after", seed=2)
    run = stored_run(bench.adapters, [cell.name for cell in bench.adapters.cells], tmp_path)
    assert plain_tensors.slots(run) == 0
    plain = plain_tensors.arrays(plain_tensors.cells(plain_tensors.after(run)))
    assert plain_tensors.content_hash(plain) == bench.adapters.hash("after")


def test_bfloat16_stays_half_as_large_without_torch(wide: Adapters, tmp_path: Path) -> None:
    for name in ("before", "after"):
        wide.round_to_bfloat16(name)
    cell = next(cell for cell in wide.cells if cell.factor == "B")
    wide.revert("some", [c.name for c in wide.cells if c.name != cell.name])
    wide.copy("some", "after")
    run = stored_run(wide, [cell.name], tmp_path)
    formats = {name: tensor["dtype"] for name, tensor in plain_tensors.cells(plain_tensors.after(run)).items()}
    assert {kind for name, kind in formats.items() if name.endswith("_B")} == {"BF16"}


@pytest.mark.parametrize("shape", [(7, 31), (2, 32), (7,), (7, 32, 1), (10**12, 0)])
def test_a_region_of_other_shapes_is_damage(bench: Bench, tmp_path: Path, shape: tuple[int, ...]) -> None:
    cell = next(cell for cell in bench.adapters.cells if cell.factor == "A" and cell.shape == (4, 32))
    bench.adapters.save("before", tmp_path / "before", "tiny")
    (tmp_path / "after").mkdir()
    spec = {cell.name: {"dtype": "F32", "shape": list(shape), "data": bytes(4 * math.prod(shape))}}
    (tmp_path / "after" / "region.safetensors").write_bytes(plain_tensors.pack(spec))
    with pytest.raises(UserError, match="is not one of before"):
        plain_tensors.after(tmp_path)
