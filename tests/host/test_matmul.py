"""Matrix products: shapes, vectors, integers, gradients, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import tolerance

import tritorch as torch
from tritorch.autograd import grad
from tritorch.autotune import DeviceInfo
from tritorch.ops.base import EXPORTS
from tritorch.ops.formula import tanh
from tritorch.ops.matrix.kernel import matmul_kernel
from tritorch.ops.matrix.launch import launch_matmul
from tritorch.ops.matrix.products import product
from tritorch.ops.matrix.tiles import matmul_default
from tritorch.runtime.language import triton_missing

linear = EXPORTS["nn.functional.linear"]
DEVICES = ["cpu"] if triton_missing() else ["cpu", "interpreter"]


def numbers(*shape, dtype=np.float64):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("first", "second"),
    [((3, 4), (4, 5)), ((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 5)), ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)),
     ((2, 1, 3, 4), (3, 4, 5)), ((2, 3, 4), (4,)), ((4,), (2, 4, 5)), ((300, 4), (4, 290))],
)  # fmt: skip
def test_product_of_any_dimensions(first, second, device):
    a, b = numbers(*first), numbers(*second)
    x, y = (torch.tensor(each, device=device, requires_grad=True) for each in (a, b))
    found = x @ y
    np.testing.assert_allclose(found.detach().numpy(), a @ b, *tolerance(np.float64))
    weight = numbers(*(found.shape or (1,))).reshape(found.shape)
    gradients = grad(found, [x, y], torch.tensor(weight, device=device))
    for tensor, gradient, position in ((x, gradients[0], 0), (y, gradients[1], 1)):
        direction = numbers(*tensor.shape)
        step = [a, b]
        step[position] = direction  # linear in each operand: the difference is the product with the direction
        expected = ((step[0] @ step[1]) * weight).sum()
        bounds = tolerance(np.float64, gradient=True)
        np.testing.assert_allclose((gradient.numpy() * direction).sum(), expected, *bounds)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_integers_are_exact(kind, device):
    random = np.random.default_rng(0)
    a, b = (random.integers(0, 200, shape).astype(kind) for shape in ((70, 80), (80, 90)))
    found = torch.tensor(a, device=device) @ torch.tensor(b, device=device)
    assert np.array_equal(found.numpy(), np.matmul(a, b))


def test_integers_too_large_for_float64_wrap_as_integers_do():
    a = np.full((70, 70), 2**40 + 1)
    assert np.array_equal(product(a, a), np.matmul(a, a))


def test_awkward_strides_are_read_right():
    a = numbers(4, 6, 8)
    for view in (a[:, ::2, ::2], a[::-1, :, ::-1], a.transpose(2, 0, 1), np.broadcast_to(a[:1, :1], a.shape)):
        other = numbers(view.shape[0], view.shape[2], 3)
        np.testing.assert_allclose(product(view, other), np.einsum("bij,bjk->bik", view, other), *tolerance(np.float64))


@pytest.mark.parametrize("device", DEVICES)
def test_linear_adds_its_bias(device):
    x, w, b = numbers(2, 3, 4), numbers(5, 4), numbers(5)
    found = linear(*(torch.tensor(each, device=device) for each in (x, w, b)))
    np.testing.assert_allclose(found.numpy(), x @ w.T + b, *tolerance(np.float64))


@pytest.mark.skipif(len(DEVICES) < 2, reason="needs Triton")
def test_kernel_ends_with_bias_and_activation():
    a, b, bias = numbers(33, 20), numbers(20, 17), numbers(17)

    found = launch_matmul(a, b, (33, 17), bias, tanh)
    np.testing.assert_allclose(found, np.tanh(a @ b + bias), *tolerance(np.float64))


def test_addmm_ignores_its_input_when_beta_is_zero():
    x = torch.full((2, 2), float("nan"))
    assert torch.addmm(x, torch.ones(2, 3), torch.ones(3, 2), beta=0, alpha=2).tolist() == [[6.0, 6.0], [6.0, 6.0]]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: torch.ones(2, 3) @ torch.ones(4, 5), "mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
        (lambda: torch.ones(2, 2, 3) @ torch.ones(4, 5), "mat1 and mat2 shapes cannot be multiplied (4x3 and 4x5)"),
        (lambda: torch.ones(2, 2, 3) @ torch.ones(2, 4, 5), "[2, 3] but got: [2, 4]."),
        (lambda: torch.ones(2, 3) @ torch.ones(3, 2).double(), "same dtype, but got: float != double"),
        (lambda: torch.mm(torch.ones(3), torch.ones(3, 2)), "self must be a matrix"),
        (lambda: torch.mm(torch.ones(2, 3), torch.ones(3)), "mat2 must be a matrix"),
        (lambda: torch.bmm(torch.ones(2, 3), torch.ones(2, 3, 2)), "batch1 must be a 3D tensor"),
        (lambda: torch.mv(torch.ones(3), torch.ones(2)), "vector + matrix @ vector expected, got 1, 1, 1"),
        (lambda: torch.dot(torch.ones(2, 2), torch.ones(3)), "1D tensors expected, but got 2D and 1D tensors"),
        (lambda: torch.addmm(torch.ones(4), torch.ones(3), torch.ones(3, 4)), "mat1 must be a matrix, got 1-D tensor"),
    ],
)
def test_what_does_not_fit_is_refused(call, text):
    with pytest.raises(RuntimeError) as caught:
        call()
    assert text in str(caught.value)


def test_precision_is_set_by_pytorch_words():
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        assert torch.get_float32_matmul_precision() == "high"
        with pytest.raises(RuntimeError, match="low is not one of"):
            torch.set_float32_matmul_precision("low")
    finally:
        torch.set_float32_matmul_precision(before)


def test_default_configs_lie_in_the_space_and_fit():

    device = DeviceInfo("cuda", sms=132, shared_memory=227 * 1024, capability=90)
    for rows in (1, 64, 4096):
        for columns in (1, 100, 8192):
            for inner in (1, 70, 8192):
                for itemsize, cores in ((2, True), (4, False)):
                    config = matmul_default(device, rows=rows, columns=columns, inner=inner, itemsize=itemsize,
                                            tensor_cores=cores)  # fmt: skip
                    assert all(value in matmul_kernel.space.knobs[name] for name, value in config.items()), config
                    side, depth = config["BLOCK_M"] + config["BLOCK_N"], config["BLOCK_K"] * config["num_stages"]
                    assert side * depth * itemsize <= device.shared_memory
                    assert config["BLOCK_M"] * config["BLOCK_N"] <= 32768
