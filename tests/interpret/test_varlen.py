"""Interpret tier: attention over packed sequences, with tiles of every size, and starts that point anywhere."""

from __future__ import annotations

import numpy as np
import pytest

from tritorch.autotune.tunable import by_formula, set_answer
from tritorch.ops.attention import varlen_backward_kernels, varlen_kernels
from tritorch.ops.base import TABLE
from tritorch.ops.draw import Draw
from tritorch.runtime.device import INTERPRETER
from tritorch.validation import check_forward

OPS = [TABLE[name] for name in ("varlen_attention", "varlen_attention_backward", "cached_attention")]
KERNELS = (
    varlen_kernels.varlen_kernel,
    varlen_backward_kernels.varlen_query_gradient_kernel,
    varlen_backward_kernels.varlen_key_gradient_kernel,
)


@pytest.fixture
def answered():
    """Lets the kernels take what a test says of their config; what it says is the formula's for the rest."""
    before = set_answer(None)

    def say(**knobs):
        set_answer(lambda *asked: by_formula(*asked) | (knobs if asked[0] in KERNELS else {}))

    yield say
    set_answer(before)


def draw():
    return Draw(np.dtype(np.float32), 3)


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.op_name)
@pytest.mark.parametrize(
    "knobs",
    [{"ROWS": 16, "COLUMNS": 16}, {"ROWS": 16, "COLUMNS": 128}, {"ROWS": 128, "COLUMNS": 32}, {"DEPTH": 16}],
    ids=str,
)
def test_tiles_of_any_size(op, knobs, answered):
    answered(**knobs)
    for number, sample in enumerate(op.samples(draw())):
        finding = check_forward(op, sample, number, INTERPRETER, np.dtype(np.float32))
        assert finding.ok, str(finding)


def inside(array):
    """An array in the middle of NaN, which any number that is read outside would bring into the results."""
    whole = np.full((3, *array.shape), np.nan, array.dtype)
    whole[1] = array
    return whole[1]


@pytest.mark.parametrize("starts", [(0, 99, 3, 6), (-9, 2, 4, 1 << 30), (5, 1, 6, 6), (6, 6, 6, 6)])
def test_starts_that_point_anywhere_read_nothing_outside(starts):
    make = draw()
    query, key, value = (inside(make(6, 2, 8)) for _ in range(3))
    cu = np.array(starts, np.int32)
    output, log_sum = OPS[0]().forward(query, key, value, cu, cu, 6, 6, -1, 0, 0.3)
    assert np.isfinite(output).all() and not np.isnan(log_sum).any()
    gradients = OPS[1]().forward(output, None, query, key, value, cu, cu, output, log_sum, 6, 6, -1, 0, 0.3)
    assert all(np.isfinite(each).all() for each in gradients)


def test_pages_that_do_not_exist_read_nothing_outside():
    make = draw()
    query, pool = inside(make(2, 2, 8)), inside(make(3, 4, 2, 8))
    used, table = np.array([7, 1 << 20], np.int32), np.array([[1, 1 << 20], [-7, 2]], np.int32)
    starts = np.array([0, 1, 2], np.int32)
    output, _ = OPS[2]().forward(query, pool, pool, starts, None, 1, 8, -1, -1, 0.3, used, table)
    assert np.isfinite(output).all()


def test_gradients_are_the_same_every_time():
    sample = list(OPS[1].samples(draw()))[1]
    first, second = (OPS[1]().forward(*sample) for _ in range(2))
    assert all((ours == again).all() for ours, again in zip(first, second, strict=True))
