"""Rows of half precision are read and written 16 bytes at a time, whatever their kernels could walk over otherwise."""

from __future__ import annotations

import re

import ml_dtypes
import numpy as np
import pytest

from tritorch.autotune import generation
from tritorch.autotune.tunable import pretending
from tritorch.ops.loss.fused_cross_entropy import CrossEntropy, CrossEntropyBackward
from tritorch.ops.normalization.batch_norm import BatchNormBackward, BatchNormInference
from tritorch.ops.normalization.layout import over_batch, over_groups, over_last
from tritorch.ops.normalization.row_norm import GroupNorm, GroupNormGradients, LayerNorm, LayerNormGradients
from tritorch.ops.rowwise.softmax import Softmax, SoftmaxBackward
from tritorch.runtime import transfer
from tritorch.runtime.binding import binder_of
from tritorch.runtime.compile import compile_values, resources, spilled
from tritorch.runtime.kernel import materialise, recording_launches
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

HALF = np.dtype(ml_dtypes.bfloat16)


@pytest.fixture(autouse=True)
def _unset(monkeypatch):
    monkeypatch.setattr(transfer, "empty_on_host", np.empty)
    materialise()


def half(*shape):
    return np.empty(shape, HALF)


def single(*shape):
    return np.zeros(shape, np.float32)


def rows(count, columns):
    """(op, arguments) of what works on rows."""
    x, layout, target = half(count, columns), over_last((count, columns), 1), np.zeros(count, np.int64)
    weight, statistics = half(columns), (single(count), single(count))
    yield LayerNorm, (x, weight, weight, layout, 1e-5)
    yield LayerNormGradients, (x, x, x, weight, *statistics, layout, 1e-5, True)
    yield Softmax, (x, 1, None)
    yield SoftmaxBackward, (x, x, 1)
    yield CrossEntropy, (x, target, None, -100, "mean", 0.1)
    yield CrossEntropyBackward, (half(), x, target, None, single(), single(count), -100, "mean", 0.1)


def image(shape, innermost):
    images, channels, *places = shape
    return half(images, *places, channels).transpose(0, 3, 1, 2) if innermost else half(*shape)


def groups(innermost, *shapes):
    """(op, arguments) of group_norm of eight channels a group, and of its gradients, also of one channel a group."""
    for shape in shapes:
        x, weight = image(shape, innermost), single(shape[1])
        yield GroupNorm, (x, weight, weight, over_groups(shape, shape[1] // 8), 1e-5)
        for count in (shape[1] // 8, shape[1]):
            statistics = single(shape[0] * count), single(shape[0] * count)
            yield GroupNormGradients, (x, x, weight, *statistics, over_groups(shape, count), 1e-5)


def images(innermost):
    """(op, arguments) of the last passes of batch_norm."""
    shape = (64, 64, 28, 28)
    x = image(shape, innermost)
    layout, channels = over_batch(shape), [single(64) for _ in range(5)]
    yield BatchNormInference, (x, *channels[:4], layout, 1e-5)
    yield BatchNormBackward, (x, x, *channels, layout, 1e-5)


CASES = {f"{count}x{columns}": rows(count, columns) for count, columns in ((4096, 768), (1, 4096), (512, 65536))}
CASES |= {"planes": images(False), "innermost": images(True)}
SIDES = (64, 64, 28, 28), (64, 64, 56, 56), (1, 64, 256, 256)  # whole groups, groups read again, groups in parts
CASES |= {"planes of groups": groups(False, *SIDES), "groups innermost": groups(True, *SIDES)}
DIVIDING = {"planes", "planes of groups", "groups innermost"}  # one number for each channel of a tile


@pytest.mark.parametrize("name", CASES)
def test_sixteen_bytes_at_a_time(name):
    for op, arguments in CASES[name]:
        with pretending(generation(90)), recording_launches(run=False) as launches:
            op().forward(*arguments)
        launch = launches[0]
        values, options = binder_of(launch.kernel)(*launch.args, **launch.keywords)
        compiled = compile_values(launch.kernel, values, options, 90)
        text, used, what = compiled.asm["ptx"], resources(compiled), f"{op.__name__} {name}"
        assert re.search(r"ld\.global\S*\.v4\.b32|cp\.async\.cg\.shared\.global", text), what
        narrow = re.findall(r"(?:ld|st)\.global\S*\.b16", text)
        assert len(narrow) <= 1, f"{what}: {len(narrow)} single elements"  # the loss picks one of each row
        assert not spilled(used.registers, used.spills, used.num_warps), what
        assert not re.search(r"(?:div|rem)\.[us]\d+", text) or name in DIVIDING, f"{what} divides integers"
