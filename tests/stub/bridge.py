"""Runs a GPU's work on the host: device memory is host memory here, so a launch can go to the interpreter.

With `install()` any op runs on device="cuda" without a GPU: arguments are bound, the kernel is compiled, loaded and its
parameters packed as on a GPU; then the same arguments, as NumPy views at the same addresses, are interpreted.
"""

from __future__ import annotations

import ctypes

import numpy as np

from tritorch.runtime import interpreter, strides
from tritorch.runtime.cuda.array import CudaArray
from tritorch.runtime.launcher import set_launch_hook


def as_numpy(array):
    """A NumPy view of the memory of a device array."""
    low, high = strides.extent(array.shape, array.strides, array.itemsize)
    if high == low:
        return np.empty(array.shape, array.dtype)
    memory = (ctypes.c_char * (high - low)).from_address(array.pointer + low)
    view = np.ndarray(array.shape, array.dtype, memory, -low, array.strides)
    assert view.ctypes.data == array.pointer
    return view


def replaced(value):
    """An argument of a launch, with device arrays as NumPy views, also in tuples."""
    if isinstance(value, CudaArray):
        return as_numpy(value)
    if type(value) is tuple:
        return tuple(map(replaced, value))
    return value


def interpret_launch(kernel, grid, args, constants, options):
    """The launch hook: interprets what would have run on the GPU."""
    names = [each.name for each in kernel.params if not each.is_constexpr]
    values = dict(zip(names, map(replaced, args), strict=True))
    interpreter.interpret(kernel, grid, (), values | constants | options)


def copy_on_host(source, destination):
    """Does what the copy kernel does, for tests of arrays without ops."""
    as_numpy(destination)[...] = as_numpy(source).astype(destination.dtype)


def install():
    """Interpret all launches of this process."""
    set_launch_hook(interpret_launch)
