"""The norm of vectors: the p-th root of the sum of the p-th powers of sizes."""

from __future__ import annotations

import math

import numpy as np

from tritorch.autotune import kernel
from tritorch.ops.autocast import FLOAT32_ON_GPUS
from tritorch.ops.base import TABLE, Op
from tritorch.ops.batching import shifted
from tritorch.ops.formula import sqrt
from tritorch.ops.layout import empty_like
from tritorch.ops.pointwise.arithmetic import Abs
from tritorch.ops.pointwise.cast import copy_elements
from tritorch.ops.pointwise.power import Pow
from tritorch.ops.reduction.family import add
from tritorch.ops.reduction.kernel import as_dims, computed_in, launch_reduce, nonzero, reduced_shape, whole
from tritorch.ops.reduction.select_kernel import larger, smaller
from tritorch.runtime import tl


@kernel
def magnitude(value, COMPUTE: tl.constexpr):
    return tl.abs(value.to(COMPUTE))


@kernel
def squared(value, COMPUTE: tl.constexpr):
    value = value.to(COMPUTE)
    return value * value


@kernel
def rooted(total, number):
    return sqrt(total)


# How elements of the orders that need no power are prepared and combined, from which identity.
DIRECT = {
    0: (nonzero, add, 0), 1: (magnitude, add, 0), 2: (squared, add, 0), math.inf: (magnitude, larger, 0),
    -math.inf: (magnitude, smaller, math.inf),
}  # fmt: skip


class LinalgVectorNorm(Op):
    """(sum |input|^ord)^(1/ord) along `dim`; the largest |input| for inf, the smallest for -inf, how many for 0."""

    batch = shifted("dim", scalars=True)
    autocast = FLOAT32_ON_GPUS
    saves = ("input", "output")
    widens = True

    @staticmethod
    def reference(input, ord, dim, keepdim):
        size = np.abs(input)
        if math.isinf(ord):
            find, initial = (np.max, 0) if ord > 0 else (np.min, math.inf)
            return find(size, axis=dim, keepdims=keepdim, initial=initial)
        if ord == 0:
            return np.sum(size != 0, axis=dim, keepdims=keepdim).astype(input.dtype)
        return np.sum(size**ord, axis=dim, keepdims=keepdim) ** (1 / ord)

    @staticmethod
    def fast(input, ord, dim, keepdim):
        if ord == 2:
            if dim is None and input.flags.c_contiguous and not keepdim:
                flat = input.reshape(-1)
                return np.asarray(np.sqrt(flat.dot(flat)))
            return np.asarray(np.sqrt(np.add.reduce(input * input, dim, None, None, keepdim)))
        if ord == 1:
            return np.asarray(np.add.reduce(np.abs(input), dim, None, None, keepdim))
        return np.asarray(LinalgVectorNorm.reference(input, ord, dim, keepdim))

    def forward(self, input, ord, dim, keepdim):
        """A reduction of prepared elements, then the root of what is left."""
        compute, x = computed_in(input.dtype), input
        if ord in DIRECT:
            prepare, combine, identity = DIRECT[ord]
            finish = rooted if ord == 2 else whole
            total = launch_reduce(x, dim, input.dtype, compute, combine, identity, prepare, finish)
        else:
            powers = Pow().forward(Abs().forward(_as(x, compute)), ord)
            total = Pow().forward(launch_reduce(powers, dim, compute, compute, add, 0), 1 / ord)
        return _as(total, input.dtype).reshape(reduced_shape(input.shape, dim, keepdim))

    def backward(self, grad):
        """grad sign(x) (|x| / norm)^(ord - 1), zero where the norm is; for inf in equal parts for the largest."""
        input, ord, dim, keepdim = self.inputs
        if ord == 0:
            return (None,)
        output = self.output
        if not keepdim:
            for each in as_dims(dim, input.array.ndim):
                grad, output = grad.unsqueeze(each), output.unsqueeze(each)
        if math.isinf(ord):
            chosen = (input.abs() == output) | ((input != input) & (output != output))
            return (input.sign() * chosen * (grad / chosen.sum(dim, True)),)
        if ord == 1:
            return (input.sign() * grad,)
        where = TABLE["where"].apply
        zero = output == 0
        safe = where(zero, 1.0, output)
        if ord == 2:
            return (input * where(zero, 0.0, grad / safe),)
        size = input.abs()
        if ord < 2:  # a negative power, here or in the second derivative
            size = where(size == 0, 1.0, size)
        return (input.sign() * size ** (ord - 1) * where(zero, 0.0, grad / safe ** (ord - 1)),)

    @staticmethod
    def samples(draw):
        yield np.asarray(draw()), 2.0, None, False
        yield draw(3, 4, 5), 2.0, (0, 2), True
        yield draw(9, 2)[::-2], 2.0, 0, False
        yield np.broadcast_to(draw(3, 1), (3, 4)), 2.0, 1, False
        yield draw(1025), 2.0, None, False
        for ord in (0.0, 0.5, 1.0, 1.5, 3.0, -1.0, math.inf, -math.inf):
            yield draw(5, 7), ord, 1, ord > 1
        yield draw(2, 1030), 3.0, 1, False
        yield draw(6, 4).T, 1.0, 0, False
        yield draw(0, 3), 1.5, 0, False

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return draw(M, N), 2.0, 1, False


def _as(array, dtype):
    """The array in another dtype, or itself."""
    if array.dtype == dtype:
        return array
    copy = empty_like(array, dtype=dtype)
    copy_elements(array, copy)
    return copy
