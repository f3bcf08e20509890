"""torch.autograd.functional: values by formulas, forms of results, strict mode; batches of gradients."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import close

import tritorch
from tritorch.autograd.functional import hessian, hvp, jacobian, jvp, vhp, vjp
from tritorch.autograd.gradcheck import GradcheckError


def _of(*shape, seed=0):
    return tritorch.tensor(np.random.default_rng(seed).standard_normal(shape))


def _product(x, y):
    return (x * y).sin()


@pytest.mark.parametrize("more", [{}, {"vectorize": True}, {"vectorize": True, "strategy": "forward-mode"}])
def test_jacobians(more):
    x, y = _of(3), _of(3, seed=1)
    slope = np.cos(x.numpy() * y.numpy())
    by_x, by_y = jacobian(_product, (x, y), **more)
    close(by_x, np.diag(slope * y.numpy()), gradient=True)
    close(by_y, np.diag(slope * x.numpy()), gradient=True)
    total, double = jacobian(lambda x: (x.sum(), x * 2), x, **more)
    close(total, np.ones(3))
    close(double, 2 * np.eye(3))
    close(jacobian(lambda x: tritorch.ones(2), x, **more), np.zeros((2, 3)))


@pytest.mark.parametrize("vectorize", [False, True])
def test_a_jacobian_that_is_part_of_a_graph(vectorize):
    x = _of(3).requires_grad_()
    found = jacobian(lambda x: x.pow(3), x, create_graph=True, vectorize=vectorize)
    found.sum().backward()
    close(x.grad, 6 * x.detach().numpy(), gradient=True)
    assert not jacobian(lambda x: x.pow(3), x, vectorize=vectorize).requires_grad


@pytest.mark.parametrize(
    "more", [{}, {"vectorize": True}, {"vectorize": True, "outer_jacobian_strategy": "forward-mode"}]
)
def test_hessians(more):
    x, y = _of(3), _of(3, seed=1)
    close(hessian(lambda x: x.exp().sum(), x, **more), np.diag(np.exp(x.numpy())), gradient=True)
    found = hessian(lambda x, y: (x.pow(2) * y).sum(), (x, y), **more)
    close(found[0][0], np.diag(2 * y.numpy()), gradient=True)
    close(found[0][1], np.diag(2 * x.numpy()), gradient=True)
    close(found[1][1], np.zeros((3, 3)))


def test_products_with_vectors():
    x, y, v = (_of(3, seed=seed) for seed in range(3))
    a, b, c = x.numpy(), y.numpy(), v.numpy()
    slope = np.cos(a * b)
    out, (by_x, by_y) = vjp(_product, (x, y), v)
    close(out, np.sin(a * b))
    close(by_x, slope * b * c, gradient=True)
    close(by_y, slope * a * c, gradient=True)
    close(jvp(_product, (x, y), (v, v))[1], slope * (a + b) * c, gradient=True)
    for product in (vhp, hvp):
        out, (by_x, by_y) = product(lambda x, y: (x.pow(2) * y).sum(), (x, y), (v, v))
        close(out, (a * a * b).sum())
        close(by_x, 2 * b * c + 2 * a * c, gradient=True)
        close(by_y, 2 * a * c, gradient=True)
    leaf = x.clone().requires_grad_()
    vjp(lambda x: x.pow(3), leaf, v, create_graph=True)[1].sum().backward()
    close(leaf.grad, 6 * a * c, gradient=True)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda x: vjp(lambda x: x * 2, x), RuntimeError, "can only be None if the user-provided function returns"),
        (lambda x: jvp(lambda x: x * 2, x), RuntimeError, "can only be None if the input to the user-provided"),
        (lambda x: vjp(lambda x: x, x, x[:2]), RuntimeError, "v has invalid size: should be"),
        (lambda x: jvp(lambda x, y: x, (x, x), (x,)), RuntimeError, "invalid length: should be 2 but got 1"),
        (lambda x: vjp(lambda x: 1, x, x), TypeError, "outputs of the user-provided function given to vjp must be"),
        (lambda x: jacobian(lambda x: x, [x]), TypeError, "inputs given to jacobian must be either a Tensor"),
        (lambda x: vjp(lambda x: tritorch.ones(3), x, x, strict=True), RuntimeError,
         "Output 0 of the user-provided function does not require gradients"),
        (lambda x: jacobian(lambda x, y: x * 2, (x, x), strict=True), RuntimeError,
         "Output 0 of the user-provided function is independent of input 1"),
        (lambda x: jacobian(lambda x: x * 2, x, True, True), RuntimeError, "jacobian of the user-provided function is"),
        (lambda x: hessian(lambda x: x.sum(), x, strict=True), RuntimeError, "While computing the hessian, found that"),
        (lambda x: hessian(lambda x: x, x), RuntimeError, "given to hessian should contain a single element"),
        (lambda x: hessian(lambda x: (x.sum(),), x), RuntimeError, "given to hessian should return a single Tensor"),
        (lambda x: jacobian(lambda x: x, x, strategy="sideways"), AssertionError, "Expected strategy to be either"),
        (lambda x: jacobian(lambda x: x, x, strategy="forward-mode"), NotImplementedError, "only implemented for"),
    ],
)  # fmt: skip
def test_calls_that_are_wrong(call, kind, message):
    with pytest.raises(kind, match=message):
        call(_of(3))


def test_batches_of_gradients():
    x = _of(3).requires_grad_()
    y, v = x.sin() * x.sum(), _of(4, 3, seed=1)
    found = tritorch.autograd.grad(y, x, v, is_grads_batched=True, create_graph=True)[0]
    a, seeds = x.detach().numpy(), v.numpy()
    expected = np.cos(a) * a.sum() * seeds + (np.sin(a) * seeds).sum(1, keepdims=True)
    close(found.detach(), expected, gradient=True)
    second = tritorch.autograd.grad(found.sum(), x)[0]
    total = seeds.sum(0)
    close(second, -np.sin(a) * a.sum() * total + (np.cos(a) * total).sum() + 3 * np.cos(a) * total, gradient=True)
    other = _of(2).requires_grad_()
    y = x * 2
    assert (
        tritorch.autograd.grad(y, [x, other], v, retain_graph=True, allow_unused=True, is_grads_batched=True)[1] is None
    )
    with pytest.raises(RuntimeError, match="The differentiated Tensor at index 1 appears to not have been used"):
        tritorch.autograd.grad(y, [x, other], v, retain_graph=True, is_grads_batched=True)
    with pytest.raises(RuntimeError, match="interpret the first dimension of each grad_output as the batch dimension"):
        tritorch.autograd.grad(y, x, v[:, :2], is_grads_batched=True)


class _Off(tritorch.autograd.Function):
    """A function whose gradient is wrong."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        return grad * 3


class _Wavering(tritorch.autograd.Function):
    """A function whose gradient is another one at every call."""

    calls = 0

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        _Wavering.calls += 1
        return grad * (2 + 1e-5 * _Wavering.calls)


def test_options_of_gradcheck():
    gradcheck, gradgradcheck = tritorch.autograd.gradcheck, tritorch.autograd.gradgradcheck
    x, y = _of(3, 2).requires_grad_(), _of(2, seed=1).requires_grad_()

    def function(x, y):
        return (x * y).sin(), x.sum(0).exp()

    everything = {"check_batched_grad": True, "check_grad_dtypes": True, "check_forward_ad": True}
    assert gradcheck(function, (x, y), **everything, check_batched_forward_grad=True)
    assert gradcheck(function, (x, y), fast_mode=True, check_forward_ad=True)
    assert gradgradcheck(function, (x, y), check_fwd_over_rev=True, gen_non_contig_grad_outputs=True)
    assert gradgradcheck(function, (x, y), fast_mode=True, check_batched_grad=True)
    assert not gradcheck(_Off.apply, (x,), fast_mode=True, raise_exception=False)
    with pytest.raises(GradcheckError, match="Backward is not reentrant"):
        gradcheck(_Wavering.apply, (x,))
    assert gradcheck(_Wavering.apply, (x,), nondet_tol=1.0)
    with pytest.raises(AssertionError, match="at least one of check_forward_ad or check_backward_ad"):
        gradcheck(function, (x, y), check_backward_ad=False)
