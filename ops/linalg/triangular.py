"""Systems of equations whose matrix is a triangle."""

from __future__ import annotations

import numpy as np

from tritorch.ops.host_op import HostOp
from tritorch.ops.linalg.parts import adjoint

_FEW = 32  # columns that are eliminated one by one


def solve_columns(a, b, unit):
    """x with a @ x = b, column after column; of `a` the lower triangle is read, with ones on its diagonal if `unit`."""
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    x = np.array(np.broadcast_to(b, batch + b.shape[-2:]))
    for i in range(a.shape[-1]):
        if not unit:
            x[..., i, :] /= a[..., i, i, None]
        x[..., i + 1 :, :] -= a[..., i + 1 :, i, None] * x[..., i, None, :]
    return x


def solve_lower(a, b, unit):
    """As solve_columns, by halves, so that most of the work is products of matrices."""
    count = a.shape[-1]
    if count <= _FEW:
        return solve_columns(a, b, unit)
    half = count // 2
    top = solve_lower(a[..., :half, :half], b[..., :half, :], unit)
    rest = b[..., half:, :] - a[..., half:, :half] @ top
    return np.concatenate([top, solve_lower(a[..., half:, half:], rest, unit)], -2)


def solve_triangle(solve, a, b, is_upper, unit):
    """x with a @ x = b by a way to solve for lower triangles: an upper one is one with its order reversed."""
    if is_upper:
        return solve(a[..., ::-1, ::-1], b[..., ::-1, :], unit)[..., ::-1, :]
    return solve(a, b, unit)


class LinalgSolveTriangular(HostOp):
    """x with A @ x = B, where one triangle of A is read, with ones on its diagonal if told so: NumPy, on the host."""

    saves = ("A", "output")
    widens = True

    @staticmethod
    def reference(A, B, is_upper, unitriangular):
        return solve_triangle(solve_columns, A, B, is_upper, unitriangular)

    @staticmethod
    def fast(A, B, is_upper, unitriangular):
        return np.ascontiguousarray(solve_triangle(solve_lower, A, B, is_upper, unitriangular))

    def backward(self, grad):
        """For B the system of the transpose, g = A^-T grad; for A the triangle of -g x^T."""
        A, _, is_upper, unitriangular = self.inputs
        by_b = LinalgSolveTriangular.apply(adjoint(A), grad, not is_upper, unitriangular)
        if self.edges[0] is None:
            return None, by_b
        by_a = -(by_b @ adjoint(self.output))
        return (by_a.triu(int(unitriangular)) if is_upper else by_a.tril(-int(unitriangular))), by_b

    @staticmethod
    def samples(draw):
        for is_upper in (False, True):
            yield draw(3, 3) + np.eye(3, dtype=draw.dtype) * 4, draw(3, 2), is_upper, False
            yield draw(2, 5, 5) / 4, draw(5, 3), is_upper, True
        yield (draw(70, 70) / 8 + np.eye(70, dtype=draw.dtype)).astype(draw.dtype).T, draw(2, 70, 1), False, False
        yield draw(0, 0), draw(0, 3), True, False
