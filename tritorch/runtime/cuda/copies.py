"""Moving bytes: within a GPU, between GPUs, and between host and GPU, queued on the current stream.

The arrays here are any with a pointer, shape, strides, dtype and device; `array.py` makes them.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tritorch.runtime import strides
from tritorch.runtime.cuda import driver, pinned
from tritorch.runtime.cuda.memory import allocator
from tritorch.runtime.cuda.stream import current_stream

STAGED = 64 << 20  # bytes; up to here pageable memory goes through a pinned buffer, so that the host need not wait

_copy_kernel = None


def set_copy_kernel(function):
    """Set what copies within one device, with any strides and a cast: `function(source, destination)`."""
    global _copy_kernel
    _copy_kernel = function


def copy_elements(source, destination):
    """Copy between arrays of one shape on one device: by the driver where it can, else by the copy kernel."""
    if not source.size:
        return
    if source.dtype == destination.dtype and source.is_contiguous and destination.is_contiguous:
        stream, api = current_stream(source.device.index), driver.api()
        driver.call(api.cuMemcpyDtoDAsync, destination.pointer, source.pointer, source.nbytes, stream.handle)
    elif _copy_kernel is None:
        raise RuntimeError("a strided or casting copy on cuda needs the copy kernel, set with set_copy_kernel()")
    else:
        _copy_kernel(source, destination)


def copy_across(source, destination):
    """Copy between contiguous arrays of one shape and dtype on two devices, in order with both current streams."""
    here, there = current_stream(source.device.index), current_stream(destination.device.index)
    there.wait_stream(here)
    driver.activate(destination.device.index)
    driver.call(driver.api().cuMemcpyAsync, destination.pointer, source.pointer, source.nbytes, there.handle)
    source.record_stream(there)


def set_memory(pointer, pattern, count, index):
    """Write a pattern of one, two or four bytes `count` times."""
    stream, api = current_stream(index), driver.api()
    functions = {1: api.cuMemsetD8Async, 2: api.cuMemsetD16Async, 4: api.cuMemsetD32Async}
    driver.call(functions[len(pattern)], pointer, int.from_bytes(pattern, "little"), count, stream.handle)


def upload(source, destination, non_blocking=False):
    """Copy a NumPy array into a contiguous device array of its shape and dtype.

    The source may be changed at once, unless it is pinned and `non_blocking`: then when the stream has come so far.
    The host waits for large arrays alone; others are copied to a pinned buffer first, also where they are pinned.
    """
    if not source.size:
        return
    stream, api, block = current_stream(destination.device.index), driver.api(), pinned.owner(source)
    if block is not None and non_blocking and source.flags.c_contiguous:
        driver.call(api.cuMemcpyHtoDAsync, destination.pointer, source.ctypes.data, source.nbytes, stream.handle)
        _in_use(block, stream)
    elif source.nbytes <= STAGED:
        block = pinned.pool.acquire(source.nbytes)
        block.array(source.shape, source.dtype)[...] = source
        driver.call(api.cuMemcpyHtoDAsync, destination.pointer, block.pointer, source.nbytes, stream.handle)
        _in_use(block, stream)
    else:
        source = np.ascontiguousarray(source)
        driver.call(api.cuMemcpyHtoDAsync, destination.pointer, source.ctypes.data, source.nbytes, stream.handle)
        stream.synchronize()


def _in_use(block, stream):
    """Keep a pinned block from reuse until the stream has come so far, or with the graph that it captures."""
    if not allocator(stream.device_index).keep(stream, block):
        block.add_event(stream.record_event())


def download(source, destination, non_blocking=False):
    """Copy a contiguous device array into a C-contiguous NumPy array, and wait for it.

    Into a pinned array with `non_blocking` nothing is waited for: it is valid when the stream has come so far.
    """
    if not source.size:
        return
    stream = _fetch(source.pointer, destination, source.device.index)
    block = pinned.owner(destination) if non_blocking else None
    if block is None:
        stream.synchronize()
    else:
        block.add_event(stream.record_event())


def download_view(source):
    """A NumPy array with the elements of a strided device array, without a kernel, or None where that would be waste.

    A transposed, expanded or reversed view fills the memory between its ends, which is copied as it lies there.
    """
    low, high = strides.extent(source.shape, source.strides, source.itemsize)
    if not source.size or high - low > 2 * source.nbytes:
        return None
    reach = fetch_bytes(source.pointer + low, high - low, source.device.index)
    first = reach[-low : -low + source.itemsize].view(source.dtype)
    return np.ascontiguousarray(as_strided(first, source.shape, source.strides)).reshape(source.shape)


def fetch_bytes(pointer, nbytes, index):
    """Bytes of a GPU's memory as a NumPy array, after waiting for the current stream."""
    found = np.empty(nbytes, np.uint8)
    _fetch(pointer, found, index).synchronize()
    return found


def _fetch(pointer, destination, index):
    stream = current_stream(index)
    address = destination.ctypes.data
    driver.call(driver.api().cuMemcpyDtoHAsync, address, pointer, destination.nbytes, stream.handle)
    return stream
