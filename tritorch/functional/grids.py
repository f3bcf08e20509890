"""What is made of several vectors or matrices by pairing their elements: grids, products, combinations."""

from __future__ import annotations

import itertools
import warnings

from tritorch import creation
from tritorch.functional.joining import atleast_2d
from tritorch.ops.base import TABLE, export
from tritorch.ops.index.indexing import Index
from tritorch.ops.outputs import takes_out
from tritorch.ops.shape.joining import BlockDiag, Stack
from tritorch.ops.shape.views import reshape


@export("meshgrid")
def meshgrid(*tensors, indexing=None):
    """Each vector expanded over the grid of all, in this order ("ij") or with the first two swapped ("xy")."""
    if indexing is None:
        warnings.warn(
            "torch.meshgrid: in an upcoming release, it will be required to pass the indexing argument.", stacklevel=3
        )
        indexing = "ij"
    tensors = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    for each in tensors:
        if each.array.ndim > 1:
            raise RuntimeError(f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {each}")
        if each.dtype is not tensors[0].dtype:
            raise RuntimeError("meshgrid expects all tensors to have the same dtype")
    sizes = [each.array.size for each in tensors]
    swap = indexing == "xy" and len(tensors) > 1
    places = [1, 0, *range(2, len(tensors))] if swap else range(len(tensors))
    shape = [sizes[place] for place in places]
    found = []
    for place, each in zip(places, tensors, strict=True):
        own = [1] * len(tensors)
        own[place] = each.array.size
        found.append(reshape(each, own).expand(shape))
    return tuple(found)


@export("cartesian_prod")
def cartesian_prod(*tensors):
    """All tuples of one element of each vector, one a row."""
    for each in tensors:
        if each.array.ndim != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(each.array.shape)}")
    if len(tensors) == 1:
        return tensors[0]
    return reshape(Stack.call(meshgrid(*tensors, indexing="ij"), -1), (-1, len(tensors)))


@export("combinations", "Tensor.combinations")
def combinations(input, r=2, with_replacement=False):
    """All choices of `r` elements of a vector in their order, one a row; with replacement, an element may repeat."""
    if input.array.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.array.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return input.new_empty(0)
    numbers = creation.arange(input.array.shape[0], device=input.device)
    grid = meshgrid(*[numbers] * r, indexing="ij")
    chosen = grid[0] == grid[0]
    for first, second in itertools.pairwise(grid):
        chosen = chosen & ((first <= second) if with_replacement else (first < second))
    return Index.apply(input, (0,), TABLE["nonzero"].apply(chosen).t())


@export("block_diag")
def block_diag(*tensors):
    """The matrices along the diagonal of a matrix of zeros; vectors are rows."""
    for position, each in enumerate(tensors):
        if each.array.ndim > 2:
            raise RuntimeError(
                "torch.block_diag: Input tensors must have 2 or fewer dimensions. Input "
                f"{position} has {each.array.ndim} dimensions"
            )
    if not tensors:
        return creation.empty(1, 0)
    matrices = [atleast_2d(each) for each in tensors]
    return BlockDiag.apply(BlockDiag.keys([each.array.shape for each in matrices]), *matrices)


def kron(input, other):
    """The Kronecker product: each element of `input` times all of `other`, as a block."""
    ndim = max(input.array.ndim, other.array.ndim)
    shapes = [(1,) * (ndim - each.array.ndim) + each.array.shape for each in (input, other)]
    first = reshape(input, [size for each in shapes[0] for size in (each, 1)])
    second = reshape(other, [size for each in shapes[1] for size in (1, each)])
    return reshape(first * second, [a * b for a, b in zip(*shapes, strict=True)])


export("kron", "Tensor.kron")(takes_out(kron, any_dtype=True))


@export("vander")
def vander(x, N=None, increasing=False):
    """The powers 0 to N - 1 of the elements of a vector, one row for each element."""
    if x.array.ndim != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    count = x.array.shape[0] if N is None else N
    if count < 0:
        raise RuntimeError("N must be non-negative.")
    powers = creation.arange(count, device=x.device)
    return x.unsqueeze(-1) ** (powers if increasing else powers.flip(0))
