"""Forms that the CPU takes for large arrays only, against references in float64: sizes that no sample reaches."""

from __future__ import annotations

import numpy as np
import pytest

from tritorch.ops import parallel
from tritorch.ops.base import TABLE
from tritorch.ops.normalization.layout import over_batch, over_groups, over_last
from tritorch.runtime.quiet import restore, silence


@pytest.fixture(autouse=True)
def helpers(monkeypatch):
    """Two threads that help, however many cores there are; NumPy says nothing, as when an op is applied."""
    monkeypatch.setattr(parallel, "_helpers", parallel._Helpers(2))
    before = silence()
    yield
    restore(before)


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# ---------------------------------------------------------------- running sums

CUMSUM = TABLE["cumsum"]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shape", [(3, 4096), (130, 67), (2, 1 << 18), ((1 << 19) + 5,), (5, 3, 1000)], ids=str)
def test_running_sums_by_blas(shape, reverse):
    x, dim = drawn(*shape), len(shape) - 1
    found, expected = (CUMSUM.host(x, dim, None, reverse), CUMSUM.reference(x.astype(float), dim, None, reverse))
    assert found.dtype == np.float32 and found.flags.c_contiguous
    assert np.abs(found - expected).max() <= 4e-7 * np.abs(expected).max()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
@pytest.mark.parametrize("shape", [(64, 1024), (1 << 19,)], ids=str)
def test_running_sums_before_what_is_not_finite_stay_finite(shape, value):
    x = drawn(*shape)
    x[..., 500:502], x[..., 502] = value, -value
    found = CUMSUM.host(x, x.ndim - 1)
    expected = CUMSUM.reference(x.astype(float), x.ndim - 1).astype(np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


# ---------------------------------------------------------------- normalisations


def near(found, expected, scale=1e-5):
    """Assert that float32 results are as near to those in float64 as sums of so many allow."""
    for own, true in zip(found, expected, strict=True):
        assert own.shape == true.shape
        assert np.abs(own - true).max() <= scale * max(np.abs(true).max(), 1)


def wide(args):
    return [each.astype(float) if isinstance(each, np.ndarray) else each for each in args]


@pytest.mark.parametrize("mean", [0.5, 30])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("shape", [(1024, 128), (683, 768), (3, 150000)], ids=str)
@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_norm_of_rows_and_its_gradients(name, shape, weighted, mean):
    x, layout = drawn(*shape) + np.float32(mean), over_last(shape, 1)
    weight, bias = (drawn(shape[1], seed=k) if weighted else None for k in (1, 2))
    norm = TABLE[name]
    bias = bias if norm.centred else None
    args = x, weight, bias, layout, 1e-5
    found = norm.host(*args)
    near(found, norm.reference(*wide(args)))
    statistics = (None, *found[1:])[-2:]
    args = drawn(*shape, seed=3), None, x, weight, *statistics, layout, 1e-5, True
    near(norm.gradients.host(*args), norm.gradients.reference(*wide(args)), 3e-5)
    args = (args[0], *args[2:-1])
    near([norm.slope.host(*args)], [norm.slope.reference(*wide(args))], 3e-5)


@pytest.mark.parametrize("mean", [0.5, 30])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("groups", [None, 4])
def test_norm_of_channels_and_its_gradients(groups, last, mean):
    x, grad = (drawn(6, 16, 64, 80, seed=k) + np.float32(k * mean) for k in range(2, 0, -1))
    grad -= np.float32(mean)
    if last:
        x, grad = (np.ascontiguousarray(each.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for each in (x, grad))
    layout = over_groups(x.shape, groups) if groups else over_batch(x.shape)
    norm = TABLE["group_norm" if groups else "batch_norm"]
    args = x, drawn(16, seed=3), drawn(16, seed=4), layout, 1e-5
    found = norm.host(*args)
    near(found, norm.reference(*wide(args)), 3e-5)
    args = grad, x, *found[1:], layout, 1e-5
    sums = TABLE["channel_sums"].host(*args)
    near(sums, TABLE["channel_sums"].reference(*wide(args)), 1e-4)
    args = grad, x, drawn(16, seed=3), *found[1:], *([] if groups else sums), layout, 1e-5
    near([norm.slope.host(*args)], [norm.slope.reference(*wide(args))], 3e-5)


@pytest.mark.parametrize("dim", [(2, 3), None, 3])
def test_sums_of_many_rows(dim):
    x = drawn(64, 64, 32, 32)
    for name in ("sum", "mean"):
        near([TABLE[name].host(x, dim)], [TABLE[name].reference(x.astype(float), dim)])


# ---------------------------------------------------------------- running extremes


@pytest.mark.parametrize("name", ["cummax", "cummin"])
@pytest.mark.parametrize("kind", ["normal", "few values", "ascending", "with nan", "nan first", "bool"])
@pytest.mark.parametrize("shape", [(3, 4096), (1 << 15,), (2, 3, 1040), (5, 1030)], ids=str)
def test_running_extremes_of_long_rows(name, kind, shape):
    x = drawn(*shape)
    if kind == "few values":
        x = (x * 2).astype(np.int32)
    elif kind == "ascending":
        x = np.sort(x, -1)
    elif kind == "with nan":
        x[..., 700], x[..., 1000:1003] = np.nan, np.nan
    elif kind == "nan first":
        x[..., 0] = np.nan
    elif kind == "bool":
        x = np.abs(x) > 3
    found, expected = (run(x, x.ndim - 1) for run in (TABLE[name].host, TABLE[name].reference))
    for own, true in zip(found, expected, strict=True):
        assert own.dtype == true.dtype
        np.testing.assert_array_equal(own, true)
