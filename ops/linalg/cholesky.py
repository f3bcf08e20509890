"""The Cholesky factorisation: A = L L^T."""

from __future__ import annotations

import numpy as np

from tritorch.ops.host_op import HostOp
from tritorch.ops.linalg.parts import adjoint, diagonal
from tritorch.ops.linalg.triangular import LinalgSolveTriangular, solve_columns, solve_lower, solve_triangle


def factor_positive(a):
    """L of a stack of symmetric matrices, of which the lower triangle is read, and 0 or the first bad minor's order.

    Column by column, from the columns before it; a matrix that is not positive definite is left as it is there.
    """
    found, info = np.tril(a), np.zeros(a.shape[:-2], np.int32)
    for j in range(a.shape[-1]):
        column = found[..., j:, j] - (found[..., j:, :j] @ found[..., j, :j, None])[..., 0]
        active, good = info == 0, (info == 0) & (column[..., 0] > 0)
        info = np.where(active & ~good, j + 1, info).astype(np.int32)
        root = np.sqrt(np.where(good, column[..., 0], 1))
        found[..., j, j] = np.where(good, root, np.where(active, column[..., 0], found[..., j, j]))
        found[..., j + 1 :, j] = np.where(good[..., None], column[..., 1:] / root[..., None], found[..., j + 1 :, j])
    return found, info


class LinalgCholeskyEx(HostOp):
    """L with L L^T = A, and 0 or the order of the first minor that is not positive: NumPy, on the host.

    The gradient is that of symmetric matrices (Murray 2016), so it is symmetric though half of A is read.
    """

    saves = ("output",)
    widens = True

    @staticmethod
    def reference(A):
        return factor_positive(A)

    @staticmethod
    def fast(A):
        try:
            found = np.linalg.cholesky(A)
        except np.linalg.LinAlgError:
            return factor_positive(A)
        if np.isnan(found).any():  # which NumPy lets pass
            return factor_positive(A)
        return found, np.zeros(A.shape[:-2], np.int32)

    def backward(self, grad):
        """L^-T S L^-1 / 2, where S is L^T gL with its lower triangle mirrored."""
        L = self.outputs[0]
        inner = (adjoint(L) @ grad.tril()).tril()
        inner = inner + adjoint(inner) - diagonal(inner).diag_embed()
        left = LinalgSolveTriangular.apply(adjoint(L), inner, True, False)
        return (LinalgSolveTriangular.apply(adjoint(L), adjoint(left), True, False) * 0.5,)

    @staticmethod
    def differentiable_at(*sample):
        """Differences that leave symmetric matrices mean nothing; tests of the functions stay among them."""
        return False

    @staticmethod
    def samples(draw):
        for shape in ((1, 1), (4, 4), (2, 3, 3), (0, 0), (2, 0, 3, 3), (40, 40)):
            a = draw(*shape) / max(shape[-1], 1) ** 0.5
            yield ((a @ a.swapaxes(-1, -2) + np.eye(shape[-1])).astype(draw.dtype),)
        yield (np.diag([1.0, -1, 2]).astype(draw.dtype),)


def _solve_twice(solve, L, B):
    x = solve_triangle(solve, L, B, False, False)
    return np.ascontiguousarray(solve_triangle(solve, L.swapaxes(-1, -2), x, True, False))


class CholeskySolve(HostOp):
    """X with L L^T X = B, where the lower triangle of L is read: NumPy, on the host.

    As in PyTorch the gradient for L is that of any matrix L, and not only of its triangle.
    """

    saves = ("L", "output")
    widens = True

    @staticmethod
    def reference(B, L):
        return _solve_twice(solve_columns, L, B)

    @staticmethod
    def fast(B, L):
        return _solve_twice(solve_lower, L, B)

    def backward(self, grad):
        """For B, g = (L L^T)^-1 grad; for L, -(g X^T + X g^T) L."""
        L = self.inputs[1]
        g = CholeskySolve.apply(grad, L)
        if self.edges[1] is None:
            return g, None
        product = g @ adjoint(self.output)
        return g, -((product + adjoint(product)) @ L.tril())

    @staticmethod
    def differentiable_at(*sample):
        """Differences that leave triangles mean nothing; tests of the functions stay among them."""
        return False

    @staticmethod
    def samples(draw):
        for shape in ((1, 1), (4, 4), (2, 3, 3), (0, 0), (40, 40)):
            size = shape[-1]
            triangle = np.tril(draw(*shape) / (2 * max(size, 1) ** 0.5)) + np.eye(size)
            yield draw(size, 2), triangle.astype(draw.dtype)
