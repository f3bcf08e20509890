"""Sorted sequences searched: searchsorted, bucketize, isin."""

from __future__ import annotations

import numpy as np

from tritorch import creation
from tritorch.autograd.variable import Variable
from tritorch.ops.base import export, write_out
from tritorch.ops.guard import need_tensors
from tritorch.ops.index.indexing import Index
from tritorch.ops.promotion import KIND_NAMES
from tritorch.ops.sort.order import Sort
from tritorch.ops.sort.search import FindPlace
from tritorch.runtime import dtypes

_KINDS = {False: np.dtype(np.int64), True: np.dtype(np.int32)}


@export("searchsorted")
def searchsorted(sorted_sequence, input, *, out_int32=False, right=False, side=None, out=None, sorter=None):
    """Where each value would be inserted to keep the sequence along the last dimension in order.

    Before the elements that equal it, or behind them with right=True (side="right").
    """
    need_tensors("searchsorted", sorted_sequence=sorted_sequence)
    if side not in (None, "left", "right"):
        raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left while right was True"
        )
    found = _find("searchsorted", sorted_sequence, input, right or side == "right", out_int32, sorter)
    return found if out is None else _write(out, found, out_int32)


@export("bucketize")
def bucketize(input, boundaries, *, out_int32=False, right=False, out=None):
    """The number of the bucket, between two of the sorted `boundaries`, that each value is in."""
    need_tensors("bucketize", boundaries=boundaries)
    if boundaries.array.ndim != 1:
        raise RuntimeError(f"boundaries tensor must be 1 dimension, but got dim({boundaries.array.ndim})")
    found = _find("searchsorted", boundaries, input, right, out_int32, None)
    return found if out is None else _write(out, found, out_int32)


def _write(out, found, is_int32):
    if out.dtype is not found.dtype:
        raise RuntimeError(
            "torch.searchsorted(): output tensor's dtype is wrong, it can only be Int(int32) or Long(int64) depending "
            f"on whether out_int32 flag is True, but we got output tensor's dtype {KIND_NAMES[out.dtype.name]} and "
            f"out_int32 flag is {is_int32}"
        )
    return write_out(out, found)


def _find(op, sequence, input, right, is_int32, sorter):
    if not isinstance(input, Variable):
        if not isinstance(input, (int, float)):
            need_tensors(op, sorted_sequence=sequence, input=input)
        input = creation.tensor(input, dtype=dtypes.result_type(sequence.array, input), device=sequence.device)
    own, given = sequence.array.shape, input.array.shape
    if not given and len(own) != 1:
        raise RuntimeError(
            "torch.searchsorted(): input value can be a scalar only when boundaries tensor dimension is 1, but we got "
            f"boundaries tensor dim({len(own)}) and input value's dim(0) numel(1)"
        )
    if not own:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should have positive dimension, but got 0 dimension"
        )
    if len(own) > 1 and own[:-1] != given[:-1]:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries "
            f"tensor and input value tensor must match, but we got boundaries tensor {list(own)} and input value "
            f"tensor {list(given)}"
        )
    if sorter is not None:
        _check_sorter(sorter, own)
    kind = dtypes.result_type(sequence.array, input.array)
    sequence, input = sequence.detach().to(kind), input.detach().to(kind)
    return FindPlace.apply(sequence, input, bool(right), _KINDS[bool(is_int32)], sorter)


def _check_sorter(sorter, shape):
    if sorter.array.shape != shape:
        raise RuntimeError(
            "torch.searchsorted(): boundary and sorter must have the same size, but got boundary tensor "
            f"{list(shape)}and got sorter tensor {list(sorter.array.shape)}"
        )
    if sorter.dtype is not dtypes.int64:
        raise RuntimeError("torch.searchsorted(): sorter must be a tensor of long dtype but got dtype Float")
    places = sorter.array if sorter.is_cuda else sorter.on_host()
    if not sorter.device.is_cuda and places.size and not 0 <= places.min() <= places.max() < shape[-1]:
        raise RuntimeError("torch.searchsorted(): sorter index out of range")


@export("isin")
def isin(elements, test_elements, *, assume_unique=False, invert=False, out=None):
    """Whether each element is among the test elements, found in their order by bisection."""
    like = elements if isinstance(elements, Variable) else test_elements
    if not isinstance(like, Variable):
        raise TypeError(
            f"isin() received an invalid combination of arguments - got ({type(elements).__name__}, "
            f"{type(test_elements).__name__}), but expected a Tensor for one of them"
        )
    kind = dtypes.result_type(
        *[each.array if isinstance(each, Variable) else each for each in (elements, test_elements)]
    )
    if kind is dtypes.bool_:
        kind = dtypes.uint8
    sides = [
        each.detach().to(kind) if isinstance(each, Variable) else creation.tensor(each, dtype=kind, device=like.device)
        for each in (elements, test_elements)
    ]
    values, tests = sides[0], sides[1].reshape(-1)
    size = tests.array.size
    if size == 0:
        found = values.new_full(values.array.shape, bool(invert), dtype=dtypes.bool_)
    else:
        ordered = Sort.apply(tests, 0, False)[0]
        places = FindPlace.apply(ordered, values, False, _KINDS[False], None).clamp(max=size - 1)
        nearest = Index.apply(ordered, (0,), places)
        found = nearest != values if invert else nearest == values
    return found if out is None else write_out(out, found)
