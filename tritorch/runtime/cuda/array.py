"""The device's ndarray: NumPy's words over memory of a GPU.

Views share a block of memory and launch nothing. Nothing here computes on the host: what needs a kernel (a strided
copy, a cast) goes through the one copy kernel that ops hand in with `set_copy_kernel`.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tritorch.runtime import dtypes, plans, strides
from tritorch.runtime.cuda import copies
from tritorch.runtime.cuda.copies import set_copy_kernel as set_copy_kernel
from tritorch.runtime.cuda.memory import allocator
from tritorch.runtime.cuda.stream import current_stream
from tritorch.runtime.device import Device

# A small number for each dtype, by which a launch tells argument types apart without hashing a dtype.
_UNSIGNED = tuple(map(np.dtype, (np.uint16, np.uint32, np.uint64)))  # no tensors of these, but kernels may want them
CODES = {each: code for code, each in enumerate((*(each.numpy for each in dtypes.ALL), *_UNSIGNED))}


class Flags(NamedTuple):
    """The part of NumPy's flags that code for every device asks for."""

    c_contiguous: bool


@dataclass(frozen=True, eq=False, slots=True)  # told apart, and hashed, as objects
class Layout:
    """What an op's call may depend on of an array besides its elements; one object for all arrays that agree in it."""

    shape: tuple
    strides: tuple
    dtype: np.dtype
    device: Device
    misalignment: int  # of the pointer: bytes past a multiple of 16


_MOST_LAYOUTS = 16384
_layouts: dict = {}


def layout_of(array):
    """The Layout of a CudaArray."""
    found = array.layout
    if found is None:
        found = array.layout = interned(array.shape, array.strides, array.dtype, array.device, array.pointer & 15)
    return found


def interned(*parts):
    """The one Layout with these parts."""
    found = _layouts.get(parts)
    if found is None:
        if len(_layouts) >= _MOST_LAYOUTS:
            _layouts.clear()
        found = _layouts.setdefault(parts, Layout(*parts))
    return found


class CudaArray:
    """An array on a GPU: shape, strides in bytes, a NumPy dtype, and a pointer into a block of device memory."""

    __slots__ = ("block", "code", "device", "dtype", "layout", "pointer", "shape", "strides")
    __array_ufunc__ = None  # NumPy's functions refuse it, instead of computing on the host
    __hash__ = object.__hash__

    def __init__(self, block, pointer, shape, strides, dtype, device):
        self.block, self.pointer, self.shape, self.strides = block, pointer, shape, strides
        self.dtype, self.code, self.device = dtype, CODES[dtype], device
        self.layout = None  # its Layout, once somebody has asked

    ndim = property(lambda self: len(self.shape), doc="How many dimensions.")
    size = property(lambda self: math.prod(self.shape), doc="How many elements.")
    itemsize = property(lambda self: self.dtype.itemsize, doc="Bytes of one element.")
    nbytes = property(lambda self: self.size * self.dtype.itemsize, doc="Bytes of all elements.")
    T = property(lambda self: self.transpose(), doc="The view with its dimensions reversed.")

    @property
    def is_contiguous(self):
        """Whether the elements lie row-major without gaps."""
        itemsize = self.dtype.itemsize
        usual = strides.contiguous_strides(self.shape, itemsize)  # found in a cache
        return self.strides == usual or strides.is_contiguous(self.shape, self.strides, itemsize)

    @property
    def flags(self):
        """NumPy's flags, as far as they make sense here."""
        return Flags(self.is_contiguous)

    def __repr__(self):
        return f"CudaArray(shape={self.shape}, dtype={self.dtype}, device={self.device})"

    def __len__(self):
        if not self.shape:
            raise TypeError("len() of a 0-d array")
        return self.shape[0]

    def __array__(self, *_, **__):
        raise TypeError(
            f"can't convert {self.device} device array to numpy. Use to_host() to copy it to host memory first."
        )

    def __array_function__(self, function, _types, arguments, keywords):
        if function is np.broadcast_to:  # the one view that NumPy has no method for
            return broadcast_to(*arguments, **keywords)
        raise TypeError(f"numpy.{function.__name__} does not take an array of device {self.device}")

    def _view(self, pointer, shape, strides):
        return CudaArray(self.block, pointer, shape, strides, self.dtype, self.device)

    def __getitem__(self, key):
        """The view that integers, slices (of any step), None and Ellipsis select; always an array, never a scalar."""
        offset, shape, found = strides.index_view(self.shape, self.strides, key)
        return self._view(self.pointer + offset, shape, found)

    def transpose(self, *axes):
        """The view with its dimensions in the order `axes`, or reversed."""
        order = strides.resolve_axes(axes, len(self.shape))
        return self._view(
            self.pointer, tuple(self.shape[axis] for axis in order), tuple(self.strides[axis] for axis in order)
        )

    def reshape(self, *shape):
        """The elements in row-major order under a new shape (one length may be -1): a view where strides allow it."""
        if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
            shape = shape[0]
        shape = strides.resolve_shape(shape, self.size)
        found = strides.reshape_strides(self.shape, self.strides, shape, self.dtype.itemsize)
        if found is None:
            return self.copy().reshape(shape)
        return self._view(self.pointer, shape, found)

    def view(self, dtype):
        """The same bytes read as another dtype of the same size."""
        dtype = np.dtype(dtype)
        if dtype.itemsize != self.dtype.itemsize:
            raise RuntimeError(f"view(): {self.dtype} and {dtype} differ in size, {self.itemsize} and {dtype.itemsize}")
        return CudaArray(self.block, self.pointer, self.shape, self.strides, dtype, self.device)

    def copy(self):
        """A contiguous array of its own with the same elements."""
        return self.astype(self.dtype)

    def astype(self, dtype, copy=True):
        """A contiguous array with the elements cast to `dtype`; with copy=False itself where nothing would change."""
        dtype = np.dtype(dtype)
        if not copy and dtype == self.dtype:
            return self
        result = self.empty(self.shape, dtype)
        copies.copy_elements(self, result)
        return result

    def empty(self, shape, dtype):
        """An uninitialised contiguous array on the same GPU."""
        return empty(shape, dtype, self.device.index)

    def fill(self, value):
        """Write `value`, cast to the dtype as NumPy casts it, to every element."""
        if not self.size:
            return
        refuse_overlap(self)
        pattern, index = np.asarray(value).astype(self.dtype).tobytes(), self.device.index
        count = self.size * max(self.itemsize // 4, 1)
        words = [pattern[start : start + 4] for start in range(0, len(pattern), 4)]  # what the driver can repeat
        if self.is_contiguous and len(set(words)) == 1:
            copies.set_memory(self.pointer, words[0], count, index)
            return
        one = self.empty((), self.dtype)
        for place, word in enumerate(words):
            copies.set_memory(one.pointer + 4 * place, word, 1, index)
        copies.copy_elements(broadcast_to(one, self.shape), self)

    def copy_from(self, source):
        """Write the elements of `source`, from anywhere, broadcast and cast, over this array's."""
        copy_to(self, source)

    def record_stream(self, stream):
        """Note that work on `stream` uses this memory, so that it is not reused before that work is done."""
        if self.block is not None:
            self.block.record_stream(stream)


def empty(shape, dtype, device_index=None):
    """A contiguous array with uninitialised elements, allocated on the device's current stream."""
    shape = tuple(shape)
    if dtype not in CODES:  # any spelling of a dtype that NumPy takes
        dtype = np.dtype(dtype)
        if dtype not in CODES:
            dtypes.of(dtype)  # raises, naming the dtype and what is taken
    stream = current_stream(device_index)
    nbytes = math.prod(shape) * dtype.itemsize
    block = allocator(stream.device_index).allocate(nbytes, stream) if nbytes else None
    pointer = block.pointer if nbytes else 0
    found = strides.contiguous_strides(shape, dtype.itemsize)
    made = CudaArray(block, pointer, shape, found, dtype, stream.device)
    if plans.traces:
        trace = plans.current_trace()
        if trace is not None:
            trace.made.append(made)
    return made


def from_host(array, device_index=None, non_blocking=False):
    """A contiguous copy of a NumPy array on a GPU.

    The host array may be changed at once, unless it is pinned and `non_blocking`: then when the stream has come so far.
    """
    array = np.asarray(array)
    result = empty(array.shape, array.dtype, device_index)
    copies.upload(array, result, non_blocking)
    return result


class Lent:
    """Memory of another library's object, which is kept; whoever owns it decides when it is used again."""

    def __init__(self, pointer, nbytes, owner):
        self.pointer, self.nbytes, self.owner = pointer, nbytes, owner

    def record_stream(self, stream):
        """Nothing: the memory is not ours to reuse."""


def from_interface(source):
    """An array on the memory of an object with `__cuda_array_interface__`, on the current GPU."""
    described = source.__cuda_array_interface__
    shape, dtype = tuple(described["shape"]), dtypes.of(np.dtype(described["typestr"])).numpy
    steps = described.get("strides") or strides.contiguous_strides(shape, dtype.itemsize)
    pointer = described["data"][0]
    low, high = strides.extent(shape, steps, dtype.itemsize)
    block, device = Lent(pointer + low, high - low, source), current_stream().device
    return CudaArray(block, pointer, shape, tuple(steps), dtype, device)


def mirror(array, device_index=None):
    """A copy of a NumPy array on a GPU that lies in memory as the array does: strides, gaps and repeats included."""
    low, high = strides.extent(array.shape, array.strides, array.itemsize)
    memory = (ctypes.c_uint8 * (high - low)).from_address(array.ctypes.data + low)
    copy = from_host(np.frombuffer(memory, np.uint8) if high > low else np.empty(0, np.uint8), device_index)
    return CudaArray(copy.block, copy.pointer - low, array.shape, array.strides, array.dtype, copy.device)


def to_host(array, out=None, non_blocking=False):
    """The elements of `array` as a new NumPy array, or in `out`, after waiting for the stream.

    Into a contiguous pinned `out` with `non_blocking` nothing is waited for: it is valid when the stream has come so
    far.
    """
    if out is None:
        found = None if array.is_contiguous else copies.download_view(array)
        return to_host(array, np.empty(array.shape, array.dtype)) if found is None else found
    if out.shape != array.shape or out.dtype != array.dtype:
        raise RuntimeError(
            f"to_host(): out is {out.dtype} of shape {list(out.shape)}, the array is {array.dtype} of shape "
            f"{list(array.shape)}"
        )
    if out.flags.c_contiguous:
        copies.download(ascontiguousarray(array), out, non_blocking)
    else:
        out[...] = to_host(array)
    return out


def to_device(array, device_index):
    """`array` itself if it is on GPU `device_index`, else a contiguous copy there."""
    if array.device.index == device_index:
        return array
    result = empty(array.shape, array.dtype, device_index)
    if array.size:
        copies.copy_across(ascontiguousarray(array), result)
    return result


def copy_to(destination, source, non_blocking=False):
    """Copy `source`, from the host or any GPU, broadcast and cast as needed, into the device array `destination`."""
    refuse_overlap(destination)
    if not isinstance(source, CudaArray):
        source = np.asarray(source)
        same = source.shape == destination.shape and source.dtype == destination.dtype
        if same and destination.is_contiguous:
            copies.upload(source, destination, non_blocking)
            return
        source = from_host(source, destination.device.index, non_blocking)
    source = broadcast_to(to_device(source, destination.device.index), destination.shape)
    if _share_memory(source, destination):
        source = source.copy()  # a copy between overlapping views would read what it has just written
    copies.copy_elements(source, destination)


def broadcast_to(array, shape):
    """The view that repeats `array` to `shape`, with zero strides."""
    shape = tuple(shape)
    found = strides.broadcast_strides(array.shape, array.strides, shape)
    return array._view(array.pointer, shape, found)


def as_strided(array, shape, new_strides, offset=0):
    """The view with this shape and these strides in bytes, starting `offset` bytes after the array's own start.

    What it reaches must lie in the array's block of memory.
    """
    shape, new_strides = tuple(shape), tuple(new_strides)
    low, high = strides.extent(shape, new_strides, array.itemsize)
    start = array.pointer + offset
    first, held = (array.block.pointer, array.block.nbytes) if array.block else (0, 0)
    if high > low and (start + low < first or start + high > first + held):
        raise RuntimeError(
            f"as_strided(): shape {list(shape)} with strides {list(new_strides)} and offset {offset} reaches bytes "
            f"{start + low - first} to {start + high - first} of memory that holds {held}"
        )
    return array._view(start, shape, new_strides)


def memory_of(array, dtype):
    """The whole block that an array is a view of, as a row of elements of a NumPy dtype."""
    pointer, nbytes = (array.block.pointer, array.block.nbytes) if array.block else (0, 0)
    return CudaArray(array.block, pointer, (nbytes // dtype.itemsize,), (dtype.itemsize,), dtype, array.device)


def ascontiguousarray(array):
    """`array` itself if it is contiguous, else a contiguous copy."""
    return array if array.is_contiguous else array.copy()


def refuse_overlap(array):
    """Raise for a destination in which several elements share one place in memory, such as an expanded view."""
    if strides.may_overlap_itself(array.shape, array.strides, array.itemsize):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
            "Please clone() the tensor before performing the operation."
        )


def _share_memory(first, second):
    """Whether the memory between the ends of two arrays meets."""
    if not (first.size and second.size):
        return False
    (low, high), (other_low, other_high) = (
        strides.extent(each.shape, each.strides, each.itemsize) for each in (first, second)
    )
    return first.pointer + low < second.pointer + other_high and second.pointer + other_low < first.pointer + high
