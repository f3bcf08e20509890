"""In-place calls that are one pointwise op, whose result goes straight where it belongs: one launch, no copy.

That is so where nothing else needs the old elements: no gradient, and no argument that overlaps what is written without
being the same elements. A result that a gradient reads is then the written tensor itself, as in PyTorch.
"""

from __future__ import annotations

import numpy as np

from tritorch.autograd.apply import apply, record
from tritorch.autograd.grad_mode import state
from tritorch.autograd.variable import Variable
from tritorch.ops.autocast import state as autocast
from tritorch.ops.base import Op
from tritorch.ops.pointwise.over import given_by, over
from tritorch.runtime.device import CPU
from tritorch.runtime.quiet import restore, silence
from tritorch.runtime.strides import extent


def one_call(function, tensor, args, kwargs):
    """The op and its arguments where `function(tensor, *args)` is one call of one op, else None."""
    known = getattr(function, "one_call", None)
    if known is None:
        op = getattr(function, "__self__", None)
        return (op, (tensor, *args)) if isinstance(op, type) and issubclass(op, Op) and not kwargs else None
    try:
        return known(tensor, *args, **kwargs)
    except TypeError:
        return None  # the function itself says what is wrong


def written_straight(function, tensor, args, kwargs):
    """The call (op, arguments, whether a gradient is wanted) whose result was written over `tensor`, if it could be."""
    if state.interceptors:
        return None
    call = one_call(function, tensor, args, kwargs)
    if call is None:
        return None
    op, arguments = call
    writer = over(op)
    if writer is None or (op.autocast is not None and autocast.active is not None):
        return None
    arrays, wanted, result = [], False, tensor.array.dtype
    for each in arguments:
        if not isinstance(each, Variable):
            arrays.append(each)
            continue
        if each is not tensor and not _fits(tensor, each):
            return None
        arrays.append(each.array)
        if each.requires or each.view_of is not None:
            wanted = wanted or each.wants_gradient()
    given = given_by(op, arrays)
    if given is None or (given.dtype is not result and given.dtype != result):
        return None
    wanted = wanted and state.recording
    if wanted and _is_needed(op, tensor, arguments):
        return None
    if tensor.device is CPU:
        _write_on_host(op, writer, given.ufunc, tensor.array, arrays)
    else:
        before, state.recording = state.recording, False
        try:
            apply(writer, tensor, *arguments)
        finally:
            state.recording = before
    return op, arguments, wanted


def _write_on_host(op, writer, ufunc, array, arrays):
    before = silence()
    try:
        if ufunc is not None:
            ufunc(*arrays, out=array)
        else:
            writer.host(array, *arrays)
    finally:
        restore(before)


def _fits(tensor, other):
    """Whether an argument is beside `tensor`, no larger, and unharmed by what is written there."""
    array, read = tensor.array, other.array
    if other.device is not tensor.device or other.level is not None or not _expands(read.shape, array.shape):
        return False
    return are_apart(array, read)


def _expands(own, shape):
    if own == shape or not own:
        return True
    extra = len(shape) - len(own)
    return extra >= 0 and all(a in (1, b) for a, b in zip(own, shape[extra:], strict=True))


def are_apart(written, read):
    """Whether no element of `read` is written before it is read: none overlaps, or all are in their own places."""
    if isinstance(written, np.ndarray):
        if not np.may_share_memory(written, read):
            return True
        starts = written.ctypes.data, read.ctypes.data
    else:
        starts = written.pointer, read.pointer
    if starts[0] == starts[1] and written.strides == read.strides and written.shape == read.shape:
        return True
    (low, high), (first, last) = (extent(each.shape, each.strides, each.itemsize) for each in (written, read))
    return starts[0] + high <= starts[1] + first or starts[1] + last <= starts[0] + low


def _is_needed(op, tensor, arguments):
    """Whether the gradient of the call reads what will be written over."""
    saved = op.saved_where(
        [each if isinstance(each, Variable) and each.wants_gradient() else None for each in arguments]
    )
    return any(
        at in saved and isinstance(each, Variable) and (each is tensor or _shares(tensor.array, each.array))
        for at, each in enumerate(arguments)
    )


def _shares(one, other):
    if isinstance(one, np.ndarray):
        return np.may_share_memory(one, other)
    return one.pointer == other.pointer or not are_apart(one, other)


def record_written(op, arguments, tensor, before):
    """The call as a node whose result is `tensor` as it was written, and whose argument is what it was before."""
    result = Variable.made_as.__new__(Variable.made_as)
    result.array, result.device, result.version = tensor.array, tensor.device, tensor.counter()
    record(op, tuple([before if each is tensor else each for each in arguments]), result)
    return result
