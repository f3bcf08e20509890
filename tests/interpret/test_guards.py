"""What kernels must not do: touch memory beside their buffers, leave results unset, or not run at all."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from tritorch.ops.base import TABLE
from tritorch.runtime import strides, transfer
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.kernel import Kernel, recording_launches
from tritorch.runtime.language import tl, triton_missing
from tritorch.validation import check_op, on_device, samples_of

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

PADDING = 4096  # bytes on each side of a buffer
CANARY = 0xFF  # a NaN in every floating dtype, so that what is read by mistake or left unset shows in the numbers


class Guarded:
    """Makes arrays in buffers with canaries on both sides, and looks after them."""

    def __init__(self):
        self.buffers = []

    def memory(self, nbytes):
        """A buffer of canaries, and where its inside starts."""
        buffer = np.full(nbytes + 2 * PADDING, CANARY, np.uint8)
        self.buffers.append((buffer, nbytes))
        return buffer

    def empty(self, shape, dtype):
        """In the place of np.empty."""
        shape, dtype = (shape,) if isinstance(shape, int) else tuple(shape), np.dtype(dtype)
        nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return np.ndarray(shape, dtype, self.memory(nbytes).data, PADDING)

    def mirror(self, array, device):
        """In the place of transfer.mirror: a copy with the same strides."""
        low, high = strides.extent(array.shape, array.strides, array.itemsize)
        buffer = self.memory(high - low)
        if high > low:
            window = (ctypes.c_uint8 * (high - low)).from_address(array.ctypes.data + low)
            buffer[PADDING : PADDING + high - low] = np.frombuffer(window, np.uint8)
        return np.ndarray(array.shape, array.dtype, buffer.data, PADDING - low, array.strides)

    def broken(self):
        """How many buffers were written beside."""
        return sum(
            not ((buffer[:PADDING] == CANARY).all() and (buffer[PADDING + nbytes :] == CANARY).all())
            for buffer, nbytes in self.buffers
        )


@pytest.fixture
def guarded(monkeypatch):
    guarded = Guarded()
    monkeypatch.setattr(transfer, "empty_on_host", guarded.empty)
    monkeypatch.setattr(transfer, "mirror", guarded.mirror)
    return guarded


@pytest.mark.parametrize("name", sorted(TABLE))
def test_kernels_stay_inside_their_buffers(name, guarded):
    wrong = [str(finding) for finding in check_op(name, "interpreter") if not finding.ok]
    assert not wrong, "\n".join(wrong)
    assert not guarded.broken(), f"{name}: {guarded.broken()} of {len(guarded.buffers)} buffers were written beside"


@Kernel
def careless(
    x,  # filled, and written one past its end: (n,)
    n,
    BLOCK: tl.constexpr,
):
    i = tl.arange(0, BLOCK)
    tl.store(x + i, 2.0, mask=i <= n)


def test_a_kernel_that_writes_beside_its_buffer_is_noticed(guarded):
    x = guarded.empty(5, np.float32)
    careless[(1,)](x, 4, BLOCK=8)
    assert not guarded.broken()
    careless[(1,)](x, 5, BLOCK=8)
    assert guarded.broken() == 1


COMPUTING = [name for name, op in TABLE.items() if not op.views and op.__module__.startswith("tritorch.ops.")]


@pytest.mark.parametrize("name", sorted(COMPUTING))
def test_no_op_quietly_runs_on_numpy(name):
    op = TABLE[name]
    for number, sample in enumerate(samples_of(op)):
        args = [on_device(each, INTERPRETER) for each in (sample if isinstance(sample, tuple) else (sample,))]
        with recording_launches() as launches:
            results = op.apply(*args, INTERPRETER) if op.creates else op.apply(*args)
        if launches:
            continue
        given = [each.array for each in args if hasattr(each, "array")]
        for each in results if isinstance(results, tuple) else (results,):
            shared = any(np.shares_memory(each.array, array) for array in given)
            assert shared or not each.array.size, f"{name} made a result without a launch for sample {number}"
