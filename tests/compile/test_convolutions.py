"""Convolutions at the sizes of the benchmark: which instructions they compile to, and that they fit."""

from __future__ import annotations

import math
import re

import ml_dtypes
import numpy as np
import pytest

from tritorch.autotune import generation
from tritorch.autotune.tunable import pretending
from tritorch.ops.convolution.arguments import out_size
from tritorch.ops.convolution.launch import launch_forward, launch_input_gradient, launch_weight_gradient
from tritorch.runtime import descriptors, precision, transfer
from tritorch.runtime.binding import binder_of
from tritorch.runtime.compile import compile_values, resources, spilled
from tritorch.runtime.kernel import materialise, recording_launches
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

BFLOAT16 = ml_dtypes.bfloat16
A100, H200, B200 = map(generation, (80, 90, 100))
TILE_COPIES, COPIES, WARP_GROUPS, WARPS = "cp.async.bulk.tensor", "cp.async.cg", "wgmma.mma_async", "mma.sync"

# (channels, features, kernel, stride, image) of a ResNet, and some that are no multiple of anything
LAYERS = [(64, 64, 3, 1, 56), (128, 128, 3, 2, 56), (128, 128, 3, 1, 28), (256, 256, 3, 1, 14), (512, 512, 3, 1, 7)]
ODD = [(24, 40, 5, 2, 27), (17, 33, 3, 1, 9)]


def vast(shape, dtype):
    """An array of any size whose elements all lie in a few bytes' place: it is never read."""
    steps = [math.prod(shape[at + 1 :]) * np.dtype(dtype).itemsize for at in range(len(shape))]
    return np.lib.stride_tricks.as_strided(np.zeros(64, dtype), shape, steps)


def last(shape, dtype):
    """The same with channels innermost."""
    images, channels, *size = shape
    return np.moveaxis(vast((images, *size, channels), dtype), -1, 1)


@pytest.fixture(autouse=True)
def _results(monkeypatch):
    monkeypatch.setattr(transfer, "empty_on_host", vast)
    materialise()


@pytest.fixture
def pointers(monkeypatch):
    """No descriptors, as where a driver has trouble with them."""
    monkeypatch.setattr(descriptors, "enabled", False)


def launches_of(layer, images, device, dtype, groups=1, lay=last):
    """The launches of a convolution, of its input gradient and of its weight gradient."""
    channels, features, kernel, stride, image = layer
    padding, strides = ((kernel // 2,) * 2,) * 2, (stride,) * 2
    size = out_size((image,) * 2, (kernel,) * 2, strides, padding, (1, 1))
    x, weight = lay((images, channels, image, image), dtype), lay((features, channels // groups, kernel, kernel), dtype)
    grad, rest = lay((images, features, *size), dtype), (strides, padding, (1, 1), groups)
    with pretending(device), recording_launches(run=False) as launches:
        launch_forward(x, weight, None, size, *rest)
        launch_input_gradient(grad, weight, (image,) * 2, *rest)
        launch_weight_gradient(grad, x, (kernel,) * 2, *rest)
    return launches


def built(launch, device):
    """The PTX of a launch, which must fit the device."""
    values, options = binder_of(launch.kernel)(*launch.args, **launch.keywords)
    compiled = compile_values(launch.kernel, values, options, device.capability)
    used = resources(compiled)
    what = f"{launch.kernel.__name__}, sm_{device.capability}, {launch.keywords}"
    assert used.shared_memory <= device.shared_memory, f"{what}: {used.shared_memory} bytes of shared memory"
    assert not spilled(used.registers, used.spills, used.num_warps), f"{what}: {used}"
    return compiled


def pending(compiled):
    """How many products of a warp group may still run where the loop goes on."""
    text = compiled.asm["ttgir"]
    return [int(each.split("}")[0].split()[0]) for each in text.split("pendings = ")[1:]]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_layers_on_hopper_copy_tiles_and_multiply_by_warp_groups(layer):
    launches = [each for each in launches_of(layer, 64, H200, BFLOAT16) if each.kernel.__name__ != "add_parts_kernel"]
    assert [each.kernel.__name__ for each in launches] == ["lane_kernel"] * 2 + ["lane_weight_kernel"]
    for launch in launches:
        compiled = built(launch, H200)
        assert TILE_COPIES in compiled.asm["ptx"] and WARP_GROUPS in compiled.asm["ptx"]
        assert pending(compiled)[0] > 0, "the loop waits for its products"
        assert "ttg.local_load" not in compiled.asm["ttgir"], "tiles pass through registers"


def test_few_channels_are_multiplied_by_warp_groups_too():
    launches = [
        each for each in launches_of((3, 64, 7, 2, 224), 64, H200, BFLOAT16) if "kernel" in each.kernel.__name__
    ]
    names = [each.kernel.__name__ for each in launches]
    assert names[:4] == ["pad_kernel", "pad_kernel", "lane_kernel", "tap_kernel"]
    assert names[4:6] == ["pad_kernel", "lane_weight_kernel"]
    for launch in launches:
        assert ("lane" in launch.kernel.__name__) <= (WARP_GROUPS in built(launch, H200).asm["ptx"])


@pytest.mark.parametrize("device", [A100, H200, B200], ids=lambda device: device.name)
def test_few_channels_leave_out_the_pixel_behind_a_window_by_copies_of_eight_bytes(device, pointers):
    launches = launches_of((3, 64, 7, 2, 224), 8, device, BFLOAT16)
    launch = next(each for each in launches if each.kernel.__name__ == "tap_kernel")
    assert launch.keywords["OWN"] == 28
    text = built(launch, device).asm["ptx"]
    assert "ld.global" not in text and COPIES in text  # of filters
    assert re.search(r"cp\.async\.ca\.shared\.global \[[^]]*\], \[[^]]*\], 0x8,", text)


@pytest.mark.parametrize(("images", "device", "product"), [(16, H200, WARP_GROUPS), (64, A100, WARPS)])
@pytest.mark.parametrize("layer", [*LAYERS[1:3], ODD[0]], ids=str)
def test_layers_by_pointers_copy_ahead(layer, images, device, product, pointers):
    launches = [each for each in launches_of(layer, images, device, BFLOAT16) if "tap" in each.kernel.__name__]
    assert len(launches) == 3
    for launch in launches:
        text = built(launch, device).asm["ptx"]
        assert COPIES in text and product in text


@pytest.mark.parametrize("dtype", [np.float32, BFLOAT16, np.float64], ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("device", [A100, H200, B200], ids=lambda device: device.name)
def test_everything_else_fits(device, dtype):
    cases = [(layer, 8, 1) for layer in (LAYERS[1], *ODD)] + [((32, 64, 3, 2, 14), 8, 2), ((48, 48, 3, 2, 14), 8, 48)]
    seen = set()
    for (layer, images, groups), lay in [(case, lay) for case in cases for lay in (last, vast)]:
        for launch in launches_of(layer, images, device, dtype, groups, lay):
            if (key := (launch.kernel, *sorted((k, str(v)) for k, v in launch.keywords.items()))) not in seen:
                seen.add(key)
                built(launch, device)


def test_tensor_cores_for_float32_on_hopper():
    before = precision.get_float32_matmul_precision()
    precision.set_float32_matmul_precision("high")
    try:
        for launch in launches_of(LAYERS[2], 64, H200, np.float32):
            if "lane" in launch.kernel.__name__:
                assert WARP_GROUPS in built(launch, H200).asm["ptx"]
    finally:
        precision.set_float32_matmul_precision(before)


@pytest.mark.parametrize("images", [1, 16, 40])
@pytest.mark.parametrize("layer", [*LAYERS, (96, 192, 5, 1, 27)], ids=str)
def test_few_images_on_hopper_copy_boxes_and_multiply_by_warp_groups(layer, images):
    launches = [each for each in launches_of(layer, images, H200, BFLOAT16) if "add" not in each.kernel.__name__]
    assert [each.kernel.__name__ for each in launches] == ["box_kernel"] * 2 + ["box_weight_kernel"]
    for launch in launches:
        compiled = built(launch, H200)
        assert TILE_COPIES in compiled.asm["ptx"] and WARP_GROUPS in compiled.asm["ptx"]
        assert pending(compiled)[0] > 0, "the loop waits for its products"
        if launch.kernel.__name__ == "box_kernel":  # the gradient of the other does, once for all taps
            assert "ttg.local_load" not in compiled.asm["ttgir"], "boxes pass through registers"


@pytest.mark.parametrize("layer", [LAYERS[1], LAYERS[4]], ids=str)
def test_few_images_on_blackwell_copy_boxes(layer):
    for launch in launches_of(layer, 8, B200, BFLOAT16):
        if "box" in launch.kernel.__name__:
            assert TILE_COPIES in built(launch, B200).asm["ptx"]


def test_few_images_of_float32_by_tensor_cores():
    before = precision.get_float32_matmul_precision()
    precision.set_float32_matmul_precision("high")
    try:
        launches = launches_of(LAYERS[2], 16, H200, np.float32)
        assert [each.kernel.__name__ for each in launches[:3]] == ["box_kernel", "tap_kernel", "tap_weight_kernel"]
        compiled = built(launches[0], H200)
    finally:
        precision.set_float32_matmul_precision(before)
    assert WARP_GROUPS in compiled.asm["ptx"] and "ttg.local_load" not in compiled.asm["ttgir"]
