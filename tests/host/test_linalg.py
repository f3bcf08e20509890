"""Factorisations and solvers: what they promise, their gradients among symmetric and triangular matrices, failures."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch.autograd.gradcheck import gradcheck, gradgradcheck
from tritorch.runtime.language import triton_missing

linalg = torch.linalg
DEVICES = ["cpu"] if triton_missing() else ["cpu", "interpreter"]


def numbers(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def made(*shape, device="cpu", seed=0, requires_grad=False):
    return torch.tensor(numbers(*shape, seed=seed), device=device, requires_grad=requires_grad)


def symmetric(x):
    return x + x.mT


def positive(x):
    return x @ x.mT + torch.eye(x.shape[-2], dtype=x.dtype, device=x.device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(4, 4), (2, 5, 3), (2, 1, 3, 5)])
def test_factors_multiply_to_their_matrix(shape, device):
    A = made(*shape, device=device)
    close(torch.matmul(*linalg.qr(A)), A.numpy())
    close(torch.matmul(*linalg.qr(A, "complete")), A.numpy())
    U, S, Vh = linalg.svd(A, full_matrices=False)
    close((U * S.unsqueeze(-2)) @ Vh, A.numpy())
    P, L, U = linalg.lu(A)
    close(P @ L @ U, A.numpy())
    P, L, U = torch.lu_unpack(*linalg.lu_factor(A))
    close(P @ L @ U, A.numpy())
    pinv = linalg.pinv(A)
    close(A @ pinv @ A, A.numpy())
    whole = positive(A)
    L = linalg.cholesky(whole)
    close(L @ L.mT, whole.numpy())
    close(linalg.cholesky(whole, upper=True), L.mT.numpy())
    values, vectors = linalg.eigh(whole)
    close((vectors * values.unsqueeze(-2)) @ vectors.mT, whole.numpy())
    close(linalg.inv(whole) @ whole, np.broadcast_to(np.eye(shape[-2]), whole.shape))
    assert L.device.type == device


@pytest.mark.parametrize("device", DEVICES)
def test_systems_are_solved_from_both_sides(device):
    A, B = positive(made(2, 4, 4, device=device)), made(2, 4, 3, device=device)
    close(A @ linalg.solve(A, B), B.numpy())
    close(linalg.solve(A, B.mT, left=False) @ A, B.mT.numpy())
    close((A @ linalg.solve(A, B[..., 0]).unsqueeze(-1)).squeeze(-1), B[..., 0].numpy())
    factors = linalg.lu_factor(A + 0.3 * made(2, 4, 4, device=device, seed=1))
    P, L, U = torch.lu_unpack(*factors)
    C = P @ L @ U
    for turned, matrix in ((False, C), (True, C.mT)):
        close(matrix @ linalg.lu_solve(*factors, B, adjoint=turned), B.numpy())
        close(linalg.lu_solve(*factors, B.mT, left=False, adjoint=turned) @ matrix, B.mT.numpy())


def test_large_matrices_are_factored_by_halves():
    A = numbers(150, 90)
    P, L, U = linalg.lu(torch.tensor(A))
    close(P @ L @ U, A)
    close(L, np.tril(L.numpy(), -1) + np.eye(150, 90))
    lower = np.tril(numbers(90, 90)) / 10 + np.eye(90)
    close(linalg.solve_triangular(torch.tensor(lower), torch.tensor(A.T), upper=False), np.linalg.solve(lower, A.T))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: linalg.cholesky(positive(x)),
        lambda x: linalg.cholesky(positive(x), upper=True),
        lambda x: linalg.eigh(symmetric(x))[0],
        lambda x: linalg.eigh(symmetric(x))[1].square(),  # whatever the signs
        lambda x: linalg.eigvalsh(symmetric(x), "U"),
        lambda x: linalg.pinv(symmetric(x), hermitian=True),
        lambda x: torch.cholesky_solve(x, x.mT @ x * torch.eye(3).double() + x * torch.eye(3).double()),
        lambda x: torch.cholesky_inverse(linalg.cholesky(positive(x))),
        lambda x: linalg.svd(x[:2])[0].square(),
        lambda x: linalg.qr(x[:2], "complete")[1],
        lambda x: linalg.lu_solve(*linalg.lu_factor(x), x, left=False, adjoint=True),
        lambda x: linalg.householder_product(x[:, :2], x[0, 1:]),
        lambda x: torch.ormqr(x[:, :2], x[0, 1:], x, transpose=True),
        lambda x: linalg.lstsq(x[:, :2], x)[0],
        lambda x: linalg.matrix_exp(x * 2),
        lambda x: linalg.matrix_power(x, -3),
        lambda x: linalg.matrix_norm(x, "nuc"),
        lambda x: linalg.cond(x, "fro"),
        lambda x: torch.logdet(positive(x)),
        lambda x: linalg.tensorinv(torch.cat([x.reshape(9), x.reshape(9)[:7]]).reshape(2, 2, 2, 2)),
    ],
)
def test_gradient_and_its_gradient(function):
    x = made(3, 3, seed=4, requires_grad=True)
    assert gradcheck(function, (x,))
    assert gradgradcheck(function, (x,))


def test_gradient_of_a_determinant_is_the_cofactors_where_it_is_zero():
    x = torch.tensor([[1.0, 2, 0], [2, 4, 0], [0, 0, 3]], dtype=torch.float64, requires_grad=True)
    linalg.det(x).backward()
    close(x.grad, [[12, -6, 0], [-6, 3, 0], [0, 0, 0]], gradient=True)


def test_gradients_of_norms_at_zero_are_zero():
    for ord in (0.5, 1, 1.5, 2, 3, float("inf")):
        x = torch.zeros(3, requires_grad=True)
        linalg.vector_norm(x, ord).backward()
        assert x.grad.tolist() == [0, 0, 0]


def test_squarings_of_the_exponential_are_each_matrix_own():
    x = np.stack([np.diag([1e-3, -2e-3]), np.diag([30.0, -30.0]), np.zeros((2, 2))])
    found = torch.matrix_exp(torch.tensor(x))
    close(found.diagonal(0, 1, 2), np.exp(np.stack([np.diag(each) for each in x])))


def test_factorisations_that_fail_say_which_and_where():
    good, bad = np.eye(3), np.diag([1.0, 0.0, 1.0])
    stack = torch.tensor(np.stack([good, bad]))
    assert issubclass(linalg.LinAlgError, RuntimeError)
    with pytest.raises(linalg.LinAlgError, match=r"linalg.inv: \(Batch element 1\): The diagonal element 2 is zero"):
        linalg.inv(stack)
    assert linalg.inv_ex(stack).info.tolist() == [0, 2]
    with pytest.raises(linalg.LinAlgError, match="the leading minor of order 2 is not positive-definite"):
        linalg.cholesky(torch.tensor(np.diag([1.0, -1.0])))
    with pytest.raises(linalg.LinAlgError, match="leading minor of order 1"):
        linalg.cholesky(torch.full((2, 2), float("nan")))
    with pytest.raises(linalg.LinAlgError, match="solver failed because the input matrix is singular"):
        linalg.solve(stack, torch.ones(2, 3).double())
    with pytest.raises(linalg.LinAlgError, match="contained non-finite values"):
        linalg.svd(torch.full((2, 2), float("inf")))
    with pytest.raises(RuntimeError, match=r"U\[2,2\] is zero"):
        linalg.lu_factor(stack[1])


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: linalg.inv(torch.ones(2, 3)), RuntimeError, "must be batches of square matrices, but they are 2 by 3"),
        (lambda: linalg.inv(torch.ones(3)), RuntimeError, "The input tensor A must have at least 2 dimensions."),
        (lambda: linalg.inv(torch.ones(3, 3).half()), RuntimeError, "Low precision dtypes not supported. Got Half"),
        (lambda: linalg.qr(torch.ones(3, 3).half()), NotImplementedError, "\"geqrf_cpu\" not implemented for 'Half'"),
        (lambda: linalg.qr(torch.ones(3, 3), "x"), RuntimeError, "qr received unrecognized mode 'x'"),
        (lambda: linalg.solve(torch.eye(3), torch.ones(4, 2)), RuntimeError, "equation AX = B (3x3 and 4x2)"),
        (lambda: linalg.eigh(torch.eye(2), "X"), RuntimeError, "Expected UPLO argument to be 'L' or 'U', but got X"),
        (lambda: linalg.matrix_norm(torch.eye(2), 3), RuntimeError, "linalg.matrix_norm: Order 3 not supported."),
        (lambda: linalg.vector_norm(torch.ones(0), float("inf")), RuntimeError, "does not have an identity"),
        (
            lambda: linalg.lstsq(torch.eye(2), torch.ones(2, 1), driver="x"),
            RuntimeError,
            "parameter `driver` should be",
        ),
        (lambda: linalg.multi_dot([torch.eye(2)]), RuntimeError, "expected at least 2 tensors but got 1"),
    ],
)
def test_what_does_not_fit_is_refused(call, kind, text):
    with pytest.raises(kind) as caught:
        call()
    assert text in str(caught.value)


def test_modes_of_qr_without_a_gradient_say_so():
    A = made(4, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match="not computed when mode='r'"):
        linalg.qr(A, "r").R.sum().backward()
    with pytest.raises(RuntimeError, match="not differentiable when mode='complete' and nrows > ncols"):
        linalg.qr(A, "complete").Q.sum().backward()


def test_results_are_written_to_out():
    values, vectors = torch.empty(0), torch.empty(0)
    linalg.eigh(torch.eye(2) * 4, out=(values, vectors))
    assert values.tolist() == [4, 4]
    assert vectors.shape == (2, 2)


def test_least_squares_gives_what_its_driver_does():
    A, B = made(4, 2), made(4, 1)
    full = linalg.lstsq(A, B, driver="gelsd")
    expected = np.linalg.lstsq(A.numpy(), B.numpy(), rcond=None)
    for found, wanted in zip(full, expected, strict=True):
        close(found, wanted) if found.is_floating_point() else np.testing.assert_array_equal(found.numpy(), wanted)
    assert [part.numel() for part in linalg.lstsq(A, B)] == [2, 0, 1, 0]
    assert [part.numel() for part in linalg.lstsq(A, B, driver="gels")] == [2, 1, 0, 0]
