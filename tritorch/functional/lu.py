"""LU factorisations and what is done with them."""

from __future__ import annotations

from tritorch.functional.factorisations import check_info
from tritorch.functional.matrices import (
    check_floating,
    check_matrices,
    check_square,
    check_systems,
    lapack_only,
)
from tritorch.ops.autocast import FLOAT32_ON_CPUS
from tritorch.ops.base import export
from tritorch.ops.guard import need_tensors
from tritorch.ops.linalg.lu import LinalgLuFactorEx, LuOrder, rows_taken
from tritorch.ops.linalg.parts import adjoint as turned
from tritorch.ops.linalg.parts import identity
from tritorch.ops.linalg.triangular import LinalgSolveTriangular
from tritorch.ops.named_results import returns

_ZERO = (
    "U[{0},{0}] is zero and using it on lu_solve would result in a division by zero. If you still want to perform the "
    "factorization, consider calling linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)"
)


def _factored(op, A, pivot):
    need_tensors(op.replace(".", "_"), A=A)
    if A.array.ndim < 2:
        raise RuntimeError(f"{op}: Expected tensor with 2 or more dimensions. Got size: {list(A.array.shape)} instead")
    if not pivot:
        raise RuntimeError(f"{op}: LU without pivoting is not implemented on the CPU")
    lapack_only("lu_cpu", A)
    return LinalgLuFactorEx.apply(A)


@export("linalg.lu_factor_ex", out=True)
def lu_factor_ex(A, *, pivot=True, check_errors=False):
    """As linalg.lu_factor, with 0 for each matrix or the number of the first pivot that is zero."""
    found = _factored("linalg.lu_factor", A, pivot)
    if check_errors:
        check_info("torch.linalg.lu_factor_ex", found[2], _ZERO, kind=RuntimeError)
    return returns("linalg_lu_factor_ex", "LU", "pivots", "info")(*found)


@export("linalg.lu_factor", out=True)
def lu_factor(A, *, pivot=True):
    """L below and U on and above the diagonal of one matrix, with P L U = A, and the pivots, counted from 1, for P."""
    LU, pivots, info = _factored("linalg.lu_factor", A, pivot)
    check_info("torch.linalg.lu_factor", info, _ZERO, kind=RuntimeError)
    return returns("linalg_lu_factor", "LU", "pivots")(LU, pivots)


@export("lu", "Tensor.lu")
def lu(A, pivot=True, get_infos=False):
    """As linalg.lu_factor, but a pivot may be zero; with `get_infos` as linalg.lu_factor_ex."""
    LU, pivots, info = _factored("linalg.lu_factor", A, pivot)
    return returns("_lu_with_info", "LU", "pivots", "info")(LU, pivots, info) if get_infos else (LU, pivots)


@export("linalg.lu", out=True)
def linalg_lu(A, *, pivot=True):
    """P, L and U with P L U = A: a permutation, a lower triangle with ones on its diagonal, an upper triangle."""
    LU, pivots, _ = _factored("linalg.lu", A, pivot)
    return returns("linalg_lu", "P", "L", "U")(_permutation(LU, pivots), *_triangles(LU))


def _permutation(LU, pivots):
    rows = LU.array.shape[-2]
    one = identity(LU.new_empty((0, rows)), rows)
    return rows_taken(one, LuOrder.apply(pivots, rows)[1])


def _triangles(LU):
    rows, columns = LU.array.shape[-2:]
    count = min(rows, columns)
    left = LU[..., :count]
    return left.tril(-1) + identity(left, rows), LU[..., :count, :].triu()


@export("lu_unpack", out=True)
def lu_unpack(LU_data, LU_pivots, unpack_data=True, unpack_pivots=True):
    """P, L and U of what linalg.lu_factor gives; empty what is not asked for."""
    if unpack_pivots and LU_pivots.array.dtype.name != "int32":
        raise RuntimeError(
            "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 dtype.\n"
            "Note: this function is intended to be used with the output produced by torch.linalg.lu_factor"
        )
    empty = LU_data.new_empty((0,))
    P = _permutation(LU_data, LU_pivots) if unpack_pivots else empty
    L, U = _triangles(LU_data) if unpack_data else (empty, empty)
    return returns("lu_unpack", "P", "L", "U")(P, L, U)


def _check_factored(op, LU, pivots, B, left):
    check_floating(op, LU)
    check_square(op, LU, "LU")
    check_matrices(op, B, "B")
    if pivots.array.dtype.name != "int32":
        raise RuntimeError(f"{op}: pivots should be a Tensor of scalar type torch.int32")
    if LU.array.shape[:-1] != pivots.array.shape:
        raise RuntimeError(f"{op}: Number of pivots per batch should be same as the dimension of the matrix")
    check_systems(op, LU, B, left)
    lapack_only("lu_solve_cpu", LU)


@export("linalg.lu_solve", out=True, autocast=FLOAT32_ON_CPUS)
def linalg_lu_solve(LU, pivots, B, *, left=True, adjoint=False):
    """X with A X = B, or X A = B unless `left`, or of the transpose of A, by the factors of A."""
    _check_factored("linalg.lu_solve", LU, pivots, B, left)
    if not left:  # X A = B is A^T X^T = B^T
        return turned(_solved(LU, pivots, turned(B), not adjoint))
    return _solved(LU, pivots, B, adjoint)


def _solved(LU, pivots, B, transposed):
    order, back = LuOrder.apply(pivots, LU.array.shape[-1])
    solve = LinalgSolveTriangular.apply
    if transposed:
        return rows_taken(solve(turned(LU), solve(turned(LU), B, False, False), True, True), back)
    return solve(LU, solve(LU, rows_taken(B, order), False, True), True, False)


@export("lu_solve", "Tensor.lu_solve", out=True, autocast=FLOAT32_ON_CPUS)
def lu_solve(b, LU_data, LU_pivots):
    """X with A X = b, by the factors of A."""
    return linalg_lu_solve(LU_data, LU_pivots, b)
