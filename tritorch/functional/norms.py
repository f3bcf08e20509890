"""Norms of vectors and matrices, and what follows from singular values: rank and condition."""

from __future__ import annotations

import math
import numbers

from tritorch.autograd.variable import Variable
from tritorch.functional.matrices import check_floating, check_matrices, check_square, epsilon, lapack_only, no_half
from tritorch.ops.autocast import FLOAT32_ON_CPUS, FLOAT32_ON_GPUS
from tritorch.ops.base import export, write_out
from tritorch.ops.dimensions import wrap_dims
from tritorch.ops.linalg.eigh import LinalgEigvalsh
from tritorch.ops.linalg.inverse import LinalgInvEx
from tritorch.ops.linalg.svd import SingularValues
from tritorch.ops.promotion import KIND_NAMES
from tritorch.ops.reduction.family import dims_of
from tritorch.ops.reduction.kernel import as_dims
from tritorch.ops.reduction.norm import LinalgVectorNorm
from tritorch.runtime import dtypes


@export("linalg.vector_norm", out=True, autocast=FLOAT32_ON_GPUS)
def vector_norm(x, ord=2, dim=None, keepdim=False, *, dtype=None):
    """(sum |x|^ord)^(1/ord) along `dim`; the largest |x| for inf, the smallest for -inf, how many are not 0 for 0."""
    if not isinstance(ord, numbers.Number):
        raise TypeError(f"linalg_vector_norm(): argument 'ord' (position 2) must be Number, not {type(ord).__name__}")
    x = _in_dtype("linalg.vector_norm", x, dtype)
    check_floating("linalg.vector_norm", x)
    dims = dims_of("linalg.vector_norm", x, dim)
    if x.array.size == 0 and (ord < 0 or ord == math.inf):
        _refuse_empty(x.array.shape, dims, ord)
    return LinalgVectorNorm.apply(x, float(ord), dims, bool(keepdim))


def _refuse_empty(shape, dims, ord):
    text = f"linalg.vector_norm cannot compute the {ord:g} norm on"
    if dims is None:
        raise RuntimeError(f"{text} an empty tensor because the operation does not have an identity")
    for each in as_dims(dims, len(shape)):
        if shape[each] == 0:
            raise RuntimeError(
                f"{text} the dimension {each}because this dimension is empty and the operation does not have an "
                "identity"
            )


def _in_dtype(op, x, dtype):
    """`x` in the dtype that was asked for, which must not be narrower."""
    if dtype is None:
        return x
    own, asked = dtypes.of(x.array.dtype), dtypes.as_dtype(dtype, op)
    if not asked.is_floating_point:
        raise RuntimeError(f"{op}: dtype should be floating point or complex, but got {KIND_NAMES[asked.name]}")
    if dtypes.promote_types(own, asked) is not asked:
        raise RuntimeError(
            f"{op}: the dtype of the input ({KIND_NAMES[own.name]}) should be convertible without narrowing to the "
            f"specified dtype ({KIND_NAMES[asked.name]})"
        )
    return x.to(asked)


@export("linalg.matrix_norm", out=True, autocast=FLOAT32_ON_GPUS)
def matrix_norm(A, ord="fro", dim=(-2, -1), keepdim=False, *, dtype=None):
    """The norm of matrices that lie in two dimensions.

    "fro" is the root of the sum of squares, "nuc" the sum of the singular values, 2 and -2 the largest and smallest of
    these, 1 and -1 the largest and smallest sum of sizes in a column, inf and -inf in a row.
    """
    check_matrices("linalg.matrix_norm", A)
    check_floating("linalg.matrix_norm", A)
    dim = (dim,) if isinstance(dim, int) else tuple(dim)
    if len(dim) != 2:
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {' '.join(map(str, dim))}")
    rows, columns = (wrap_dims(each, A.array.ndim)[0] for each in dim)
    if rows == columns:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({dim[0]}, {dim[1]})")
    if ord == "fro":
        return vector_norm(A, 2, (rows, columns), keepdim, dtype=dtype)
    if ord == "nuc" or ord in (2, -2):
        values = _singular_values(A, rows, columns, dtype)
        return _restored(values.sum(-1) if ord == "nuc" else _extreme(values, -1, False, ord), rows, columns, keepdim)
    if ord not in (1, -1, math.inf, -math.inf):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    summed, chosen = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = vector_norm(A, 1, summed, True, dtype=dtype)
    found = _extreme(sums, chosen, True, ord)
    return found if keepdim else found.squeeze((rows, columns))


def _extreme(values, dim, keepdim, ord):
    """The largest along `dim`, which is 0 of none, or for a negative order the smallest."""
    if ord > 0 and values.array.shape[dim] == 0:
        return values.sum(dim, keepdim)
    return values.amax(dim, keepdim) if ord > 0 else values.amin(dim, keepdim)


def _singular_values(A, rows, columns, dtype):
    A = _in_dtype("linalg.matrix_norm", A, dtype)
    no_half("linalg.matrix_norm", A)
    return SingularValues.apply(A.movedim((rows, columns), (-2, -1)))


def _restored(found, rows, columns, keepdim):
    """The result with a dimension of one element where the matrices' dimensions were."""
    if not keepdim:
        return found
    for each in sorted((rows, columns)):
        found = found.unsqueeze(each)
    return found


@export("linalg.norm", out=True, autocast=FLOAT32_ON_GPUS)
def linalg_norm(A, ord=None, dim=None, keepdim=False, *, dtype=None):
    """The norm of a vector, or of a matrix where `dim` has two numbers or `A` two dimensions and `ord` is given."""
    ndim = A.array.ndim
    if dim is not None:
        count = 1 if isinstance(dim, int) else len(dim)
        if count not in (1, 2):
            raise RuntimeError(f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dim)}")
    elif ord is not None:
        if ndim not in (1, 2):
            raise RuntimeError(
                f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {ndim}D."
            )
        count = ndim
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    if isinstance(ord, str) or count == 2:
        return matrix_norm(A, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    return vector_norm(A, ord, dim, keepdim, dtype=dtype)


@export("norm", "Tensor.norm", autocast=FLOAT32_ON_GPUS)
def norm(input, p="fro", dim=None, keepdim=False, out=None, dtype=None):
    """(sum |input|^p)^(1/p) along `dim`, by default of all elements; "nuc" is the sum of a matrix' singular values."""
    if p == "nuc":
        dims = tuple(range(input.array.ndim)) if dim is None else dim
        found = matrix_norm(input, "nuc", dims, keepdim, dtype=dtype)
    elif p == "fro" and isinstance(dim, (tuple, list)) and len(dim) > 1:
        found = matrix_norm(input, "fro", dim, keepdim, dtype=dtype)
    elif p in ("fro", None):
        found = vector_norm(input, 2, dim, keepdim, dtype=dtype)
    elif isinstance(p, str):
        raise RuntimeError(f"linalg.matrix_norm: Order {p} not supported.")
    else:
        found = vector_norm(input, p, dim, keepdim, dtype=dtype)
    return found if out is None else write_out(out, found)


@export("linalg.cond", out=True, autocast=FLOAT32_ON_CPUS)
def cond(A, p=None):
    """The condition of matrices: the norm times that of the inverse, inf of a singular one; see matrix_norm for `p`."""
    check_matrices("linalg.cond", A)
    check_floating("linalg.cond", A)
    if p in (None, 2, -2):
        lapack_only("linalg_svd_cpu", A)
        values = SingularValues.apply(A)
        if values.array.shape[-1] == 0:
            return values.sum(-1)
        largest, smallest = values[..., 0], values[..., -1]
        return smallest / largest if p == -2 else largest / smallest
    if p not in ("fro", "nuc", 1, -1, math.inf, -math.inf):
        raise RuntimeError(f"linalg.cond got an invalid norm type: {p}")
    check_square("linalg.cond", A)
    no_half("linalg.cond", A)
    if A.array.size == 0:
        return A.sum((-2, -1))
    inverse, info = LinalgInvEx.apply(A)
    found = matrix_norm(A, p) * matrix_norm(inverse, p)
    return found.masked_fill(info != 0, math.inf)


@export("linalg.matrix_rank", out=True, autocast=FLOAT32_ON_CPUS)
def matrix_rank(A, tol=None, hermitian=False, *, atol=None, rtol=None):
    """How many singular values of matrices are above max(atol, rtol times the largest)."""
    check_matrices("torch.linalg.matrix_rank", A, "input")
    if A.array.dtype.name not in ("float32", "float64"):
        raise RuntimeError("This function doesn't handle types other than float and double")
    if hermitian:
        check_square("linalg.matrix_rank", A)
    if isinstance(tol, bool):
        tol, hermitian = None, tol
    atol, rtol = (tol, 0.0) if tol is not None else tolerances(A, atol, rtol)
    plain = A.detach()
    values = LinalgEigvalsh.apply(plain, True).abs() if hermitian else SingularValues.apply(plain)
    largest = _extreme(values, -1, False, 1)
    limit = atol.maximum(rtol * largest) if isinstance(atol, Variable) else (rtol * largest).clamp_min(atol)
    return (values > limit.unsqueeze(-1)).sum(-1)


def tolerances(A, atol, rtol):
    """atol and rtol of singular values: 0 and eps times the longer side unless told; 0 for rtol beside a given atol."""
    if rtol is None:
        usual = epsilon(A) * max(A.array.shape[-2:])
        rtol = (atol <= 0).to(A.dtype) * usual if isinstance(atol, Variable) else (not atol) * usual
    return 0.0 if atol is None else atol, rtol
