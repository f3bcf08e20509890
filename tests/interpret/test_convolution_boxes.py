"""Convolutions of few images by boxes of places and images, in every shape of a box, on NumPy arrays."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tritorch.autotune import generation
from tritorch.autotune.tunable import noting_configs, pretending, using
from tritorch.ops.convolution import box_kernels
from tritorch.ops.convolution.box_kernels import box_kernel, box_weight_kernel
from tritorch.ops.convolution.convolution import (
    Convolution,
    ConvolutionInputGradient,
    ConvolutionWeightGradient,
    with_channels_innermost,
)
from tritorch.ops.convolution.launch import launch_forward, launch_input_gradient, launch_weight_gradient
from tritorch.runtime.guarded import guarded_memory
from tritorch.runtime.kernel import recording_launches
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

# Images, channels, features, taps, size, (stride, padding, dilation)
PLAIN = (5, 64, 64, (3, 3), (6, 8), ((1, 1), ((1, 1), (1, 1)), (1, 1)))
STRIDED = (4, 64, 64, (3, 3), (8, 12), ((2, 2), ((1, 1), (1, 1)), (1, 1)))
SPREAD = (6, 64, 64, (3, 2), (9, 12), ((1, 3), ((2, 2), (1, 0)), (2, 1)))  # taps apart, and more of a stride than taps
CASES = [
    (PLAIN, {"LINES": 1, "PLACES": 8, "IMAGES": 8}),
    (PLAIN, {"LINES": 4, "PLACES": 4, "IMAGES": 4}),
    (PLAIN, {"LINES": 8, "PLACES": 8, "IMAGES": 1, "BLOCK_K": 32}),
    (STRIDED, {"LINES": 4, "PLACES": 4, "IMAGES": 4}),
    (STRIDED, {"LINES": 1, "PLACES": 8, "IMAGES": 4, "BLOCK_K": 16, "num_warps": 4}),
    (STRIDED, {"LINES": 2, "PLACES": 2, "IMAGES": 4, "num_warps": 4}),  # 16 rows: several tiles of every kind
    (SPREAD, {"LINES": 8, "PLACES": 4, "IMAGES": 2}),
    (SPREAD, {"LINES": 1, "PLACES": 4, "IMAGES": 8, "num_warps": 4}),
]


def operands(case):
    """Images, filters, a gradient and the settings of a case, channels innermost."""
    images, channels, features, taps, size, rest = case
    draw = np.random.default_rng(6)
    x, weight = (with_channels_innermost(draw.standard_normal(shape).astype(np.float16))
                 for shape in ((images, channels, *size), (features, channels, *taps)))  # fmt: skip
    out = Convolution.reference(x[:1].astype(np.float32), weight.astype(np.float32), None, *rest, 1)
    grad = with_channels_innermost(draw.standard_normal((images, *out.shape[1:])).astype(np.float16))
    return x, weight, grad, (*rest, 1)


def computed(launch, kernel, changed, *arguments):
    """What `launch` gives with a config of `kernel` and a box that are changed, between canaries."""
    box = tuple(changed[name] for name in ("LINES", "PLACES", "IMAGES"))
    with pretending(generation(90)), noting_configs() as asked, recording_launches(run=False):
        launch(*arguments)
    chosen = next(each for each in asked if each.kernel is kernel)
    config = chosen.config | {name: value for name, value in changed.items() if name in chosen.config}
    with guarded_memory() as guarded:
        arrays = []
        for each in arguments:
            if isinstance(each, np.ndarray):
                inner = guarded.empty(np.moveaxis(each, 1, -1).shape, each.dtype)
                inner[...] = np.moveaxis(each, 1, -1)
                each = np.moveaxis(inner, -1, 1)
            arrays.append(each)
        with (
            pretending(generation(90)), using(kernel, chosen.key, config), recording_launches(run=True) as launches,
            pytest.MonkeyPatch.context() as patch,
        ):  # fmt: skip
            patch.setattr(box_kernels, "box_of", lambda *sizes: box)
            found = launch(*arrays).copy(order="K")
        assert not guarded.broken()
    (own,) = [each for each in launches if each.kernel is kernel]
    assert all(own.keywords.get(name, value) == value for name, value in config.items())
    assert tuple(own.keywords[name] for name in ("LINES", "PLACES", "IMAGES")) == box
    return found


def check(found, expected):
    limit = 2e-3 * np.abs(expected).max()
    np.testing.assert_allclose(found.astype(np.float64), expected, rtol=2e-3, atol=limit)


@pytest.mark.parametrize(("case", "box"), CASES, ids=str)
def test_boxes_forward_and_back(case, box):
    x, weight, grad, rest = operands(case)
    wide = [each.astype(np.float64) for each in (x, weight, grad)]
    found = computed(launch_forward, box_kernel, box, x, weight, None, grad.shape[2:], *rest)
    check(found, Convolution.reference(wide[0], wide[1], None, *rest))
    found = computed(launch_input_gradient, box_kernel, box, grad, weight, x.shape[2:], *rest)
    check(found, ConvolutionInputGradient.reference(wide[2], wide[1], x.shape[2:], *rest))


@pytest.mark.parametrize("way", [(1, 1), (2, 2), (3, 1), (3, 3)], ids=str)
@pytest.mark.parametrize(("case", "box"), [CASES[at] for at in (0, 1, 2, 3, 5, 6)], ids=str)
def test_boxes_that_are_summed_over(case, box, way):
    shared, parts = way
    x, weight, grad, rest = operands(case)
    changed = box | {"SHARED": shared, "PARTS": parts, "BLOCK_M": 64, "BLOCK_N": 32, "num_warps": 4}
    found = computed(launch_weight_gradient, box_weight_kernel, changed, grad, x, weight.shape[2:], *rest)
    check(found, ConvolutionWeightGradient.reference(grad.astype(float), x.astype(float), weight.shape[2:], *rest))


def kernels_of(shape, filters, stride=1, device=90, dtype=ml_dtypes.bfloat16):
    """The kernels of forward, input gradient and weight gradient that multiply."""
    x, weight = (with_channels_innermost(np.zeros(each, dtype)) for each in (shape, filters))
    rest = ((stride,) * len(shape[2:]), ((1, 1),) * len(shape[2:]), (1,) * len(shape[2:]), 1)
    size = [(each - 1) // stride + 1 for each in shape[2:]]
    grad = with_channels_innermost(np.zeros((shape[0], filters[0], *size), dtype))
    with pretending(generation(device)), recording_launches(run=False) as launches:
        launch_forward(x, weight, None, size, *rest)
        launch_input_gradient(grad, weight, shape[2:], *rest)
        launch_weight_gradient(grad, x, filters[2:], *rest)
    names = [each.kernel.__name__ for each in launches]
    return [each for each in names if each not in ("add_parts_kernel", "turn_kernel")]


BOXES = ["box_kernel", "box_kernel", "box_weight_kernel"]
TAPS = ["tap_kernel", "tap_kernel", "tap_weight_kernel"]


def test_what_boxes_are_for():
    assert kernels_of((8, 64, 14, 14), (64, 64, 3, 3)) == BOXES
    assert kernels_of((1, 64, 14, 14), (64, 64, 3, 3)) == BOXES
    assert kernels_of((44, 64, 14, 14), (64, 64, 3, 3), stride=2) == BOXES
    assert kernels_of((8, 64, 30), (64, 64, 3)) == BOXES
    assert kernels_of((45, 64, 14, 14), (64, 64, 3, 3))[0] == "lane_kernel"  # images alone fill tiles
    assert kernels_of((70, 64, 14, 14), (64, 64, 3, 3)) == BOXES  # but not two of them


def test_what_boxes_are_not_for():
    assert kernels_of((8, 64, 14, 14), (64, 64, 3, 3), device=80) == TAPS  # no descriptors
    assert kernels_of((8, 64, 14, 14), (64, 64, 3, 3), dtype=np.float32) == TAPS
    assert kernels_of((8, 64, 4, 14, 14), (64, 64, 3, 3, 3)) == TAPS  # more dimensions than descriptors have
    assert kernels_of((8, 64, 14, 14), (32, 64, 3, 3)) == [TAPS[0], BOXES[1], TAPS[2]]  # half of a tile's filters
    assert kernels_of((1, 64, 5, 9), (64, 64, 3, 3)) == TAPS  # places fill a third of a tile
    # A stride between neighbours: sizes that it divides, channels that blocks divide.
    assert kernels_of((8, 64, 15, 15), (64, 64, 3, 3), stride=2) == TAPS
    assert kernels_of((1, 80, 16, 14), (64, 80, 3, 3), stride=2) == TAPS
    assert kernels_of((8, 80, 16, 14), (64, 80, 3, 3), stride=2) == [BOXES[0], TAPS[1], BOXES[2]]  # of lines
