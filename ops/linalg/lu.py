"""LU with partial pivoting: A = P L U."""

from __future__ import annotations

import math

import numpy as np

from tritorch.ops.host_op import HostOp
from tritorch.ops.linalg.parts import adjoint, identity
from tritorch.ops.linalg.triangular import LinalgSolveTriangular, solve_lower, solve_triangle
from tritorch.ops.shape.joining import Cat

_FEW = 16  # columns that are factored one by one


def factor_columns(a, pivots, info, start=0):
    """L and U of a stack of matrices in their place, with pivots counted from `start` and the first zero pivot."""
    stack, (rows, columns) = np.arange(len(a)), a.shape[1:]
    for j in range(min(rows, columns)):
        place = j + np.abs(a[:, j:, j]).argmax(1)
        pivots[:, j] = start + place
        a[stack, place], a[:, j] = a[:, j].copy(), a[stack, place]
        pivot = a[:, j, j]
        np.copyto(info, start + j + 1, where=(pivot == 0) & (info == 0))
        a[:, j + 1 :, j] /= np.where(pivot == 0, 1, pivot)[:, None]
        a[:, j + 1 :, j + 1 :] -= a[:, j + 1 :, j, None] * a[:, j, None, j + 1 :]


def factor_halves(a, pivots, info, start=0):
    """As factor_columns, by halves, so that most of the work is products of matrices (Toledo 1997)."""
    columns = min(a.shape[1:])
    if columns <= _FEW and a.shape[2] <= 2 * _FEW:
        factor_columns(a, pivots, info, start)
        return
    half = columns // 2 if columns == a.shape[2] else columns
    factor_halves(a[:, :, :half], pivots[:, :half], info, start)
    swap_rows(a[:, :, half:], pivots[:, :half] - start)
    a[:, :half, half:] = solve_lower(a[:, :half, :half], a[:, :half, half:], True)
    if half < columns:
        a[:, half:, half:] -= a[:, half:, :half] @ a[:, :half, half:]
        factor_halves(a[:, half:, half:], pivots[:, half:], info, start + half)
        swap_rows(a[:, half:, :half], pivots[:, half:] - start - half)


def swap_rows(a, pivots):
    """Swap row 0 with row pivots[0], then row 1 with row pivots[1], and so on, in place."""
    a[...] = np.take_along_axis(a, order_of(pivots, a.shape[1])[:, :, None], 1)


def order_of(pivots, rows):
    """The order in which swaps by `pivots`, counted from 0, leave the rows of a stack of matrices."""
    stack, order = np.arange(len(pivots)), np.tile(np.arange(rows), (len(pivots), 1))
    for j in range(pivots.shape[1]):
        place = pivots[:, j]
        order[stack, place], order[:, j] = order[:, j].copy(), order[stack, place]
    return order


def factor(a, by=factor_halves):
    """L below and U on and above the diagonal of one array; pivots counted from 1; the first zero pivot or 0."""
    batch, (rows, columns) = a.shape[:-2], a.shape[-2:]
    lu = np.array(a, order="C").reshape(math.prod(batch), rows, columns)
    pivots, info = np.zeros((len(lu), min(rows, columns)), np.int32), np.zeros(len(lu), np.int32)
    by(lu, pivots, info)
    return lu.reshape(a.shape), (pivots + 1).reshape(*batch, min(rows, columns)), info.reshape(batch)


def solve_factored(lu, pivots, b):
    """x with a @ x = b by the factors of a."""
    batch, size = np.broadcast_shapes(lu.shape[:-2], b.shape[:-2]), lu.shape[-1]
    order = order_of(pivots.reshape(math.prod(pivots.shape[:-1]), size) - 1, size).reshape(pivots.shape)
    right = np.broadcast_to(b, batch + b.shape[-2:])
    order = np.broadcast_to(order[..., None], (*batch, size, 1))
    x = solve_triangle(solve_lower, lu, np.take_along_axis(right, order, -2), False, True)
    return np.ascontiguousarray(solve_triangle(solve_lower, lu, x, True, False))


class LinalgLuFactorEx(HostOp):
    """L and U of P L U = A in one array, the pivots, and where a pivot is zero its number: NumPy, on the host."""

    saves = ("output",)
    widens = True

    @staticmethod
    def reference(A):
        return factor(A, factor_columns)

    @staticmethod
    def fast(A):
        return factor(A)

    def backward(self, grad):
        """P L^-T (tril(L^T gL, -1) + triu(gU U^T)) U^-T, and for matrices that are not square what follows from it."""
        LU, pivots, _ = self.outputs
        rows, columns = LU.shape[-2:]
        count = min(rows, columns)
        core, g_core = LU[..., :count, :count], grad[..., :count, :count]
        unit, right = core.tril(-1) + identity(core), core.triu()
        strict, triangle = adjoint(unit) @ g_core.tril(-1), g_core.triu() @ adjoint(right)
        parts = []
        if columns > count:  # of the columns beyond: A2 = P L U2
            beyond, g_beyond = LU[..., count:], grad[..., count:]
            strict = strict - g_beyond @ adjoint(beyond)
            parts.append(LinalgSolveTriangular.apply(adjoint(unit), g_beyond, True, True))
        if rows > count:  # of the rows beyond: A2 = L2 U
            below, g_below = LU[..., count:, :], grad[..., count:, :]
            triangle = triangle - adjoint(below) @ g_below
            parts.append(adjoint(LinalgSolveTriangular.apply(right, adjoint(g_below), True, False)))
        inner = LinalgSolveTriangular.apply(adjoint(unit), strict.tril(-1) + triangle.triu(), True, True)
        found = adjoint(LinalgSolveTriangular.apply(right, adjoint(inner), True, False))
        if parts:
            found = Cat.call([found, parts[0]], -1 if columns > count else -2)
        return (rows_taken(found, LuOrder.apply(pivots, rows)[1]),)

    @staticmethod
    def samples(draw):
        for shape in ((1, 1), (3, 3), (2, 5, 5), (4, 7), (7, 4), (2, 0, 3, 3), (0, 4)):
            yield (draw(*shape),)
        yield ((draw(2, 20, 40) / 6 + np.eye(20, 40)).astype(draw.dtype),)
        yield ((draw(40, 20) / 6 + np.eye(40, 20)).astype(draw.dtype).T,)


def rows_taken(x, order):
    """The rows of stacks of matrices in another order: row i is row order[i] of `x`."""
    batch = np.broadcast_shapes(tuple(x.shape[:-2]), tuple(order.shape[:-1]))
    rows = order.unsqueeze(-1).expand((*batch, order.shape[-1], x.shape[-1]))
    return x.expand((*batch, *x.shape[-2:])).gather(-2, rows)


class LuOrder(HostOp):
    """The order in which LU's pivots leave the rows of a matrix, and the order that undoes it: NumPy, on the host."""

    @staticmethod
    def reference(pivots, rows):
        batch, count = pivots.shape[:-1], pivots.shape[-1]
        order = order_of(pivots.reshape(math.prod(batch), count) - 1, rows).reshape(*batch, rows)
        return order, np.argsort(order, -1)

    @staticmethod
    def samples(draw):
        yield np.array([3, 2, 3], np.int32), 3
        yield np.array([[2, 2], [4, 3]], np.int32), 4
        yield np.zeros((0, 2), np.int32), 2
