"""In-place calls that are one pointwise op, whose result goes straight where it belongs: one launch, no copy.

That is so where nothing else needs the old elements: no gradient, and no argument that overlaps what is written without
being the same elements. A result that a gradient reads is then the written tensor itself, as in PyTorch.
"""

from __future__ import annotations

import numpy as np

from tritorch.autograd.apply import _record, apply
from tritorch.autograd.grad_mode import state
from tritorch.autograd.variable import Variable
from tritorch.ops.autocast import state as autocast
from tritorch.ops.base import Op
from tritorch.ops.pointwise.over import gives, over
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
    """The op and the arguments whose result was written over `tensor`; None where that is not possible."""
    if state.interceptors:
        return None
    call = one_call(function, tensor, args, kwargs)
    if call is None:
        return None
    op, arguments = call
    writer = over(op)
    if writer is None or (op.autocast is not None and autocast.active is not None):
        return None
    if not _fits(op, tensor, arguments) or _is_needed(op, tensor, arguments):
        return None
    before, state.recording = state.recording, False
    try:
        apply(writer, tensor, *arguments)
    finally:
        state.recording = before
    return op, arguments


def _fits(op, tensor, arguments):
    """Whether an op gives the shape and dtype of `tensor`, from arguments beside it that it may write over."""
    array, kinds = tensor.array, []
    for each in arguments:
        if not isinstance(each, Variable):
            if type(each) not in (int, float, bool):
                return False
            kinds.append(type(each))
            continue
        other = each.array
        kinds.append((other.dtype, not other.shape))
        if each is tensor:
            continue
        if each.device is not tensor.device or each.level is not None or not _expands(other.shape, array.shape):
            return False
        if not are_apart(array, other):
            return False
    return gives(op, tuple(kinds)) == array.dtype


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
    if not state.recording:
        return False
    wants = [each if isinstance(each, Variable) and each.wants_gradient() else None for each in arguments]
    if not any(each is not None for each in wants):
        return False
    saved = op.saved_where(wants)
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
    _record(op, tuple([before if each is tensor else each for each in arguments]), result)
    return result
