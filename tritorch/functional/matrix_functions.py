"""Functions of whole matrices: powers, the exponential, chains of products, tensors as linear maps."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np

from tritorch.autograd.grad_mode import no_grad
from tritorch.functional.matrices import check_floating, check_square, kind_of, wide
from tritorch.functional.solvers import inv, solve
from tritorch.ops.autocast import FLOAT32_ON_CPUS, LOWER_ON_GPUS
from tritorch.ops.base import TABLE, export
from tritorch.ops.linalg.parts import identity
from tritorch.ops.shape.strided_views import Diagonal
from tritorch.runtime import dtypes


@export("linalg.diagonal")
def linalg_diagonal(A, *, offset=0, dim1=-2, dim2=-1):
    """The diagonals of matrices: a view."""
    return Diagonal.call(A, offset, dim1, dim2)


@export("linalg.matrix_power", "matrix_power", "Tensor.matrix_power", out=True)
def matrix_power(A, n):
    """The product of n equal matrices, by squaring; of inverses for a negative n."""
    check_square("linalg.matrix_power", A)
    if n == 0:
        one = identity(A)
        return TABLE["where"].apply(one >= 0, one, A)
    if n < 0:
        A, n = inv(A), -n
    result = None
    while True:
        if n & 1:
            result = A if result is None else result @ A
        n >>= 1
        if not n:
            return result
        A = A @ A


# ---------------------------------------------------------------- the exponential

# The degree of the Taylor polynomial, and the 1-norm up to which it is exact to half a unit of the dtype.
_TAYLOR = {np.dtype(np.float32): (12, 1.5), np.dtype(np.float64): (16, 0.82)}


@export("matrix_exp", "linalg.matrix_exp", "Tensor.matrix_exp")
def matrix_exp(A):
    """The sum of A^k / k!: a Taylor polynomial of A / 2^s, squared s times, each matrix with the s it needs.

    Scaling and squaring (Higham 2005), with the polynomial in powers of A^4 (Paterson and Stockmeyer 1973).
    """
    check_square("linalg.matrix_exp", A)
    check_floating("linalg.matrix_exp", A)
    if A.array.size == 0:
        return A.clone()
    x = wide(A)
    degree, limit = _TAYLOR[x.array.dtype]
    with no_grad():
        norms = x.abs().sum(-2).amax(-1).on_host()
    finite = np.where(np.isfinite(norms), norms, 0)
    squarings = np.ceil(np.log2(np.maximum(finite / limit, 1))).astype(np.int64)
    if x.level is not None:  # many examples that look like one
        squarings = squarings.max()
    scale = x.new_tensor(0.5**squarings).unsqueeze(-1).unsqueeze(-1)
    found = _taylor(x * scale, degree)
    for step in range(int(squarings.max())):
        more = squarings > step
        squared = found @ found
        if more.all():
            found = squared
        else:
            chosen = x.new_tensor(more, dtype=dtypes.bool_).unsqueeze(-1).unsqueeze(-1)
            found = TABLE["where"].apply(chosen, squared, found)
    return found.to(A.dtype)


def _taylor(x, degree):
    """The sum of x^k / k! up to `degree`, a multiple of 4, with few products."""
    powers = [identity(x), x, x @ x]
    powers.append(powers[2] @ x)
    fourth = powers[2] @ powers[2]

    def part(first):
        terms = [powers[k] * (1 / math.factorial(first + k)) for k in range(4)]
        return terms[0] + terms[1] + terms[2] + terms[3]

    found = part(degree - 4) + fourth * (1 / math.factorial(degree))
    for first in range(degree - 8, -1, -4):
        found = part(first) + fourth @ found
    return found


# ---------------------------------------------------------------- chains


@export("linalg.multi_dot", out=True, autocast=LOWER_ON_GPUS)
def multi_dot(tensors):
    """The product of several matrices, in the order that takes the fewest multiplications; the ends may be vectors."""
    tensors = list(tensors)
    _check_chain(tensors)
    first, last = tensors[0].array.ndim == 1, tensors[-1].array.ndim == 1
    if first:
        tensors[0] = tensors[0].unsqueeze(0)
    if last:
        tensors[-1] = tensors[-1].unsqueeze(1)
    for at, (a, b) in enumerate(itertools.pairwise(tensors)):
        shapes = list(a.array.shape), list(b.array.shape)
        if shapes[0][1] != shapes[1][0]:
            raise RuntimeError(
                f"multi_dot(): tensors {at} and {at + 1} with shapes {shapes[0]} and {shapes[1]} cannot be multiplied"
            )
    found = _chained(tensors, _splits([each.array.shape for each in tensors]), 0, len(tensors) - 1)
    if first:
        found = found.squeeze(0)
    return found.squeeze(-1) if last else found


def _check_chain(tensors):
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    for at, each in enumerate(tensors):
        ends = {0: "the first tensor", len(tensors) - 1: "the last tensor"}
        if at in ends and each.array.ndim not in (1, 2):
            raise RuntimeError(f"multi_dot(): {ends[at]} must be 1D or 2D but got {each.array.ndim}D")
        if at not in ends and each.array.ndim != 2:
            raise RuntimeError(f"multi_dot(): tensor {at} must be 2D but got {each.array.ndim}D")
        if each.array.dtype != tensors[0].array.dtype:
            raise RuntimeError(
                "multi_dot(): all tensors must have be the same dtype but tensor 0 is "
                f"{kind_of(tensors[0]).lower()} and tensor {at} {kind_of(each).lower()}"
            )


def _splits(shapes):
    """Where each part of a chain is best cut, by dynamic programming (Cormen and others, chapter 15.2)."""
    count = len(shapes)
    sizes = [shape[0] for shape in shapes] + [shapes[-1][1]]
    cost, split = [[0] * count for _ in range(count)], [[0] * count for _ in range(count)]
    for length in range(1, count):
        for start in range(count - length):
            end = start + length
            cost[start][end], split[start][end] = min(
                (cost[start][cut] + cost[cut + 1][end] + sizes[start] * sizes[cut + 1] * sizes[end + 1], cut)
                for cut in range(start, end)
            )
    return split


def _chained(tensors, split, start, end):
    if start == end:
        return tensors[start]
    cut = split[start][end]
    return _chained(tensors, split, start, cut) @ _chained(tensors, split, cut + 1, end)


@export("chain_matmul", autocast=LOWER_ON_GPUS)
def chain_matmul(*matrices, out=None):
    """As linalg.multi_dot, of matrices given one by one."""
    warnings.warn(
        "torch.chain_matmul is deprecated and will be removed in a future PyTorch release. Use torch.linalg.multi_dot "
        "instead, which accepts a list of two or more tensors rather than multiple parameters.",
        stacklevel=3,
    )
    if not matrices:
        raise RuntimeError("chain_matmul(): Expected one or more matrices")
    for each in matrices:
        if each.array.ndim != 2:
            raise RuntimeError(f"Tensor dimension is {each.array.ndim}, expected 2 instead.")
    found = matrices[0] if len(matrices) == 1 else multi_dot(matrices)
    return found if out is None else out.resize_(found.array.shape).copy_(found)


# ---------------------------------------------------------------- tensors as linear maps


@export("linalg.tensorinv", out=True, autocast=FLOAT32_ON_CPUS)
def tensorinv(A, ind=2):
    """The inverse of tensordot(A, ., ind): the first `ind` dimensions are rows, the others columns."""
    if ind <= 0:
        raise RuntimeError(f"Expected a strictly positive integer for 'ind', but got {ind}")
    shape = A.array.shape
    rows, columns = math.prod(shape[:ind]), math.prod(shape[ind:])
    if rows != columns:
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got "
            f"{columns} != {rows}"
        )
    return inv(A.reshape((rows, columns))).reshape((*shape[ind:], *shape[:ind]))


@export("linalg.tensorsolve", out=True, autocast=FLOAT32_ON_CPUS)
def tensorsolve(A, B, dims=None):
    """X with tensordot(A, X, X.ndim) = B; `dims` of A are moved to its end first."""
    if dims is not None:
        count = A.array.ndim
        A = A.movedim(tuple(dims), tuple(range(count - len(dims), count)))
    shape, ndim = A.array.shape, B.array.ndim
    rows, columns = math.prod(shape[:ndim]), math.prod(shape[ndim:])
    if rows != columns:
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim]), "
            f"but got {columns} != {rows}"
        )
    return solve(A.reshape((rows, columns)), B.reshape(-1)).reshape(shape[ndim:])


@export("linalg.vander")
def linalg_vander(x, *, N=None):
    """The powers 0, 1, ..., N - 1 of each element, in a new last dimension."""
    if x.array.dtype.kind == "b":
        raise RuntimeError("linalg.vander supports floating point, complex, and integer tensors, but got Bool")
    x = x if x.array.ndim else x.unsqueeze(0)
    count = x.array.shape[-1] if N is None else N
    if count <= 1:
        raise RuntimeError("N must be greater than 1.")
    kind = x.dtype if x.is_floating_point() else dtypes.int64
    base = x.to(kind).unsqueeze(-1)
    columns = [base.new_ones(base.array.shape), base]
    while len(columns) < count:
        columns.append(columns[-1] * base)
    return TABLE["cat"].call(columns, -1)
