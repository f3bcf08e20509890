"""Reductions, softmax: PyTorch's rules for dimensions, dtypes, empty inputs, ties and NaN, on both host devices."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tolerances import close

import tritorch as torch

DEVICES = ("cpu", "interpreter")
NAN = float("nan")


@pytest.fixture(params=DEVICES, autouse=True)
def device(request):
    torch.set_default_device(request.param)
    return request.param


def counted(*shape, dtype=np.float32):
    return torch.tensor(np.arange(math.prod(shape), dtype=dtype).reshape(shape))


def test_dims_and_keepdim():
    x = counted(2, 3, 4)
    assert x.sum().item() == 276
    assert x.sum(-1).tolist() == [[6, 22, 38], [54, 70, 86]]
    assert x.sum((0, -1), keepdim=True).tolist() == [[[60], [92], [124]]]
    assert x.sum(axis=1).shape == (2, 4)
    assert x.sum(()).item() == 276
    assert x.transpose(0, 2).sum(0).tolist() == [[6, 54], [22, 70], [38, 86]]
    assert torch.tensor(3.0).sum(0).item() == 3
    with pytest.raises(IndexError, match=r"expected to be in range of \[-3, 2\], but got 3"):
        x.sum(3)
    with pytest.raises(RuntimeError, match="dim 0 appears multiple times in the list of dims"):
        x.sum((0, -3))
    with pytest.raises(TypeError, match=r"argument 'input' \(position 1\) must be Tensor, not list"):
        torch.sum([1.0])


@pytest.mark.parametrize("op", ["sum", "prod"])
def test_integers_become_int64(op):
    assert getattr(torch.tensor([200, 200], dtype=torch.uint8), op)().item() == (400 if op == "sum" else 40000)
    assert getattr(torch.tensor([True, True]), op)().dtype is torch.int64
    assert getattr(torch.tensor([1, 2]), op)(dtype=torch.float64).dtype is torch.float64


def test_mean_needs_floating_point():
    with pytest.raises(RuntimeError, match=r"either a floating point or complex dtype. Got: Long"):
        torch.tensor([1, 2]).mean()
    assert torch.tensor([1, 2]).mean(dtype=torch.float32).item() == 1.5


def test_half_types_accumulate_in_float32():
    assert torch.full((4096,), 1.0, dtype=torch.bfloat16).sum().item() == 4096
    assert torch.full((70000,), 1.0, dtype=torch.float16).mean().item() == 1
    x = torch.tensor([300.0, 400.0], dtype=torch.float16)
    assert x.norm().item() == 500
    assert x.var().item() == 5000


def test_empty():
    x = torch.zeros(0, 3)
    assert x.sum().item() == 0
    assert x.sum(0).tolist() == [0, 0, 0]
    assert x.prod(0).tolist() == [1, 1, 1]
    assert x.mean(0).isnan().all().item()
    assert x.sum(1).shape == (0,)
    assert x.amax(1).shape == (0,)
    assert x.max(1).values.shape == (0,)
    assert (x.any().item(), x.all().item()) == (False, True)
    for op in (torch.max, torch.amin):
        with pytest.raises(RuntimeError, match=r"Expected reduction dim to be specified for input.numel\(\) == 0."):
            op(x)
    for op in (torch.max, torch.amin, torch.argmax):
        with pytest.raises(IndexError, match=r"Expected reduction dim 0 to have non-zero size."):
            op(x, 0)


def test_extremes_with_ties_and_nan():
    x = torch.tensor([[1.0, NAN, 3.0, NAN], [2.0, 2.0, 1.0, 2.0]])
    values, indices = x.max(dim=1)
    assert math.isnan(values[0].item())
    assert values[1].item() == 2
    assert indices.tolist() == x.argmax(1).tolist() == [1, 0]
    assert x.min(1).indices.tolist() == [1, 2]
    assert math.isnan(x.amax().item())
    assert x.argmax().item() == 1
    assert torch.max(torch.tensor([1, 5]), torch.tensor([3, 2])).tolist() == [3, 5]
    assert type(x.max(1)).__name__ == "max"


@pytest.mark.parametrize("shape", [(3, 1030), (1, 2000), (2, 3)])
def test_indices_across_stages(shape):
    array = np.random.default_rng(0).integers(0, 1000, shape)
    for axis in (0, 1, None):
        assert torch.tensor(array).argmax(axis).tolist() == array.argmax(axis).tolist()
        assert torch.tensor(array).argmin(axis).tolist() == array.argmin(axis).tolist()


def test_gradients_of_extremes():
    x = torch.tensor([[1.0, 3.0, 3.0], [3.0, 0.0, 1.0]], requires_grad=True)
    x.max().backward()
    close(x.grad, [[0, 1 / 3, 1 / 3], [1 / 3, 0, 0]])
    x.grad = None
    x.max(1).values.sum().backward()
    close(x.grad, [[0, 1, 0], [1, 0, 0]])
    x.grad = None
    x.amax(1).sum().backward()
    close(x.grad, [[0, 0.5, 0.5], [1, 0, 0]])


@pytest.mark.parametrize(
    ("row", "expected"), [([2.0, 3.0, 4.0], [12, 8, 6]), ([0.0, 3.0, 4.0], [12, 0, 0]), ([0.0, 0.0, 4.0], [0, 0, 0])]
)
def test_gradient_of_prod_with_zeros(row, expected):
    x = torch.tensor(row, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(x.prod(), x, create_graph=True)
    close(first, expected)
    (second,) = torch.autograd.grad(first.sum(), x)
    a, b, c = row
    close(second, [b + c, a + c, a + b])


def test_gradients_of_sums():
    x = counted(2, 3, dtype=np.float64).requires_grad_()
    (x.mean(1) * torch.tensor([3.0, 6.0])).sum().backward()
    close(x.grad, [[1, 1, 1], [2, 2, 2]])
    x.grad = None
    x.sum_to_size(1, 3).square().sum().backward()
    close(x.grad, [[6, 10, 14], [6, 10, 14]])
    with pytest.raises(RuntimeError, match=r"size \{\[4\]\} is not expandable to size \{\[2, 3\]\}."):
        x.sum_to_size(4)


def test_variance():
    x = torch.tensor([[1.0, 2.0, 4.0], [1e4, 1e4 + 1, 1e4 + 2]], dtype=torch.float64)
    close(x.var(1), [7 / 3, 1])
    close(x.var(1, unbiased=False), [14 / 9, 2 / 3])
    close(x.std(1, correction=0, keepdim=True), [[math.sqrt(14 / 9)], [math.sqrt(2 / 3)]])
    found, mean = torch.var_mean(x, 1)
    close(mean, [7 / 3, 1e4 + 1])
    close(found, [7 / 3, 1])
    with pytest.warns(UserWarning, match="degrees of freedom is <= 0"):
        assert math.isnan(torch.ones(1).var().item())
    with pytest.raises(RuntimeError, match="std and var only support floating point and complex dtypes"):
        torch.tensor([1, 2]).std()


def test_norms():
    x = torch.tensor([[3.0, -4.0], [0.0, 0.0]], requires_grad=True)
    close(x.norm(dim=1), [5, 0])
    close(x.norm(1), 7)
    close(x.norm(float("inf")), 4)
    close(torch.norm(x, 3), (27 + 64) ** (1 / 3))
    x.norm(dim=1).sum().backward()
    close(x.grad, [[0.6, -0.8], [0, 0]])


def test_logsumexp_and_count():
    close(torch.logsumexp(torch.tensor([[1e3, 1e3], [-math.inf, 0.0]]), 1), [1e3 + math.log(2), 0])
    assert torch.count_nonzero(torch.tensor([[1, 0], [0, 0]]), 0).tolist() == [1, 0]


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_softmax(dim):
    array = np.random.default_rng(0).standard_normal((3, 4, 5))
    e = np.exp(array)
    expected = e / e.sum(dim, keepdims=True)
    x = torch.tensor(array)
    close(torch.softmax(x, dim), expected)
    close(x.log_softmax(dim), np.log(expected))
    close(torch.softmax(x.transpose(0, 2), 2 - dim % 3).transpose(0, 2), expected)


def test_softmax_of_long_rows_and_infinities():
    array = np.random.default_rng(0).standard_normal((2, 9000)).astype(np.float32)
    x = torch.tensor(array)
    close(x.softmax(1).sum(1), [1, 1])
    wide = array.astype(np.float64)
    close(x.log_softmax(1), wide - np.log(np.exp(wide).sum(1, keepdims=True)))
    found = torch.tensor([[-math.inf, 1e4], [-math.inf, -math.inf]]).softmax(1)
    assert found[0].tolist() == [0, 1]
    assert found[1].isnan().all().item()


def test_softmax_arguments():
    assert torch.softmax(torch.tensor([0, 0]), 0, dtype=torch.float64).tolist() == [0.5, 0.5]
    with pytest.raises(NotImplementedError, match="not implemented for 'Long'"):
        torch.softmax(torch.tensor([0, 0]), 0)
    with pytest.raises(IndexError, match="Dimension out of range"):
        torch.softmax(torch.zeros(2), 1)


@pytest.mark.parametrize("op", [torch.softmax, torch.log_softmax])
def test_second_derivatives_of_softmax(op):
    x = torch.tensor(np.random.default_rng(0).standard_normal((2, 3)), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: op(x, 1), (x,))

    def gradient(x):
        return torch.autograd.grad(op(x, 1).square().sum(), x, create_graph=True)[0]

    assert torch.autograd.gradcheck(gradient, (x,))


@pytest.mark.parametrize("dim", (None, 0, 1, (0, 1)))
@pytest.mark.parametrize("shape", ((1 << 9, 1 << 8), (1 << 8, 1 << 11), (301, 403)))
def test_sums_of_large_arrays(shape, dim):
    x = np.random.default_rng(0).uniform(0.5, 1.5, shape).astype(np.float32)
    found = torch.tensor(x, device="cpu").sum(dim, keepdim=dim is not None)
    np.testing.assert_allclose(found.numpy(), x.sum(dim, np.float64, keepdims=dim is not None), rtol=1e-6)
