"""Batches that are cut, and layers that keep only what enters them: the gradients of the whole, in less memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from core.models.likelihood import answer_logits, mean_loss
from core.models.micro_batches import MicroBatches, by_stream
from core.models.tokens import collate
from tests.naive import Bench, Recorder, gradients
from tests.tiny import ARCHITECTURES


def gradient(bench: Bench, micro: MicroBatches) -> dict[str, torch.Tensor]:
    """Return the gradient of the mean loss over U for all cells."""
    with (
        bench.adapters.trainable("before", [cell.name for cell in bench.adapters.cells]),
        bench.adapters.active("before") as model,
        micro.keeping(bench.adapters),
    ):
        for part in micro.cut(bench.unlearn):
            batch = collate(part, bench.adapters.device)
            (mean_loss(answer_logits(model, batch), batch) * (len(part) / len(bench.unlearn))).backward()
        return gradients(bench.adapters, "before")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_layers_that_keep_their_input_alone_give_the_same_bits(bench_of: Callable[..., Bench], architecture: str) -> None:
    bench = bench_of(architecture)
    expected, found = gradient(bench, MicroBatches()), gradient(bench, MicroBatches(checkpointing=True))
    assert any(value.any() for value in expected.values())
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert not any("forward" in block.__dict__ for block in bench.adapters.blocks())


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2", "opt", "qwen3_moe"])
def test_parts_add_up_to_the_whole(bench_of: Callable[..., Bench], architecture: str) -> None:
    bench = bench_of(architecture)
    expected, found = gradient(bench, MicroBatches()), gradient(bench, MicroBatches(2, checkpointing=True))
    for name, value in expected.items():
        assert float((found[name] - value).norm()) <= 1e-4 * float(value.norm()) + 1e-8, name


def test_a_whole_batch_is_not_copied() -> None:
    members = [1, 2, 3]
    assert MicroBatches().cut(members)[0] is members
    assert MicroBatches(3).cut(members)[0] is members
    assert MicroBatches(2).cut(members) == [[1, 2], [3]]
    assert MicroBatches(2).cut([]) == [[]]


@pytest.mark.parametrize("counts", [[6, 4], [3, 7], [10], [0, 10], [10, 0], [1, 2, 0, 7]])
def test_streams_are_the_rows_of_all_parts_in_order(counts: list[int]) -> None:
    whole = torch.randn(10, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    for sizes in ([10], [4, 4, 2], [3, 3, 3, 1]):
        streams = by_stream(whole.split(sizes), counts)
        assert [len(stream) for stream in streams] == counts
        assert torch.equal(torch.cat(streams), whole)
        loss = sum(((n + 1) * stream**2).sum() for n, stream in enumerate(streams))
        (found,) = torch.autograd.grad(loss, whole)
        weight = torch.cat([torch.full((count, 1), n + 1.0) for n, count in enumerate(counts)])
        assert torch.equal(found, 2 * weight * whole)


def test_kept_bytes_shrink(bench_of: Callable[..., Bench]) -> None:
    """What autograd holds between forward and backward: each layer's input, and not what happens inside."""

    def held(keeping: Any) -> int:
        seen: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        bench = bench_of("llama")
        batch = collate(bench.unlearn)
        with (
            bench.adapters.trainable("before", [cell.name for cell in bench.adapters.cells]),
            bench.adapters.active("before") as model,
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
            keeping(bench.adapters),
        ):
            answer_logits(model, batch)
        return sum(seen.values())

    whole = held(MicroBatches().keeping)
    assert held(MicroBatches(checkpointing=True).keeping) < 0.5 * whole


class Memory:
    """A machine on which more than `most` examples do not fit."""

    def __init__(self, most: int, error: BaseException) -> None:
        self.most, self.error, self.tried = most, error, list[int]()

    def work(self, micro: MicroBatches, count: int) -> Callable[[], float]:
        def work() -> float:
            size = micro.within(count)
            self.tried.append(size)
            drawn = float(torch.rand(1))
            if size > self.most:
                raise self.error
            return drawn

        return work


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
)
def test_they_are_halved_until_they_fit_and_it_is_said(error: BaseException) -> None:
    memory, report, undone = Memory(3, error), Recorder(), list[int]()
    micro = MicroBatches(report=report)
    torch.manual_seed(0)
    drawn = micro.made(memory.work(micro, 24), 24, lambda: undone.append(1))
    torch.manual_seed(0)
    assert drawn == float(torch.rand(1))  # what dropout draws is drawn again
    assert (memory.tried, len(undone), micro.size) == ([24, 12, 6, 3], 3, 3)
    texts = [values["text"] for kind, values in report.events if kind == "finding"]
    assert [text.split("(")[0] for text in texts] == [f"Memory ran out with {n} examples at once " for n in (24, 12, 6)]
    assert "From here on 3 go through" in texts[-1]
    # The stage goes on with what fitted.
    micro.made(memory.work(micro, 24), 24, lambda: undone.append(1))
    assert memory.tried[-1] == 3
    assert len(undone) == 3


def test_one_example_that_does_not_fit_ends_it() -> None:
    memory = Memory(0, MemoryError())
    micro = MicroBatches()
    with pytest.raises(MemoryError):
        micro.made(memory.work(micro, 4), 4, lambda: None)
    assert memory.tried == [4, 2, 1]


def test_other_errors_are_no_reason() -> None:
    memory, micro = Memory(0, RuntimeError("shapes do not fit")), MicroBatches()
    with pytest.raises(RuntimeError, match="shapes"):
        micro.made(memory.work(micro, 4), 4, lambda: None)
    assert memory.tried == [4]
