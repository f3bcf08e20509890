"""Sparse tensors from data and from dense tensors, and what a dense tensor answers when asked as if it were sparse."""

from __future__ import annotations

from tritorch import creation
from tritorch.functional.sparse import SparseTensor, at_places
from tritorch.ops.base import TABLE, export
from tritorch.runtime import dtypes
from tritorch.runtime.memory_format import sparse_coo


@export("sparse_coo_tensor")
def sparse_coo_tensor(
    indices=None, values=None, size=None, *, dtype=None, device=None, pin_memory=False, requires_grad=False,
    check_invariants=None, is_coalesced=None,
):  # fmt: skip
    """A sparse tensor with `values` at the columns of `indices`; without them an empty one of `size`.

    Without `size` it is as large as the indices reach. Indices outside the size are refused.
    """
    if values is None:
        size = indices if size is None else size
        where = creation.full_of("sparse_coo_tensor", (len(size), 0), 0, dtypes.int64, device)
        values = creation.full_of("sparse_coo_tensor", (0,), 0, dtype, device)
        return SparseTensor(where, values.requires_grad_(requires_grad), size, True)
    what = creation.as_tensor(values, dtype=dtype, device=device)
    where = creation.as_tensor(indices, device=what.device).to(dtypes.int64)
    if where.dim() != 2:
        raise RuntimeError(f"indices must be sparse_dim x nnz, but got: {list(where.shape)}")
    where, what = where.detach(), what.unsqueeze(0) if what.dim() == 0 else what
    if where.shape[1] != what.shape[0]:
        raise RuntimeError(
            f"indices and values must have same nnz, but got nnz from indices: {where.shape[1]}, nnz from values: "
            f"{what.shape[0]}"
        )
    if size is None:
        size = (*[each + 1 for each in where.amax(1).tolist()], *what.shape[1:])
    _check_places(where, what, size)
    if requires_grad:
        return SparseTensor(where, what.detach(), size, bool(is_coalesced)).requires_grad_()
    return SparseTensor(where, what, size, bool(is_coalesced))


def _check_places(where, what, size):
    dims, rest = where.shape[0], what.dim() - 1
    if len(size) != dims + rest:
        raise RuntimeError(
            f"'len(size) == sparse_dim + dense_dim' is not satisfied: len(size) = {len(size)}, sparse_dim = {dims}, "
            f"dense_dim = {rest}"
        )
    if where.device.is_host and where.numel():
        for dim, (least, most) in enumerate(zip(where.amin(1).tolist(), where.amax(1).tolist(), strict=True)):
            if least < 0:
                raise RuntimeError(f"found negative index {least} for dim {dim}")
            if most >= size[dim]:
                raise RuntimeError(
                    f"size is inconsistent with indices: for dim {dim}, size is {size[dim]} but found index {most}"
                )


@export("Tensor.to_sparse", "Tensor.to_sparse_coo")
def to_sparse(self, sparse_dim=None, *, layout=None, blocksize=None, dense_dim=None):
    """The elements that are not zero as a sparse tensor, whose first `sparse_dim` dimensions (default: all) are sparse.

    An int is taken for the number of sparse dimensions; of layouts there is sparse_coo.
    """
    if layout not in (None, sparse_coo) or blocksize is not None:
        raise NotImplementedError(f"to_sparse(): tritorch has the layout torch.sparse_coo only, not {layout!r}")
    count = self.dim() if sparse_dim is None else sparse_dim
    there = self.detach() != 0
    there = there.flatten(count).any(-1) if count < self.dim() else there
    where = TABLE["nonzero"].apply(there) if count else self.new_zeros(0, 1, dtype=dtypes.int64)
    return SparseTensor(where, at_places(self, where), self.shape, True)


@export("Tensor.to_dense")
def to_dense(self, dtype=None, *, masked_grad=None):
    """The tensor itself: it is dense."""
    return self if dtype is None else self.to(dtype)


@export("Tensor.sparse_dim")
def sparse_dim(self):
    """How many dimensions are sparse: none."""
    return 0


@export("Tensor.dense_dim")
def dense_dim(self):
    """How many dimensions are dense: all."""
    return self.dim()


def _only_sparse(name):
    wanted = "sparse tensor layout" if name == "values" else "sparse coordinate tensor layout"

    def method(self):
        raise RuntimeError(f"{name} expected {wanted} but got Strided")

    method.__doc__ = "Refused: the tensor is dense."
    export(f"Tensor.{name}")(method)


for _name in ("is_coalesced", "coalesce", "indices", "values"):
    _only_sparse(_name)


def _no_layout(name):
    def function(*args, **kwargs):
        raise NotImplementedError(f"{name}(): tritorch has the sparse layout torch.sparse_coo only")

    function.__doc__ = "Refused: of sparse layouts there is torch.sparse_coo."
    return function


for _name in ("sparse_csr_tensor", "sparse_csc_tensor", "sparse_bsr_tensor", "sparse_bsc_tensor",
              "sparse_compressed_tensor"):  # fmt: skip
    export(_name)(_no_layout(_name))
for _name in ("to_sparse_csr", "to_sparse_csc", "to_sparse_bsr", "to_sparse_bsc", "to_mkldnn"):
    export(f"Tensor.{_name}")(_no_layout(_name))


def _product(input, other):
    return input @ other


for _name in ("spmm", "dsmm"):
    export(_name)(_product)
