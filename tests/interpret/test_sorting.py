"""Rows sorted by their digits: every dtype, in order whatever is not a number, by every way of counting."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tritorch.autotune import generation
from tritorch.autotune.tunable import noting_configs, using
from tritorch.ops.base import TABLE
from tritorch.ops.sort import radix
from tritorch.ops.sort.kernel import SORT_SPACE, sort_blocks, sort_default
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

FLOATS = (np.float32, np.float16, ml_dtypes.bfloat16, np.float64)
INTEGERS = (np.bool_, np.int8, np.uint8, np.int16, np.int32, np.int64)


def numbers(dtype, *shape):
    """Elements of which many are equal, with zeros of both signs and what is not a number."""
    draw = np.random.default_rng(7)
    if np.dtype(dtype).kind in "biu":
        return draw.integers(-(2**40), 2**40, shape).astype(dtype)
    x = draw.standard_normal(shape).round(1).astype(dtype)
    x[..., :6] = np.array([-0.0, np.nan, 0.0, np.inf, -np.inf, np.nan], dtype)
    return x


def held_against_numpy(x, dim, descending, values, places):
    """Whether values and places are those of the stable order; `x` widened, since NumPy knows no order of bfloat16."""
    wide = x.astype(np.float32) if x.dtype == ml_dtypes.bfloat16 else x
    expected = TABLE["sort"].reference(wide, dim, descending)[1]
    np.testing.assert_array_equal(places, expected)
    taken = np.ascontiguousarray(np.take_along_axis(x, expected, dim))
    np.testing.assert_array_equal(np.ascontiguousarray(values).view(np.uint8), taken.view(np.uint8))


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", FLOATS + INTEGERS)
def test_every_dtype(dtype, descending):
    x = numbers(dtype, 300)
    held_against_numpy(x, 0, descending, *TABLE["sort"]().forward(x, 0, descending))


@pytest.mark.parametrize("few", [0, 1 << 14])  # elements up to which each program counts the whole row
@pytest.mark.parametrize(("shape", "dim"), [((2, 600), 1), ((300, 2), 0)])
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_every_way_of_counting(monkeypatch, dtype, few, shape, dim):
    """Rows and columns of several spans of several tiles."""
    monkeypatch.setattr(radix, "_FEW", few)
    x = np.ascontiguousarray(numbers(dtype, *shape[::-1]).T) if dim == 0 else numbers(dtype, *shape)
    with noting_configs() as asked:
        TABLE["sort"]().forward(x, dim, True)
    answers = {
        one.key: {"BLOCK": 128, "TILES": 2, "num_warps": 4} for one in asked if one.kernel is radix.move_by_digit
    }
    assert answers
    held_against_numpy(x, dim, True, *_with(answers, lambda: TABLE["sort"]().forward(x, dim, True)))


def _with(answers, call):
    """What `call` gives with these configs of the kernel that moves."""
    if not answers:
        return call()
    (key, config), *rest = answers.items()
    with using(radix.move_by_digit, key, config):
        return _with(dict(rest), call)


def test_only_the_first_are_written():
    x = numbers(np.float32, 2, 300)
    values, places = TABLE["topk"]().forward(x, 1, 100, False)
    assert values.shape == places.shape == (2, 100)
    held_against_numpy(x, 1, False, *TABLE["sort"]().forward(x, 1, False))
    np.testing.assert_array_equal(places, TABLE["sort"].reference(x, 1, False)[1][:, :100])


@pytest.mark.parametrize("bound", [1, 7, 300, 1 << 20, 1 << 33])
def test_what_is_known_to_be_small(bound):
    """Fewer digits."""
    x = np.random.default_rng(3).integers(0, bound, 500)
    values, places = np.zeros(500, np.int64), np.zeros(500, np.int32)
    radix.radix_sort(x, values, places, 1, 500, 500, False, False, ((), (), 1, 1), bound)
    np.testing.assert_array_equal(places, np.argsort(x, kind="stable"))
    np.testing.assert_array_equal(values, np.sort(x))


def test_long_rows_that_are_wanted_whole_ask_for_no_blocks():
    """A config that nothing is launched with would be tuned for nothing."""
    with noting_configs() as asked:
        TABLE["topk"]().forward(numbers(np.float32, 1, 1100), 1, 257, False)
    assert asked and not any(each.kernel is sort_blocks for each in asked)
    with noting_configs() as asked:
        TABLE["topk"]().forward(numbers(np.float32, 1, 1100), 1, 20, False)
    assert any(each.kernel is sort_blocks for each in asked)


@pytest.mark.parametrize(("columns", "keep"), [(7, 7), (600, 600), (1024, 1024), (1025, 256), (4096, 8), (50000, 129)])
def test_every_config_of_blocks_gets_on(columns, keep):
    """To a block that is a row, or by half of each."""
    device = generation("sm_90")
    known = {"rows": 64, "columns": columns, "keep": keep}
    configs = list(SORT_SPACE.configs(**known, PAIRS=False, RANK=1, WIDE=False, device=device))
    assert sort_default(device, **known) in configs
    assert all(columns <= each["COLUMNS"] or 2 * keep <= each["COLUMNS"] for each in configs)
