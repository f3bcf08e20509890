"""Batches on their way to the GPU of the stub: beside the work there, in order with it, and in memory of their own."""

from __future__ import annotations

import gc
import time

import numpy as np
import pytest

import tritorch as torch
from tritorch.runtime.cuda import memory
from tritorch.runtime.cuda import stream as streams
from tritorch.runtime.language import triton_missing
from tritorch.utils.data import DataLoader, Dataset, placement

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)


class Rows(Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, index):
        return np.full(300, index, np.float32), index


@pytest.fixture(autouse=True)
def cuda_by_default(interpreted):
    before = torch.get_default_device()
    torch.set_default_device("cuda")
    torch.zeros(1)
    yield
    torch.set_default_device(before)


@pytest.fixture
def held(stub):
    """The stream for copies, whose work is not done until the test says so."""
    copying = streams.copy_stream(0)
    stub.hold(copying)
    yield copying
    stub.hold(copying, False)
    stub.hold(streams.current_stream(), False)


def test_a_batch_is_copied_beside_the_work_that_waits_for_it(stub, held):
    waits, current = stub.count("synchronizations"), streams.current_stream()
    images, labels = next(iter(DataLoader(Rows(), batch_size=4)))
    assert images.array.block.stream is held and labels.array.block.stream is held
    assert images.array.block.other_streams == (current,)
    assert not current.query()  # it waits for the copies, and the host did not
    assert stub.count("synchronizations") == waits
    stub.hold(held, False)
    stub.hold(current, False)
    assert labels.tolist() == [0, 1, 2, 3] and images[:, 299].tolist() == [0, 1, 2, 3]


def test_the_work_of_before_does_not_hold_up_a_copy(stub):
    current = streams.current_stream()
    stub.hold(current)  # a long step
    next(iter(DataLoader(Rows(), batch_size=4)))
    assert streams.copy_stream(0).query() and not current.query()
    stub.hold(current, False)


def test_memory_is_used_again_after_the_work_on_it(stub):
    """A batch that is let go of while its step is under way keeps its memory until that is done."""
    current, batches = streams.current_stream(), iter(DataLoader(Rows(), batch_size=4))
    images, _ = next(batches)
    pointer = images.array.pointer
    stub.hold(current)
    del images, _
    gc.collect()
    assert next(batches)[0].array.pointer != pointer
    stub.hold(current, False)
    again = [next(batches)[0] for _ in range(3)]
    assert pointer in {each.array.pointer for each in again}
    for _ in range(2):
        allocated = memory.allocator().driver_allocations
        for images, _ in DataLoader(Rows(), batch_size=4):
            assert images.shape == (4, 300)
    assert memory.allocator().driver_allocations == allocated


@pytest.mark.parametrize("in_order", [True, False])
def test_with_workers_the_next_batch_is_under_way(in_order, monkeypatch):
    departed, depart = [], placement.depart
    for module in ("placement", "iterators"):
        monkeypatch.setattr(f"tritorch.utils.data.{module}.depart", lambda *given: departed.append(1) or depart(*given))
    loader, seen = DataLoader(Rows(), batch_size=4, num_workers=2, in_order=in_order), []
    batches, ahead = iter(loader), []
    for _, labels in batches:
        seen += labels.tolist()
        ahead.append(len(departed) - len(seen) // 4)
        if len(seen) == 8:
            given = loader.state_dict()
            assert given["batches"] + len(given["ahead"]) == 2  # what is on its way does not count
        time.sleep(0.1)
    assert sorted(seen) == list(range(24)) and (seen == sorted(seen) or not in_order)
    assert ahead[-1] == 0 and set(ahead) <= {0, 1} and (1 in ahead) is in_order


def test_pinned_batches_of_the_cpu_are_copied_without_waiting(stub):
    torch.set_default_device("cpu")
    for images, labels in DataLoader(Rows(), batch_size=4, pin_memory=True):
        assert images.is_pinned() and labels.is_pinned()
        waits = stub.count("synchronizations")
        for non_blocking in (True, False):  # one that blocks is copied to another pinned buffer first
            moved = images.to("cuda", non_blocking=non_blocking)
            assert stub.count("synchronizations") == waits
        assert (moved.cpu() == images).all()
