"""Memory in which what a kernel does beside its buffers, or leaves undone inside them, shows.

Inside `guarded_memory()` every array made for results lies between canaries and is filled with bytes of 0xFF, a NaN in
every floating dtype: an element left unset, or one read beside a buffer, turns up in the numbers, and `broken()` counts
the buffers that were written beside. So it is on the host and on a GPU.
"""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np

from tritorch.runtime import plans, strides, transfer

PADDING = 4096  # bytes on each side of a buffer; a multiple of every alignment that kernels know of
CANARY = 0xFF


class HostBuffer:
    """Bytes of the host between canaries; `inside` is where the bytes start, in `memory`."""

    inside = PADDING

    def __init__(self, nbytes):
        self.nbytes, self.memory = nbytes, np.full(nbytes + 2 * PADDING, CANARY, np.uint8)

    def array(self, shape, dtype, steps=None, low=0):
        """A view of the bytes, `low` of them before its first element (not positive)."""
        return np.ndarray(shape, dtype, self.memory.data, PADDING - low, steps)

    def contents(self):
        """A copy of the bytes, canaries and all."""
        return self.memory.copy()

    def intact(self):
        """Whether all canaries are there."""
        before, after = self.memory[:PADDING], self.memory[PADDING + self.nbytes :]
        return bool((before == CANARY).all() and (after == CANARY).all())


class DeviceBuffer:
    """Bytes of a GPU between canaries, in the place of the allocator's block."""

    def __init__(self, nbytes, stream, allocate):
        from tritorch.runtime.cuda import copies

        self.nbytes, self.index = nbytes, stream.device_index
        self._block = allocate(nbytes + 2 * PADDING, stream)
        self.pointer = self._block.pointer + PADDING
        copies.set_memory(self._block.pointer, bytes([CANARY]), nbytes + 2 * PADDING, self.index)

    def record_stream(self, stream):
        """As a block of the allocator does."""
        self._block.record_stream(stream)

    def contents(self):
        """A copy of the bytes on the host, canaries and all."""
        return self._fetched(0, self.nbytes + 2 * PADDING)

    def intact(self):
        """Whether all canaries are there, after waiting for the stream."""
        return all((self._fetched(at, PADDING) == CANARY).all() for at in (0, PADDING + self.nbytes))

    def _fetched(self, start, nbytes):
        from tritorch.runtime.cuda import copies

        return copies.fetch_bytes(self._block.pointer + start, nbytes, self.index)


class Guarded:
    """Makes arrays in buffers with canaries on both sides, and looks after them; keeps all of them alive."""

    def __init__(self):
        self.buffers: list = []
        self._inputs: list = []  # (buffer, what it held)

    def empty(self, shape, dtype):
        """A host array with canaries beside it and NaN inside, in the place of np.empty."""
        shape, dtype = (shape,) if isinstance(shape, int) else tuple(shape), np.dtype(dtype)
        return self._on_host(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize).array(shape, dtype)

    def mirror(self, array, device):
        """A copy of a host array on a device with the same strides, and canaries beside it and in its gaps."""
        if device.is_cuda:
            copy = _cuda().mirror(array, device.index)
            if copy.block is not None:
                self._inputs.append((copy.block, copy.block.contents()))
            return copy
        copy, buffer = self._copied(array)
        self._inputs.append((buffer, buffer.contents()))
        return copy

    def duplicate(self, array):
        """A copy of an array of any device that a kernel may write to, with canaries beside it."""
        return self._copied(array)[0] if isinstance(array, np.ndarray) else array.copy()

    def _copied(self, array):
        """A copy of a host array with the same strides, and its buffer."""
        low, high = strides.extent(array.shape, array.strides, array.itemsize)
        buffer = self._on_host(high - low)
        copy = buffer.array(array.shape, array.dtype, array.strides, low)
        copy[...] = array
        return copy, buffer

    @property
    def input_bytes(self):
        """How much `changed` has to look at."""
        return sum(before.nbytes for _, before in self._inputs)

    def _on_host(self, nbytes):
        self.buffers.append(HostBuffer(nbytes))
        return self.buffers[-1]

    def broken(self):
        """How many buffers were written beside."""
        return sum(not buffer.intact() for buffer in self.buffers)

    def changed(self):
        """How many inputs are not what they were, gaps and all."""
        return sum(not np.array_equal(buffer.contents(), before) for buffer, before in self._inputs)


class _GuardedAllocator:
    """The allocator of a GPU, as far as making arrays needs it, with canaries around what it gives."""

    def __init__(self, guarded, allocator):
        self._guarded, self._allocator = guarded, allocator

    def allocate(self, nbytes, stream):
        buffer = DeviceBuffer(nbytes, stream, self._allocator.allocate)
        self._guarded.buffers.append(buffer)
        return buffer


def _cuda():
    from tritorch.runtime.cuda import array

    return array


@contextmanager
def guarded_memory():
    """A context in which arrays made for results, and copies by `transfer.mirror` and `duplicate`, are guarded.

    It gives a Guarded. Those that `mirror` makes are taken for arguments that nobody may write to.
    """
    guarded = Guarded()
    cuda, allocator = _cuda(), _cuda().allocator
    host, mirror, duplicate = transfer.empty_on_host, transfer.mirror, transfer.duplicate
    transfer.empty_on_host, transfer.mirror, transfer.duplicate = guarded.empty, guarded.mirror, guarded.duplicate
    cuda.allocator = lambda index=None: _GuardedAllocator(guarded, allocator(index))
    try:
        with plans.forbidden():  # which do not ask for an allocator
            yield guarded
    finally:
        transfer.empty_on_host, transfer.mirror, transfer.duplicate = host, mirror, duplicate
        cuda.allocator = allocator
