"""Reductions and scans of interpreted kernels, whole blocks at a time where Triton's interpreter goes by element."""

from __future__ import annotations

import numpy as np
import triton.language as tl
from triton.runtime.interpreter import TensorHandle

from tritorch.runtime.interpreter.builder import numpy_dtype, widened
from tritorch.runtime.interpreter.rewrite import body_of

_standard = tl.standard
_REDUCTIONS = {
    _standard._sum_combine: np.add,
    _standard._prod_combine: np.multiply,
    _standard._elementwise_max: np.fmax,  # as on the GPU, a NaN loses against a number
    _standard._elementwise_min: np.fmin,
    _standard._xor_combine: np.bitwise_xor,
    _standard._or_combine: np.bitwise_or,
}
_SCANS = {_standard._sum_combine: np.add, _standard._prod_combine: np.multiply}
_FIRST = {
    _standard._argmax_combine_tie_break_left: np.argmax,
    _standard._argmax_combine_tie_break_fast: np.argmax,
    _standard._argmin_combine_tie_break_left: np.argmin,
    _standard._argmin_combine_tie_break_fast: np.argmin,
}


def reduce(input, axis, combine_fn, keep_dims=False, **_):
    """triton.language.reduce: one tensor or a tuple of them, along one axis or all."""
    several = isinstance(input, tuple | list | tl.tuple)
    tensors = tuple(input) if several else (input,)
    blocks = [each.handle.data.reshape(-1) if axis is None else each.handle.data for each in tensors]
    rank, at = tensors[0].handle.data.ndim, _number(axis) or 0
    results = _known_reduction(tensors, blocks, at, combine_fn)
    if results is None:
        results = _halve(tensors, [np.moveaxis(each, at, 0) for each in blocks], combine_fn)
    if keep_dims:
        results = [each.reshape((1,) * rank) if axis is None else np.expand_dims(each, at) for each in results]
    out = tuple(_tensor(result, each.dtype.scalar) for result, each in zip(results, tensors, strict=True))
    return out if several else out[0]


def _known_reduction(tensors, blocks, at, combine_fn):
    ufunc = _REDUCTIONS.get(combine_fn)
    if ufunc is not None:
        if blocks[0].dtype.kind == "b" and ufunc in (np.add, np.multiply):
            return None
        return [_wide(tensors[0], blocks[0], lambda data: ufunc.reduce(data, axis=at, dtype=data.dtype))]
    first = _FIRST.get(combine_fn)
    if first is None or (blocks[0].dtype.kind not in "iub" and np.isnan(blocks[0]).any()):
        return None
    chosen = np.expand_dims(first(blocks[0], axis=at), at)
    return [np.take_along_axis(each, chosen, at).squeeze(at) for each in blocks]


def _wide(tensor, data, function):
    """`function` in float32 for narrower floats, rounded once at the end."""
    wide = widened(TensorHandle(data, tensor.dtype.scalar))
    return function(wide).astype(data.dtype, copy=False)


def _halve(tensors, blocks, combine_fn):
    """A tree of log2(n) calls of the combining function, operands in their order."""
    while blocks[0].shape[0] > 1:
        blocks = _combine(combine_fn, tensors, [each[0::2] for each in blocks], [each[1::2] for each in blocks])
    return [each[0] for each in blocks]


def associative_scan(input, axis, combine_fn, reverse=False, **_):
    """triton.language.associative_scan: one tensor or a tuple of them, forwards or backwards along one axis."""
    several = isinstance(input, tuple | list | tl.tuple)
    tensors = tuple(input) if several else (input,)
    blocks = [np.moveaxis(each.handle.data, _number(axis), 0) for each in tensors]
    if _number(reverse):
        blocks = [np.flip(each, 0) for each in blocks]
    ufunc = _SCANS.get(combine_fn)
    if ufunc is not None and blocks[0].dtype.kind != "b":
        results = [_wide(tensors[0], blocks[0], lambda data: ufunc.accumulate(data, axis=0, dtype=data.dtype))]
    else:
        results = _double(tensors, blocks, combine_fn)
    if _number(reverse):
        results = [np.flip(each, 0) for each in results]
    out = tuple(
        _tensor(np.moveaxis(result, 0, _number(axis)), each.dtype.scalar)
        for result, each in zip(results, tensors, strict=True)
    )
    return out if several else out[0]


def _double(tensors, blocks, combine_fn):
    """Every element combined with the one 1, 2, 4, ... before it; whole blocks, so that sizes stay powers of two."""
    distance = 1
    while distance < blocks[0].shape[0]:
        before = [np.roll(each, distance, 0) for each in blocks]
        combined = _combine(combine_fn, tensors, before, blocks)
        blocks = [np.concatenate([each[:distance], new[distance:]]) for each, new in zip(blocks, combined, strict=True)]
        distance *= 2
    return blocks


def _combine(combine_fn, tensors, left, right):
    types = [each.dtype.scalar for each in tensors]
    operands = [_tensor(data, type) for side in (left, right) for data, type in zip(side, types, strict=True)]
    results = body_of(combine_fn)(*operands)
    results = tuple(results) if isinstance(results, tuple | tl.tuple) else (results,)
    arrays = [each.handle.data if isinstance(each, tl.tensor) else np.asarray(each) for each in results]
    return [
        np.broadcast_to(data, left[0].shape).astype(numpy_dtype(type), copy=False)
        for data, type in zip(arrays, types, strict=True)
    ]


def _tensor(data, type):
    if np.ndim(data) == 0:  # the interpreter holds a scalar as an array of one element
        return tl.tensor(TensorHandle(np.array([data], dtype=numpy_dtype(type)), type), type)
    data = np.ascontiguousarray(data)
    return tl.tensor(TensorHandle(data, type), tl.block_type(type, list(data.shape)))


def _number(value):
    return value.value if isinstance(value, tl.constexpr) else value
