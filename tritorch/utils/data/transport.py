"""Batches between processes: a pickle over the pipe, with the elements of large arrays in anonymous shared memory.

The memory is a file without a name (`memfd_create`), whose descriptor goes over the pipe. The kernel frees it with the
last mapping, so nothing is left behind even when every process is killed, and the size of /dev/shm does not matter. The
receiver's arrays lie in that memory; no element is copied on its side. Where the system has no such files everything
goes over the pipe.
"""

from __future__ import annotations

import errno
import io
import mmap
import os
import pickle
import weakref
from multiprocessing import reduction

import numpy as np

import tritorch
from tritorch.autograd.variable import Variable
from tritorch.runtime.device import CPU

INLINE = 32 * 1024  # bytes of elements up to which a copy over the pipe is cheaper than a mapping
ALIGNMENT = 64
MAPPINGS = 256  # a mapping holds a file descriptor: with so many batches alive, further ones are copied
SHARES = hasattr(os, "memfd_create")
SPACE_ERRORS = (errno.ENOSPC, errno.ENOMEM, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.EDQUOT)

_mappings: weakref.WeakSet = weakref.WeakSet()


class Pickler(reduction.ForkingPickler):
    """Pickles tensors as their elements on the host, whatever device they are on; they come back as CPU tensors."""

    def reducer_override(self, obj):
        """How an object is pickled where it is not by its own rules."""
        if isinstance(obj, Variable):
            return _reduce_tensor(obj)
        if type(obj) is np.ndarray and obj.dtype.kind == "V" and obj.dtype.fields is None:
            return _array, (_bytes_of(obj), obj.dtype, obj.shape)  # bfloat16 and float8 have no buffer protocol
        return NotImplemented


def _reduce_tensor(tensor):
    if tensor.requires_grad and not tensor.is_leaf:
        raise RuntimeError(
            "Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd does not support "
            "crossing process boundaries. If you just want to transfer the data, call detach() on the tensor before "
            "serializing (e.g., putting it on the queue)."
        )
    array = host_array(tensor)
    return _tensor, (type(tensor), _bytes_of(array), array.dtype, array.shape, tensor.requires_grad)


def host_array(tensor):
    """A tensor's elements as a NumPy array: shared on the CPU, copied from a GPU."""
    return tensor.array if tensor.device.is_host else tensor.detach().to(CPU).array


def _bytes_of(array):
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _array(data, dtype, shape):
    return data.view(dtype).reshape(shape)


def _tensor(kind, data, dtype, shape, requires_grad):
    with CPU:
        tensor = tritorch.from_numpy(_array(data, dtype, shape))
    if kind is not tritorch.Tensor:
        tensor = tensor.as_subclass(kind)
    return tensor.requires_grad_() if requires_grad else tensor


def pickled(value):
    """`value` as bytes and a list of buffers that share memory with its arrays."""
    stream, buffers = io.BytesIO(), []
    Pickler(stream, 5, True, buffers.append).dump(value)
    return stream.getbuffer(), [buffer.raw() for buffer in buffers]


class Parcel:
    """A value ready to be sent: its pickle, and the shared memory its large arrays were copied to."""

    def __init__(self, value):
        self.block, self.size = None, None
        data, buffers = pickled(value)
        self.data = bytes(data)
        if SHARES and sum(buffer.nbytes for buffer in buffers) > INLINE:
            self.block, self.size, self.buffers = _fill_block(buffers)
        else:
            self.buffers = [bytearray(buffer) for buffer in buffers]

    def send(self, connection, tag):
        """Send it, marked with `tag`, and forget the shared memory here."""
        try:
            connection.send_bytes(pickle.dumps((tag, self.data, self.buffers, self.size), 5))
            if self.block is not None:
                reduction.send_handle(connection, self.block, None)
        finally:
            if self.block is not None:
                os.close(self.block)


def receive(connection):
    """The `(tag, load)` of one parcel, where `load()` makes the value; waits until it is there."""
    tag, data, buffers, size = pickle.loads(connection.recv_bytes())
    if size is not None:
        block = _map_block(reduction.recv_handle(connection), size)
        buffers = [block[start : start + length] for start, length in buffers]
    return tag, lambda: pickle.loads(data, buffers=buffers)


def _fill_block(buffers):
    """A descriptor of new shared memory that holds the buffers, its size, and where each buffer lies."""
    spans, end = [], 0
    for buffer in buffers:
        spans.append((end, buffer.nbytes))
        end += -(-buffer.nbytes // ALIGNMENT) * ALIGNMENT
    block = None
    try:
        block = os.memfd_create("tritorch-batch")
        os.ftruncate(block, end)
        for buffer, (start, length) in zip(buffers, spans, strict=True):
            written = 0  # by writing, not through a mapping: memory that runs out is an error then, not a dead process
            while written < length:
                written += os.pwrite(block, buffer[written:], start + written)
    except OSError as error:
        if block is not None:
            os.close(block)
        if error.errno in SPACE_ERRORS:
            raise OSError(error.errno, _no_space(end, error)) from error
        raise
    return block, end, spans


def _no_space(size, error):
    return (
        f"DataLoader worker could not put a batch of {size / 2**20:.1f} MiB into shared memory: {error.strerror}. "
        "Lower batch_size, prefetch_factor or num_workers, give the process (or container) more memory or open files, "
        "or load in the main process with num_workers=0."
    )


def _map_block(descriptor, size):
    """The shared memory of a descriptor as a writable buffer, and the descriptor closed."""
    try:
        if len(_mappings) >= MAPPINGS:
            return _read_block(descriptor, size)
        populated = {"flags": mmap.MAP_SHARED | mmap.MAP_POPULATE} if hasattr(mmap, "MAP_POPULATE") else {}
        mapping = mmap.mmap(descriptor, size, **populated)
    finally:
        os.close(descriptor)
    _mappings.add(mapping)
    return memoryview(mapping)


def _read_block(descriptor, size):
    block = memoryview(bytearray(size))
    done = 0
    while done < size:
        done += os.preadv(descriptor, [block[done:]], done)
    return block
