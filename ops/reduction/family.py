"""Reductions: sum, mean, product, any, all; one rule for their dimensions, dtypes and empty inputs.

`dim` is None for all dimensions, a number, or a sorted tuple, counted from the front: `call` makes it so.
"""

from __future__ import annotations

import numpy as np

from tritorch.autotune import kernel
from tritorch.ops.autocast import FLOAT32_ON_GPUS
from tritorch.ops.base import Op
from tritorch.ops.batching import shifted
from tritorch.ops.dimensions import as_sizes, wrap_dim, wrap_dims
from tritorch.ops.promotion import KIND_NAMES
from tritorch.ops.reduction.kernel import (
    as_dims,
    combiner,
    computed_in,
    divided,
    launch_reduce,
    reduced_shape,
    whole,
    widen,
)
from tritorch.ops.rowwise.host import ones, sums_of_many_rows
from tritorch.runtime import dtypes, views

_LARGE = 1 << 16  # elements
_FEW = 1 << 10  # elements whose sum is a product with ones, for which NumPy takes half as long to start
_ROW = 1 << 10  # elements up to which a row is added without rounding more than in pairs would by much
PLAIN = frozenset(map(np.dtype, (np.float32, np.float64)))
_USUAL = np.dtype(np.float32)  # what most tensors have, told by identity: a hash takes longer
_add = np.add.reduce


def dims_of(op, input, dim):
    """`dim` as a user gave it, in the family's form."""
    array = getattr(input, "array", None)
    if array is None:
        raise TypeError(f"{op}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    ndim = array.ndim
    if type(dim) is int and 0 <= dim < ndim:
        return dim
    if dim is None:
        return None
    if isinstance(dim, (tuple, list)):
        return tuple(sorted(wrap_dims(dim, ndim))) or None if ndim else wrap_dims(dim, ndim) and ()
    dim = wrap_dim(dim, ndim)
    return dim if ndim else ()


def dim_of(op, input, dim):
    """One dimension, counted from the front; a tensor without dimensions has one, 0."""
    dims_of(op, input, None)  # a tensor at all
    return wrap_dim(dim, input.array.ndim)


def sum_dtype(dtype, given):
    """What a sum of elements of `dtype` is: `given`, or int64 for integers and bools, or the same."""
    if given is not None:
        return given
    return dtype if dtype.kind in "fV" else np.dtype(np.int64)


class Reduction(Op, abstract=True):
    """An op that combines the elements along dimensions into one; a member gives how two are combined."""

    batch = shifted("dim", scalars=True)
    combine = None
    identity = 0
    prepare = widen
    finish = whole

    @classmethod
    def call(cls, input, dim=None, keepdim=False, *, dtype=None):
        if dim is not None:
            dim = dims_of(cls.op_name, input, dim)
        if dtype is not None:
            dtype = dtypes.as_dtype(dtype, cls.op_name).numpy
        return cls.apply(input, dim, bool(keepdim), dtype)

    @classmethod
    def result_dtype(cls, dtype, given):
        """The result's NumPy dtype, from the input's and the one asked for."""
        return sum_dtype(dtype, given)

    def forward(self, input, dim, keepdim, dtype=None):
        """One launch of the family's kernel, or two where rows are few and long."""
        result = self.result_dtype(input.dtype, dtype)
        out = launch_reduce(
            input, dim, result, computed_in(result), self.combine, self.identity, self.prepare, self.finish
        )
        return out.reshape(reduced_shape(input.shape, dim, keepdim))

    @classmethod
    def sized(cls, draw, M=4096, N=4096):
        """Rows that lie along memory."""
        return (draw(M, N), 1, False, None)[: len(cls.names)]


@combiner
def add(a, b):
    return a + b


@kernel
def multiply(a, b):
    return a * b


def reduction_samples(draw):
    """Inputs that straddle the kernel's blocks and stages, with their dimensions."""
    yield draw(), None, False
    yield draw(1), 0, True
    yield draw(5, 7), None, False
    yield draw(5, 7), 1, False
    yield draw(5, 7), 0, True
    yield draw(3, 4, 5), (0, 2), False
    yield draw(3, 4, 5), 1, True
    yield draw(6, 4).T, 0, False
    yield draw(9, 2)[::-2], 0, False
    yield np.broadcast_to(draw(3, 1), (3, 4)), 1, False
    yield draw(1025), None, False
    yield draw(2, 1030), 1, False
    yield draw(0, 3), 1, False


class Sum(Reduction):
    """The sum along `dim`; integers and bools are summed in int64."""

    exports = ("sum", "Tensor.sum")
    autocast = FLOAT32_ON_GPUS
    tensors = 1
    combine = add

    @staticmethod
    def reference(input, dim=None, keepdim=False, dtype=None):
        return np.sum(input, axis=dim, keepdims=keepdim, dtype=sum_dtype(input.dtype, dtype))

    @classmethod
    def host(cls, input, dim=None, keepdim=False, dtype=None):
        if dtype is None and ((kind := input.dtype) is _USUAL or kind in PLAIN):
            size = input.size
            if dim is None and size <= _FEW and not keepdim and input.flags.c_contiguous:
                return input.ravel().dot(ones(size, kind))
            return _add(input, dim, None, None, keepdim) if size < _LARGE else total_of(input, dim, keepdim)
        return sum_on_host(input, dim, keepdim, dtype)

    def backward(self, grad):
        """The gradient for every element that was summed."""
        return (Spread.apply(grad, self.edges[0][2], self.inputs[1], self.inputs[2]),)

    @staticmethod
    def samples(draw):
        for sample in reduction_samples(draw):
            yield (*sample, None)
        yield draw(0, 3), 0, False, None
        yield draw.integers(-100, 100, 5, 7), 0, False, None
        yield draw.booleans(1025), None, False, None
        yield draw(5, 7), 1, False, np.dtype(np.float64)


def total_of(input, dim, keepdim):
    """The sum of an array; large ones of short rows are added by BLAS, several times faster than by NumPy's sum."""
    if input.size < _LARGE or not input.flags.c_contiguous:
        return _add(input, dim, None, None, keepdim)
    if dim is None:
        length = _ROW if input.size % _ROW == 0 else 0
    else:
        dims = dim if type(dim) is tuple else (dim,)
        length = count_along(input.shape, dim) if dims == tuple(range(input.ndim - len(dims), input.ndim)) else 0
    if not 0 < length <= _ROW:
        return _add(input, dim, None, None, keepdim)
    sums = sums_of_many_rows(input.reshape(-1, length))
    return (_add(sums) if dim is None else sums).reshape(reduced_shape(input.shape, dim, keepdim))


def sum_on_host(input, dim, keepdim, dtype):
    """The sum in NumPy of any dtype: half types in float32."""
    result = sum_dtype(input.dtype, dtype)
    compute = dtypes.COMPUTE[result]
    if input.dtype.kind == "V":  # ml_dtypes' own loops are not for reductions
        input = input.astype(compute)
    return np.asarray(_add(input, dim, compute, None, keepdim)).astype(result, copy=False)


class Spread(Op):
    """A reduced tensor repeated over the dimensions that were reduced: the gradient of a sum. Shares memory."""

    @staticmethod
    def reference(grad, shape, dim, keepdim):
        return np.broadcast_to(np.reshape(grad, reduced_shape(shape, dim, True)), shape)

    @classmethod
    def host(cls, grad, shape, dim, keepdim):
        if grad.ndim == 0 and type(grad) is np.ndarray:  # a fifth of the time of np.broadcast_to
            return np.ndarray(shape, grad.dtype, grad, 0, (0,) * len(shape))
        if not keepdim and dim is not None:
            grad = grad.reshape(reduced_shape(shape, dim, True))
        return views.broadcast_to(grad, shape)

    def forward(self, *args):
        """A view, on every device."""
        return self.host(*args)

    def backward(self, grad):
        """The sum over what was repeated; the engine takes it where the dimensions are all there."""
        return (grad if self.inputs[3] else Sum.apply(grad, self.inputs[2], False, None),)

    @classmethod
    def batch(cls, call):
        """Repeated over what was reduced, behind the batch."""
        grad, shape, dim, keepdim = call.args
        if not keepdim:
            grad = grad.reshape((call.size, *reduced_shape(shape, dim, True)))
        else:
            grad = call.padded(0, len(shape))
        return grad.expand(call.size, *shape)

    @staticmethod
    def samples(draw):
        yield np.asarray(draw()), (5, 7), None, False
        yield draw(5), (5, 7), 1, False
        yield draw(1, 7), (5, 7), (0,), True
        yield draw(4), (3, 4, 5), (0, 2), False


class SumToSize(Reduction):
    """The sum over the dimensions along which `size` was broadcast."""

    exports = ("Tensor.sum_to_size",)
    combine = add

    @staticmethod
    def reference(input, size):
        return np.sum(input, axis=broadcast_dims(input.shape, size), dtype=input.dtype).reshape(size)

    @classmethod
    def host(cls, input, size):
        if input.dtype not in PLAIN:
            return sum_on_host(input, broadcast_dims(input.shape, size), False, input.dtype).reshape(size)
        extra = input.ndim - len(size)
        if input.shape[extra:] == size:
            return _add(input, 0 if extra == 1 else tuple(range(extra)))
        return _add(input, broadcast_dims(input.shape, size)).reshape(size)

    @classmethod
    def call(cls, input, *size):
        size = size[0] if len(size) == 1 and type(size[0]) is tuple else as_sizes(size)
        if input.array.dtype == np.bool_:
            input = input.to(dtypes.int64)  # bools are counted
        shape = input.array.shape
        if shape == size:
            return input
        extra = len(shape) - len(size)
        if extra < 0 or (shape[extra:] != size and any(a != b != 1 for a, b in zip(shape[extra:], size, strict=True))):
            raise RuntimeError(f"size {{{list(size)}}} is not expandable to size {{{list(shape)}}}.")
        return cls.apply(input, size)

    def forward(self, input, size):
        """As a sum; the result under the shape asked for."""
        compute = computed_in(input.dtype)
        return launch_reduce(input, broadcast_dims(input.shape, size), input.dtype, compute, self.combine, 0).reshape(
            size
        )

    def backward(self, grad):
        """The gradient for every element that was summed."""
        return (Spread.apply(grad, self.edges[0][2], None, True),)

    @classmethod
    def batch(cls, call):
        """The sum over the dimensions between the batch and those of `size`, and over those repeated in it."""
        input, size = call.args
        whole = (call.size, *(1,) * (call.rank(0) - len(size)), *size)
        return cls.apply(input, whole).reshape((call.size, *size))

    @staticmethod
    def samples(draw):
        yield draw(5, 7), (7,)
        yield draw(5, 7), (5, 1)
        yield draw(5, 7), ()
        yield draw(3, 4, 5), (4, 1)
        yield draw(4, 1030), (1, 1030)

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return draw(M, N), (N,)


def broadcast_dims(shape, size):
    """The dimensions along which `size` is repeated to give `shape`."""
    extra = len(shape) - len(size)
    return (*range(extra), *(extra + at for at, each in enumerate(size) if each == 1 != shape[extra + at]))


class Mean(Reduction):
    """The sum along `dim` divided by the number of elements; NaN where there are none."""

    exports = ("mean", "Tensor.mean")
    tensors = 1
    combine = add
    finish = divided

    @staticmethod
    def reference(input, dim=None, keepdim=False, dtype=None):
        total = np.sum(input, axis=dim, keepdims=keepdim, dtype=dtype or input.dtype)
        return np.true_divide(total, np.asarray(count_along(input.shape, dim), total.dtype))

    @classmethod
    def host(cls, input, dim=None, keepdim=False, dtype=None):
        if dtype is None and input.dtype in PLAIN:
            total = total_of(input, dim, keepdim)
            return total / input.dtype.type(input.size if dim is None else count_along(input.shape, dim))
        compute = dtypes.COMPUTE[dtype or input.dtype]
        total = sum_on_host(input, dim, keepdim, compute)
        return np.asarray(total / count_along(input.shape, dim)).astype(dtype or input.dtype)

    @classmethod
    def call(cls, input, dim=None, keepdim=False, *, dtype=None):
        kind = dtype if dtype is not None else getattr(input, "dtype", None)
        if isinstance(kind, dtypes.dtype) and not kind.is_floating_point:
            raise RuntimeError(
                f"mean(): could not infer output dtype. {'Input' if dtype is None else 'Optional'} dtype must be "
                f"either a floating point or complex dtype. Got: {KIND_NAMES[kind.name]}"
            )
        return super().call(input, dim, keepdim, dtype=dtype)

    def backward(self, grad):
        """The gradient divided by the number of elements, for each of them."""
        shape, dim = self.edges[0][2], self.inputs[1]
        count = count_along(shape, dim)
        return (Spread.apply(grad / count if count else grad, shape, dim, self.inputs[2]),)

    @staticmethod
    def samples(draw):
        for sample in reduction_samples(draw):
            yield (*sample, None)
        yield draw(0, 3), 0, False, None
        yield draw(5, 7), 1, False, np.dtype(np.float64)


def count_along(shape, dim):
    """How many elements are combined into one."""
    count = 1
    for each in as_dims(dim, len(shape)):
        count *= shape[each]
    return count
