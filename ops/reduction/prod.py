"""Products, and whether any or all elements are true."""

from __future__ import annotations

import numpy as np

from tritorch.ops.autocast import FLOAT32
from tritorch.ops.base import TABLE
from tritorch.ops.reduction.family import PLAIN, Reduction, reduction_samples, sum_dtype
from tritorch.ops.reduction.kernel import as_dims, combiner, nonzero
from tritorch.runtime import dtypes, tl


@combiner
def multiply(a, b):
    return a * b


@combiner
def larger_of(a, b):
    return tl.maximum(a, b)


@combiner
def smaller_of(a, b):
    return tl.minimum(a, b)


class Prod(Reduction):
    """The product along `dim`; integers and bools are multiplied in int64."""

    exports = ("prod", "Tensor.prod")
    autocast = FLOAT32
    saves = ("input", "output")
    combine = multiply
    identity = 1

    @staticmethod
    def reference(input, dim=None, keepdim=False, dtype=None):
        return np.prod(input, axis=dim, keepdims=keepdim, dtype=sum_dtype(input.dtype, dtype))

    @classmethod
    def host(cls, input, dim=None, keepdim=False, dtype=None):
        result = sum_dtype(input.dtype, dtype)
        compute = dtypes.COMPUTE[result]
        if input.dtype not in PLAIN:
            input = input.astype(compute)
        return np.asarray(np.prod(input, axis=dim, keepdims=keepdim, dtype=compute)).astype(result, copy=False)

    def backward(self, grad):
        """grad times the product of all other elements, which is exact where some are zero."""
        input, dim, keepdim, _ = self.inputs
        dims = as_dims(dim, input.array.ndim)
        output = self.output
        if not keepdim:
            for each in dims:
                grad, output = grad.unsqueeze(each), output.unsqueeze(each)
        if self.recording:
            return (grad * _others(input, dims),)
        zero = input == 0
        count = zero.sum(dims, True)
        rest = TABLE["where"].apply(zero, 1.0, input).prod(dims, True)
        at_zeros = TABLE["where"].apply(count == 1, rest, 0.0)
        elsewhere = output / TABLE["where"].apply(zero, 1.0, input)
        return (grad * TABLE["where"].apply(zero, at_zeros, elsewhere),)

    @staticmethod
    def samples(draw):
        for sample in reduction_samples(draw):
            values = np.where(np.abs(sample[0]) < 0.4, 1, sample[0]).clip(-1.25, 1.25)
            if values.size < 1000:
                yield (values.astype(sample[0].dtype), *sample[1:], None)
        yield draw.uniform(0.99, 1.01, 1025), None, False, None
        yield draw(5, 7) * (draw.integers(0, 6, 5, 7) > 0).astype(draw.dtype), 1, False, None
        yield draw(0, 3), 0, False, None
        yield draw.integers(-3, 4, 5, 7), 0, False, None
        yield draw.uniform(0.5, 1.5, 5, 7), 1, False, np.dtype(np.float64)

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return draw.uniform(0.9, 1.1, M, N), 1, False, None


def _others(input, dims):
    """For each element the product of all others along `dims`: a square of copies with ones on its diagonal.

    It takes n times the memory and is used for second derivatives only, because it is a product again.
    """
    last = input.array.ndim - 1
    kept = tuple(each for each in range(last + 1) if each not in dims)
    moved = input.permute((*kept, *dims))
    lead = tuple(input.array.shape[each] for each in kept)
    count = input.array.size // max(1, int(np.prod(lead, dtype=np.int64)))
    square = moved.reshape((*lead, 1, count)).expand((*lead, count, count))
    places = TABLE["arange"].apply(0, 1, count, np.dtype(np.int64), input.device)
    product = TABLE["where"].apply(places.unsqueeze(1) == places, 1.0, square).prod(len(lead) + 1)
    order = (*kept, *dims)
    back = tuple(order.index(each) for each in range(last + 1))
    return product.reshape(moved.array.shape).permute(back)


class Logical(Reduction, abstract=True):
    """A reduction of truth values; uint8 gives uint8, as in PyTorch, everything else bool."""

    prepare = nonzero

    @classmethod
    def call(cls, input, dim=None, keepdim=False):
        return super().call(input, dim, keepdim)

    @classmethod
    def result_dtype(cls, dtype, given):
        return dtype if dtype == np.uint8 else np.dtype(np.bool_)

    @staticmethod
    def samples(draw):
        for sample in reduction_samples(draw):
            yield (np.asarray(sample[0] > 0.5).astype(sample[0].dtype), *sample[1:], None)
        yield draw.booleans(5, 7), 0, False, None
        yield draw.integers(0, 2, 5, 7, dtype=np.uint8), 1, False, None
        yield np.ones((3, 1030), np.bool_), None, False, None
        yield np.zeros((3, 1030), np.int32), 1, True, None
        yield np.array([0, np.nan, 0]).astype(draw.dtype), 0, False, None

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return draw.booleans(M, N), 1, False, None


class Any(Logical):
    """Whether any element along `dim` is not zero; False where there are none."""

    exports = ("any", "Tensor.any")
    combine = larger_of

    @staticmethod
    def reference(input, dim=None, keepdim=False, dtype=None):
        return np.any(input, axis=dim, keepdims=keepdim).astype(Any.result_dtype(input.dtype, None))


class All(Logical):
    """Whether all elements along `dim` are not zero; True where there are none."""

    exports = ("all", "Tensor.all")
    combine = smaller_of
    identity = 1

    @staticmethod
    def reference(input, dim=None, keepdim=False, dtype=None):
        return np.all(input, axis=dim, keepdims=keepdim).astype(All.result_dtype(input.dtype, None))
