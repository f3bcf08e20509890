"""Launches over many tensors: what tables say of where they lie, and how their kernels load it."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tritorch.autotune import generation
from tritorch.autotune.tunable import pretending
from tritorch.ops.base import TABLE
from tritorch.runtime.binding import binder_of
from tritorch.runtime.compile import compile_values
from tritorch.runtime.kernel import recording_launches
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

ADAM = (0.1, 0.9, 0.99, 1e-8, 0.1, True, False, False, 3)
MIXED = (*ADAM, True, 0, None)
ONE = np.asarray(1.0, np.float32)
CALLS = {
    "adam_step": (ADAM, 4), "clip_by_norm": ((1.0, 2.0), 1), "clip_to_norm": ((0.5, ONE), 1), "total_norm": ((2.0,), 1),
    "unscale": ((np.asarray(2.0, np.float32), np.zeros(1, np.float32)), 1),
}  # fmt: skip


def placed(count, lists, offset=0, dtype=np.float32):
    """Arrays of numbers, `offset` elements past an address that is a multiple of 16."""
    random, size = np.random.default_rng(0), np.dtype(dtype).itemsize
    for _ in range(lists):
        memory = np.zeros(count * size + 64, np.uint8)
        start = -memory.ctypes.data % 16 + offset * size
        array = memory[start : start + count * size].view(dtype)
        array[...] = np.abs(random.standard_normal(count))
        yield array


def launches_of(name, *args):
    with recording_launches(run=False) as launches:
        TABLE[name]().forward(*args)
    return launches


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("name", CALLS)
def test_arrays_anywhere_are_right(name, offset):
    """Two tensors for each list, one whole block and one with a part of a block at the end."""
    options, lists = CALLS[name]
    arrays = [each for _ in range(lists) for count in (1024, 2051) for each in placed(count, 1, offset)]
    before = [each.copy() for each in arrays]
    launches = launches_of(name, *options, *arrays)
    aligned = [launch.keywords["ALIGNED"] for launch in launches if "ALIGNED" in launch.keywords]
    assert aligned and all(each is (offset == 0) for each in aligned)
    expected = TABLE[name].reference(*options, *before)
    found = TABLE[name]().forward(*options, *arrays)
    expected, found = (each if isinstance(each, tuple) else (each,) for each in (expected, found))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_any_number_of_tensors_is_one_launch_of_one_kernel():
    kernels = set()
    for count in (1, 3, 500):
        (launch,) = launches_of("adam_step", *ADAM, *[np.ones(7, np.float32) for _ in range(4 * count)])
        constants = {key: value for key, value in launch.keywords.items() if key != "BLOCK"}
        kernels.add((launch.kernel, *map(str, constants.items())))
        assert launch.grid == (count,)
    assert len(kernels) == 1


@pytest.mark.parametrize(("dtype", "elements"), [(np.float32, 8), (np.float64, 8)])
@pytest.mark.parametrize("capability", [80, 90, 100])
def test_whole_blocks_are_loaded_by_vectors(capability, dtype, elements):
    """All that a thread has of a list, in loads and stores of 16 bytes."""
    with pretending(generation(capability)):
        (launch,) = launches_of("adam_step", *ADAM, *placed(1 << 14, 4, dtype=dtype))
    values, options = binder_of(launch.kernel)(*launch.args, **launch.keywords)
    text = compile_values(launch.kernel, values, options, capability).asm["ptx"]
    size = np.dtype(dtype).itemsize
    vectors = r"global\.(v4\.b32|v2\.b64)"
    assert len(re.findall(rf"ld\.{vectors}", text)) == 4 * elements * size // 16
    assert len(re.findall(rf"st\.{vectors}", text)) == 3 * elements * size // 16


def test_a_parameter_is_written_beside_its_master_by_one_launch():
    half = [np.ones(1 << 14, np.float16) for _ in range(2)]
    with pretending(generation(90)):
        (launch,) = launches_of("mixed_adam_step", *MIXED, *half, *placed(1 << 14, 3))
    assert launch.keywords["MASTER"] and [str(each) for each in launch.keywords["TYPES"]] == [
        "fp16", "fp16", "fp32", "fp32", "fp32",
    ]  # fmt: skip
