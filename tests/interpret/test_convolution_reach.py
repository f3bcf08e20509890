"""What is not a number in one window stays there: nothing beside a window is multiplied, not even by zero."""

from __future__ import annotations

import numpy as np
import pytest

from tritorch.autotune import generation
from tritorch.autotune.tunable import pretending
from tritorch.ops.convolution.convolution import (
    Convolution,
    ConvolutionInputGradient,
    ConvolutionWeightGradient,
    with_channels_innermost,
)
from tritorch.ops.convolution.launch import launch_forward, launch_input_gradient, launch_weight_gradient
from tritorch.runtime.kernel import recording_launches
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

HOPPER, AMPERE = 90, 80
# Images, filters, stride, groups, device, and the kernels of forward, input gradient and weight gradient.
FAMILIES = [
    ((45, 16, 5, 9), (16, 16, 3, 3), 1, 1, HOPPER, ("lane_kernel", "lane_kernel", "lane_weight_kernel")),
    ((45, 16, 5, 8), (16, 16, 3, 2), 2, 1, HOPPER, ("lane_kernel", "lane_kernel", "lane_weight_kernel")),
    ((2, 64, 9, 13), (64, 64, 3, 3), 1, 1, HOPPER, ("box_kernel", "box_kernel", "box_weight_kernel")),
    ((4, 64, 16, 16), (64, 64, 3, 3), 2, 1, HOPPER, ("box_kernel", "box_kernel", "box_weight_kernel")),
    ((4, 3, 11, 30), (64, 3, 3, 7), 2, 1, HOPPER, ("box_kernel", "tap_kernel", "box_weight_kernel")),
    ((2, 16, 5, 9), (8, 16, 3, 3), 1, 1, AMPERE, ("tap_kernel", "tap_kernel", "tap_weight_kernel")),
    ((2, 24, 6, 8), (24, 12, 3, 3), 2, 2, AMPERE, ("tap_kernel", "tap_kernel", "tap_weight_kernel")),
    ((45, 3, 5, 9), (16, 3, 3, 3), 2, 1, HOPPER, ("lane_kernel", "tap_kernel", "lane_weight_kernel")),
    ((2, 3, 9, 12), (16, 3, 7, 7), 2, 1, HOPPER, ("tap_kernel", "tap_kernel", "tap_weight_kernel")),
    ((2, 1, 7, 30), (16, 1, 2, 7), 4, 1, AMPERE, ("tap_kernel", "tap_kernel", "tap_weight_kernel")),
    ((2, 3, 10, 30), (16, 3, 2, 2), 8, 1, AMPERE, ("tap_kernel", "tap_kernel", "tap_weight_kernel")),
    ((2, 16, 5, 9), (16, 1, 3, 3), 1, 16, HOPPER, ("depthwise_kernel", "depthwise_kernel", "depthwise_weight_kernel")),
    ((2, 3, 5, 9), (4, 3, 3, 3), 2, 1, HOPPER, ("gather_kernel", "gather_kernel", "weight_kernel")),
    ((2, 16, 5, 9), (8, 16, 1, 1), 1, 1, HOPPER, ("matmul_kernel", "matmul_kernel", "matmul_kernel")),
    ((2, 16, 5, 9), (8, 16, 1, 1), 2, 1, HOPPER, ("tap_kernel", "tap_kernel", "tap_weight_kernel")),
]


def check(found, expected):
    """Numbers that agree, and none where there is none."""
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))
    known = np.isfinite(expected)
    limit = 2e-3 * max(np.abs(expected[known]).max(), 1)
    np.testing.assert_allclose(found[known].astype(np.float64), expected[known], rtol=2e-3, atol=limit)


def spoiled(array, number):
    """A copy in which one image has infinity in one place, and no number in another, of all channels."""
    array = np.array(array, order="K")
    array[0, :, array.shape[2] // 2, number % array.shape[3]] = np.inf
    array[-1, :, array.shape[2] // 2, number % array.shape[3]] = np.nan
    return array


@pytest.mark.parametrize("which", range(3), ids=("forward", "input", "weight"))
@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize("family", FAMILIES, ids=str)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_pixels_that_are_no_numbers(family, number, which):
    shape, filters, by, groups, device, kernels = family
    draw = np.random.default_rng(number)
    x = with_channels_innermost(draw.standard_normal(shape).astype(np.float16))
    weight = with_channels_innermost(draw.standard_normal(filters).astype(np.float16))
    rest = (by, by), ((filters[2] // 2,) * 2, (filters[3] // 2,) * 2), (1, 1), groups
    out = Convolution.reference(x.astype(np.float32), weight.astype(np.float32), None, *rest)
    grad = with_channels_innermost(draw.standard_normal(out.shape).astype(np.float16))
    wide = lambda *arrays: [each.astype(np.float64) for each in arrays]  # noqa: E731
    with pretending(generation(device)), recording_launches(run=True) as launches:
        if which == 0:
            x = spoiled(x, number)
            found = launch_forward(x, weight, None, out.shape[2:], *rest)
            expected = Convolution.reference(*wide(x, weight), None, *rest)
        elif which == 1:
            grad = spoiled(grad, number)
            found = launch_input_gradient(grad, weight, shape[2:], *rest)
            expected = ConvolutionInputGradient.reference(*wide(grad, weight), shape[2:], *rest)
        else:
            x[:, 0, -1, -1] = np.inf  # which some windows see and some do not
            grad[-1, 1, out.shape[2] // 2, out.shape[3] // 2] = np.nan  # whose window is all inside
            found = launch_weight_gradient(grad, x, filters[2:], *rest)
            expected = ConvolutionWeightGradient.reference(*wide(grad, x), filters[2:], *rest)
    assert kernels[which] in [each.kernel.__name__ for each in launches]
    check(found, expected)
