"""Which kernel a convolution or one of its gradients is launched with, by its layout, its types and the device.

Results lie as PyTorch's do: channels innermost where the images or the other operand suggest that, else in the order of
indices. Kernels for channels that lie innermost also serve others, by a copy, where there is enough to multiply.
"""

from __future__ import annotations

import math

from tritorch.ops.convolution.box_kernels import boxes_fit, launch_box_weights, launch_boxes, weight_boxes_fit
from tritorch.ops.convolution.depthwise_kernels import launch_depthwise, launch_depthwise_weights
from tritorch.ops.convolution.few_channels import (
    filters_by_rows,
    filters_from_rows,
    rows_of_windows,
    seen_by_rows,
)
from tritorch.ops.convolution.gather_kernels import (
    launch_gather_forward,
    launch_gather_input_gradient,
    launch_gather_weight_gradient,
)
from tritorch.ops.convolution.lane_kernels import lanes_fit, launch_lane_weights, launch_lanes
from tritorch.ops.convolution.reach import windows
from tritorch.ops.convolution.tap_kernels import launch_tap_weights, launch_taps
from tritorch.ops.convolution.turn import channels_first, channels_last, channels_packed, innermost, outermost
from tritorch.ops.layout import as_contiguous, empty_like, format_order
from tritorch.ops.matrix.kernel import dot_settings
from tritorch.ops.matrix.launch import launch_matmul
from tritorch.runtime.transfer import is_contiguous

_MOST_TAPS = 64  # that kernels know by bits or by code of their own
_FEWEST_CHANNELS = 8  # of a group, for a loop over blocks of channels
_FEWEST_TO_COPY = 16  # of a group, both read and written, for a copy with channels innermost to pay


def launch_forward(x, weight, bias, size, stride, padding, dilation, groups, activation=None):
    """The convolution of `x` with `weight`, plus `bias`, and what a formula makes of that before it is stored."""
    last = result_order(x, weight) is not None
    shape = (x.shape[0], weight.shape[0], *size)
    if _is_pointwise(weight, stride, padding, groups) and x.dtype.kind not in "iu" and 0 not in shape:
        out = _multiplied(x, weight.reshape(weight.shape[:2]), bias, shape, last, activation)
        if out is not None:
            return out
    out = _empty(x, shape, last)
    if not out.size:
        return out
    spaces = windows(x.shape[2:], size, weight.shape[2:], stride, padding, dilation)
    if _is_depthwise(x.shape[1], weight, groups):
        launch_depthwise(x, as_contiguous(weight), bias, out, spaces, back=False, activation=activation)
    elif _by_channels(x, weight, out, groups, spaces):
        out = _tiled(x, weight, bias, out, spaces, groups, activation=activation)
    elif rows := _rows(x, out, groups, spaces):
        seen, left = seen_by_rows(x, spaces, rows)
        out = _tiled(seen, filters_by_rows(weight, rows), bias, out, left, 1, activation=activation, own=rows.own)
    else:
        launch_gather_forward(x, weight, bias, out, stride, padding, dilation, groups, activation)
    return out


def launch_input_gradient(grad, weight, size, stride, padding, dilation, groups):
    """The gradient of a convolution by its input of `size`."""
    last = result_order(grad, weight) is not None
    shape = (grad.shape[0], weight.shape[1] * groups, *size)
    if _is_pointwise(weight, stride, padding, groups) and grad.dtype.kind not in "iu" and 0 not in shape + grad.shape:
        out = _multiplied(grad, weight.reshape(weight.shape[:2]).transpose(1, 0), None, shape, last)
        if out is not None:
            return out
    out = _empty(grad, shape, last)
    if not out.size:
        return out
    spaces = windows(grad.shape[2:], size, weight.shape[2:], stride, padding, dilation)
    if _is_depthwise(shape[1], weight, groups):
        launch_depthwise(grad, as_contiguous(weight), None, out, spaces, back=True)
    elif not _by_channels(grad, weight, out, groups, spaces):
        launch_gather_input_gradient(grad, weight, out, stride, padding, dilation, groups)
    else:
        out = _tiled(grad, weight, None, out, spaces, groups, back=True)
    return out


def launch_weight_gradient(grad, x, size, stride, padding, dilation, groups):
    """The gradient of a convolution by its weight; the same bits at every call."""
    last = result_order(x, grad) is not None
    shape = (grad.shape[1], x.shape[1] // groups, *size)
    out = _empty(grad, shape, last)
    if not out.size:
        return out
    spaces = windows(x.shape[2:], grad.shape[2:], size, stride, padding, dilation)
    if _is_depthwise(x.shape[1], out, groups):
        launch_depthwise_weights(grad, x, out, spaces)
    elif not _by_channels(x, out, grad, groups, spaces):
        if rows := _rows(x, grad, groups, spaces):
            seen, left = seen_by_rows(x, spaces, rows)
            found = empty_like(out, (shape[0], *size[:-1], rows.inner))
            _filters(grad, seen, outermost(found.reshape((shape[0], *size[:-1], 1, rows.inner))), left, 1)
            filters_from_rows(found, out, rows)
        else:
            launch_gather_weight_gradient(grad, x, out, stride, padding, dilation, groups)
    elif _is_pointwise(out, stride, padding, groups):
        rows, columns = _rows_of(channels_last(grad)), _rows_of(channels_last(x))
        return launch_matmul(rows.transpose(1, 0), columns, shape[:2]).reshape(shape)
    else:
        _filters(grad, x, out, spaces, groups)
    return out


def result_order(images, other):
    """The order of dimensions in which a result lies: with channels innermost where either operand suggests that."""
    order = format_order(images)
    return format_order(other) if order is None else order


def _empty(like, shape, last):
    if not last:
        return empty_like(like, shape)
    return outermost(empty_like(like, (shape[0], *shape[2:], shape[1])))


def _is_pointwise(weight, stride, padding, groups):
    """Whether a convolution is a product of matrices: one tap, which reads every place once."""
    return groups == 1 and math.prod(weight.shape[2:]) == 1 and max(stride) == 1 and not any(map(any, padding))


def _is_depthwise(channels, weight, groups):
    """Whether each channel is convolved by itself."""
    return groups == channels > 1 == weight.shape[1] and math.prod(weight.shape[2:]) <= _MOST_TAPS


def _by_channels(x, weight, out, groups, spaces):
    """Whether a loop over taps and channels serves: floats of enough channels, innermost or worth a copy."""
    constants, sizes = dot_settings(x.dtype)
    inner, columns = x.shape[1] // groups, out.shape[1] // groups
    if not constants["DOTS"] or x.itemsize > 4 or inner < _FEWEST_CHANNELS or not _few_enough(x, out, spaces):
        return False
    if channels_packed(x):
        return True
    return sizes["tensor_cores"] and min(inner, columns) >= _FEWEST_TO_COPY


def _packed(x):
    """Images whose channels lie next to each other: themselves or a copy."""
    return x if channels_packed(x) else channels_last(x)


def _tiled(x, weight, bias, out, spaces, groups, back=False, activation=None, own=None):
    """A convolution or an input gradient into `out`, or, what is given then, into an array in its place.

    Of the channels of `x`, `own` are read, or all, and for the rest zeros.
    """
    x, weight = _packed(x), channels_last(weight)
    target = out if is_contiguous(innermost(out)) else _empty(out, out.shape, True)
    if groups == 1 and lanes_fit(x.shape[0], x, weight, target):
        launch_lanes(x, weight, bias, target, spaces, back, activation, own)
    elif groups == 1 and boxes_fit(spaces, back, x, weight, target):
        launch_boxes(x, weight, bias, target, spaces, back, activation, own)
    else:
        launch_taps(x, weight, bias, target, spaces, groups, back, activation, own)
    return out if target is out else channels_first(target)


def _filters(grad, x, out, spaces, groups):
    """A gradient by filters into `out`."""
    grad, x = _packed(grad), _packed(x)
    if groups == 1 and lanes_fit(x.shape[0], grad, x):
        launch_lane_weights(grad, x, out, spaces)
    elif groups == 1 and weight_boxes_fit(spaces, grad, x):
        launch_box_weights(grad, x, out, spaces)
    else:
        launch_tap_weights(grad, x, out, spaces, groups)


def _rows(x, out, groups, spaces):
    """The Rows by which tensor cores multiply images of few channels, or None."""
    if groups > 1 or not dot_settings(x.dtype)[1]["tensor_cores"] or out.shape[1] < _FEWEST_TO_COPY:
        return None
    if not _few_enough(x, out, spaces):
        return None
    return rows_of_windows(x, spaces)


def _few_enough(x, out, spaces):
    """Whether kernels that loop over taps and channels can count the taps, and the places of all images."""
    most = max(x.shape[0] * math.prod(spaces.size), out.shape[0] * math.prod(spaces.places))
    return spaces.number <= _MOST_TAPS and most < 2**31 - 2**16


def _rows_of(x):
    """(images * places, channels) of images with channels innermost."""
    return innermost(x).reshape((x.shape[0] * math.prod(x.shape[2:]), x.shape[1]))


def _multiplied(x, weight, bias, shape, last, activation=None):
    """Images with the channels of each place multiplied by `weight`, (features, channels); None where that is slow."""
    places = math.prod(shape[2:])
    if last or places == 1:
        rows = _rows_of(channels_last(x)) if places > 1 else x.reshape(x.shape[:2])
        out = launch_matmul(rows, weight.transpose(1, 0), (shape[0] * places, shape[1]), bias, activation)
        return outermost(out.reshape((shape[0], *shape[2:], shape[1]))) if last else out.reshape(shape)
    if is_contiguous(x) and (bias is None or activation is None):
        columns, residual = x.reshape((*x.shape[:2], places)), None if bias is None else bias.reshape((-1, 1))
        out = launch_matmul(weight, columns, (*shape[:2], places), activation=activation, residual=residual)
        return out.reshape(shape)
    return None
