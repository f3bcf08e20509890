"""What `out=` may be for ops that read their inputs while they write: of the result's dtype, in memory of its own.

A refusal comes before anything is computed.
"""

from __future__ import annotations

import functools
import inspect

from tritorch.ops.base import write_out
from tritorch.ops.promotion import C_NAMES
from tritorch.runtime import strides, transfer

_SHARED = (
    "unsupported operation: some elements of the input tensor and the written-to tensor refer to a single memory "
    "location. Please clone() the tensor before performing the operation."
)
_REPEATED = (
    "unsupported operation: more than one element of the written-to tensor refers to a single memory location. Please "
    "clone() the tensor before performing the operation."
)


def refuse_shared(written, read):
    """Refuse to write a tensor whose memory one of the tensors `read` lies in, where both are without gaps."""
    span = _span(written.array)
    for each in read:
        other = _span(each.array)
        if span and other and span[0] < other[1] and other[0] < span[1]:
            raise RuntimeError(_SHARED)


def _span(array):
    """The addresses of a contiguous array that is not empty; PyTorch looks no further either."""
    if not array.size or not transfer.is_contiguous(array):
        return None
    first = transfer.pointer(array)
    return first, first + array.size * array.itemsize


def refuse_repeated(written):
    """Refuse to write a tensor that has several elements at one place."""
    array = written.array
    if 0 in array.strides and strides.may_overlap_itself(array.shape, array.strides, array.itemsize):
        raise RuntimeError(_REPEATED)


def tensors_in(values):
    """The tensors among arguments and in sequences of them."""
    for each in values:
        if hasattr(each, "array"):
            yield each
        elif isinstance(each, (tuple, list)):
            yield from tensors_in(each)


def takes_out(function, over_input=False, any_dtype=False):
    """`function` with `out=`, checked first; `over_input` lets it be the first argument, `any_dtype` casts to it."""

    @functools.wraps(function)
    def call(*args, out=None, **kwargs):
        if out is None:
            return function(*args, **kwargs)
        read = list(tensors_in((*args, *kwargs.values())))
        if not any_dtype and read and read[0].dtype is not out.dtype:
            wanted, given = C_NAMES[read[0].dtype.name], C_NAMES[out.dtype.name]
            raise RuntimeError(f"Expected out tensor to have dtype {wanted}, but got {given} instead")
        refuse_repeated(out)
        refuse_shared(out, read[over_input:])
        return write_out(out, function(*args, **kwargs))

    own = inspect.signature(function)
    named = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    rest = [p for p in own.parameters.values() if p.kind is inspect.Parameter.VAR_KEYWORD]
    out = inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=None)
    call.__signature__ = own.replace(parameters=[*named, out, *rest])
    return call
