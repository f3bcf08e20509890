"""Elements combined by index: which, with which gradients, and what may not be written."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import close

import tritorch as torch

pytestmark = pytest.mark.parametrize("device", ["cpu", "interpreter"])

INDEX = [0, 2, 2, 0, 2]
SOURCE = [1.0, -2.0, 3.0, 4.0, 0.5]
START = [10.0, 20.0, 30.0]
# What is left of START, with it and without it, when SOURCE is combined at INDEX.
COMBINED = {
    "sum": ([15.0, 20.0, 31.5], [5.0, 20.0, 1.5]),
    "prod": ([40.0, 20.0, -90.0], [4.0, 20.0, -3.0]),
    "mean": ([5.0, 20.0, 7.875], [2.5, 20.0, 0.5]),
    "amax": ([10.0, 20.0, 30.0], [4.0, 20.0, 3.0]),
    "amin": ([1.0, 20.0, -2.0], [1.0, 20.0, -2.0]),
}


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("reduce", COMBINED)
def test_scatter_reduce_with_and_without_the_input(reduce, include_self, device):
    start, source = torch.tensor(START, device=device), torch.tensor(SOURCE, device=device)
    index = torch.tensor(INDEX, device=device)
    found = start.scatter_reduce(0, index, source, reduce, include_self=include_self)
    close(found, COMBINED[reduce][0 if include_self else 1])
    if reduce != "sum":
        rows = torch.stack([start, start]).index_reduce(
            1, index, torch.stack([source, source]), reduce, include_self=include_self
        )
        assert rows.tolist() == [found.tolist()] * 2


def test_integers_wrap_and_means_round_down(device):
    index = torch.tensor([0, 0], device=device)
    start = torch.tensor([100], dtype=torch.int8, device=device)
    source = torch.tensor([2, 3], dtype=torch.int8, device=device)
    assert start.scatter_reduce(0, index, source, "prod").tolist() == [600 - 512]
    start = torch.tensor([-8], device=device)
    assert start.scatter_reduce(0, index, source.long(), "mean").tolist() == [-1]
    lowest = start.scatter_reduce(0, index, torch.tensor([-9, -11], device=device), "amax", include_self=False)
    assert lowest.tolist() == [-9]


def test_equal_extremes_share_the_gradient(device):
    start = torch.tensor([3.0, 0.0], device=device, requires_grad=True)
    source = torch.tensor([3.0, 1.0, 3.0], device=device, requires_grad=True)
    start.scatter_reduce(0, torch.zeros(3, dtype=torch.int64, device=device), source, "amax")[0].backward()
    close(start.grad, [1 / 3, 0])
    close(source.grad, [1 / 3, 0, 1 / 3])


def test_gradient_of_a_product_is_exact_at_zeros(device):
    start = torch.tensor([2.0], device=device, requires_grad=True)
    index = torch.zeros(3, dtype=torch.int64, device=device)
    for factors, expected in (([0.0, 3, 5], [30, 0, 0]), ([0.0, 0, 5], [0, 0, 0])):
        source = torch.tensor(factors, device=device, requires_grad=True)
        start.scatter_reduce(0, index, source, "prod").backward(torch.ones(1, device=device))
        assert source.grad.tolist() == expected


def test_nan_wins(device):
    source = torch.tensor([1.0, float("nan"), 9.0], device=device)
    index = torch.zeros(3, dtype=torch.int64, device=device)
    for reduce in ("amax", "amin"):
        assert np.isnan(torch.zeros(1, device=device).scatter_reduce(0, index, source, reduce).item())


def test_a_source_larger_than_its_index_gets_a_gradient_where_it_is_taken(device):
    source = torch.ones(2, 3, device=device, requires_grad=True)
    index = torch.tensor([[0, 0]], device=device)
    torch.ones(1, 4, device=device).scatter_reduce(1, index, source, "prod").sum().backward()
    assert source.grad.tolist() == [[1, 1, 0], [0, 0, 0]]


def test_value_filled_at_repeated_indices_counts_once(device):
    value = torch.tensor(5.0, device=device, requires_grad=True)
    filled = torch.zeros(3, device=device).index_fill(0, torch.tensor([1, -1, 1], device=device), value)
    filled.sum().backward()
    assert filled.tolist() == [0, 5, 5]
    assert value.grad.item() == 2


def test_put_and_masked_scatter_go_through_all_elements(device):
    x = torch.zeros(3, 2, device=device).t()
    put = x.put(torch.tensor([1, -1, 1], device=device), torch.tensor([1.0, 2.0, 3.0], device=device), accumulate=True)
    assert put.tolist() == [[0, 4, 0], [0, 0, 2]]
    mask = torch.tensor([True, False, True], device=device)
    source = torch.arange(5.0, device=device).detach().requires_grad_()
    placed = x.masked_scatter(mask, source)
    placed.backward(torch.tensor([[1.0, 2, 3], [4, 5, 6]], device=device))
    assert placed.tolist() == [[0, 0, 1], [2, 0, 3]]
    assert source.grad.tolist() == [1, 3, 4, 6, 0]


def test_take_along_dim_and_nonzero_static(device):
    x = torch.tensor([[3, 1, 2], [0, 0, 5]], device=device)
    assert torch.take_along_dim(x, torch.tensor([[-1]], device=device), 1).tolist() == [[2], [5]]
    assert torch.nonzero_static(x[1], size=2).tolist() == [[2], [-1]]
    assert torch.nonzero_static(x, size=2, fill_value=7).tolist() == [[0, 0], [0, 1]]
    rows, columns = torch.unravel_index(torch.tensor([5, 0], device=device), (2, 3))
    assert (rows.tolist(), columns.tolist()) == ([1, 0], [2, 0])


SHARED = "some elements of the input tensor and the written-to tensor refer to a single memory location"
REPEATED = "more than one element of the written-to tensor refers to a single memory location"
ORDER = [0, 1, 2]
OVER_ITSELF = {
    "index_add_": lambda x, i: x.index_add_(0, i, x),
    "index_copy_": lambda x, i: x.index_copy_(0, i, x),
    "index_reduce_": lambda x, i: x.index_reduce_(0, i, x, "prod"),
    "index_put_": lambda x, i: x.index_put_((i,), x),
    "put_": lambda x, i: x.put_(i, x),
    "scatter_": lambda x, i: x.scatter_(0, i, x),
    "scatter_add_": lambda x, i: x.scatter_add_(0, i, x),
    "scatter_reduce_": lambda x, i: x.scatter_reduce_(0, i, x, "sum"),
    "gather out": lambda x, i: torch.gather(x, 0, i, out=x),
    "take out": lambda x, i: torch.take(x, i, out=x),
    "index_select out": lambda x, i: torch.index_select(x, 0, i, out=x),
    "masked_select out": lambda x, i: torch.masked_select(x, i > 0, out=x),
    "cat out": lambda x, i: torch.cat([x[:1], x[1:]], out=x),
}


@pytest.mark.parametrize("name", OVER_ITSELF)
def test_what_is_read_is_not_written(name, device):
    x, index = torch.tensor(START, device=device), torch.tensor(ORDER, device=device)
    with pytest.raises(RuntimeError, match=SHARED):
        OVER_ITSELF[name](x, index)
    assert x.tolist() == START
    assert x._version == 0


@pytest.mark.parametrize("name", [name for name in OVER_ITSELF if name.endswith("_")])
def test_expanded_memory_is_not_written(name, device):
    x, index = torch.zeros(1, device=device).expand(3), torch.tensor(ORDER, device=device)
    with pytest.raises(RuntimeError, match=REPEATED):
        OVER_ITSELF[name](x, index)
    assert x.tolist() == [0, 0, 0]


def test_out_has_the_dtype_of_the_result(device):
    x, index = torch.tensor(START, device=device), torch.tensor(ORDER, device=device)
    out = torch.zeros(3, dtype=torch.float64, device=device)
    with pytest.raises(RuntimeError, match="Expected out tensor to have dtype float, but got double instead"):
        torch.gather(x, 0, index, out=out)
    assert out.tolist() == [0, 0, 0]


def test_out_takes_no_part_in_gradients(device):
    x = torch.tensor(START, device=device, requires_grad=True)
    out = torch.zeros(3, device=device)
    for run in (lambda: torch.tril(x.reshape(1, 3), out=out), lambda: torch.add(x, 1, out=out)):
        with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
            run()
    with torch.no_grad():
        assert torch.add(x, 1, out=out).tolist() == [11, 21, 31]


def test_in_place_raises_the_version_and_keeps_the_history(device):
    a = torch.tensor(START, device=device, requires_grad=True)
    x = a * 1
    assert x.scatter_reduce_(0, torch.tensor([1], device=device), torch.ones(1, device=device), "amin") is x
    assert x._version == 1
    x.sum().backward()
    assert a.grad.tolist() == [1, 0, 1]


def test_one_place_of_expanded_memory_can_be_assigned(device):
    x = torch.zeros(1, device=device).expand(3)
    x[0] = 4.0
    assert x.tolist() == [4, 4, 4]
    for key in (slice(None), torch.tensor([0, 1], device=device)):
        with pytest.raises(RuntimeError, match=REPEATED):
            x[key] = 1.0
