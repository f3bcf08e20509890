"""DLPack: arrays handed to other libraries and taken from them without a copy, as capsules over C structures.

A capsule holds the address of a structure that describes memory and says how to give it back. Whoever takes the memory
renames the capsule, so that it is taken once. Source: the DLPack specification, versions 0.8 and 1.0.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import weakref

import numpy as np

from tritorch.runtime import dtypes

CPU, CUDA = 1, 2
_CODES = {"int": 0, "uint": 1, "float": 2, "bfloat": 4, "bool": 6, "float8_e4m3fn": 10, "float8_e5m2": 12}
_READ_ONLY, _COPIED = 1, 2


class _Device(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("index", ctypes.c_int32))


class _Kind(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p), ("device", _Device), ("ndim", ctypes.c_int32), ("kind", _Kind),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("offset", ctypes.c_uint64),
    )  # fmt: skip


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
# Who took memory gives it back by a call that may come at any moment: on a thread without the interpreter's lock, with
# an exception in flight, after the interpreter's end. No Python can run then. So it is C's time() that is called, which
# writes over the structure's first eight bytes, and what was written over is let go of at the next export or garbage
# collection.
_library = ctypes.CDLL("msvcrt") if os.name == "nt" else ctypes.CDLL(None)
_write_over = ctypes.cast(_library._time64 if os.name == "nt" else _library.time, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    name, used = b"dltensor", b"used_dltensor"
    flags = 0
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


class _Versioned(ctypes.Structure):
    name, used = b"dltensor_versioned", b"used_dltensor_versioned"
    _fields_ = (
        ("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p), ("flags", ctypes.c_uint64), ("tensor", _Tensor),
    )  # fmt: skip


_python = ctypes.pythonapi
_new_capsule = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", _python)
)
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_IsValid", _python))
_address = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", _python))
_rename = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_SetName", _python))


class _Export:
    """Memory handed out: the structure that describes it, its first bytes, the capsule, and what holds the memory."""

    __slots__ = ("array", "capsule", "first", "managed", "numbers")

    def __init__(self, managed, numbers, array):
        self.managed, self.numbers, self.array = managed, numbers, array
        self.first = ctypes.string_at(ctypes.addressof(managed), 8)
        self.capsule = _new_capsule(ctypes.addressof(managed), managed.name, None)

    def is_over(self):
        """Whether the memory was given back, or nobody has taken it nor will."""
        if self.capsule is not None:
            if _is_valid(self.capsule, self.managed.name):
                return sys.getrefcount(self.capsule) == 2  # ours, and the question's
            self.capsule = None
        return ctypes.string_at(ctypes.addressof(self.managed), 8) != self.first


_exports: list[_Export] = []


def _collect(phase="start", info=None):
    """Let go of what was given back; Python's garbage collection calls it while anything is handed out."""
    if phase == "start":
        _exports[:] = [each for each in _exports if not each.is_over()]
        if not _exports and _collect in gc.callbacks:
            gc.callbacks.remove(_collect)


def capsule_of(array, pointer, device, versioned, copied=False):
    """A capsule for an array whose first element is at `pointer` of `device`, a (type, index) pair."""
    kind = dtypes.of(array.dtype)
    word = kind.name if kind.name in _CODES else kind.name.rstrip("0123456789")
    numbers = (ctypes.c_int64 * (2 * array.ndim))(
        *array.shape, *(step // array.itemsize for step in array.strides)
    )  # fmt: skip
    first = ctypes.cast(numbers, ctypes.POINTER(ctypes.c_int64))
    second = ctypes.cast(ctypes.byref(numbers, 8 * array.ndim), ctypes.POINTER(ctypes.c_int64))
    tensor = _Tensor(
        pointer if array.size else None, _Device(*device), array.ndim,
        _Kind(_CODES[word], 8 * kind.itemsize, 1), first, second, 0,
    )  # fmt: skip
    managed = (_Versioned if versioned else _Managed)(tensor=tensor, deleter=_write_over)
    if versioned:
        managed.major = 1
        read_only = isinstance(array, np.ndarray) and not array.flags.writeable
        managed.flags = (_READ_ONLY if read_only else 0) | (_COPIED if copied else 0)
    _collect()
    export = _Export(managed, numbers, array)
    _exports.append(export)
    if _collect not in gc.callbacks:
        gc.callbacks.append(_collect)
    return export.capsule


class Foreign:
    """Memory of another library, held until the last array on it is gone."""

    def __init__(self, pointer, nbytes, managed):
        self.pointer, self.nbytes = pointer, nbytes
        if managed.deleter:
            weakref.finalize(self, _Deleter(managed.deleter), ctypes.addressof(managed)).atexit = False

    def record_stream(self, stream):
        """Whoever owns the memory decides when it is used again."""


class _Readable(Foreign):
    """Host memory that NumPy makes an array of."""


def array_of(capsule):
    """The array that a capsule describes, and its device as a (type, index) pair; the capsule is used up."""
    kinds = (_Managed, _Versioned) if type(capsule).__name__ == "PyCapsule" else ()
    kind = next((kind for kind in kinds if _is_valid(capsule, kind.name)), None)
    if kind is None:
        raise RuntimeError(
            "from_dlpack received an invalid capsule. Note that DLTensor capsules can be consumed only once, so you "
            "might have already constructed a tensor from it once."
        )
    managed = kind.from_address(_address(capsule, kind.name))
    if kind is _Versioned and managed.major > 1:
        raise BufferError(f"from_dlpack(): the capsule is of DLPack {managed.major}, 0 and 1 are known")
    tensor = managed.tensor
    numpy = _dtype_of(tensor.kind).numpy
    shape = tuple(tensor.shape[dim] for dim in range(tensor.ndim))
    steps = tuple(tensor.strides[dim] * numpy.itemsize for dim in range(tensor.ndim)) if tensor.strides else None
    pointer = (tensor.data or 0) + tensor.offset
    make = {CPU: _host_array, CUDA: _cuda_array}.get(tensor.device.type)
    if make is None:
        raise BufferError(
            f"from_dlpack(): unsupported device type {tensor.device.type}: the CPU (1) and CUDA (2) are known"
        )
    array = make(managed, pointer, shape, steps, numpy)
    _rename(capsule, kind.used)
    return array, (tensor.device.type, tensor.device.index)


def _dtype_of(kind):
    words = {code: word for word, code in _CODES.items()}
    word = words.get(kind.code, "")
    name = word if word in ("bool", *(each for each in words.values() if "_" in each)) else f"{word}{kind.bits}"
    found = dtypes.NAMES.get(name)
    if found is None or kind.lanes != 1:
        raise BufferError(
            f"from_dlpack(): unsupported element type: code {kind.code}, {kind.bits} bits, {kind.lanes} lanes"
        )
    return found


def _host_array(managed, pointer, shape, steps, dtype):
    owner = _Readable(pointer, 0, managed)
    stored = dtype if dtype.kind != "V" and dtype.isbuiltin == 1 else np.dtype(f"u{dtype.itemsize}")
    owner.__array_interface__ = {
        "data": (pointer, bool(managed.flags & _READ_ONLY)), "shape": shape, "strides": steps, "typestr": stored.str,
        "version": 3,
    }  # fmt: skip
    return np.asarray(owner).view(dtype)


def _cuda_array(managed, pointer, shape, steps, dtype):
    from tritorch.runtime import strides
    from tritorch.runtime.cuda.array import CudaArray
    from tritorch.runtime.device import Device

    steps = strides.contiguous_strides(shape, dtype.itemsize) if steps is None else steps
    low, high = strides.extent(shape, steps, dtype.itemsize)
    owner = Foreign(pointer + low, high - low, managed)
    return CudaArray(owner, pointer, shape, steps, dtype, Device("cuda", managed.tensor.device.index))
