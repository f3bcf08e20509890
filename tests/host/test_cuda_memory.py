"""The device allocator over a pretended pool of the driver: reuse, statistics, out of memory, use by other streams."""

from __future__ import annotations

import gc
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritorch.runtime.cuda.memory import (
    MEBIBYTE,
    Allocator,
    OutOfMemoryError,
    PoolExhausted,
    charged_bytes,
    chunk_capacity,
    format_size,
)


class PretendedPool:
    """A pool with a limit, whose streams are names and whose events are done when the test says so."""

    def __init__(self, limit=64 * MEBIBYTE):
        self.limit, self.held, self.next_pointer = limit, {}, 1 << 20
        self.done, self.trims, self.synchronized = True, 0, False

    def allocate(self, nbytes, stream):
        if sum(self.held.values()) + nbytes > self.limit:
            raise PoolExhausted
        self.next_pointer += 1 << 32
        self.held[self.next_pointer] = nbytes
        return self.next_pointer

    def free(self, pointer, stream):
        del self.held[pointer]

    def synchronize(self):
        self.synchronized = True

    def trim(self):
        self.trims += 1

    def information(self):
        return self.limit - sum(self.held.values()), self.limit

    def record(self, stream):
        return self

    def query(self):
        return self.done or self.synchronized


@pytest.fixture
def pool():
    return PretendedPool()


@pytest.fixture
def allocator(pool):
    return Allocator(pool)


@given(st.integers(1, 1 << 40))
def test_size_classes_hold_and_waste_little(nbytes):
    charged, capacity = charged_bytes(nbytes), chunk_capacity(nbytes)
    assert nbytes <= charged <= capacity
    assert charged - nbytes < 512
    assert charged % 512 == capacity % 512 == 0
    assert capacity <= max(charged * 1.125, MEBIBYTE)
    assert chunk_capacity(capacity) == capacity


def test_a_collected_block_is_reused_on_its_stream_only(allocator, pool):
    block = allocator.allocate(1000, "a")
    pointer = block.pointer
    del block
    other = allocator.allocate(1000, "b")
    again = allocator.allocate(700, "a")
    assert again.pointer == pointer
    assert other.pointer != pointer
    assert len(pool.held) == 2


def test_living_blocks_do_not_share(allocator):
    blocks = [allocator.allocate(512, "a") for _ in range(5)]
    assert len({block.pointer for block in blocks}) == 5


def test_statistics(allocator):
    first, second = allocator.allocate(100, "a"), allocator.allocate(3 * MEBIBYTE + 1, "a")
    del first
    numbers = allocator.statistics()
    large = charged_bytes(3 * MEBIBYTE + 1)
    assert numbers["allocated_bytes.all.current"] == large
    assert numbers["allocated_bytes.all.peak"] == large + 512
    assert numbers["reserved_bytes.all.current"] == numbers["reserved_bytes.all.peak"] == 3.25 * MEBIBYTE + 512
    assert numbers["allocation.all.current"] == numbers["allocation.all.freed"] == 1
    allocator.empty_cache()
    allocator.reset_peaks()
    numbers = allocator.statistics()
    assert numbers["reserved_bytes.all.current"] == numbers["reserved_bytes.all.peak"] == 3.25 * MEBIBYTE
    assert numbers["allocated_bytes.all.peak"] == second.nbytes


def test_out_of_memory_trims_and_retries_once(allocator, pool):
    kept = allocator.allocate(20 * MEBIBYTE, "a")
    cached = allocator.allocate(40 * MEBIBYTE, "a")
    del cached
    large = allocator.allocate(44 * MEBIBYTE, "a")
    assert pool.trims == 1
    assert sorted(pool.held.values()) == [20 * MEBIBYTE, 44 * MEBIBYTE]
    numbers = allocator.statistics()
    assert (numbers["num_alloc_retries"], numbers["num_ooms"]) == (1, 0)
    assert kept.nbytes + large.nbytes == numbers["reserved_bytes.all.current"]


def test_out_of_memory_says_asked_free_and_reserved(allocator, pool):
    kept = allocator.allocate(20 * MEBIBYTE, "a")
    with pytest.raises(OutOfMemoryError) as caught:
        allocator.allocate(60 * MEBIBYTE, "a")
    assert str(caught.value) == (
        "CUDA out of memory. Tried to allocate 60.00 MiB. GPU 0 has a total capacity of 64.00 MiB of which 44.00 MiB "
        "is free. Of the allocated memory 20.00 MiB is allocated by tritorch, and 0 bytes is reserved by tritorch but "
        "unallocated."
    )
    assert isinstance(caught.value, RuntimeError)
    assert pool.trims == 1
    assert allocator.statistics()["allocated_bytes.all.current"] == kept.nbytes
    assert allocator.allocate(40 * MEBIBYTE, "a").pointer != kept.pointer  # still works, and left the owner alone


def test_use_on_another_stream_delays_reuse(allocator, pool):
    pool.done = False
    block = allocator.allocate(512, "a")
    pointer = block.pointer
    block.record_stream("a")
    block.record_stream("b")
    block.record_stream("b")
    assert block.other_streams == ("b",)
    del block
    assert allocator.allocate(512, "a").pointer != pointer
    pool.done = True
    found = {block.pointer for block in [allocator.allocate(512, "a"), allocator.allocate(512, "a")]}
    assert pointer in found


def test_out_of_memory_reaches_blocks_that_wait_for_streams(allocator, pool):
    pool.done = False
    block = allocator.allocate(40 * MEBIBYTE, "a")
    block.record_stream("b")
    del block
    assert allocator.allocate(44 * MEBIBYTE, "a").nbytes == 44 * MEBIBYTE


def test_blocks_in_cycles_return_when_collected(allocator):
    def make():
        holder = [allocator.allocate(512, "a")]
        holder.append(holder)

    make()
    gc.collect()
    assert allocator.statistics()["allocated_bytes.all.current"] == 0


def test_threads_share_an_allocator(allocator):
    def work():
        for size in range(1, 200):
            allocator.allocate(size * 100, "a")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = allocator.statistics()
    assert numbers["allocation.all.allocated"] == 4 * 199
    assert numbers["allocated_bytes.all.current"] == numbers["allocation.all.current"] == 0


def test_format_size():
    assert [format_size(n) for n in (3, 2048, 5 << 20, 5 << 29)] == ["3 bytes", "2.00 KiB", "5.00 MiB", "2.50 GiB"]
