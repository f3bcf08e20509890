"""Systems of linear equations, inverses and determinants."""

from __future__ import annotations

import math

import numpy as np

from tritorch.functional.factorisations import check_info
from tritorch.functional.matrices import (
    check_floating,
    check_matrices,
    check_square,
    check_systems,
    epsilon,
    kind_of,
    lapack_only,
    no_half,
)
from tritorch.functional.norms import tolerances
from tritorch.ops.autocast import FLOAT32_ON_CPUS
from tritorch.ops.base import export
from tritorch.ops.batching import by_example
from tritorch.ops.guard import need_tensors
from tritorch.ops.linalg.cholesky import CholeskySolve
from tritorch.ops.linalg.errors import raise_where
from tritorch.ops.linalg.inverse import LinalgDet, LinalgInvEx, LinalgSlogdet, LinalgSolveEx
from tritorch.ops.linalg.least_squares import LinalgLstsq
from tritorch.ops.linalg.parts import adjoint, diagonal, identity
from tritorch.ops.linalg.svd import LinalgPinv, SingularValues
from tritorch.ops.linalg.triangular import LinalgSolveTriangular
from tritorch.ops.named_results import returns

_SINGULAR = (
    "The diagonal element {0} is zero, the inversion could not be completed because the input matrix is singular."
)
_UNSOLVED = "The solver failed because the input matrix is singular."


# ---------------------------------------------------------------- inverses


def _inverse(A):
    check_square("linalg.inv", A)
    no_half("linalg.inv", A)
    return LinalgInvEx.apply(A)


@export("linalg.inv_ex", out=True, autocast=FLOAT32_ON_CPUS)
def inv_ex(A, *, check_errors=False):
    """The inverses, and for each matrix 0 or the number of the pivot that is zero."""
    inverse, info = _inverse(A)
    if check_errors:
        check_info("linalg.inv_ex", info, _SINGULAR)
    return returns("linalg_inv_ex", "inverse", "info")(inverse, info)


@export("linalg.inv", "inverse", "Tensor.inverse", out=True, autocast=FLOAT32_ON_CPUS)
def inv(A):
    """The inverses of square matrices."""
    inverse, info = _inverse(A)
    check_info("linalg.inv", info, _SINGULAR)
    return inverse


@export("linalg.pinv", out=True)
def pinv(A, rcond=None, hermitian=False, *, atol=None, rtol=None):
    """The pseudo-inverses; singular values up to max(atol, rtol times the largest) count as zero."""
    need_tensors("linalg.pinv", A=A)
    if A.array.ndim < 2 or A.array.dtype.name not in ("float32", "float64"):
        raise RuntimeError(
            f"linalg.pinv({kind_of(A)}{{{list(A.array.shape)}}}): expected a tensor with 2 or more dimensions of "
            "float, double, cfloat or cdouble types"
        )
    if isinstance(rcond, bool):
        rcond, hermitian = None, rcond
    if hermitian:
        check_square("linalg.pinv", A)
    atol, rtol = tolerances(A, atol, rtol if rcond is None else rcond)
    return LinalgPinv.apply(A, atol, rtol, bool(hermitian))


@export("pinverse", "Tensor.pinverse", autocast=FLOAT32_ON_CPUS)
def pinverse(input, rcond=1e-15):
    """As linalg.pinv, with other singular values taken for zero."""
    return pinv(input, rcond)


# ---------------------------------------------------------------- systems


def _is_vector(A, B):
    """Whether PyTorch takes B for vectors: one, or as many as there are matrices."""
    shape = A.array.shape
    return B.array.ndim == 1 or (A.array.ndim - 1 == B.array.ndim and B.array.shape == shape[:-1])


def _solve(op, A, B, left):
    check_square(op, A)
    no_half(op, A)
    need_tensors(op, A=A, B=B)
    vector = _is_vector(A, B)
    if not vector:
        check_matrices(op, B, "B")
    right = B.unsqueeze(-1) if vector else B
    check_systems(op, A, right, left)
    if left:
        found, info = LinalgSolveEx.apply(A, right)
        return found.squeeze(-1) if vector else found, info
    found, info = LinalgSolveEx.apply(adjoint(A), adjoint(right))
    return adjoint(found), info


@export("linalg.solve_ex", out=True)
def solve_ex(A, B, *, left=True, check_errors=False):
    """As linalg.solve, with 0 for each matrix or the number of the pivot that is zero."""
    result, info = _solve("linalg.solve", A, B, left)
    if check_errors:
        check_info("torch.linalg.solve_ex", info, _UNSOLVED)
    return returns("linalg_solve_ex", "result", "info")(result, info)


@export("linalg.solve", out=True, autocast=FLOAT32_ON_CPUS)
def solve(A, B, *, left=True):
    """X with A X = B, or X A = B unless `left`; B may be a vector, or one for each matrix."""
    result, info = _solve("linalg.solve", A, B, left)
    check_info("torch.linalg.solve", info, _UNSOLVED)
    return result


@export("linalg.solve_triangular", out=True)
def solve_triangular(A, B, *, upper, left=True, unitriangular=False):
    """X with A X = B, or X A = B unless `left`, of one triangle of A, whose diagonal is ones if `unitriangular`."""
    op = "linalg.solve_triangular"
    check_square(op, A)
    check_matrices(op, B, "B")
    check_systems(op, A, B, left)
    lapack_only("triangular_solve_cpu", A)
    if left:
        return LinalgSolveTriangular.apply(A, B, bool(upper), bool(unitriangular))
    return adjoint(LinalgSolveTriangular.apply(adjoint(A), adjoint(B), not upper, bool(unitriangular)))


@export("triangular_solve", "Tensor.triangular_solve", out=True, autocast=FLOAT32_ON_CPUS)
def triangular_solve(b, A, upper=True, transpose=False, unitriangular=False):
    """X with A X = b, or A^T X = b, of the upper or lower triangle of A; and A."""
    for name, each in (("b", b), ("A", A)):
        if each.array.ndim < 2:
            raise RuntimeError(
                f"torch.triangular_solve: Expected {name} to have at least 2 dimensions, but it has {each.array.ndim} "
                "dimensions instead"
            )
    check_square("triangular_solve", A)
    _check_triangles("triangular_solve", A, b)
    lapack_only("triangular_solve_cpu", A)
    matrix, is_upper = (adjoint(A), not upper) if transpose else (A, bool(upper))
    found = LinalgSolveTriangular.apply(matrix, b, is_upper, bool(unitriangular))
    batch = found.array.shape[:-2]
    copy = A.expand((*batch, *A.array.shape[-2:])).clone()
    return returns("triangular_solve", "solution", "cloned_coefficient")(found, copy)


def _check_triangles(op, A, b):
    """As check_systems, in the words of the older functions."""
    if A.array.dtype != b.array.dtype:
        raise RuntimeError(
            f"Expected b and A to have the same dtype, but found b of type {kind_of(b)} and A of type {kind_of(A)} "
            "instead."
        )
    if A.array.shape[-2] != b.array.shape[-2]:
        sizes = [f"{each.array.shape[-2]} by {each.array.shape[-1]}" for each in (A, b)]
        raise RuntimeError(
            f"Incompatible matrix sizes for {op}: each A matrix is {sizes[0]} but each b matrix is {sizes[1]}"
        )


@export("cholesky_solve", "Tensor.cholesky_solve", out=True, autocast=FLOAT32_ON_CPUS)
def cholesky_solve(B, L, upper=False):
    """X with L L^T X = B, or U^T U X = B for the upper triangle."""
    for name, each in (("b", B), ("u", L)):
        if each.array.ndim < 2:
            raise RuntimeError(
                f"{name} should have at least 2 dimensions, but has {each.array.ndim} dimensions instead"
            )
    check_square("cholesky_solve", L)
    _check_triangles("cholesky_solve", L, B)
    lapack_only("cholesky_solve_cpu", L)
    return CholeskySolve.apply(B, adjoint(L) if upper else L)


@export("cholesky_inverse", "Tensor.cholesky_inverse", out=True, autocast=FLOAT32_ON_CPUS)
def cholesky_inverse(L, upper=False):
    """The inverse of L L^T, or of U^T U for the upper triangle."""
    check_square("cholesky_inverse", L)
    lapack_only("cholesky_inverse_out_cpu", L)
    zeros = diagonal(L).on_host() == 0
    if zeros.any():
        raise_where(np.where(zeros.any(-1), zeros.argmax(-1) + 1, 0), _SINGULAR, op="cholesky_inverse")
    return cholesky_solve(identity(L), L, upper)


# ---------------------------------------------------------------- least squares

_DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


@export("linalg.lstsq", out=True, autocast=FLOAT32_ON_CPUS)
@by_example
def lstsq(A, B, rcond=None, *, driver=None):
    """X for which |A X - B| is least, the squares of what is left, the rank and the singular values of A.

    As in PyTorch the last three are empty where `driver`, LAPACK's routine, does not give them.
    """
    _check_least_squares(A, B)
    driver = "gelsy" if driver is None else driver
    if driver not in _DRIVERS:
        raise RuntimeError(f"torch.linalg.lstsq: parameter `driver` should be one of ({', '.join(_DRIVERS)})")
    vector = _is_vector(A, B)
    right = B.unsqueeze(-1) if vector else B
    if A.array.shape[-2] != right.array.shape[-2]:
        raise RuntimeError(f"torch.linalg.lstsq: input.size(-2) should match other.size({'-1' if vector else '-2'})")
    rows, columns = A.array.shape[-2:]
    limit = epsilon(A) * max(rows, columns) if rcond is None else rcond
    found, rank = LinalgLstsq.apply(A, right, 0.0 if driver == "gels" else float(limit))
    residuals = found.reshape((-1,))[:0]
    if rows > columns and driver != "gelsy" and (driver == "gels" or bool((rank == columns).all().item())):
        rest = A @ found - right
        residuals = (rest * rest).sum(-2)
    return returns("linalg_lstsq", "solution", "residuals", "rank", "singular_values")(
        found.squeeze(-1) if vector else found,
        residuals,
        rank.new_empty((0,)) if driver == "gels" else rank,
        SingularValues.apply(A.detach()) if driver in ("gelsd", "gelss") else A.new_empty((0,)),
    )


def _check_least_squares(A, B):
    op = "torch.linalg.lstsq"
    need_tensors("linalg_lstsq", input=A, b=B)
    if A.array.ndim < 2:
        raise RuntimeError(f"{op}: input must have at least 2 dimensions.")
    if B.array.ndim < 1:
        raise RuntimeError(f"{op}: other must have at least 1 dimension.")
    if A.array.dtype != B.array.dtype:
        raise RuntimeError(
            f"{op}: Expected input and other to have the same dtype, but got input's dtype {kind_of(A)} and other's "
            f"dtype {kind_of(B)}"
        )
    gap = A.array.ndim - B.array.ndim
    if not 0 <= gap <= 1:
        raise RuntimeError(
            f"{op}: input.dim() must be greater or equal to other.dim() and (input.dim() - other.dim()) <= 1"
        )
    if A.array.dtype.name not in ("float32", "float64"):
        raise RuntimeError("This function doesn't handle types other than float and double")


# ---------------------------------------------------------------- determinants


@export("linalg.det", "det", "Tensor.det", out=True)
def det(A):
    """The determinants of square matrices."""
    check_square("linalg.det", A)
    check_floating("linalg.det", A)
    lapack_only("lu_cpu", A)
    return LinalgDet.apply(A)


def _slogdet(op, A):
    check_square(op, A)
    no_half(op, A)
    return LinalgSlogdet.apply(A)


@export("linalg.slogdet", out=True)
def linalg_slogdet(A):
    """The signs of determinants and the logarithms of their sizes."""
    return returns("linalg_slogdet", "sign", "logabsdet")(*_slogdet("linalg.slogdet", A))


@export("slogdet", "Tensor.slogdet", out=True)
def slogdet(input):
    """The signs of determinants and the logarithms of their sizes."""
    return returns("slogdet", "sign", "logabsdet")(*_slogdet("linalg.slogdet", input))


@export("logdet", "Tensor.logdet")
def logdet(input):
    """The logarithms of determinants: NaN of a negative one, -inf of 0."""
    sign, size = _slogdet("logdet", input)
    return size.masked_fill(sign < 0, math.nan)
