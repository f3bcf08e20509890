"""softmax and log_softmax along any dimension, with fused gradients."""

from __future__ import annotations

import warnings

import numpy as np

from tritorch.ops.autocast import FLOAT32_ON_GPUS
from tritorch.ops.base import Op, export
from tritorch.ops.batching import shifted
from tritorch.ops.dimensions import wrap_dim
from tritorch.ops.layout import as_contiguous
from tritorch.ops.promotion import KIND_NAMES
from tritorch.ops.reduction.family import PLAIN
from tritorch.ops.rowwise.host import (
    are_rows,
    log_softmax_gradient_of_rows,
    log_softmax_of_rows,
    softmax_gradient_of_rows,
    softmax_of_rows,
)
from tritorch.ops.rowwise.kernel import (
    launch_rows,
    log_normalised,
    log_softmax_slope,
    log_softmax_term,
    normalised,
    softmax_backward_kernel,
    softmax_kernel,
    softmax_slope,
    softmax_term,
)
from tritorch.runtime import dtypes

_largest, _add = np.maximum.reduce, np.add.reduce
_FEW = 1 << 11  # elements, up to which fewer calls are quicker than fewer passes


def softmax_on_host(x, dim):
    """exp(x - max x) / sum exp(x - max x), in the dtype of x."""
    if x.size > _FEW and are_rows(dim, x):
        return softmax_of_rows(x)
    result = x - _largest(x, dim, None, None, True)
    np.exp(result, result)
    result /= _add(result, dim, None, None, True)
    return result


def log_softmax_on_host(x, dim):
    """x - max x - log sum exp(x - max x), in the dtype of x."""
    if x.size > _FEW and are_rows(dim, x):
        return log_softmax_of_rows(x)
    result = x - _largest(x, dim, None, None, True)
    result -= np.log(_add(np.exp(result), dim, None, None, True))
    return result


class RowWise(Op, abstract=True):
    """An op that normalises along one dimension; `dim` counts from the front and is () without dimensions."""

    batch = shifted("dim")
    saves = ("output",)

    @classmethod
    def call(cls, input, dim, dtype=None):
        if dtype is None and input.array.dtype.kind not in "fV":
            kind = KIND_NAMES[input.dtype.name]
            raise NotImplementedError(f"\"{cls.op_name}_lastdim_kernel_impl\" not implemented for '{kind}'")
        ndim = input.array.ndim
        dim = wrap_dim(dim, ndim)
        kind = None if dtype is None else dtypes.as_dtype(dtype, cls.op_name).numpy
        return cls.apply(input, dim if ndim else (), kind)

    @classmethod
    def host(cls, input, dim, dtype=None):
        """In float32 at least, narrowed once."""
        kind, input = input.dtype, as_contiguous(input)  # results lie in the order of indices, whatever input does
        if dtype is None and kind in PLAIN and input.ndim and input.size:
            return cls.compute(input, dim)
        if input.size == 0:
            return input.astype(dtype or kind)
        result = dtype or kind
        wide = input.astype(dtypes.COMPUTE[result])
        return np.asarray(cls.compute(wide.reshape(wide.shape or 1), dim or 0)).reshape(input.shape).astype(result)

    def forward(self, input, dim, dtype=None):
        """One launch."""
        return launch_rows(softmax_kernel, (input,), dim, dtype or input.dtype, FINISH=self.finish)

    @staticmethod
    def samples(draw):
        yield draw(4, 7), 1, None
        yield draw(4, 7), 0, None
        yield draw(3, 1), 1, None
        yield draw(3, 4, 5), 1, None
        yield draw(6, 4).T, 1, None
        yield draw(9, 6)[::-2], 1, None
        yield draw(2, 4100), 1, None
        yield draw(1025, 3), 1, None
        yield np.broadcast_to(draw(3, 1), (3, 4)), 0, None
        yield np.asarray(draw()), (), None
        yield draw(0, 3), 1, None
        yield draw(5, 7) * 50, 1, np.dtype(np.float64)
        yield draw(5, 7) + 200, 1, None
        yield draw(5, 7) - 200, 1, None
        yield draw.integers(-3, 3, 5, 7), 1, np.dtype(np.float32)

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return draw(M, N), 1, None


class Softmax(RowWise):
    """exp(x - max x) / sum exp(x - max x) along `dim`."""

    exports = ("softmax", "Tensor.softmax")
    autocast = FLOAT32_ON_GPUS
    compute = staticmethod(softmax_on_host)
    finish = normalised

    @staticmethod
    def reference(input, dim, dtype=None):
        x = input if dtype is None else input.astype(dtype)
        e = np.exp(x - np.max(x, axis=dim, keepdims=True, initial=-np.inf))
        return e / np.sum(e, axis=dim, keepdims=True)

    def backward(self, grad):
        """y (grad - sum grad y)."""
        output, dim = self.output, self.inputs[1]
        if self.recording:
            product = grad * output
            return (product - output * product.sum(dim, True),)
        return (SoftmaxBackward.apply(grad, output, dim),)


class LogSoftmax(RowWise):
    """x - max x - log sum exp(x - max x) along `dim`."""

    exports = ("log_softmax", "Tensor.log_softmax")
    autocast = FLOAT32_ON_GPUS
    compute = staticmethod(log_softmax_on_host)
    finish = log_normalised

    @staticmethod
    def reference(input, dim, dtype=None):
        x = input if dtype is None else input.astype(dtype)
        shifted = x - np.max(x, axis=dim, keepdims=True, initial=-np.inf)
        return shifted - np.log(np.sum(np.exp(shifted), axis=dim, keepdims=True))

    def backward(self, grad):
        """grad - softmax(x) sum grad."""
        output, dim = self.output, self.inputs[1]
        if self.recording:
            return (grad - output.exp() * grad.sum(dim, True),)
        return (LogSoftmaxBackward.apply(grad, output, dim),)


class RowWiseBackward(Op, abstract=True):
    """The gradient of a row-wise op from the gradient and value of its result."""

    batch = shifted("dim")

    @classmethod
    def host(cls, grad, output, dim):
        """In float32 at least, narrowed once."""
        if output.dtype in PLAIN:
            return cls.compute(grad, output, dim)
        wide = dtypes.COMPUTE[output.dtype]
        return np.asarray(cls.compute(grad.astype(wide), output.astype(wide), dim)).astype(output.dtype)

    def forward(self, grad, output, dim):
        """One launch."""
        return launch_rows(
            softmax_backward_kernel, (grad, output), dim, output.dtype, TERM=self.term, FINISH=self.finish
        )

    @classmethod
    def samples(cls, draw):
        for input, dim, dtype in cls.of.samples(draw):
            if dtype is None:
                yield draw(*input.shape), np.asarray(cls.of.host(input, dim)), dim

    @classmethod
    def sized(cls, draw, M=4096, N=4096):
        input, dim, _ = cls.of.sized(draw, M, N)
        return draw(M, N), cls.of.host(input, dim), dim


class SoftmaxBackward(RowWiseBackward):
    """y (grad - sum grad y) along `dim`: the gradient of softmax by its result y."""

    of = Softmax
    term, finish = softmax_term, softmax_slope

    @staticmethod
    def reference(grad, output, dim):
        return output * (grad - np.sum(grad * output, axis=dim, keepdims=True))

    @staticmethod
    def compute(grad, output, dim):
        if are_rows(dim, grad, output):
            return softmax_gradient_of_rows(grad, output)
        result = grad * output
        result -= output * _add(result, dim, None, None, True)
        return result


class LogSoftmaxBackward(RowWiseBackward):
    """grad - exp(y) sum grad along `dim`: the gradient of log_softmax by its result y."""

    of = LogSoftmax
    term, finish = log_softmax_term, log_softmax_slope

    @staticmethod
    def reference(grad, output, dim):
        return grad - np.exp(output) * np.sum(grad, axis=dim, keepdims=True)

    @staticmethod
    def compute(grad, output, dim):
        if are_rows(dim, grad, output):
            return log_softmax_gradient_of_rows(grad, output)
        result = np.exp(output)
        result *= _add(grad, dim, None, None, True)
        return np.subtract(grad, result, result if result.ndim else None)


def implicit_dim(op, dim, ndim):
    """The dimension that PyTorch takes, with a warning, where none was given."""
    if dim is not None:
        return dim
    warnings.warn(
        f"Implicit dimension choice for {op} has been deprecated. Change the call to include dim=X as an argument.",
        stacklevel=4,
    )
    return 0 if ndim in (0, 1, 3) else 1


@export("nn.functional.softmax")
def softmax(input, dim=None, _stacklevel=4, dtype=None):
    """exp(x - max x) / sum exp(x - max x) along `dim`."""
    return Softmax.call(input, implicit_dim("softmax", dim, input.ndim), dtype)


@export("nn.functional.log_softmax")
def log_softmax(input, dim=None, _stacklevel=4, dtype=None):
    """x - max x - log sum exp(x - max x) along `dim`."""
    return LogSoftmax.call(input, implicit_dim("log_softmax", dim, input.ndim), dtype)


@export("nn.functional.softmin")
def softmin(input, dim=None, _stacklevel=4, dtype=None):
    """The softmax of -x along `dim`."""
    return Softmax.call(-input, implicit_dim("softmin", dim, input.ndim), dtype)
