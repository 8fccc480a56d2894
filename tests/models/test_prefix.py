"""The frozen prefix: what it keeps and where, that a pass over it is the full pass, and when it stands back."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from core.models.likelihood import accuracy, answer_logits
from core.models.prefix import Kept, Prefix, frozen_prefix
from core.models.references import References, run
from core.models.tokens import Encoded, collate
from core.util.progress import Reporter
from tests.naive import Bench, Recorder, make_bench, randomize
from tests.tiny import ARCHITECTURES, SHARING, make_tiny

Deep = Callable[..., Bench]
CLOSE = 2e-4
"""of logits, as everywhere in these tests: the same sums in another order"""


@pytest.fixture
def deep(deep_tiny_of: Callable[[str], Path], tiny_data: Path) -> Deep:
    """Return a function that makes a bench of four layers, whose "after" differs from "before" from layer 2 on."""

    def made(architecture: str = "llama", **settings: Any) -> Bench:
        bench = make_bench(deep_tiny_of(architecture), tiny_data, **settings)
        bench.adapters.copy("before", "after")
        change(bench, upper(bench))
        return bench

    return made


def upper(bench: Bench, lowest: int = 2) -> list[str]:
    return [cell.name for cell in bench.adapters.cells if cell.layer >= lowest]


def change(bench: Bench, cells: Sequence[str]) -> None:
    kept = {name: p.detach().clone() for name, p in bench.adapters.tensors("after").items() if name not in cells}
    randomize(bench.adapters, "after", seed=7)
    bench.adapters.set("after", kept)


def everything(bench: Bench) -> list[Encoded]:
    return [*bench.unlearn, *bench.retention]


def opened(bench: Bench, *, memory: float = 1.0, region: Sequence[str] = (), report: Reporter | None = None) -> Any:
    members = everything(bench)[::3]
    return frozen_prefix(bench.adapters, region or upper(bench), memory, members, report or Reporter())


def used(prefix: Prefix | None) -> Prefix:
    assert prefix is not None
    return prefix


class Calls:
    """Counts how often each layer's own forward runs, below what stands in for it."""

    def __init__(self, bench: Bench) -> None:
        self.of = [0] * 4
        for number, block in enumerate(bench.adapters.blocks()):
            block.self_attn.register_forward_pre_hook(lambda *_, number=number: self.add(number))

    def add(self, number: int) -> None:
        self.of[number] += 1

    def take(self) -> list[int]:
        taken, self.of = self.of, [0] * 4
        return taken


# -- what is kept


def states(rows: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(rows, 8, generator=torch.Generator().manual_seed(rows)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_exceeds_the_memory_lies_on_disk_bit_by_bit_until_it_is_closed(dtype: torch.dtype) -> None:
    first, second, third = states(5, dtype), states(9, dtype), states(2, dtype)
    kept = Kept(first.nbytes + third.nbytes, Reporter())
    for ids, value in (((1, 2), first), ((3,), second), ((1, 2, 3), third)):
        kept.put(ids, value)
    assert (set(kept.near), set(kept.far), kept.room) == ({(1, 2), (1, 2, 3)}, {(3,)}, 0)
    assert torch.equal(kept[3,], second)
    assert kept[3,].dtype == dtype
    assert torch.equal(kept[1, 2], first)
    folder = Path(kept.folder.name)  # type: ignore[union-attr]
    assert [path.stat().st_size for path in folder.iterdir()] == [second.nbytes]
    kept.close()
    assert not folder.exists()
    assert (3,) not in kept


def test_no_folder_is_made_while_there_is_memory() -> None:
    kept = Kept(10**6, Reporter())
    kept.put((1,), states(5))
    assert kept.folder is None


def test_without_room_on_disk_it_is_said_once_and_nothing_more_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    report = Recorder()
    kept = Kept(0, report)
    kept.put((1,), states(5))
    kept.put((2,), states(6))
    assert (1,) not in kept
    assert [kind for kind, _ in report.events] == ["finding"]
    assert "No space left" in report.events[0][1]["text"]
    kept.close()


# -- a pass over it


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("lowest", [1, 3])
def test_logits_are_those_of_the_full_pass(deep: Deep, architecture: str, lowest: int) -> None:
    bench, report = deep(architecture), Recorder()
    change(bench, upper(bench, lowest))
    with bench.adapters.active("after") as model, torch.no_grad():
        batches = [collate(everything(bench)), collate(bench.retention[:2]), collate(bench.unlearn[1:4])]
        expected = [answer_logits(model, batch) for batch in batches]
        with opened(bench, region=upper(bench, lowest), report=report) as prefix:
            for _ in range(2):  # computed, then kept
                for batch, logits in zip(batches, expected, strict=True):
                    assert torch.allclose(run(bench.adapters, batch, {}, used(prefix)), logits, atol=CLOSE)
    assert report.events == []


def test_sixteen_bits_are_kept_as_they_are(deep: Deep) -> None:
    bench = deep(dtype="bfloat16")
    with bench.adapters.active("after") as model, torch.no_grad(), opened(bench) as prefix:
        batch = collate(bench.unlearn)
        logits = run(bench.adapters, batch, {}, used(prefix))
        assert {kept.dtype for kept in used(prefix).kept.near.values()} == {torch.bfloat16}
        assert torch.allclose(logits, answer_logits(model, batch), atol=0.1)


def test_each_example_is_computed_once_and_the_layers_below_do_no_more(deep: Deep) -> None:
    bench = deep()
    with bench.adapters.active("after"), torch.no_grad(), opened(bench) as prefix:
        calls = Calls(bench)
        run(bench.adapters, collate(everything(bench)), {}, prefix)
        assert calls.take() == [1, 1, 1, 1]
        run(bench.adapters, collate(bench.unlearn[:3]), {}, prefix)
        run(bench.adapters, collate(bench.retention[:3]), {}, prefix)
        assert calls.take() == [0, 0, 2, 2]
        run(bench.adapters, collate(bench.unlearn), {})
        assert calls.take() == [1, 1, 1, 1]


def test_what_lies_on_disk_gives_the_same_bits(deep: Deep) -> None:
    bench, found = deep(), []
    for memory in (1.0, 1e-9):
        with bench.adapters.active("after"), torch.no_grad(), opened(bench, memory=memory) as prefix:
            found += [run(bench.adapters, collate(everything(bench)), {}, prefix) for _ in range(2)][1:]
            kept = used(prefix).kept
            assert bool(kept.far) is (memory < 1)
            folder = kept.folder and Path(kept.folder.name)
        assert folder is None or not folder.exists()
    assert torch.equal(*found)


def test_an_example_that_cannot_be_kept_is_computed_each_time(deep: Deep, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = deep()
    monkeypatch.setattr(Kept, "put", lambda *_: None)
    with bench.adapters.active("after") as model, torch.no_grad(), opened(bench) as prefix:
        batch = collate(bench.unlearn)
        expected = answer_logits(model, batch)
        for _ in range(2):
            assert torch.allclose(run(bench.adapters, batch, {}, used(prefix)), expected, atol=CLOSE)


@pytest.mark.parametrize("layer", range(4))
def test_hidden_states_are_right_below_and_above(deep: Deep, layer: int) -> None:
    bench = deep()
    batch = collate(bench.unlearn)
    with bench.adapters.active("after"), torch.no_grad(), opened(bench) as prefix:
        seen = []
        for given in (used(prefix), None):
            layers = {layer: torch.empty(0)}
            run(bench.adapters, batch, layers, given)
            seen.append(layers[layer])
        calls = Calls(bench)
        run(bench.adapters, batch, {layer: torch.empty(0)}, prefix)
        assert calls.take() == ([1, 1, 1, 1] if layer == 0 else [0, 0, 1, 1])
    assert torch.allclose(*seen, atol=CLOSE)


def test_accuracy_over_it_is_that_of_the_full_pass(deep: Deep) -> None:
    bench = deep()
    with bench.adapters.active("before") as model, opened(bench) as prefix:
        calls = Calls(bench)
        whole = accuracy(model, bench.retention, size=4)
        calls.take()
        assert accuracy(model, bench.retention, size=4, within=used(prefix).over) == pytest.approx(whole)
        calls.take()
        accuracy(model, bench.retention, size=4, within=used(prefix).over)
        assert calls.take()[:2] == [0, 0]


# -- references


@pytest.mark.parametrize("layer", [None, 0, 1, 3])
@pytest.mark.parametrize("voice", ["before", "never"])
def test_references_are_those_of_the_full_pass(deep: Deep, voice: str, layer: int | None) -> None:
    bench = deep()
    with bench.adapters.active("after"), opened(bench) as prefix:
        expected = References(bench.adapters).of(voice, everything(bench), layer)
        calls = Calls(bench)
        found = References(bench.adapters, used(prefix)).of(voice, everything(bench), layer)
        over_it = calls.take()[3] > 0 and voice == "before" and layer != 0
        again = References(bench.adapters, prefix)
        again.of(voice, everything(bench), layer)
        assert calls.take()[:2] == ([0, 0] if over_it else [1, 1])
    assert torch.allclose(found, expected, atol=CLOSE)


def test_it_serves_adapters_that_are_the_same_below_alone(deep: Deep) -> None:
    bench = deep()
    bench.adapters.copy("before", "other")
    bench.adapters.tensor("other", bench.adapters.cells[0].name).data.add_(1)
    with bench.adapters.active("after"), opened(bench) as prefix:
        assert [used(prefix).serves(voice) for voice in ("before", "other")] == [True, False]
    bench.adapters.unmerged.add("before")  # it belongs on another base
    with bench.adapters.active("after"), opened(bench) as prefix:
        assert not used(prefix).serves("before")


# -- when it stands back


def test_no_prefix_below_the_first_layer_or_without_memory_or_with_dropout(deep: Deep) -> None:
    bench, report = deep(), Recorder()
    with bench.adapters.active("after"):
        with opened(bench, region=upper(bench, 0), report=report) as prefix:
            assert prefix is None
        with opened(bench, memory=0.0, report=report) as prefix:
            assert prefix is None
        bench.adapters.model.train()
        with opened(bench, report=report) as prefix:
            assert prefix is None
    assert report.events == []


def test_a_region_outside_of_the_layers_is_said(deep_tiny_of: Callable[[str], Path], tiny_data: Path) -> None:
    bench, report = make_bench(deep_tiny_of("llama"), tiny_data, targets=("q_proj", "lm_head")), Recorder()
    outside = [cell.name for cell in bench.adapters.cells if cell.layer < 0]
    bench.adapters.copy("before", "after")
    with (
        bench.adapters.active("after"),
        opened(bench, region=[*outside, *upper(bench, 3)], report=report) as prefix,
    ):
        assert prefix is None
    assert "outside of the layers" in report.events[0][1]["text"]


@pytest.mark.parametrize("architecture", SHARING)
def test_layers_that_hand_on_more_than_hidden_states_make_the_full_pass(
    tmp_path: Path, tiny_data: Path, architecture: str
) -> None:
    bench, report = make_bench(make_tiny(tmp_path, architecture), tiny_data), Recorder()
    bench.adapters.copy("before", "after")
    with bench.adapters.active("after"), opened(bench, report=report) as prefix:
        assert prefix is None
    assert [kind for kind, _ in report.events] == ["finding"]
    assert "cannot be left out" in report.events[0][1]["text"]


@pytest.mark.parametrize("without", [0.0, math.nan])
def test_a_model_whose_layers_look_past_each_other_makes_the_full_pass(deep: Deep, without: float) -> None:
    """A layer above adds a little of what the first layer has left for it; where nothing was left, nothing or NaN."""
    bench, report, left = deep(), Recorder(), list[torch.Tensor]()
    first, last = bench.adapters.blocks()[0], bench.adapters.blocks()[3]
    first.self_attn.register_forward_hook(lambda _, __, output: left.append(output[0]))

    def look(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        return output + 0.05 * left.pop() if left else output + without

    last.register_forward_hook(look)
    with bench.adapters.active("after"), opened(bench, report=report) as prefix:
        assert prefix is None
    assert "differ by" in report.events[0][1]["text"]


# -- afterwards


def forwards(bench: Bench) -> list[bool]:
    return ["forward" in block.__dict__ for block in bench.adapters.blocks()]


def test_every_layer_has_its_own_forward_again_also_after_an_error(deep: Deep) -> None:
    bench = deep()
    batch = collate(bench.unlearn)
    with bench.adapters.active("after"), torch.no_grad(), opened(bench) as prefix:
        with used(prefix).over(batch):
            assert forwards(bench) == [True, True, False, False]
        assert forwards(bench) == [False] * 4
        handle = bench.adapters.blocks()[3].register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(bench.adapters, batch, {}, prefix)
        handle.remove()
        assert forwards(bench) == [False] * 4


def test_a_forward_that_stood_there_before_stands_there_again(deep: Deep) -> None:
    """As accelerate's, on models that are spread."""
    bench = deep()
    block = bench.adapters.blocks()[1]
    mine = block.forward
    block.forward = mine
    with bench.adapters.active("after"), torch.no_grad(), opened(bench) as prefix:
        run(bench.adapters, collate(bench.unlearn), {}, used(prefix))
    assert block.__dict__["forward"] is mine


def test_the_folder_is_removed_also_after_an_error(deep: Deep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bench = deep()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def fail() -> None:
        with bench.adapters.active("after"), opened(bench, memory=1e-9):
            assert len(list(tmp_path.iterdir())) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []
