"""Scans, sorting and what is built from them: PyTorch's rules for ties, NaN and dtypes, on both host devices."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch.autograd import gradcheck
from tritorch.ops.sort.order import Sort

NAN = float("nan")


@pytest.fixture(params=("cpu", "interpreter"), autouse=True)
def device(request):
    torch.set_default_device(request.param)
    return request.param


def same(found, expected):
    """Assert equal elements, NaN equal to NaN."""
    np.testing.assert_array_equal(found.detach().numpy(), expected)


# ---------------------------------------------------------------- scans


def test_running_sums_of_integers_are_int64():
    assert torch.tensor([200, 200], dtype=torch.uint8).cumsum(0).tolist() == [200, 400]
    assert torch.tensor([True, True]).cumsum(0).dtype is torch.int64
    assert torch.tensor([1.5, 2.0]).cumsum(0, dtype=torch.int32).tolist() == [1, 3]
    x = torch.tensor([1, 2, 3], dtype=torch.int32)
    assert x.cumsum_(0) is x and x.dtype is torch.int32 and x.tolist() == [1, 3, 6]
    with pytest.raises(NotImplementedError, match="\"cumsum_out_cpu\" not implemented for 'Bool'"):
        x.cumsum(0, dtype=torch.bool)


def test_gradient_of_running_products_at_zeros():
    x = torch.tensor([[2.0, 0.0, 3.0, 0.0, 5.0], [0.0, 1.0, 2.0, 3.0, 4.0]], dtype=torch.float64, requires_grad=True)
    x.cumprod(1).sum().backward()
    same(x.grad, [[1, 8, 0, 0, 0], [34, 0, 0, 0, 0]])
    assert gradcheck(lambda y: y.cumprod(1), (x.detach().requires_grad_(),))


def test_running_extremes_take_the_last_of_equal_ones_and_keep_nan():
    values, indices = torch.tensor([2.0, 2.0, 1.0, NAN, 3.0, NAN]).cummax(0)
    same(values, [2, 2, 2, NAN, NAN, NAN])
    assert indices.tolist() == [0, 1, 1, 3, 3, 5]
    assert torch.tensor([3, 3, 5, 1]).cummin(0).indices.tolist() == [0, 1, 1, 3]


def test_logcumsumexp_of_infinities():
    inf = math.inf
    same(torch.tensor([-inf, -inf, 0.0]).logcumsumexp(0), [-inf, -inf, 0])
    same(torch.tensor([inf, 0.0, -inf]).logcumsumexp(0), [inf, inf, inf])
    close(torch.tensor([1000.0, 1000.0]).logcumsumexp(0), [1000, 1000 + math.log(2)])


# ---------------------------------------------------------------- order


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_order_of_nan_zeros_and_infinities(dtype):
    x = torch.tensor([NAN, 1.0, -0.0, math.inf, 0.0, -math.inf, NAN], dtype=dtype)
    assert x.sort(stable=True).indices.tolist() == [5, 2, 4, 1, 3, 0, 6]
    assert x.sort(descending=True, stable=True).indices.tolist() == [0, 6, 3, 1, 2, 4, 5]


def test_extreme_integers():
    for dtype in (torch.int8, torch.int32, torch.int64):
        least = -(1 << (8 * dtype.itemsize - 1))
        x = torch.tensor([0, least, -1 - least, least, 1], dtype=dtype)
        assert x.argsort(stable=True).tolist() == [1, 3, 0, 4, 2]
        assert x.argsort(descending=True, stable=True).tolist() == [2, 4, 0, 1, 3]


@pytest.mark.parametrize("size", [63, 64, 65, 200, 513])
def test_long_rows_are_sorted_stably(size):
    x = np.random.default_rng(0).integers(0, 7, (3, size))
    order = np.argsort(x, 1, kind="stable")
    for dtype in (torch.int64, torch.float32):
        values, indices = torch.tensor(x, dtype=dtype).sort(1, stable=True)
        same(indices, order)
        same(values, np.sort(x, 1))
        same(torch.tensor(x, dtype=dtype).topk(9, 1, largest=False).indices, order[:, :9])


def test_results_have_names_and_may_be_given():
    x = torch.tensor([3.0, 1.0, 2.0])
    out = torch.empty(0), torch.empty(0, dtype=torch.int64)
    found = torch.sort(x, out=out)
    assert found.values is out[0] and out[0].tolist() == [1, 2, 3] and out[1].tolist() == [1, 2, 0]
    assert torch.tensor(3.0).topk(1).indices.shape == ()
    with pytest.raises(RuntimeError, match="selected index k out of range"):
        x.topk(4)


def test_median_and_nanmedian():
    x = torch.tensor([[4.0, 1.0, NAN, 2.0], [4.0, 1.0, 3.0, 2.0]], requires_grad=True)
    same(x.median(1).values, [NAN, 2])
    assert x.median(1).indices.tolist() == [2, 3]
    same(x.nanmedian(1).values, [2, 2])
    assert math.isnan(x.median().item()) and x.nanmedian().item() == 2
    x.nanmedian().backward()
    assert x.grad.tolist() == [[0, 0, 0, 0.5], [0, 0, 0, 0.5]]
    assert math.isnan(torch.ones(0).median().item())


def test_mode_is_the_smallest_of_the_most_frequent():
    assert [each.tolist() for each in torch.tensor([[3, 1, 3, 1, 2], [5, 4, 3, 2, 1]]).mode(1)] == [[1, 1], [3, 4]]


@pytest.mark.parametrize("how", ["linear", "lower", "higher", "midpoint", "nearest"])
def test_quantiles_as_numpy(how):
    x = np.random.default_rng(0).standard_normal((4, 9))
    shares = [0.0, 0.3, 0.55, 1.0]
    found = torch.tensor(x).quantile(torch.tensor(shares, dtype=torch.float64), dim=1, interpolation=how)
    close(found, np.quantile(x, shares, axis=1, method=how))
    x[1, 3] = NAN
    found = torch.tensor(x).nanquantile(0.4, dim=1, keepdim=True, interpolation=how)
    close(found, np.nanquantile(x, 0.4, axis=1, method=how, keepdims=True))
    assert math.isnan(torch.tensor(x).quantile(0.4).item())


# ---------------------------------------------------------------- sets, places and counts


def test_unique_elements_and_slices():
    x = torch.tensor([[2, 1, 2], [0, 5, 1], [2, 1, 2]])
    values, inverse, counts = x.unique(return_inverse=True, return_counts=True)
    assert values.tolist() == [0, 1, 2, 5] and counts.tolist() == [1, 3, 4, 1]
    same(values[inverse], x.numpy())
    rows, inverse, counts = x.unique(dim=0, return_inverse=True, return_counts=True)
    assert rows.tolist() == [[0, 5, 1], [2, 1, 2]] and inverse.tolist() == [1, 0, 1] and counts.tolist() == [1, 2]
    assert torch.tensor([1, 1, 2, 1]).unique_consecutive(return_counts=True)[1].tolist() == [2, 1, 1]


def test_places_in_sorted_sequences():
    edges = torch.tensor([1.0, 3.0, 3.0, 5.0])
    x = torch.tensor([0.0, 3.0, 9.0, NAN])
    assert torch.bucketize(x, edges).tolist() == [0, 1, 4, 4]
    assert torch.searchsorted(edges, x, side="right", out_int32=True).tolist() == [0, 3, 4, 4]
    assert torch.searchsorted(torch.tensor([5.0, 1.0, 3.0]), 4.0, sorter=torch.tensor([1, 2, 0])).item() == 2
    assert torch.isin(torch.tensor([1, 2, 3]), torch.tensor([3, 1])).tolist() == [True, False, True]


def test_counts():
    x = torch.tensor([1, 3, 1, 0])
    assert x.bincount(minlength=6).tolist() == [1, 2, 0, 1, 0, 0]
    assert x.bincount(torch.tensor([0.5, 1.0, 2.0, 4.0])).tolist() == [4, 2.5, 0, 1]
    assert torch.tensor([1.0, 2.0, 1.0, NAN, 4.0]).histc(4, 0, 4).tolist() == [0, 2, 1, 1]
    points = np.random.default_rng(0).random((50, 2))
    found = torch.histogramdd(torch.tensor(points), [3, 4], range=[0.0, 1.0, 0.0, 1.0], density=True)
    close(found.hist, np.histogramdd(points, (3, 4), [(0, 1), (0, 1)], density=True)[0])


def test_derivatives_of_samples_as_numpy():
    y, places = np.random.default_rng(0).standard_normal((6, 5)), np.array([0.0, 1.0, 1.5, 4.0, 5.0])
    for order in (1, 2):
        found = torch.gradient(torch.tensor(y), spacing=(torch.tensor(places),), dim=1, edge_order=order)[0]
        close(found, np.gradient(y, places, axis=1, edge_order=order))
    close(torch.trapezoid(torch.tensor(y), torch.tensor(places)), np.trapezoid(y, places))
    close(torch.cov(torch.tensor(y), fweights=torch.tensor([1, 2, 1, 3, 1])), np.cov(y, fweights=[1, 2, 1, 3, 1]))


@pytest.mark.parametrize("descending", (False, True))
@pytest.mark.parametrize("span", (1, 9, 1 << 20, 1 << 50))
def test_many_integers_keep_their_order(span, descending):
    numbers = np.random.default_rng(span).integers(-span // 2, span // 2 + 1, 20_000)
    for found, expected in zip(Sort.host(numbers, 0, descending), Sort.reference(numbers, 0, descending), strict=True):
        np.testing.assert_array_equal(found, expected)
