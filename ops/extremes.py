"""Largest and smallest elements and where they are: amax, amin, max, min, argmax, argmin.

A NaN is larger and smaller than everything, and of equal elements the first is taken, as in PyTorch.
"""

from __future__ import annotations

import math
from collections import namedtuple

import numpy as np

from tritorch.autotune import Space, cdiv, choices, kernel, powers
from tritorch.ops.base import TABLE, Op, export, write_out
from tritorch.ops.layout import broadcast_strides, element_strides, empty_like, merge, needs_64_bits
from tritorch.ops.pointwise import offsets_of, pointwise_default, triton_dtype
from tritorch.ops.reduce_kernel import (
    REDUCE_SPACE,
    as_dims,
    computed_in,
    is_wide,
    kept_and_gone,
    lies_along,
    reduce_default,
    reduced_shape,
)
from tritorch.ops.reduction import Reduction, dims_of, reduction_samples
from tritorch.runtime import tl

_INT64 = np.dtype(np.int64)


@kernel
def larger(a, b):
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@kernel
def smaller(a, b):
    return tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)


@kernel
def first_larger(a, i, b, j):
    nan_a, nan_b = a != a, b != b
    equal = (a == b) | (nan_a & nan_b)
    take = (nan_a & (nan_b == 0)) | ((nan_b == 0) & (a > b)) | (equal & (i < j))
    return tl.where(take, a, b), tl.where(take, i, j)


@kernel
def first_smaller(a, i, b, j):
    nan_a, nan_b = a != a, b != b
    equal = (a == b) | (nan_a & nan_b)
    take = (nan_a & (nan_b == 0)) | ((nan_b == 0) & (a < b)) | (equal & (i < j))
    return tl.where(take, a, b), tl.where(take, i, j)


def lowest(dtype):
    """A number that no element of a NumPy dtype is below."""
    return -math.inf if dtype.kind in "fV" else int(np.iinfo(computed_in(dtype)).min)


def highest(dtype):
    """A number that no element of a NumPy dtype is above."""
    return math.inf if dtype.kind in "fV" else int(np.iinfo(computed_in(dtype)).max)


@kernel(space=REDUCE_SPACE, default=reduce_default)
def select_kernel(
    x,  # what is searched: rows by `kept`, columns by `gone` strides
    numbers,  # which column of the first stage a value comes from, laid out as x; None in the first stage
    values,  # the chosen elements: (SPLITS, rows), or None
    places,  # the column each comes from: (SPLITS, rows)
    rows,
    columns,
    kept,
    kept_strides,
    gone,
    gone_strides,
    CHOOSE: tl.constexpr,  # of two values with their columns, one
    IDENTITY: tl.constexpr,
    COMPUTE: tl.constexpr,
    KEPT_RANK: tl.constexpr,
    GONE_RANK: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit indices
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    SPLITS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    part = tl.program_id(1)
    if WIDE:
        row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        part = part.to(tl.int64)
    line = offsets_of(row, kept, kept_strides, 0, KEPT_RANK)[:, None]
    share = tl.cdiv(tl.cdiv(columns, COLUMNS), SPLITS) * COLUMNS
    first = part * share
    last = tl.minimum(first + share, columns)
    best = tl.full([ROWS, COLUMNS], IDENTITY, COMPUTE)
    at = tl.full([ROWS, COLUMNS], 9223372036854775807, tl.int64)
    for start in range(first, last, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        inside = (row < rows)[:, None] & (column < last)[None, :]
        offset = line + offsets_of(column, gone, gone_strides, 0, GONE_RANK)[None, :]
        value = tl.where(inside, tl.load(x + offset, mask=inside, other=0).to(COMPUTE), IDENTITY).to(COMPUTE)
        if numbers is None:
            number = column.to(tl.int64)[None, :] + tl.zeros([ROWS, COLUMNS], tl.int64)
        else:
            number = tl.load(numbers + offset, mask=inside, other=0)
        number = tl.where(inside, number, 9223372036854775807)
        best, at = CHOOSE(best, at, value, number)
    best, at = tl.reduce((best, at), 1, CHOOSE)
    if values is not None:
        tl.store(values + part * rows + row, best.to(values.dtype.element_ty), mask=row < rows)
    tl.store(places + part * rows + row, at, mask=row < rows)


def launch_select(x, dim, choose, identity, want_values=True):
    """The chosen element along `dim` and its number, as flat arrays; `dim` None numbers all elements in order."""
    kept, gone = kept_and_gone(x, dim, ordered=True)
    rows, columns = math.prod(kept[0]), math.prod(gone[0])
    config = select_kernel.config(x, rows=rows, columns=columns, along=lies_along(kept, gone))
    splits, compute = config["SPLITS"], computed_in(x.dtype)
    values = empty_like(x, (rows * splits,), x.dtype) if want_values or splits > 1 else None
    places = empty_like(x, (rows * splits,), _INT64)
    if rows == 0:
        return values, places
    fixed = {"CHOOSE": choose, "IDENTITY": identity, "COMPUTE": triton_dtype(compute)}
    select_kernel[(cdiv(rows, config["ROWS"]), splits)](
        x, None, values, places, rows, columns, *kept, *gone,
        KEPT_RANK=len(kept[0]), GONE_RANK=len(gone[0]), WIDE=is_wide(kept, gone), **fixed, **config,
    )  # fmt: skip
    if splits == 1:
        return values, places
    chosen, at = empty_like(x, (rows,)), empty_like(x, (rows,), _INT64)
    config = select_kernel.config(x, rows=rows, columns=splits, along=rows == 1) | {"SPLITS": 1}
    select_kernel[(cdiv(rows, config["ROWS"]), 1)](
        values, places, chosen, at, rows, splits, (rows,), (1,), (splits,), (rows,),
        KEPT_RANK=1, GONE_RANK=1, WIDE=rows * splits >= 2**31, **fixed, **config,
    )  # fmt: skip
    return chosen, at


class Extreme(Reduction, abstract=True):
    """The largest or smallest element along dimensions; equal ones share its gradient evenly."""

    saves = ("input", "output")
    limit = staticmethod(lowest)

    @classmethod
    def call(cls, input, dim=(), keepdim=False, *, axis=None):
        dim = dims_of(cls.op_name, input, dim if axis is None else axis)
        shape = input.array.shape
        if input.array.size == 0:
            for each in as_dims(dim, len(shape)):
                if shape[each] == 0:
                    raise _empty(cls.op_name, each, dim is not None)
        return cls.apply(input, dim, bool(keepdim))

    def forward(self, input, dim, keepdim):
        """One launch, or two where rows are few and long."""
        self.identity = self.limit(input.dtype)
        return super().forward(input, dim, keepdim)

    @classmethod
    def result_dtype(cls, dtype, given):
        return dtype

    def backward(self, grad):
        """The gradient, in equal parts for the elements that are equal to the result."""
        input, dim, keepdim = self.inputs
        output = self.output
        if not keepdim:
            for each in as_dims(dim, input.array.ndim):
                grad, output = grad.unsqueeze(each), output.unsqueeze(each)
        chosen = input == output
        return (chosen * (grad / chosen.sum(dim, True)),)

    @staticmethod
    def samples(draw):
        for sample in reduction_samples(draw):
            if 0 < sample[0].size < 1000:
                yield (_apart(draw, sample[0]), *sample[1:])
        yield draw.integers(0, 300, 1025), None, False
        yield draw.integers(-300, 300, 2, 1030), 1, False
        yield draw.integers(-100, 100, 5, 7), 0, False
        yield draw.integers(0, 200, 5, 7, dtype=np.uint8), None, False


def _apart(draw, like):
    """Numbers laid out as `like`, no two of which are equal along the last dimension."""
    if 0 in like.strides:
        return np.broadcast_to(draw.apart(1, like.shape[1]), like.shape)
    values = draw.apart(*like.shape)
    return values if like.flags.c_contiguous else values.copy(order="F")


def _empty(op, dim, named):
    if named:
        return IndexError(f"{op}(): Expected reduction dim {dim} to have non-zero size.")
    return RuntimeError(
        f"{op}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the "
        "'dim' argument."
    )


class Amax(Extreme):
    """The largest element along `dim`."""

    exports = ("amax", "Tensor.amax")
    combine = larger

    @staticmethod
    def reference(input, dim=None, keepdim=False):
        return np.max(input, axis=dim, keepdims=keepdim)


class Amin(Extreme):
    """The smallest element along `dim`."""

    exports = ("amin", "Tensor.amin")
    combine = smaller
    limit = staticmethod(highest)

    @staticmethod
    def reference(input, dim=None, keepdim=False):
        return np.min(input, axis=dim, keepdims=keepdim)


class Selection(Op, abstract=True):
    """The largest or smallest element along one dimension, with its index."""

    saves = ("output",)
    choose = first_larger
    limit = staticmethod(lowest)

    def forward(self, input, dim, keepdim):
        """One launch, or two where rows are few and long."""
        shape = reduced_shape(input.shape, dim, keepdim)
        values, places = launch_select(input, dim, self.choose, self.limit(input.dtype))
        return values.reshape(shape), places.reshape(shape)

    def backward(self, grad, _=None):
        """The gradient at the chosen index, zero elsewhere."""
        index = self.outputs[1]
        dim, keepdim = self.inputs[1], self.inputs[2]
        shape = self.edges[0][2]
        if not shape:
            return (grad,)
        if not keepdim:
            grad, index = grad.unsqueeze(dim), index.unsqueeze(dim)
        return (PutAlong.apply(grad, index, dim, shape[dim]),)

    @staticmethod
    def samples(draw):
        for dim in (0, 1, 2):
            yield draw.apart(3, 4, 5), dim, dim == 1
        yield draw.apart(6, 4).T, 1, False
        yield draw.apart(2, 120, gap=1), 1, False
        yield draw.integers(0, 50, 2, 1030), 1, False
        yield draw.integers(0, 5, 5, 70, dtype=np.uint8), 1, False
        yield draw(), (), False


class MaxAlong(Selection):
    """The largest element along `dim` and its index."""

    @staticmethod
    def reference(input, dim, keepdim):
        if dim == ():
            return input, np.zeros((), np.int64)
        return np.max(input, axis=dim, keepdims=keepdim), np.argmax(input, axis=dim, keepdims=keepdim)


class MinAlong(Selection):
    """The smallest element along `dim` and its index."""

    choose = first_smaller
    limit = staticmethod(highest)

    @staticmethod
    def reference(input, dim, keepdim):
        if dim == ():
            return input, np.zeros((), np.int64)
        return np.min(input, axis=dim, keepdims=keepdim), np.argmin(input, axis=dim, keepdims=keepdim)


@kernel(space=Space(BLOCK=powers(256, 8192), num_warps=choices(2, 4, 8)), default=pointwise_default)
def _put_along(
    out,  # contiguous: (outer, SIZE, inner)
    x,  # what is put: `shape`, one along the middle, by the first RANK strides
    index,  # where along the middle: `shape` by the last RANK strides
    count,
    size,
    inner,
    shape,
    strides,
    RANK: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit indices
    BLOCK: tl.constexpr,
):
    number = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if WIDE:
        number = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = number < count
    source = (number // (size * inner)) * inner + number % inner
    place = tl.load(index + offsets_of(source, shape, strides, RANK, RANK), mask=inside, other=0)
    value = tl.load(x + offsets_of(source, shape, strides, 0, RANK), mask=inside, other=0)
    here = place == (number // inner) % size
    tl.store(out + number, tl.where(here, value, 0).to(out.dtype.element_ty), mask=inside)


class PutAlong(Op):
    """Zeros of `size` along `dim`, but `input` at `index`: the gradient of choosing one element."""

    saves = ("index",)

    @staticmethod
    def reference(input, index, dim, size):
        shape = list(input.shape)
        shape[dim] = size
        out = np.zeros(shape, input.dtype)
        np.put_along_axis(out, index, input, dim)
        return out

    def forward(self, input, index, dim, size):
        """One launch that writes every element."""
        out = empty_like(input, (*input.shape[:dim], size, *input.shape[dim + 1 :]))
        if out.size:
            shape, strides = merge(input.shape, [element_strides(input), broadcast_strides(index, input.shape)])
            config = _put_along.config(out, count=out.size)
            _put_along[(cdiv(out.size, config["BLOCK"]),)](
                out, input, index, out.size, size, math.prod(input.shape[dim + 1 :]), shape, (*strides[0], *strides[1]),
                RANK=len(shape), WIDE=out.size >= 2**31 or needs_64_bits(shape, strides), **config,
            )  # fmt: skip
        return out

    def backward(self, grad):
        """The gradient at the index."""
        return grad.gather(self.inputs[2], self.inputs[1]), None

    @staticmethod
    def samples(draw):
        yield draw(3, 1, 5), draw.integers(0, 4, 3, 1, 5), 1, 4
        yield draw(1, 7), draw.integers(0, 9, 1, 7), 0, 9
        yield draw(7, 1), draw.integers(0, 1025, 7, 1), 1, 1025


class Arg(Op, abstract=True):
    """The index of the largest or smallest element, among all or along one dimension."""

    choose = first_larger
    limit = staticmethod(lowest)

    @classmethod
    def call(cls, input, dim=None, keepdim=False, *, axis=None):
        dim = dim if axis is None else axis
        if isinstance(dim, (tuple, list)):
            raise TypeError(f"{cls.op_name}(): argument 'dim' (position 2) must be int, not {type(dim).__name__}")
        dim = dims_of(cls.op_name, input, dim)
        array = input.array
        if array.dtype == np.bool_:
            raise RuntimeError(f"{cls.op_name}(): does not support bool input")
        if array.size == 0:
            if dim is None:
                raise IndexError(f"{cls.op_name}(): Expected reduction dim to be specified for input.numel() == 0.")
            if array.shape[dim] == 0:
                raise _empty(cls.op_name, dim, True)
        return cls.apply(input, dim, bool(keepdim))

    def forward(self, input, dim, keepdim):
        """One launch, or two where rows are few and long."""
        _, places = launch_select(input, dim, self.choose, self.limit(input.dtype), want_values=False)
        return places.reshape(reduced_shape(input.shape, dim, keepdim))

    @staticmethod
    def samples(draw):
        yield from Selection.samples(draw)
        yield draw.apart(3, 4, 5), None, False
        yield draw.apart(6, 40).T, None, True
        yield draw.integers(0, 300, 1025), None, False


class Argmax(Arg):
    """The index of the largest element."""

    exports = ("argmax", "Tensor.argmax")

    @staticmethod
    def reference(input, dim=None, keepdim=False):
        if dim == ():
            return np.zeros((), np.int64)
        return np.asarray(np.argmax(input, axis=dim, keepdims=keepdim))


class Argmin(Arg):
    """The index of the smallest element."""

    exports = ("argmin", "Tensor.argmin")
    choose = first_smaller
    limit = staticmethod(highest)

    @staticmethod
    def reference(input, dim=None, keepdim=False):
        if dim == ():
            return np.zeros((), np.int64)
        return np.asarray(np.argmin(input, axis=dim, keepdims=keepdim))


def _extreme(op, along, over_all, pairwise, kind):
    """`max` or `min`: of all elements, along a dimension with indices, or of two tensors element by element."""
    result = namedtuple(op, ("values", "indices"), module="torch.return_types")

    def whole(input):
        dims_of(op, input, None)
        if input.array.size == 0:
            raise _empty(op, 0, False)
        return over_all.apply(input, None, False)

    def function(input, dim=None, keepdim=False, *, other=None, axis=None, out=None):
        dim = axis if axis is not None else dim
        if hasattr(dim, "array"):
            dim, other = None, dim
        if other is not None:
            found = TABLE[pairwise].apply(input, other)
        elif dim is None:
            found = whole(input)
        else:
            dim = dims_of(op, input, dim)
            if not isinstance(dim, tuple) and input.array.shape[dim] == 0:
                raise _empty(op, dim, True)
            found = result(*along.apply(input, dim, bool(keepdim)))
        return found if out is None else write_out(out, found)

    function.__name__ = function.__qualname__ = op
    function.__doc__ = f"The {kind} of all elements, along a dimension with its index, or of two tensors."
    return export(op, f"Tensor.{op}")(function)


_extreme("max", MaxAlong, Amax, "maximum", "largest")
_extreme("min", MinAlong, Amin, "minimum", "smallest")
