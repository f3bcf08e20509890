"""Convolutions as a GPU with a copy engine for tiles computes them: every way to share tiles, on NumPy arrays."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tritorch.autotune import generation
from tritorch.autotune.tunable import noting_configs, pretending, using
from tritorch.ops.convolution.convolution import (
    Convolution,
    ConvolutionInputGradient,
    ConvolutionWeightGradient,
    with_channels_innermost,
)
from tritorch.ops.convolution.lane_kernels import lane_kernel, lane_weight_kernel
from tritorch.ops.convolution.launch import launch_forward, launch_input_gradient, launch_weight_gradient
from tritorch.ops.formula import tanh
from tritorch.runtime.guarded import guarded_memory
from tritorch.runtime.kernel import recording_launches
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

IMAGES = 45  # enough for a tile
# Channels, features, taps, size, (stride, padding, dilation)
CASES = [
    (16, 24, (3, 3), (3, 5), ((1, 1), ((1, 1), (1, 1)), (1, 1))),
    (8, 16, (2, 3), (5, 4), ((2, 3), ((1, 0), (2, 1)), (1, 2))),
    (24, 8, (1, 2, 3), (2, 3, 4), ((1, 2, 2), ((0, 0), (1, 1), (1, 1)), (1, 1, 1))),
    (16, 8, (1, 1), (3, 3), ((2, 2), ((0, 0), (0, 0)), (1, 1))),
]


def operands(case):
    """Images, filters, a gradient and the settings of a case, channels innermost."""
    channels, features, taps, size, rest = case
    draw = np.random.default_rng(5)
    x, weight = (with_channels_innermost(draw.standard_normal(shape).astype(np.float16))
                 for shape in ((IMAGES, channels, *size), (features, channels, *taps)))  # fmt: skip
    out = Convolution.reference(x[:1].astype(np.float32), weight.astype(np.float32), None, *rest, 1)
    grad = with_channels_innermost(draw.standard_normal((IMAGES, *out.shape[1:])).astype(np.float16))
    return x, weight, grad, (*rest, 1)


def guarded_copy(guarded, array):
    """The array between canaries, channels innermost."""
    inner = guarded.empty(np.moveaxis(array, 1, -1).shape, array.dtype)
    inner[...] = np.moveaxis(array, 1, -1)
    return np.moveaxis(inner, -1, 1)


def check(found, expected):
    wide = np.abs(expected).max()
    np.testing.assert_allclose(found.astype(np.float64), expected, rtol=2e-3, atol=2e-3 * wide)
    assert not np.any(np.moveaxis(found, 1, -1).strides != np.ascontiguousarray(np.moveaxis(found, 1, -1)).strides)


def computed(launch, kernel, changed, *arguments):
    """What `launch` gives with a config of `kernel` that is changed, and which kernels it launched."""
    with pretending(generation(90)), noting_configs() as asked, recording_launches(run=False):
        launch(*arguments)
    chosen = next(each for each in asked if each.kernel is kernel)
    config = chosen.config | changed
    with guarded_memory() as guarded:
        arrays = [guarded_copy(guarded, each) if isinstance(each, np.ndarray) else each for each in arguments]
        with pretending(generation(90)), using(kernel, chosen.key, config), recording_launches(run=True) as launches:
            found = launch(*arrays).copy(order="K")
        assert not guarded.broken()
    assert kernel in [each.kernel for each in launches]
    assert all(launches[0].keywords.get(name, value) == value for name, value in changed.items())
    return found


@pytest.mark.parametrize("places", [1, 2, 4])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_places_that_share_filters(case, places):
    x, weight, grad, rest = operands(case)
    changed = {"PLACES": places, "BLOCK_M": 64, "BLOCK_N": 16, "BLOCK_K": 16}
    wide = [each.astype(np.float64) for each in (x, weight, grad)]
    found = computed(launch_forward, lane_kernel, changed, x, weight, None, grad.shape[2:], *rest)
    check(found, Convolution.reference(wide[0], wide[1], None, *rest))
    found = computed(launch_input_gradient, lane_kernel, changed, grad, weight, x.shape[2:], *rest)
    check(found, ConvolutionInputGradient.reference(wide[2], wide[1], x.shape[2:], *rest))


@pytest.mark.parametrize(("shared", "parts"), [(1, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize("case", CASES[:3], ids=str)
def test_taps_that_share_a_gradient(case, shared, parts):
    x, weight, grad, rest = operands(case)
    changed = {"SHARED": shared, "PARTS": parts, "BLOCK_M": 64, "BLOCK_N": 16, "BLOCK_K": 32}
    found = computed(launch_weight_gradient, lane_weight_kernel, changed, grad, x, weight.shape[2:], *rest)
    wide = [each.astype(np.float64) for each in (grad, x)]
    check(found, ConvolutionWeightGradient.reference(*wide, weight.shape[2:], *rest))


@pytest.mark.parametrize("innermost", [True, False])
@pytest.mark.parametrize(
    ("channels", "taps", "stride", "padding"), [(3, 7, 2, 3), (1, 3, 1, 0), (4, 4, 3, 1), (6, 2, 1, 2)]
)
def test_few_channels(channels, taps, stride, padding, innermost):
    draw = np.random.default_rng(7)
    x, weight = (draw.standard_normal((count, channels, *size)).astype(np.float16)
                 for count, size in ((3, (9, 8)), (16, (taps, taps))))  # fmt: skip
    rest = (stride,) * 2, ((padding,) * 2,) * 2, (1, 1), 1
    expected = Convolution.reference(x.astype(np.float64), weight.astype(np.float64), None, *rest)
    grad = draw.standard_normal(expected.shape).astype(np.float16)
    if innermost:
        x, weight, grad = map(with_channels_innermost, (x, weight, grad))
    with pretending(generation(90)), recording_launches(run=True) as launches:
        found = launch_forward(x, weight, None, expected.shape[2:], *rest)
        filters = launch_weight_gradient(grad, x, (taps, taps), *rest)
    assert [each.kernel.__name__ for each in launches].count("pad_kernel") == 3
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())
    expected = ConvolutionWeightGradient.reference(grad.astype(np.float64), x.astype(np.float64), (taps, taps), *rest)
    np.testing.assert_allclose(filters, expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())


# Images, filters, groups, whether channels lie innermost, and what computes them.
ENDED = [
    ((45, 16, 3, 4), (8, 16, 3, 3), 1, True, "lane_kernel"),
    ((2, 16, 3, 4), (8, 16, 3, 3), 1, True, "tap_kernel"),
    ((4, 16, 4, 4), (64, 16, 3, 3), 1, True, "box_kernel"),
    ((2, 16, 3, 4), (32, 8, 3, 3), 2, True, "tap_kernel"),
    ((2, 16, 3, 4), (16, 1, 3, 3), 16, True, "depthwise_kernel"),
    ((2, 3, 3, 4), (16, 3, 3, 3), 1, False, "tap_kernel"),
    ((2, 3, 3, 4), (4, 3, 3, 3), 1, False, "gather_kernel"),
    ((2, 16, 3, 4), (8, 16, 1, 1), 1, True, "matmul_kernel"),
    ((2, 16, 3, 4), (24, 16, 1, 1), 1, False, "tap_kernel"),
]


@pytest.mark.parametrize(("shape", "filters", "groups", "innermost", "name"), ENDED, ids=str)
def test_what_a_formula_makes_of_results(shape, filters, groups, innermost, name):
    draw = np.random.default_rng(8)
    x, weight, bias = (draw.standard_normal(each).astype(np.float16) / 4 for each in (shape, filters, filters[:1]))
    rest = (1, 1), ((filters[2] // 2,) * 2,) * 2, (1, 1), groups
    expected = np.tanh(Convolution.reference(*[each.astype(np.float64) for each in (x, weight, bias)], *rest))
    x = with_channels_innermost(x) if innermost else x
    with pretending(generation(90)), recording_launches(run=True) as launches:
        found = launch_forward(x, weight, bias, expected.shape[2:], *rest, activation=tanh)
    assert name in [each.kernel.__name__ for each in launches]
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)


def kernels_of(x, weight, device):
    with pretending(generation(device)), recording_launches(run=False) as launches:
        launch_forward(x, weight, None, x.shape[2:], (1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    return [each.kernel.__name__ for each in launches]


def images(shape, dtype=ml_dtypes.bfloat16):
    return with_channels_innermost(np.zeros(shape, dtype))


def test_what_tiles_of_images_are_not_for():
    weight = images((16, 16, 3, 3))
    assert kernels_of(images((45, 16, 4, 4)), weight, 90) == ["lane_kernel"]
    assert kernels_of(images((44, 16, 4, 4)), weight, 90) == ["tap_kernel"]  # too few of them
    assert kernels_of(images((45, 16, 4, 4)), weight, 80) == ["tap_kernel"]  # no descriptors
    assert kernels_of(images((45, 12, 4, 4)), images((16, 12, 3, 3)), 90) == ["tap_kernel"]  # not at 16 bytes
    floats = [images((45, 16, 4, 4), np.float32), images((16, 16, 3, 3), np.float32)]
    assert kernels_of(*floats, 90) == ["tap_kernel"]  # whose products the tensor cores would round
    assert kernels_of(images((45, 4, 4, 4)), images((8, 4, 3, 3)), 90) == ["gather_kernel"]  # few of both
    plain = np.ascontiguousarray(images((45, 16, 4, 4)))
    assert kernels_of(plain, np.ascontiguousarray(weight), 90) == [
        "turn_kernel",
        "turn_kernel",
        "lane_kernel",
        "turn_kernel",
    ]
