"""Interpret tier: reductions by states, in rows, columns and parts, as GPUs are asked to run them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tritorch.autotune import generation
from tritorch.autotune.tunable import noting_configs, pretending, using
from tritorch.ops.base import TABLE
from tritorch.ops.reduction.states import join_kernel, state_kernel
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.kernel import recording_launches
from tritorch.runtime.language import triton_missing
from tritorch.validation import call_on

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

OPS = {"var_mean": (37.0,), "log_sum_exp": ()}


def values(*shape):
    return (np.random.default_rng(5).standard_normal(shape) + 100).astype(np.float32)


def expected(op, x, dim):
    wide = x.astype(np.float64)
    if op == "var_mean":
        mean = wide.mean(dim, keepdims=True)
        return ((wide - mean) ** 2).sum(dim) / 37, mean.reshape(wide.mean(dim).shape)
    return (np.log(np.exp(wide - 100).sum(dim)) + 100,)


def run(op, x, dim):
    found = call_on(TABLE[op], (x, dim, False, *OPS[op]), INTERPRETER)
    return found if isinstance(found, tuple) else (found,)


def check(op, x, dim):
    for mine, true in zip(run(op, x, dim), expected(op, x, dim), strict=True):
        np.testing.assert_allclose(mine, true, rtol=2e-5)


@pytest.mark.parametrize("splits", [1, 2, 8])
@pytest.mark.parametrize(
    "shape, dim", [((5, 700), 1), ((700, 5), 0), ((3, 50, 6), 1), ((3, 50, 6), (0, 2)), ((901,), None)]
)
@pytest.mark.parametrize("op", OPS)
def test_rows_columns_and_parts_give_the_same(op, shape, dim, splits):
    x = values(*shape)
    with noting_configs() as asked:
        run(op, x, dim)
    first = next(each for each in asked if each.kernel is state_kernel)
    config = {"ROWS": 4, "COLUMNS": 32, "SPLITS": splits, "num_warps": 4}
    with using(state_kernel, first.key, config), recording_launches() as launches:
        check(op, x, dim)
    kernels = [each.kernel for each in launches]
    assert kernels == ([state_kernel, join_kernel] if splits > 1 else [state_kernel])


@pytest.mark.parametrize("op", OPS)
def test_as_on_a_gpu(op):
    with pretending(generation(90)), recording_launches() as launches:
        check(op, values(2, 70000), 1)
    assert [each.kernel for each in launches] == [state_kernel, join_kernel]


@pytest.mark.parametrize(
    "row", [[math.inf, 1], [-math.inf, -math.inf], [math.inf, -math.inf], [math.nan, 1], [-math.inf, 3]]
)
def test_exponentials_of_what_is_not_finite(row):
    x = np.array([row + [0.5] * (2 * (row[0] != row[1]))], np.float32)
    (found,) = run("log_sum_exp", x, 1)
    with np.errstate(all="ignore"):
        true = TABLE["log_sum_exp"].reference(x.astype(np.float64), 1, False)
    np.testing.assert_allclose(found, true, rtol=1e-6)


def test_the_mean_may_be_far_from_zero():
    x = (values(3, 5000) - 100) * 1e-2 + np.float32(1e4)
    variance, _ = run("var_mean", x, 1)
    np.testing.assert_allclose(variance, expected("var_mean", x, 1)[0], rtol=1e-3)
