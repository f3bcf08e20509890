"""Factorisations of matrices: Cholesky, QR, eigenvalues, singular values, and products that go with them."""

from __future__ import annotations

from tritorch.functional.matrices import (
    check_floating,
    check_matrices,
    check_square,
    kind_of,
    lapack_only,
    no_half,
)
from tritorch.ops.autocast import FLOAT32_ON_CPUS
from tritorch.ops.base import export
from tritorch.ops.guard import need_tensors
from tritorch.ops.linalg.cholesky import LinalgCholeskyEx
from tritorch.ops.linalg.eigh import LinalgEigh, LinalgEigvalsh
from tritorch.ops.linalg.errors import raise_where
from tritorch.ops.linalg.parts import adjoint, identity
from tritorch.ops.linalg.qr import Geqrf, LinalgQr
from tritorch.ops.linalg.svd import LinalgSvd, SingularValues
from tritorch.ops.linalg.triangular import LinalgSolveTriangular
from tritorch.ops.named_results import returns

_NOT_POSITIVE = (
    "The factorization could not be completed because the input is not positive-definite (the leading minor of order "
    "{0} is not positive-definite)."
)


def check_info(op, info, text, **options):
    """Raise where a factorisation reported failure; `text` takes the code. Waits for the device."""
    raise_where(info.on_host(), text, op=op, **options)


# ---------------------------------------------------------------- Cholesky


def _cholesky(op, A, is_upper):
    check_square(op, A)
    check_floating(op, A)
    lapack_only("cholesky_cpu", A)
    L, info = LinalgCholeskyEx.apply(adjoint(A) if is_upper else A)
    return adjoint(L) if is_upper else L, info


@export("linalg.cholesky_ex", out=True, autocast=FLOAT32_ON_CPUS)
def cholesky_ex(A, *, upper=False, check_errors=False):
    """The Cholesky factor, and for each matrix 0 or the order of the first minor that is not positive."""
    L, info = _cholesky("linalg.cholesky", A, upper)
    if check_errors:
        check_info("linalg.cholesky_ex", info, _NOT_POSITIVE)
    return returns("linalg_cholesky_ex", "L", "info")(L, info)


@export("linalg.cholesky", out=True, autocast=FLOAT32_ON_CPUS)
def linalg_cholesky(A, *, upper=False):
    """The lower triangle L with L L^T = A, or the upper U with U^T U = A, of symmetric positive-definite matrices."""
    L, info = _cholesky("linalg.cholesky", A, upper)
    check_info("linalg.cholesky", info, _NOT_POSITIVE)
    return L


@export("cholesky", "Tensor.cholesky", out=True, autocast=FLOAT32_ON_CPUS)
def cholesky(input, upper=False):
    """As linalg.cholesky."""
    L, info = _cholesky("cholesky", input, upper)
    check_info("cholesky", info, _NOT_POSITIVE)
    return L


# ---------------------------------------------------------------- QR


@export("linalg.qr", out=True, autocast=FLOAT32_ON_CPUS)
def linalg_qr(A, mode="reduced"):
    """Q with orthonormal columns and R, an upper triangle, with Q R = A.

    Q has as many columns as R has rows: the smaller side of A, or all rows of A if `mode` is "complete"; for "r" it is
    empty.
    """
    check_matrices("linalg.qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    check_floating("linalg.qr", A)
    lapack_only("geqrf_cpu", A)
    return returns("linalg_qr", "Q", "R")(*LinalgQr.apply(A, mode))


@export("qr", "Tensor.qr", out=True, autocast=FLOAT32_ON_CPUS)
def qr(input, some=True):
    """As linalg.qr, complete unless `some`."""
    return returns("qr", "Q", "R")(*linalg_qr(input, "reduced" if some else "complete"))


@export("geqrf", "Tensor.geqrf", out=True, autocast=FLOAT32_ON_CPUS)
def geqrf(input):
    """R on and above the diagonal, below it the reflectors whose product is Q, and their factors tau."""
    need_tensors("geqrf", input=input)
    if input.array.ndim < 2:
        raise RuntimeError("torch.geqrf: input must have at least 2 dimensions.")
    lapack_only("geqrf_cpu", input)
    return returns("geqrf", "a", "tau")(*Geqrf.apply(input))


def _reflected(input, tau, other, transposed=False):
    """The product of the reflectors 1 - tau v v^T, or of its transpose, with a matrix, in one step.

    It is 1 - V T V^T with T = (1 + D U)^-1 D, where D has tau on its diagonal and U is V^T V above its diagonal
    (Joffrain and others 2006).
    """
    columns = input[..., : tau.array.shape[-1]]
    V = columns.tril(-1) + identity(columns, input.array.shape[-2])
    turned, factors = adjoint(V), tau.unsqueeze(-1)
    triangle, solve = factors * (turned @ V).triu(1), LinalgSolveTriangular.apply
    if transposed:
        return other - V @ (factors * solve(adjoint(triangle), turned @ other, False, True))
    return other - V @ solve(triangle, factors * (turned @ other), True, True)


@export("linalg.householder_product", "orgqr", "Tensor.orgqr", out=True, autocast=FLOAT32_ON_CPUS)
def householder_product(input, tau):
    """The first columns of the product of reflectors 1 - tau v v^T whose v are below the diagonal of `input`."""
    op = "torch.linalg.householder_product"
    _check_reflectors(op, input, tau)
    if input.array.shape[-2] < input.array.shape[-1]:
        raise RuntimeError(f"{op}: input.shape[-2] must be greater than or equal to input.shape[-1]")
    whole = identity(input, input.array.shape[-2])
    return _reflected(input, tau, whole.expand(input.array.shape))


def _check_reflectors(op, input, tau):
    if input.array.ndim < 2:
        raise RuntimeError(f"{op}: input must have at least 2 dimensions.")
    if input.array.shape[-1] < tau.array.shape[-1]:
        raise RuntimeError(f"{op}: input.shape[-1] must be greater than or equal to tau.shape[-1]")
    if input.array.ndim - tau.array.ndim != 1:
        raise RuntimeError(
            f"{op}: Expected tau to have one dimension less than input, but got tau.ndim equal to {tau.array.ndim} and "
            f"input.ndim is equal to {input.array.ndim}"
        )
    if tau.array.shape[:-1] != input.array.shape[:-2]:
        raise RuntimeError(
            f"{op}: Expected batch dimensions of tau to be equal to input.shape[:-2], but got "
            f"{list(tau.array.shape[:-1])}"
        )
    if input.array.dtype != tau.array.dtype:
        raise RuntimeError(f"{op}: tau dtype {kind_of(tau)} does not match input dtype {kind_of(input)}")
    no_half(op, input)


@export("ormqr", "Tensor.ormqr", out=True, autocast=FLOAT32_ON_CPUS)
def ormqr(input, tau, other, left=True, transpose=False):
    """The product of the matrix of geqrf's reflectors, or its transpose, with `other`, from the left or the right."""
    _check_reflectors("torch.ormqr", input, tau)
    other = other if left else adjoint(other)
    if other.array.shape[-2] != input.array.shape[-2]:
        raise RuntimeError(f"torch.ormqr: other.shape[{'-2' if left else '-1'}] must be equal to input.shape[-2]")
    found = _reflected(input, tau, other, transpose == left)
    return found if left else adjoint(found)


# ---------------------------------------------------------------- eigenvalues


def _check_symmetric(op, A, UPLO):
    check_square(op, A)
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    lapack_only("linalg_eigh_cpu", A)
    return UPLO.upper() == "L"


@export("linalg.eigh", out=True, autocast=FLOAT32_ON_CPUS)
def eigh(A, UPLO="L"):
    """Eigenvalues, smallest first, and eigenvectors of symmetric matrices, of which one triangle is read."""
    is_lower = _check_symmetric("linalg.eigh", A, UPLO)
    return returns("linalg_eigh", "eigenvalues", "eigenvectors")(*LinalgEigh.apply(A, is_lower))


@export("linalg.eigvalsh", out=True, autocast=FLOAT32_ON_CPUS)
def eigvalsh(A, UPLO="L"):
    """Eigenvalues of symmetric matrices, smallest first."""
    return LinalgEigvalsh.apply(A, _check_symmetric("linalg.eigh", A, UPLO))


# ---------------------------------------------------------------- singular values


def _check_svd(A, driver=None):
    check_matrices("linalg.svd", A)
    check_floating("linalg.svd", A)
    lapack_only("linalg_svd_cpu", A)
    if driver is not None:
        raise RuntimeError(
            "linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER backend."
        )


@export("linalg.svd", out=True, autocast=FLOAT32_ON_CPUS)
def linalg_svd(A, full_matrices=True, *, driver=None):
    """U, S and V^T with U diag(S) V^T = A; only as many columns of U and V as there are S unless `full_matrices`."""
    _check_svd(A, driver)
    return returns("linalg_svd", "U", "S", "Vh")(*LinalgSvd.apply(A, bool(full_matrices)))


@export("linalg.svdvals", out=True, autocast=FLOAT32_ON_CPUS)
def svdvals(A, *, driver=None):
    """The singular values of matrices, largest first."""
    _check_svd(A, driver)
    return SingularValues.apply(A)


@export("svd", "Tensor.svd", out=True, autocast=FLOAT32_ON_CPUS)
def svd(input, some=True, compute_uv=True):
    """U, S and V with U diag(S) V^T = input; U and V are zeros unless `compute_uv`."""
    _check_svd(input)
    result = returns("svd", "U", "S", "V")
    if compute_uv:
        U, S, Vh = LinalgSvd.apply(input, not some)
        return result(U, S, adjoint(Vh))
    *batch, rows, columns = input.array.shape
    zeros = [input.new_zeros((*batch, size, size)) for size in (rows, columns)]
    return result(zeros[0], SingularValues.apply(input), zeros[1])


@export("svd_lowrank")
def svd_lowrank(A, q=6, niter=2, M=None):
    """An SVD of rank q, near the best, of A - M: of a projection to where A takes random vectors.

    Halko, Martinsson and Tropp 2009, algorithms 4.4 and 5.1.
    """
    q = 6 if q is None else q
    rows, columns = A.array.shape[-2:]
    shifted = A if M is None else A - M
    wide = rows < columns
    shifted = adjoint(shifted) if wide else shifted
    turned = adjoint(shifted)
    random = shifted.new_empty((shifted.array.shape[-1], q)).normal_()
    Q = linalg_qr(shifted @ random)[0]
    for _ in range(niter):
        Q = linalg_qr(turned @ Q)[0]
        Q = linalg_qr(shifted @ Q)[0]
    U, S, Vh = linalg_svd(adjoint(Q) @ shifted, full_matrices=False)
    U, V = Q @ U, adjoint(Vh)
    return (V, S, U) if wide else (U, S, V)


@export("pca_lowrank")
def pca_lowrank(A, q=None, center=True, niter=2):
    """U, S and V of svd_lowrank, of A less its columns' means if `center`: V has the principal directions."""
    rows, columns = A.array.shape[-2:]
    if q is None:
        q = min(6, rows, columns)
    elif not 0 <= q <= min(rows, columns):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(rows, columns)}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return svd_lowrank(A - A.mean(-2, True) if center else A, q, niter)
