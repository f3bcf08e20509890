"""Matrix products: `matmul` over broadcast batches, and `linear` with its bias added in the same kernel.

Both are launched by launch.py, whose kernels read operands as they lie, so a transposed or expanded operand costs no
copy. The gradient of a product is a product: the op takes a flag per operand that says "transposed".
"""

from __future__ import annotations

import math

import numpy as np

from tritorch.ops.autocast import LOWER
from tritorch.ops.base import ADDED, Op, widened_host
from tritorch.ops.batching import broadcast
from tritorch.ops.guard import need_tensors
from tritorch.ops.layout import broadcast_shape
from tritorch.ops.matrix.accumulate_product import AccumulateProduct
from tritorch.ops.matrix.launch import launch_matmul
from tritorch.ops.matrix.products import FLOATS, USUAL, product, rows_of, turned
from tritorch.ops.promotion import C_TYPES, KIND_NAMES


def product_shape(input, other, transpose_input=False, transpose_other=False):
    """The shape of the product of two arrays of at least two dimensions, or PyTorch's error."""
    rows, inner = input.shape[-2:][::-1] if transpose_input else input.shape[-2:]
    other_inner, columns = other.shape[-2:][::-1] if transpose_other else other.shape[-2:]
    batch, other_batch = input.shape[:-2], other.shape[:-2]
    if not other_batch and inner != other_inner:
        raise mismatch(math.prod(batch) * rows, inner, other_inner, columns)
    whole = broadcast_shape("matmul", batch, other_batch)
    if inner != other_inner:
        count = math.prod(whole)
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{count}, {inner}] "
            f"but got: [{count}, {other_inner}]."
        )
    check_dtypes(input, other, _OF_BATCHES if other_batch else _OF_MATRICES)
    return (*whole, rows, columns)


def mismatch(rows, inner, other_inner, columns):
    """The error for matrices whose inner sizes differ."""
    return RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({rows}x{inner} and {other_inner}x{columns})")


_OF_MATRICES = ("expected m1 and m2 to have the same dtype, but got: {} != {}", C_TYPES)
_OF_BATCHES = ("expected scalar type {} but found {}", KIND_NAMES)
_WITH_BIAS = ("mat1 and mat2 must have the same dtype, but got {} and {}", KIND_NAMES)
_OF_BIAS = ("self and mat2 must have the same dtype, but got {} and {}", KIND_NAMES)


def check_dtypes(input, other, words):
    """Refuse operands of different dtypes, and bools, which have no products; `words` are PyTorch's for the first."""
    if input.dtype != other.dtype:
        text, names = words
        raise RuntimeError(text.format(names[input.dtype.name], names[other.dtype.name]))
    if input.dtype == np.bool_:
        raise NotImplementedError("\"addmm_impl_cpu_\" not implemented for 'Bool'")


class Matmul(Op):
    """The matrix product of the last two dimensions, over broadcast batch dimensions; vectors as in PyTorch."""

    batch = broadcast
    exports = ("matmul", "Tensor.matmul")
    tensors = 2
    called_by = ("mm",)
    autocast = LOWER
    saves = ("input", "other")
    widens = True

    @classmethod
    def call(cls, input, other):
        try:
            ndim, other_ndim = len(input.array.shape), len(other.array.shape)
        except AttributeError:
            need_tensors("matmul", input=input, other=other)
            if input.is_sparse:  # whose class knows its products
                return input.matmul(other)
            if other.is_sparse:
                return other.__rmatmul__(input)
            raise
        if ndim > 1 < other_ndim:
            return cls.apply(input, other, False, False)
        return _with_vectors(cls, input, other, ndim, other_ndim)

    @staticmethod
    def reference(input, other, transpose_input, transpose_other):
        product_shape(input, other, transpose_input, transpose_other)
        a = input.swapaxes(-1, -2) if transpose_input else input
        b = other.swapaxes(-1, -2) if transpose_other else other
        return np.matmul(a, b)

    @staticmethod
    def fast(input, other, transpose_input, transpose_other):
        product_shape(input, other, transpose_input, transpose_other)
        a = input.swapaxes(-1, -2) if transpose_input else input
        b = other.swapaxes(-1, -2) if transpose_other else other
        return product(a, b)

    @classmethod
    def host(cls, input, other, transpose_input, transpose_other):
        if input.ndim == 2 == other.ndim and (kind := input.dtype) is other.dtype and (kind is USUAL or kind in FLOATS):
            try:
                return (input.T if transpose_input else input).dot(other.T if transpose_other else other)
            except ValueError:  # sizes that do not fit, which the reference names as PyTorch does
                return cls.reference(input, other, transpose_input, transpose_other)
        return widened_host(cls, input, other, transpose_input, transpose_other)

    def forward(self, input, other, transpose_input, transpose_other):
        """One launch, or two where the sums are split into parts."""
        shape = product_shape(input, other, transpose_input, transpose_other)
        a = turned(input) if transpose_input else input
        return launch_matmul(a, turned(other) if transpose_other else other, shape)

    def backward(self, grad):
        """grad @ other^T and input^T @ grad, with the transposes left to the op's flags."""
        a, b, turned_a, turned_b = self.inputs
        first = second = None
        if self.edges[0] is not None:
            order = (b, grad, turned_b, True) if turned_a else (grad, b, False, not turned_b)
            first = product_for(self, 0, *order)
        if self.edges[1] is not None:
            if b.ndim == 2 < a.ndim and not turned_a:  # one product over all rows instead of a sum over batches
                a, grad = rows_of(a), rows_of(grad)
            order = (grad, a, True, turned_a) if turned_b else (a, grad, not turned_a, False)
            second = product_for(self, 1, *order)
        return first, second

    @staticmethod
    def multiplications(output, input, other, transpose_input, transpose_other):
        return math.prod(output.shape) * input.shape[-2 if transpose_input else -1]

    @staticmethod
    def sized(draw, M=4096, N=4096, K=4096):
        """(M, K) times (K, N)."""
        return draw(M, K), draw(K, N), False, False

    @staticmethod
    def samples(draw):
        yield draw(5, 7), draw(7, 3), False, False
        yield draw(7, 5), draw(3, 7), True, True
        yield draw(1, 1), draw(1, 1), False, False
        yield draw(0, 3), draw(3, 2), False, False
        yield draw(2, 0), draw(0, 3), False, False
        yield draw(33, 65), draw(65, 17), False, False  # past blocks of 16, 32 and 64
        yield draw(4, 5, 6), draw(6, 3), False, False
        yield draw(5, 6), draw(2, 6, 3), False, False
        yield draw(2, 1, 4, 5), draw(3, 5, 2), False, False
        yield draw(6, 8)[:, ::2], draw(12, 5).T[:, ::-2], True, True
        yield np.broadcast_to(draw(1, 1), (4, 5)), draw(5, 3), False, False
        yield draw(1128, 16), draw(16, 1120), False, False  # many tiles, rows at multiples of 16 bytes
        yield draw(8, 16384), draw(16384, 24), False, False  # few rows and columns of long sums

    @staticmethod
    def errors(draw):
        yield (draw(2, 3), draw(4, 5)), {}, RuntimeError, "mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"
        yield (draw(3), draw(4)), {}, RuntimeError, "inconsistent tensor size, expected tensor [3] and src [4]"
        yield (draw(2, 3), draw(4)), {}, RuntimeError, "size mismatch, got input (2), mat (2x3), vec (4)"
        yield (draw(2, 2, 3), draw(2, 4, 5)), {}, RuntimeError, "batch2 tensor to be: [2, 3] but got: [2, 4]."
        yield (draw(2, 2, 3), draw(3, 3, 5)), {}, RuntimeError, "The size of tensor a (2) must match"
        yield (draw(), draw(2, 2)), {}, RuntimeError, "both arguments to matmul need to be at least 1D, but they are 0D"


def _with_vectors(cls, input, other, ndim, other_ndim):
    """A product with a vector: a row on the left, a column on the right, taken out of the result again."""
    if ndim == 0 or other_ndim == 0:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {ndim}D and {other_ndim}D")
    if other_ndim == 1:
        _check_vector(input, other, ndim)
        column = other.unsqueeze(-1)
        if ndim == 1:
            return cls.apply(input.unsqueeze(0), column, False, False).reshape(())
        return cls.apply(input, column, False, False).squeeze(-1)
    return cls.apply(input.unsqueeze(0), other, False, False).squeeze(-2)


def _check_vector(input, other, ndim):
    inner, size = input.array.shape[-1], other.array.shape[0]
    if inner == size:
        return
    if ndim == 1:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{inner}] and src [{size}] to have the same number of "
            f"elements, but got {inner} and {size} elements respectively"
        )
    rows = math.prod(input.array.shape[:-1])
    raise RuntimeError(f"size mismatch, got input ({rows}), mat ({rows}x{inner}), vec ({size})")


def product_for(node, position, first, second, transpose_first, transpose_second):
    """A product as the gradient of an argument of `node`: ADDED to the one that is there where the engine lets it."""
    if len(first.array.shape) == 2 == len(second.array.shape):
        present = node.present_gradient(position)
        if present is not None:
            AccumulateProduct.apply(present, first, second, transpose_first, transpose_second)
            return ADDED
    return Matmul.apply(first, second, transpose_first, transpose_second)


class Linear(Op):
    """input @ weight^T + bias, over the last dimension of `input`; `bias` may be None."""

    @classmethod
    def batch(cls, call):
        """Weights that differ between the examples make it a product of stacks of matrices."""
        input, weight, bias = call.args
        if not any(call.batched[1:]) and call.rank(0):
            return cls.apply(input, weight, bias)
        shape = call.shape(0)
        count = math.prod(shape[:-1])
        rows = input.reshape((call.size, count, shape[-1]) if call.batched[0] else (count, shape[-1]))
        out = Matmul.apply(rows, weight, False, True)
        if bias is not None:
            out = out + (call.padded(2, 2) if call.batched[2] else bias)
        return out.reshape((call.size, *shape[:-1], out.array.shape[-1]))

    exports = ("nn.functional.linear",)
    autocast = LOWER
    saves = ("input", "weight")
    widens = True

    @classmethod
    def call(cls, input, weight, bias=None):
        try:
            ndim, weight_ndim = len(input.array.shape), len(weight.array.shape)
        except AttributeError:
            need_tensors("linear", input=input, weight=weight)
            raise
        if weight_ndim == 1 and ndim:
            return Matmul.call(input, weight) if bias is None else Matmul.call(input, weight) + bias
        return cls.apply(input, weight, bias)

    @staticmethod
    def reference(input, weight, bias=None):
        linear_shape(input, weight, bias)
        out = np.matmul(input, weight.T)
        return out if bias is None else out + bias

    @staticmethod
    def fast(input, weight, bias):
        shape = linear_shape(input, weight, bias)
        out = product(rows_of(input), weight.T).reshape(shape)
        return out if bias is None else np.add(out, bias, out=out)

    @classmethod
    def host(cls, input, weight, bias):
        if input.ndim == 2 == weight.ndim and input.dtype in FLOATS and input.dtype is weight.dtype:
            if bias is None:
                if input.shape[1] == weight.shape[1]:
                    return input.dot(weight.T)
            elif input.shape[1] == weight.shape[1] and bias.shape == weight.shape[:1] and bias.dtype is input.dtype:
                out = input.dot(weight.T)
                out += bias
                return out
        if input.dtype is not weight.dtype:  # which widening would hide
            linear_shape(input, weight, bias)
        return widened_host(cls, input, weight, bias)

    def forward(self, input, weight, bias):
        """As a product, the bias added before the store."""
        shape = linear_shape(input, weight, bias)
        a = input if input.ndim > 1 else input[None]
        return launch_matmul(a, turned(weight), shape if input.ndim > 1 else (1, *shape), bias).reshape(shape)

    def backward(self, grad):
        """grad @ weight; grad^T @ input over all rows; the sum of grad over all rows."""
        input, weight = self.inputs[:2]
        first = second = None
        if self.edges[0] is not None:
            first = Matmul.apply(rows_of(grad), weight, False, False)
            first = first if grad.ndim == 2 else first.reshape(input.shape)
        if self.edges[1] is not None:
            second = product_for(self, 1, rows_of(grad), rows_of(input), True, False)
        return first, second, grad  # the engine sums what broadcasts

    @staticmethod
    def multiplications(output, input, weight, *more):
        return math.prod(input.shape) * weight.shape[0]

    @staticmethod
    def samples(draw):
        yield draw(5, 7), draw(3, 7), draw(3)
        yield draw(5, 7), draw(3, 7), None
        yield draw(7), draw(3, 7), draw(3)
        yield draw(2, 3, 7), draw(4, 7), draw(4)
        yield draw(0, 7), draw(4, 7), draw(4)
        yield draw(2, 0), draw(4, 0), draw(4)
        yield draw(7, 33).T, draw(7, 17).T, draw(34)[::2]
        yield draw(2, 7), draw(4, 7), draw(1)

    @staticmethod
    def sized(draw, M=4096, N=4096, K=4096):
        return draw(M, K), draw(N, K), draw(N)

    @staticmethod
    def errors(draw):
        text = "mat1 and mat2 shapes cannot be multiplied (1x100 and 1x10)"
        yield (draw(1, 100), draw(10, 1)), {}, RuntimeError, text
        text = "mat1 and mat2 shapes cannot be multiplied (4x100 and 10x10)"
        yield (draw(2, 2, 100), draw(10, 10), draw(10)), {}, RuntimeError, text
        text = "The expanded size of the tensor (4) must match the existing size (5) at non-singleton dimension 1."
        yield (draw(2, 10), draw(4, 10), draw(5)), {}, RuntimeError, text


def linear_shape(input, weight, bias):
    """The shape of linear's result, or PyTorch's error."""
    if input.ndim == 0 or weight.ndim == 0:
        raise RuntimeError(
            f"both arguments to linear need to be at least 1D, but they are {input.ndim}D and {weight.ndim}D"
        )
    if weight.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {weight.ndim}D")
    features, inner = weight.shape
    if input.shape[-1] != inner:
        raise mismatch(math.prod(input.shape[:-1]), input.shape[-1], inner, features)
    check_dtypes(input, weight, _OF_MATRICES if bias is None else _WITH_BIAS)
    shape = (*input.shape[:-1], features)
    if bias is not None:
        check_dtypes(bias, weight, _OF_BIAS)
        if bias.ndim > 1 or bias.shape not in ((features,), (1,), ()):
            raise RuntimeError(
                f"The expanded size of the tensor ({features}) must match the existing size ({bias.shape[-1]}) at "
                f"non-singleton dimension 1.  Target sizes: {[math.prod(shape[:-1]), features]}.  "
                f"Tensor sizes: {list(bias.shape)}"
            )
    return shape
