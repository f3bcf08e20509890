"""Pooling over windows of one, two or three dimensions; images are (N, C, ...) or, without a batch, (C, ...)."""

from __future__ import annotations

import math

from tritorch.ops.autocast import FLOAT32_ON_CPUS
from tritorch.ops.base import TABLE, export
from tritorch.ops.guard import need_tensors
from tritorch.ops.layout import format_order
from tritorch.ops.pooling.numbers import numbered
from tritorch.ops.pooling.shape import check_line, check_pool, refuse_types, windows_of

MaxPool, AvgPool, MaxPoolBackward = TABLE["max_pool"], TABLE["avg_pool"], TABLE["max_pool_backward"]


def unbatched(function, input, ndim):
    """The results of `function` on images with a batch, without it where `input` has none."""
    if input.array.ndim == ndim + 2:
        return function(input)
    results = function(input.unsqueeze(0))
    return tuple([each.squeeze(0) for each in results]) if isinstance(results, tuple) else results.squeeze(0)


def channels_innermost(input):
    """Whether the strides of images suggest that their channels lie innermost."""
    return input.level is None and format_order(input.array) is not None


def _max_pool(op, ndim, input, kernel_size, stride, padding, dilation, ceil_mode, places=True):
    need_tensors(op, input=input)
    given = windows_of(op, ndim, kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation)
    if ndim == 1:
        check_line(input.array, *given, ceil_mode)
    check_pool(op, input.array, *given, ceil_mode)
    refuse_types(f"{op}_impl" if ndim == 1 else op, input.array, "biu" if ndim == 1 else "b")
    taps = not places and numbered(given[0])  # bytes instead of int64s, where only the gradient needs them
    return unbatched(lambda x: MaxPool.apply(x, *given, bool(ceil_mode), taps), input, ndim)


def _make_max_pool(ndim):
    op = f"max_pool{ndim}d"
    policy = FLOAT32_ON_CPUS if ndim == 3 else None

    @export(f"nn.functional.{op}", autocast=policy)
    def max_pool(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        """The largest element of each window, and with `return_indices` where in its plane it is."""
        found = _max_pool(op, ndim, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
        return found if return_indices else found[0]

    names = [f"{op}_with_indices", f"nn.functional.{op}_with_indices"]

    @export(*(names if ndim == 1 else names[1:]), autocast=policy)
    def max_pool_with_indices(
        input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
    ):
        """The largest element of each window, and where in its plane it is."""
        return _max_pool(op, ndim, input, kernel_size, stride, padding, dilation, ceil_mode)

    @export(op, autocast=policy)
    def max_pool_values(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
        """The largest element of each window."""
        return _max_pool(op, ndim, input, kernel_size, stride, padding, dilation, ceil_mode, False)[0]

    return max_pool


max_pool1d, max_pool2d, max_pool3d = map(_make_max_pool, (1, 2, 3))


@export("max_pool2d_with_indices_backward")
def max_pool2d_with_indices_backward(grad_output, self, kernel_size, stride, padding, dilation, ceil_mode, indices):
    """The gradient of max_pool2d by its input `self`: each window's goes to its largest element."""
    need_tensors("max_pool2d_with_indices_backward", grad_output=grad_output, self=self)
    given = windows_of("max_pool2d", 2, kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation)
    check_pool("max_pool2d", self.array, *given, ceil_mode)
    places = indices if indices.array.ndim == 4 else indices.unsqueeze(0)
    return unbatched(lambda grad: MaxPoolBackward.apply(grad, places, self.array.shape[-2:], *given), grad_output, 2)


def mean_pool(op, ndim, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override=None):
    """Average pooling in any number of dimensions."""
    need_tensors(op, input=input)
    given = windows_of(op, ndim, kernel_size=kernel_size, stride=stride, padding=padding)
    if divisor_override == 0:
        raise RuntimeError("divisor must be not zero")
    check_pool(op, input.array, *given, (1,) * ndim, ceil_mode)
    if input.array.dtype != "int64":
        refuse_types("avg_pool3d_out_frame" if ndim == 3 else "avg_pool2d", input.array, "biu")
    rest = bool(ceil_mode), bool(count_include_pad), divisor_override
    return unbatched(lambda x: AvgPool.apply(x, *given, *rest, channels_innermost(x)), input, ndim)


@export("avg_pool1d", "nn.functional.avg_pool1d")
def avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window."""
    return mean_pool("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


def _make_avg_pool(ndim):
    op = f"avg_pool{ndim}d"

    @export(f"nn.functional.{op}", autocast=FLOAT32_ON_CPUS if ndim == 3 else None)
    def avg_pool(
        input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
    ):
        """The mean of each window, or its sum over `divisor_override`."""
        rest = stride, padding, ceil_mode, count_include_pad, divisor_override
        return mean_pool(op, ndim, input, kernel_size, *rest)

    return avg_pool


avg_pool2d, avg_pool3d = map(_make_avg_pool, (2, 3))


def _make_lp_pool(ndim):
    op = f"lp_pool{ndim}d"

    @export(f"nn.functional.{op}")
    def lp_pool(input, norm_type, kernel_size, stride=None, ceil_mode=False):
        """The norm of each window, the root of the sum of powers: (sum of x ** norm_type) ** (1 / norm_type)."""
        need_tensors(op, input=input)
        mean = mean_pool(f"avg_pool{ndim}d", ndim, input.pow(norm_type), kernel_size, stride, 0, ceil_mode, True)
        size = math.prod(windows_of(op, ndim, kernel_size=kernel_size)[0])
        return (mean.sign() * mean.abs().relu()).mul(size).pow(1.0 / norm_type)

    return lp_pool


lp_pool1d, lp_pool2d, lp_pool3d = map(_make_lp_pool, (1, 2, 3))
