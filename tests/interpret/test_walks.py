"""Interpret tier: pointwise kernels and copies in every walk over memory, by configs of GPUs too."""

from __future__ import annotations

import numpy as np
import pytest

from tritorch.autotune import generation
from tritorch.autotune.tunable import pretending
from tritorch.ops.base import TABLE
from tritorch.ops.pointwise.cast import _copy, _copy_tiles, copy_elements
from tritorch.ops.pointwise.kernel import pointwise_kernel, pointwise_tiles
from tritorch.ops.pointwise.walks import walk_of
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.kernel import recording_launches
from tritorch.runtime.language import triton_missing
from tritorch.validation import call_on

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

H200 = generation(90)


def drawn(*shape, dtype=np.float32):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def turned(*shape):
    return drawn(*shape[::-1]).T


def apart(*shape):
    return drawn(*(2 * size for size in shape))[tuple(slice(size, None) for size in shape)]


# Two operands, and the walk that they are read in with what it is compiled by.
CASES = {
    "flat": (drawn(6, 64), drawn(6, 64), pointwise_kernel, {"RANK": 0, "ODD": False}),
    "odd": (drawn(1025), drawn(1025), pointwise_kernel, {"RANK": 0, "ODD": True}),
    "one for all": (drawn(7, 33), drawn(1, 1), pointwise_kernel, {"RANK": 0, "SINGLE": 4}),
    "few columns": (drawn(70, 3), drawn(3), pointwise_kernel, {"RANK": 2, "FLAT": 3}),
    "stepped": (drawn(500)[::2], drawn(250), pointwise_kernel, {"RANK": 1, "FLAT": 5}),
    "bias": (drawn(70, 96), drawn(96), pointwise_tiles, {"STILL_ROWS": 4, "STILL_COLUMNS": 0}),
    "a column": (drawn(70, 96), drawn(70, 1), pointwise_tiles, {"STILL_ROWS": 0, "STILL_COLUMNS": 4}),
    "channels": (drawn(3, 5, 7, 7), drawn(5, 1, 1), pointwise_tiles, {"RANK": 3, "STILL_COLUMNS": 4}),
    "of each image": (
        drawn(3, 5, 98)[..., :49],
        drawn(3, 1, 1),
        pointwise_tiles,
        {"STILL_ROWS": 4, "STILL_COLUMNS": 4},
    ),
    "a plane": (drawn(3, 5, 49), drawn(1, 5, 49), pointwise_tiles, {"RANK": 2, "STILL_ROWS": 4}),
    "transposed": (drawn(70, 45), turned(70, 45), pointwise_tiles, {"RANK": 2, "STILL_ROWS": 0}),
    "turned thrice": (drawn(4, 20, 3, 33), drawn(4, 33, 3, 20).transpose(0, 3, 2, 1), pointwise_tiles, {"RANK": 4}),
    "part": (apart(20, 40), drawn(20, 40), pointwise_tiles, {"RANK": 2}),
    "backwards": (drawn(20, 40)[:, ::-1], drawn(20, 40), pointwise_tiles, {"RANK": 2}),
}


def launches_of(op, *args):
    with recording_launches() as launches:
        found = call_on(TABLE[op], args, INTERPRETER)
    return np.asarray(found), launches


@pytest.mark.parametrize("gpu", [False, True], ids=["interpreter", "as on a GPU"])
@pytest.mark.parametrize("name", CASES)
def test_each_walk_gives_the_sum(name, gpu):
    x, y, kernel, facts = CASES[name]
    if gpu:
        with pretending(H200):
            found, launches = launches_of("add", x, y)
    else:
        found, launches = launches_of("add", x, y)
    (launch,) = launches
    assert launch.kernel is kernel
    assert {fact: launch.keywords[fact] for fact in facts} == facts
    np.testing.assert_array_equal(found, x + y)


@pytest.mark.parametrize("gpu", [False, True], ids=["interpreter", "as on a GPU"])
@pytest.mark.parametrize("name", CASES)
def test_each_walk_copies_and_writes_nothing_else(name, gpu):
    source = np.broadcast_to(CASES[name][1], CASES[name][0].shape)
    whole = np.full([size + 2 for size in source.shape], 7, np.float64)
    inner = whole[(slice(1, -1),) * source.ndim]
    with recording_launches() as launches:
        if gpu:
            with pretending(H200):
                copy_elements(source, inner)
        else:
            copy_elements(source, inner)
    assert [each.kernel for each in launches] == [_copy_tiles if source.shape[-1] >= 32 and source.ndim > 1 else _copy]
    np.testing.assert_array_equal(inner, source)
    inner[...] = 7
    assert (whole == 7).all()


def test_an_operand_that_is_transposed_is_contiguous_along_rows():
    walk = walk_of((8, 64, 128), [(8192, 128, 1), (8192, 1, 64), (0, 0, 1)])
    assert walk.crossed
    assert (walk.outer, walk.rows, walk.columns) == ((8,), 64, 128)
    walk = walk_of((64, 8, 128), [(1024, 128, 1), (1, 64, 512)])
    assert (walk.outer, walk.rows, walk.columns) == ((8,), 64, 128)
    assert walk.strides == [(128, 1024, 1), (64, 1, 512)]
    assert walk.sizes == {"outer": 8, "rows": 64, "columns": 128, "crossed": True}


def test_tiles_far_apart_are_found_by_64_bits_and_wide_ones_counted_so():
    near = walk_of((4, 8, 64), [(512, 64, 1), (2**40, 64, 1)])
    assert not near.facts["WIDE"]
    assert walk_of((8, 64), [(64, 1), (2**30, 1)]).facts["WIDE"]
