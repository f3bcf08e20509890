"""Sparse tensors by PyTorch's names: products, sums, softmax, and the old constructors."""

from __future__ import annotations

import tritorch
from tritorch.functional.sparse import SparseTensor
from tritorch.functional.sparse_data import sparse_coo_tensor
from tritorch.functional.tensor_types import TYPES, tensortype
from tritorch.refused import refuse_all

globals().update(
    refuse_all(
        "sparse",
        ("sampled_addmm", "spsolve", "to_sparse_semi_structured", "as_sparse_gradcheck"),
        "use dense tensors; of sparse ones there are coordinates (torch.sparse_coo) with products by dense matrices.",
    )
)


def mm(sparse, dense):
    """The product of a sparse and a dense matrix, dense; of two sparse ones, sparse."""
    return sparse @ dense


def addmm(mat, mat1, mat2, *, beta=1.0, alpha=1.0):
    """beta * mat + alpha * (mat1 @ mat2), where `mat1` is sparse."""
    return beta * mat + alpha * (mat1 @ mat2)


def sum(input, dim=None, dtype=None):
    """The sum of all elements; along some dimensions a sparse tensor, along all sparse ones a dense one."""
    found = input.sum(dim, dtype=dtype)
    if dim is None:
        return found
    dims = {each % input.dim() for each in ((dim,) if isinstance(dim, int) else dim)}
    return found if dims.issuperset(range(input.sparse_dim())) else found.to_sparse()


def softmax(input, dim, *, dtype=None):
    """softmax over the elements that are there, along a sparse dimension."""
    return _over_present(tritorch.softmax, input, dim, dtype)


def log_softmax(input, dim, *, dtype=None):
    """log_softmax over the elements that are there, along a sparse dimension."""
    return _over_present(tritorch.log_softmax, input, dim, dtype)


def _over_present(function, input, dim, dtype):
    whole = input.coalesce()
    there = whole._with(tritorch.ones_like(whole.values().detach())).to_dense().bool()
    dense = whole.to_dense(dtype).masked_fill(~there, -tritorch.inf)
    return function(dense, dim).nan_to_num(0.0).sparse_mask(whole)


class _SparseType(tensortype):
    """The old types of sparse tensors."""

    def __call__(cls, *args, device=None):
        sized = len(args) > 1 and hasattr(args[0], "dim")
        if not sized:
            return sparse_coo_tensor(size=args[0] if args and not isinstance(args[0], int) else args, dtype=cls.dtype,
                                     device=device)  # fmt: skip
        return sparse_coo_tensor(*args, dtype=cls.dtype, device=device)

    def __instancecheck__(cls, instance):
        return isinstance(instance, SparseTensor) and instance.dtype is cls.dtype


globals().update(
    {
        name: _SparseType(name, (), {"__module__": __name__, "__doc__": f"Sparse tensors of {dense.dtype!r}.",
                                     "dtype": dense.dtype, "is_cuda": False})
        for name, dense in TYPES.items()
    }
)  # fmt: skip
