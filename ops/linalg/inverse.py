"""Inverses, systems of equations, determinants of square matrices."""

from __future__ import annotations

import numpy as np

from tritorch.ops.host_op import HostOp
from tritorch.ops.linalg.lu import factor, factor_columns, solve_factored
from tritorch.ops.linalg.parts import adjoint, off_diagonal
from tritorch.ops.linalg.svd import LinalgSvd


def _solved(a, b, by):
    lu, pivots, info = factor(a, by)
    return solve_factored(lu, pivots, b), info


class LinalgInvEx(HostOp):
    """The inverses, and where a matrix is singular the number of the zero pivot: NumPy, on the host."""

    saves = ("output",)
    widens = True

    @staticmethod
    def reference(A):
        return _solved(A, np.eye(A.shape[-1], dtype=A.dtype), factor_columns)

    @staticmethod
    def fast(A):
        try:
            return np.linalg.inv(A), np.zeros(A.shape[:-2], np.int32)
        except np.linalg.LinAlgError:
            return LinalgInvEx.reference(A)

    def backward(self, grad):
        """-A^-T grad A^-T (Giles 2008)."""
        turned = adjoint(self.outputs[0])
        return (-(turned @ grad @ turned),)

    @staticmethod
    def samples(draw):
        yield from square_samples(draw)


def square_samples(draw):
    """Square matrices that are far from singular."""
    for shape in ((1, 1), (4, 4), (2, 3, 3), (0, 0), (0, 2, 2), (30, 30)):
        yield ((draw(*shape) / (2 * max(shape[-1], 1) ** 0.5) + np.eye(shape[-1])).astype(draw.dtype),)
    yield ((draw(6, 6) / 5 + np.eye(6)).astype(draw.dtype)[::-1].T,)


class LinalgSolveEx(HostOp):
    """X with A X = B, and where a matrix is singular the number of the zero pivot: NumPy, on the host."""

    saves = ("A", "output")
    widens = True

    @staticmethod
    def reference(A, B):
        return _solved(A, B, factor_columns)

    @staticmethod
    def fast(A, B):
        try:
            return np.linalg.solve(A, B), np.zeros(A.shape[:-2], np.int32)
        except np.linalg.LinAlgError:
            return LinalgSolveEx.reference(A, B)

    def backward(self, grad):
        """For B, g = A^-T grad; for A, -g X^T."""
        g = LinalgSolveEx.apply(adjoint(self.inputs[0]), grad)[0]
        return None if self.edges[0] is None else -(g @ adjoint(self.outputs[0])), g

    @staticmethod
    def samples(draw):
        for (a,) in square_samples(draw):
            yield a, draw(*a.shape[:-1], 2)
        yield (draw(2, 1, 3, 3) / 4 + np.eye(3)).astype(draw.dtype), draw(4, 3, 1)


class LinalgDet(HostOp):
    """The determinants: NumPy, on the host."""

    saves = ("A", "output")
    widens = True

    @staticmethod
    def reference(A):
        return np.asarray(np.linalg.det(A))

    def backward(self, grad):
        """grad det(A) A^-T; where A is singular that is the cofactors, by its singular values."""
        A, found = self.inputs[0], self.output
        singular = found == 0
        grad = grad.unsqueeze(-1).unsqueeze(-1)
        if not bool(singular.any().item()):
            return (grad * found.unsqueeze(-1).unsqueeze(-1) * adjoint(LinalgInvEx.apply(A)[0]),)
        U, S, Vh = LinalgSvd.apply(A, False)
        turn = LinalgDet.apply(U) * LinalgDet.apply(Vh)
        others = off_diagonal(S.unsqueeze(-2).expand((*S.shape, S.shape[-1])), 1.0).prod(-1)
        return (grad * ((U * (others * turn.unsqueeze(-1)).unsqueeze(-2)) @ Vh),)

    @staticmethod
    def samples(draw):
        yield from square_samples(draw)
        yield (np.diag([1.0, 0, 2]).astype(draw.dtype),)


class LinalgSlogdet(HostOp):
    """The sign and the logarithm of the size of determinants: NumPy, on the host."""

    saves = ("A",)
    widens = True

    @staticmethod
    def reference(A):
        return tuple(np.asarray(each) for each in np.linalg.slogdet(A))

    def backward(self, grad_sign=None, grad=None):
        """grad A^-T; a sign has no slope."""
        A = self.inputs[0]
        if grad is None:
            return (A.new_zeros(A.shape),)
        return (grad.unsqueeze(-1).unsqueeze(-1) * adjoint(LinalgInvEx.apply(A)[0]),)

    @staticmethod
    def samples(draw):
        yield from square_samples(draw)
