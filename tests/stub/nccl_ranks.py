"""What check_nccl.py runs on every rank: `RANK=0 WORLD_SIZE=1 STORE=folder python nccl_ranks.py collectives`."""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

import ml_dtypes
import numpy as np
from conftest import StubDriver

import tritorch as torch
import tritorch.distributed as dist
from tritorch.distributed.nccl import NcclEngine, device_of_rank
from tritorch.distributed.nccl_library import is_nccl_available, version
from tritorch.distributed.reduce_op import ReduceOp
from tritorch.runtime import dtypes
from tritorch.runtime.cuda.array import empty, from_host, to_host
from tritorch.runtime.cuda.memory import allocator
from tritorch.runtime.cuda.stream import Stream, current_stream
from tritorch.runtime.cuda.stream import stream as on_stream

RANK, SIZE = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
STUB = os.environ.get("STUB_NCCL")  # absent where this runs on a GPU
NCCL = STUB and ctypes.CDLL(STUB, ctypes.RTLD_GLOBAL)  # before a library of the package index is found
NUMPY = {ReduceOp.SUM: np.add, ReduceOp.PRODUCT: np.multiply, ReduceOp.MAX: np.maximum, ReduceOp.MIN: np.minimum}
# int16 has no reduction in NCCL
REDUCED = [each.numpy for each in dtypes.ALL if each.name not in ("bool", "int16")]


class FolderStore:
    """A store of files, so that the engine alone is checked."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def _path(self, key):
        return self.folder / key.replace("/", "-")

    def set(self, key, value):
        temporary = self._path(f"{key}.{RANK}")
        temporary.write_text(value)
        temporary.replace(self._path(key))

    def check(self, keys):
        return all(self._path(key).exists() for key in keys)

    def get(self, key):
        return self._path(key).read_bytes()

    def wait(self, keys, timeout):
        ends = time.monotonic() + timeout.total_seconds()
        while not self.check(keys):
            if time.monotonic() > ends:
                raise RuntimeError("wait timeout")
            time.sleep(0.001)


class Watch:
    """Times out, and does nothing else."""

    def __init__(self):
        self.calls = {}

    def look(self, engine, description, since):
        if time.monotonic() - since > engine.timeout:
            raise RuntimeError(f"rank {engine.rank} timed out in {description}")


def engine(timeout=30, device=0, name="world", rank=RANK, size=SIZE):
    return NcclEngine(FolderStore(os.environ["STORE"]), rank, size, timeout, name, Watch(), device)


def of_rank(rank, dtype, elements=5):
    """What a rank brings: small numbers, so that every sum and product is exact."""
    return ((np.arange(elements) + rank) % 3 + 1).astype(dtype)


def same(array, expected):
    np.testing.assert_array_equal(to_host(array), expected)


def raises(kind, text, function, *arguments):
    """Check that a call raises `kind` with `text` in its message."""
    try:
        function(*arguments)
    except kind as error:
        assert text in str(error), error
    else:
        raise AssertionError(f"{text} was not raised")


def reductions(world):
    for dtype, op in itertools.product(REDUCED, NUMPY):
        parts = [of_rank(rank, dtype) for rank in range(SIZE)]
        expected = NUMPY[op].reduce(np.stack(parts).astype(np.float64)).astype(dtype)
        for elements in (slice(0, 5), slice(0, 0)):
            array = from_host(parts[RANK][elements])
            assert world.all_reduce(array, op).wait()
            same(array, expected[elements])
        array = from_host(parts[RANK])
        world.reduce(array, SIZE - 1, op).wait()
        same(array, expected if RANK == SIZE - 1 else parts[RANK])
        part, source = empty((5,), dtype), from_host(np.concatenate([parts[RANK]] * SIZE))
        world.reduce_scatter(part, source, op).wait()
        same(part, expected)
    for op, expected in (("SUM", [True, SIZE > 1]), ("PRODUCT", [SIZE == 1, False]), ("MAX", [True, SIZE > 1])):
        array = from_host(np.array([RANK == 0, RANK == 1]))
        world.all_reduce(array, ReduceOp[op]).wait()
        same(array, expected)
    array = from_host(np.full(3, RANK, np.float32))
    world.all_reduce(array, ReduceOp.AVG).wait()
    same(array, np.full(3, (SIZE - 1) / 2, np.float32))
    many = np.arange(300_000, dtype=np.float32)  # more than one mailbox holds
    array = from_host(many * (RANK + 1))
    world.all_reduce(array, ReduceOp.SUM).wait()
    same(array, many * (SIZE * (SIZE + 1) // 2))


def refused(world):
    array = from_host(np.zeros(2, np.int16))
    raises(TypeError, "NCCL does not reduce tensors of dtype torch.int16", world.all_reduce, array, ReduceOp.SUM)
    flags = from_host(np.zeros(2, np.bool_))
    raises(ValueError, "Cannot use ReduceOp.AVG with Boolean inputs", world.all_reduce, flags, ReduceOp.AVG)
    raises(ValueError, "Cannot use ReduceOp.BAND with NCCL", world.all_reduce, flags, ReduceOp.BAND)
    raises(ValueError, "recv() needs src", world.receive, array, None, 0)
    raises(ValueError, "cannot send to or receive from itself", world.send, array, RANK, 0)


def moves(world):
    for dtype in (each.numpy for each in dtypes.ALL):
        parts = [of_rank(rank, dtype) for rank in range(SIZE)]
        array = from_host(parts[RANK])
        world.broadcast(array, SIZE - 1).wait()
        same(array, parts[SIZE - 1])
        out, copied = empty((5 * SIZE,), dtype), empty((5 * SIZE,), dtype)
        world.all_gather(out, from_host(parts[RANK]), after=lambda out=out, to=copied: to.copy_from(out)).wait()
        same(copied, np.concatenate(parts))
        out = empty((5 * SIZE,), dtype) if RANK == 0 else None
        world.gather(out, from_host(parts[RANK]), 0).wait()
        if RANK == 0:
            same(out, np.concatenate(parts))
        array = empty((5,), dtype)
        world.scatter(array, from_host(np.concatenate(parts)) if RANK == SIZE - 1 else None, SIZE - 1).wait()
        same(array, parts[RANK])
    counts = [[(sender + 2 * taker) % 3 for taker in range(SIZE)] for sender in range(SIZE)]  # some are nothing
    received = [counts[sender][RANK] for sender in range(SIZE)]
    out, array = empty((sum(received),), np.int64), from_host(np.full(sum(counts[RANK]), RANK))
    world.all_to_all(out, array, received, counts[RANK]).wait()
    same(out, np.repeat(np.arange(SIZE), received))


def pairs(world):
    if SIZE == 1:
        return
    out, array = empty((100_000,), np.int64), from_host(np.full(100_000, RANK))
    with world.together():  # a ring, which would stand still if its calls were not taken together
        works = [world.send(array, (RANK + 1) % SIZE, 0), world.receive(out, (RANK - 1) % SIZE, 0)]
    assert all(each.wait() for each in works)
    same(out, np.full(100_000, (RANK - 1) % SIZE))
    # Beside the order of the collectives: rank 0 sends before one, the others receive after it.
    array = from_host(np.full(3, 7 if RANK == 0 else 0).astype(ml_dtypes.bfloat16))
    sums = from_host(np.ones(1, np.float32))
    if RANK == 0:
        for peer in range(1, SIZE):
            world.send(array, peer, 0).wait()
    world.all_reduce(sums, ReduceOp.SUM).wait()
    if RANK > 0:
        assert (work := world.receive(array, 0, 0)).wait() and work.source == 0
    same(array, np.full(3, 7, ml_dtypes.bfloat16))


def collectives():
    assert is_nccl_available() and (version() == (2, 29, 7) if STUB else version() >= (2, 24, 0))
    world = engine()
    for check in (reductions, refused, moves, pairs):
        check(world)
    world.barrier().wait()
    part = world.split([SIZE - 1, 0] if SIZE > 1 else [0], 30, "part")
    assert (part is None) == (RANK not in (0, SIZE - 1))
    if part is not None:
        array = from_host(np.full(2, part.rank))
        part.broadcast(array, 0).wait()
        same(array, np.zeros(2))
        part.close()
    world.close()
    again = engine(device=None)  # a group of the same name
    again.barrier().wait()
    again.close()


def streams():
    stub, world, current = StubDriver(os.environ["STUB_DRIVER"]), engine(), current_stream(0)
    own = world._channels[None].stream
    assert own is not current
    stub.hold(current)
    world.all_reduce(from_host(np.ones(3)), ReduceOp.SUM)
    assert not own.query()  # the communication stream waits for the stream that makes the tensor
    stub.hold(current, False)
    stub.hold(own)
    before = stub.count("synchronizations")
    work, called = world.all_reduce(array := from_host(np.ones(1000)), ReduceOp.SUM), []
    assert not work.is_completed() and current.query()
    raises(RuntimeError, "wait timeout after 20ms: all_reduce #2 is not complete", work.wait, 0.02)
    pointer = array.pointer
    del array
    assert empty((1000,), np.float64).pointer != pointer  # under way, so it is kept
    work.get_future().then(lambda future: called.append(future.done()))
    assert work.wait() and called == [True] and not work.is_completed()
    assert not current.query() and stub.count("synchronizations") == before  # the stream waits, the host does not
    assert empty((1000,), np.float64).pointer == pointer  # the stream it was made on waits, so it may be used again
    for stream in (own, current):
        stub.hold(stream, False)
    assert work.is_completed() and work.is_success()
    with on_stream(Stream(0)):  # made on one stream, waited for on another
        pointer = (array := from_host(np.ones(1500))).pointer
        stub.hold(own)
        work = world.all_reduce(array, ReduceOp.SUM)
    work.wait()
    del array
    free = allocator(0)
    assert len(work.arrays) == 1 and free.statistics()["allocated_bytes.all.current"] >= 12000
    for stream in (own, current):
        stub.hold(stream, False)
    ends = time.monotonic() + 10
    while work.arrays and time.monotonic() < ends:
        time.sleep(0.01)
    assert not work.arrays
    assert device_of_rank(1) == 1 and empty((1,), np.float32).device.index == 1  # of two; nobody chose one
    assert device_of_rank(0) == 1 and device_of_rank(3, "cuda:0") == 0
    other = empty((1,), np.float32, 1)
    raises(RuntimeError, "the group's GPU is cuda:0, and a tensor is on cuda:1", world.all_reduce, other, ReduceOp.SUM)
    world.close()


def a_rank_that_stays_away():
    if RANK == 0:
        raises(RuntimeError, "ranks [1] did not come within 0.5 s", engine, 0.5, 0, "away")


def a_rank_that_stalls():
    world = engine(timeout=1, name="stalls")
    array = from_host(np.ones(4))
    world.all_reduce(array, ReduceOp.SUM).wait()
    if RANK == 0:
        began = time.monotonic()
        raises(RuntimeError, "rank 0 timed out in all_reduce #2", world.all_reduce, array, ReduceOp.SUM)
        assert time.monotonic() - began < 5
        raises(RuntimeError, "rank 0 timed out in all_reduce #2", world.barrier)
        world.close()


def other_shapes():
    world = engine(name="shapes")
    array = from_host(np.ones(4 + RANK))
    raises(RuntimeError, f"rank {RANK}: NCCL failed in all_reduce #1", world.all_reduce, array, ReduceOp.SUM)


def no_communicator():
    os.environ["STUB_NCCL_FOLDER"] = str(Path(os.environ["STORE"], "nowhere"))
    text = "rank 0: NCCL failed in making its communicator"
    raises(RuntimeError, text, engine, 30, 0, f"alone {RANK}", 0, 1)


def an_error_of_nccl():
    world = engine(name="error")
    array = from_host(np.ones(4))
    if RANK == 0:
        NCCL.stub_nccl_fail(6)
        raises(RuntimeError, "NCCL failed in all_reduce #1: remote process", world.all_reduce, array, ReduceOp.SUM)
        raises(RuntimeError, "NCCL failed in all_reduce #1", world.all_reduce, array, ReduceOp.SUM)


def late():
    """Through the public names: a timeout says who has not come, and what that rank called last."""
    dist.init_process_group("nccl", timeout=timedelta(seconds=2))
    dist.barrier()
    if RANK == 0:
        text = "rank 0 timed out after 2 s in all_reduce #2: waited for rank 1, whose last call was barrier #1"
        raises(RuntimeError, text, dist.all_reduce, torch.ones(4, device="cuda"))
    else:
        time.sleep(4)


def failures():
    """Each of a group of its own, so that one leaves nothing to the next."""
    for check in (a_rank_that_stays_away, a_rank_that_stalls, other_shapes, an_error_of_nccl, no_communicator):
        check()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
