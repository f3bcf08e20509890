"""Running sums, products and logarithms of sums of exponentials: cumsum, cumprod, logcumsumexp."""

from __future__ import annotations

import itertools
import math

import numpy as np

from tritorch.ops.autocast import FLOAT32_ON_GPUS
from tritorch.ops.base import TABLE
from tritorch.ops.parallel import by_items
from tritorch.ops.promotion import KIND_NAMES
from tritorch.ops.reduction.family import dim_of, sum_dtype
from tritorch.ops.reduction.kernel import computed_in
from tritorch.ops.scan.family import Scan, along, scan_samples
from tritorch.ops.scan.host import BLOCK, running_sums
from tritorch.ops.scan.kernel import launch_scan, scanner
from tritorch.runtime import dtypes, tl
from tritorch.runtime.language import libdevice

_DOUBLE = np.dtype(np.float64)
_LARGE = 1 << 18  # elements, below which one thread is enough
_LEAST, _LONG = 1 << 13, 64  # elements, and those of a row, from which on sums by BLAS take less time
SLICE = 64  # elements behind the dimension, from which on NumPy is quicker by slices


@scanner
def add(a, b):
    return a + b


@scanner
def multiply(a, b):
    return a * b


@scanner
def log_add(a, b):
    high = tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)
    low = tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)
    # Infinities of one sign have no difference, and -inf has nothing to add.
    far = (low == high) & (tl.abs(high) == float("inf"))
    return tl.where(far, high, high + libdevice.log1p(tl.exp(tl.where(far, 0.0, low - high))))


def _run(step, rows, dim):
    """The running results of an array, written over it: by whole slices where those are not small."""
    if math.prod(rows.shape[dim + 1 :]) < SLICE:
        return step.accumulate(rows, dim, out=rows)
    for before, each in itertools.pairwise(np.moveaxis(rows, dim, 0)):
        step(before, each, out=each)
    return rows


class RunningTotal(Scan, abstract=True):
    """A running sum or product: of integers and bools in int64, or in the dtype asked for."""

    combine = None
    identity = 0

    @classmethod
    def call(cls, input, dim=None, *, dtype=None):
        if dim is None:
            raise TypeError(f'{cls.op_name}() missing 1 required positional arguments: "dim"')
        dim = dim_of(cls.op_name, input, dim)
        if dtype is not None:
            dtype = dtypes.as_dtype(dtype, cls.op_name).numpy
            if dtype == np.bool_:
                raise NotImplementedError(f"\"{cls.op_name}_out_cpu\" not implemented for 'Bool'")
        return cls.apply(input, dim, dtype, False)

    @classmethod
    def host(cls, input, dim, dtype=None, reverse=False):
        """Floats in float64, where rounding does not grow with the length, narrowed once."""
        result = sum_dtype(input.dtype, dtype)
        if result.kind not in "fV" and input.dtype.kind in "fV":
            input = input.astype(result)  # PyTorch rounds before it adds

        def scanned(part):
            wide = part.astype(_DOUBLE if result.kind in "fV" else result)
            return (along(lambda rows, at: _run(cls.step, rows, at), wide, dim, reverse).astype(result, copy=False),)

        return by_items(scanned, input, (input.shape, result))[0] if dim and input.size > _LARGE else scanned(input)[0]

    def forward(self, input, dim, dtype=None, reverse=False):
        """One launch of the family's kernel, or three where rows are few and long."""
        result = sum_dtype(input.dtype, dtype)
        compute = computed_in(result)
        launch = (result, compute, self.combine, self.identity, False, reverse)
        return self.scanned(input, dim, lambda rows, at: launch_scan(rows, at, *launch))[0]

    @staticmethod
    def samples(draw):
        for sample in scan_samples(draw):
            yield (*sample, None, False)
        yield draw(5, 7), 1, None, True
        yield draw(3, 70), 0, None, True
        yield draw(1030), 0, None, True
        yield draw.integers(-3, 4, 5, 7), 1, None, False
        yield draw.booleans(5, 7), 0, None, False
        yield draw(5, 7), 1, np.dtype(np.float64), False

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return draw(M, N), 1, None, False

    @classmethod
    def errors(cls, draw):
        message = f"\"{cls.op_name}_out_cpu\" not implemented for 'Bool'"
        yield (draw(3), 0), {"dtype": dtypes.bool_}, NotImplementedError, message
        yield (draw(3), 1), {}, IndexError, "Dimension out of range (expected to be in range of [-1, 0], but got 1)"
        yield (draw(3),), {}, TypeError, f'{cls.op_name}() missing 1 required positional arguments: "dim"'


def _sums_by_blas(input, dim, reverse):
    """The running sums of a large float32 array along its last dimension; None where they are not found so."""
    if input.size < _LEAST or dim != input.ndim - 1 or input.shape[dim] < _LONG or not input.flags.c_contiguous:
        return None
    length = input.shape[dim]
    rows = input.reshape(-1, length)
    if length % BLOCK:
        rows = np.zeros((len(rows), -(-length // BLOCK) * BLOCK), input.dtype)
        rows[:, :length] = input.reshape(-1, length)
    found = running_sums(rows, reverse)
    return found if found is None else np.ascontiguousarray(found[:, :length]).reshape(input.shape)


class Cumsum(RunningTotal):
    """The sum of all elements up to each along `dim`; integers and bools are summed in int64."""

    exports = ("cumsum", "Tensor.cumsum")
    autocast = FLOAT32_ON_GPUS
    combine = add
    step = np.add

    @staticmethod
    def reference(input, dim, dtype=None, reverse=False):
        result = sum_dtype(input.dtype, dtype)
        return along(lambda rows, at: np.cumsum(rows, at, dtype=result), input, dim, reverse)

    @classmethod
    def host(cls, input, dim, dtype=None, reverse=False):
        """Large float32 rows by BLAS."""
        found = None
        if input.dtype == np.float32 and dtype in (None, input.dtype):
            found = _sums_by_blas(input, dim, reverse)
        return super().host(input, dim, dtype, reverse) if found is None else found

    def backward(self, grad):
        """The running sum of the gradient from the other end."""
        _, dim, _, reverse = self.inputs
        return (Cumsum.apply(grad, dim, None, not reverse),)


class Cumprod(RunningTotal):
    """The product of all elements up to each along `dim`; integers and bools are multiplied in int64."""

    exports = ("cumprod", "Tensor.cumprod")
    autocast = FLOAT32_ON_GPUS
    saves = ("input", "output")
    combine = multiply
    identity = 1
    step = np.multiply

    @staticmethod
    def reference(input, dim, dtype=None, reverse=False):
        result = sum_dtype(input.dtype, dtype)
        return along(lambda rows, at: np.cumprod(rows, at, dtype=result), input, dim, reverse)

    def backward(self, grad):
        """For each element the sum of grad times the product of all others, over the products that it is part of.

        That is the running sum of grad * output from the end, over the element. The first zero along the dimension is
        left out of its products instead of divided by; behind it every product stays zero.
        """
        input, dim, _, reverse = self.inputs
        if not input.array.ndim:
            return (grad,)
        if self.recording:
            return (_by_each(grad, input, dim, reverse),)
        where, zero = TABLE["where"].apply, input == 0
        count = Cumsum.apply(zero, dim, None, reverse)
        first = zero & (count == 1)
        without = Cumprod.apply(where(first, 1.0, input), dim, grad.array.dtype, reverse)
        whole = Cumsum.apply(grad * self.output, dim, None, not reverse) / where(zero, 1.0, input)
        at_first = Cumsum.apply(grad * without, dim, None, not reverse)
        return (where(first, at_first, where(count == 0, whole, 0.0)),)

    @staticmethod
    def samples(draw):
        for input, *rest in RunningTotal.samples(draw):
            if input.dtype.kind in "iub":
                yield (input, *rest)
            elif input.size < 1000:
                values = np.where(np.abs(input) < 0.4, 1, input).clip(-1.25, 1.25)
                yield (values.astype(input.dtype), *rest)
        yield draw.uniform(0.99, 1.01, 1025), 0, None, False
        zeros = draw(5, 7) * (draw.integers(0, 4, 5, 7) > 0).astype(draw.dtype)
        yield zeros, 1, None, False
        yield zeros, 0, None, True

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return draw.uniform(0.9, 1.1, M, N), 1, None, False


def _by_each(grad, input, dim, reverse):
    """The gradient of a running product as products again, so that it has derivatives of all orders, also at zeros.

    A square of copies, in whose row i element i is one, is multiplied along; products that element i is no part of are
    left out of the sum. It takes n times the memory and is used for second derivatives only.
    """
    size = input.array.shape[dim]
    rows, weights = input.unsqueeze(dim), grad.unsqueeze(dim)
    places = TABLE["arange"].apply(0, 1, size, np.dtype(np.int64), input.device)
    shape = (1,) * dim + (size, size) + (1,) * (input.array.ndim - 1 - dim)
    row, column = places.unsqueeze(1), places.unsqueeze(0)
    own, part = (row == column).reshape(shape), (column <= row if reverse else column >= row).reshape(shape)
    products = Cumprod.apply(TABLE["where"].apply(own, 1.0, rows), dim + 1, None, reverse)
    return TABLE["where"].apply(part, weights * products, 0.0).sum(dim + 1)


class Logcumsumexp(Scan):
    """log sum exp of all elements up to each along `dim`, without overflow."""

    exports = ("logcumsumexp", "Tensor.logcumsumexp")
    saves = ("input", "output")

    @staticmethod
    def reference(input, dim, reverse=False):
        return along(np.logaddexp.accumulate, input, dim, reverse)

    @classmethod
    def host(cls, input, dim, reverse=False):
        """In float64, where rounding does not grow with the length, narrowed once."""
        return cls.reference(input.astype(_DOUBLE, copy=False), dim, reverse).astype(input.dtype, copy=False)

    @classmethod
    def call(cls, input, dim):
        dim = dim_of(cls.op_name, input, dim)
        if not input.is_floating_point():
            raise NotImplementedError(f"\"logcumsumexp_out_cpu\" not implemented for '{KIND_NAMES[input.dtype.name]}'")
        return cls.apply(input, dim, False)

    def forward(self, input, dim, reverse=False):
        """One launch of the family's kernel, or three where rows are few and long: in float64, as on the host.

        The gradient takes exponentials of differences of results, which magnify their rounding.
        """
        launch = (input.dtype, _DOUBLE, log_add, -math.inf, False, reverse)
        return self.scanned(input, dim, lambda rows, at: launch_scan(rows, at, *launch))[0]

    def backward(self, grad):
        """exp(input + log sum exp of (log grad - output) from the end), for gradients above and below zero."""
        input, dim, reverse = self.inputs
        where, output = TABLE["where"].apply, self.output
        parts = []
        for chosen, sign in ((grad > 0, 1), (grad < 0, -1)):
            logs = where(chosen, where(chosen, sign * grad, 1.0).log() - output, _LOWEST)
            parts.append((Logcumsumexp.apply(logs, dim, not reverse) + input).exp())
        return (parts[0] - parts[1],)

    @staticmethod
    def samples(draw):
        for sample in scan_samples(draw):
            yield (*sample, False)
        yield draw(5, 7) * 30, 1, True

    @staticmethod
    def sized(draw, M=4096, N=4096):
        return draw(M, N), 1, False

    @staticmethod
    def errors(draw):
        message = "\"logcumsumexp_out_cpu\" not implemented for 'Long'"
        yield (draw.integers(0, 3, 3), 0), {}, NotImplementedError, message


_LOWEST = -1e30  # stands for the logarithm of zero, and unlike -inf has differences
