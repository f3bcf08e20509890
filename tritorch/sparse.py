"""Sparse matrices by their coordinates: made, moved, turned, added up, and multiplied by dense matrices.

A SparseTensor is a Tensor to `isinstance` and to modules, and has no array: an op that is not here says so.
"""

from __future__ import annotations

import numpy as np

from tritorch import creation
from tritorch.ops.base import EXPORTS
from tritorch.runtime import dtypes
from tritorch.runtime.memory_format import sparse_coo as sparse_coo
from tritorch.size import Size
from tritorch.tensor import Tensor

_UNCOALESCED = "Cannot get {} on an uncoalesced tensor, please call .coalesce() first"


def sparse_coo_tensor(
    indices, values, size=None, *, dtype=None, device=None, pin_memory=False, requires_grad=False,
    check_invariants=None, is_coalesced=None,
):  # fmt: skip
    """A sparse tensor with `values[n]` at `indices[:, n]`, on the device of `values`; values of one place add up.

    indices (dimensions, n) integers, values (n, ...), size: the least that holds the indices if it is not given.
    """
    values = values if isinstance(values, Tensor) and dtype is None and device is None else creation.as_tensor(
        values, dtype=dtype, device=device
    )  # fmt: skip
    indices = creation.as_tensor(indices, dtype=dtypes.int64, device=values.device)
    if indices.ndim != 2:
        raise RuntimeError(f"indices must be sparse_dim x nnz, but got: {list(indices.shape)}")
    if indices.shape[1] != (values.shape[0] if values.ndim else 1):
        raise RuntimeError(
            f"indices and values must have same nnz, but got nnz from indices: {indices.shape[1]}, nnz from values: "
            f"{values.shape[0] if values.ndim else 1}"
        )
    made = SparseTensor._of(indices, values.detach() if requires_grad else values, _size(indices, values, size))
    made._coalesced = bool(is_coalesced)
    return made.requires_grad_() if requires_grad else made


def _size(indices, values, size):
    """The size that was asked for, checked against the indices; or the least that holds them."""
    host = np.asarray(indices)
    most = host.max(axis=1) if host.size else np.full(len(host), -1)
    if size is None:
        return Size([*(int(index) + 1 for index in most), *values.shape[1:]])
    if len(size) != len(host) + values.ndim - 1:
        raise RuntimeError(
            f"'len(size) == sparse_dim + dense_dim' is not satisfied: len(size) = {len(size)}, "
            f"sparse_dim = {len(host)}, dense_dim = {values.ndim - 1}"
        )
    for dim, index in enumerate(most):
        if index >= size[dim]:
            raise RuntimeError(
                f"size is inconsistent with indices: for dim {dim}, size is {size[dim]} but found index {index}"
            )
    if host.size and host.min() < 0:
        raise RuntimeError(f"found negative index {host.min()} for dim {int(np.argmin(host.min(axis=1)))}")
    return Size(size)


class SparseTensor(Tensor):
    """Values at coordinates, zero elsewhere; gradients flow to the values."""

    is_sparse, layout = True, sparse_coo
    _coalesced = False

    @classmethod
    def _of(cls, indices, values, size):
        self = object.__new__(cls)
        self._places, self._held, self._size = indices, values, size
        return self

    @property
    def array(self):
        raise NotImplementedError(
            "this is not implemented for sparse tensors; torch.sparse.mm multiplies one by a dense matrix, and "
            ".to_dense() makes it a tensor that has everything"
        )

    # ------------------------------------------------------------------------------------------- what it is

    shape = property(lambda self: self._size)
    dtype = property(lambda self: self._held.dtype)
    device = property(lambda self: self._held.device)
    ndim = property(lambda self: len(self._size))
    requires_grad = property(lambda self: self._held.requires_grad, lambda self, value: self.requires_grad_(value))
    is_cuda = property(lambda self: self._held.is_cuda)
    grad_fn = property(lambda self: self._held.grad_fn)
    T = property(lambda self: self.t())

    def size(self, dim=None):
        """The size, or that of one dimension."""
        return self._size if dim is None else self._size[dim]

    def dim(self):
        """The number of dimensions."""
        return len(self._size)

    def numel(self):
        """The number of elements, zeros among them."""
        return int(np.prod(self._size))

    def sparse_dim(self):
        """How many dimensions the coordinates have."""
        return self._places.shape[0]

    def dense_dim(self):
        """How many dimensions each value has."""
        return self._held.ndim - 1

    def is_coalesced(self):
        """Whether each place is named once, in order."""
        return self._coalesced

    def _nnz(self):
        return self._places.shape[1]

    def _indices(self):
        return self._places

    def _values(self):
        return self._held

    def indices(self):
        """The coordinates (sparse_dim, n) of a coalesced tensor."""
        if not self._coalesced:
            raise RuntimeError(_UNCOALESCED.format("indices"))
        return self._places

    def values(self):
        """The values of a coalesced tensor."""
        if not self._coalesced:
            raise RuntimeError(_UNCOALESCED.format("values"))
        return self._held

    def __len__(self):
        return self._size[0]

    def __repr__(self):
        indent = " " * len("tensor(indices=")
        indices = repr(self._places).replace("\n", "\n" + indent)
        values = repr(self._held.detach()).replace("\n", "\n" + " " * len("       values="))
        gradient = ", requires_grad=True" if self.requires_grad else ""
        if self.grad_fn is not None:
            gradient = ",\n       grad_fn=<SparseCooTensorWithDimsAndTensorsBackward0>"
        size = f"size={tuple(self._size)}, nnz={self._nnz()}, layout=torch.sparse_coo{gradient})"
        return f"tensor(indices={indices},\n       values={values},\n       {size}"

    # ------------------------------------------------------------------------------------------- other forms

    def _with(self, values):
        made = self._of(self._places.to(values.device), values, self._size)
        made._coalesced = self._coalesced
        return made

    def to(self, *args, **kwargs):
        """With the values moved or converted as `Tensor.to` does, and the coordinates beside them."""
        return self._with(self._held.to(*args, **kwargs))

    def cuda(self, *args, **kwargs):
        """On a GPU."""
        return self._with(self._held.cuda(*args, **kwargs))

    def cpu(self):
        """In host memory."""
        return self._with(self._held.cpu())

    def type(self, *args, **kwargs):
        """The name of the type, or with the values converted."""
        if not args and not kwargs:
            return self._held.type().replace("torch.", "torch.sparse.", 1)
        return self._with(self._held.type(*args, **kwargs))

    def float(self):
        """In float32."""
        return self.to(dtypes.float32)

    def double(self):
        """In float64."""
        return self.to(dtypes.float64)

    def half(self):
        """In float16."""
        return self.to(dtypes.float16)

    def detach(self):
        """The same values without their history."""
        return self._with(self._held.detach())

    def clone(self):
        """A copy."""
        return self._with(self._held.clone())

    def requires_grad_(self, requires_grad=True):
        """Ask for the gradient of the values."""
        self._held.requires_grad_(requires_grad)
        return self

    def t(self):
        """The matrix turned over."""
        if self.ndim != 2:
            raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {self.ndim}D")
        return self._of(self._places.flip(0), self._held, Size(self._size[::-1]))

    def transpose(self, dim0, dim1):
        """Two dimensions of the coordinates exchanged."""
        order = list(range(self.ndim))
        order[dim0], order[dim1] = order[dim1], order[dim0]
        return self._of(self._places[order], self._held, Size([self._size[dim] for dim in order]))

    def coalesce(self):
        """Each place once, in order; values of one place are added up."""
        if self._coalesced:
            return self
        host = np.asarray(self._places)
        flat = np.ravel_multi_index(tuple(host), self._size[: len(host)]) if host.size else np.zeros(0, np.int64)
        places, group = np.unique(flat, return_inverse=True)
        group = creation.as_tensor(group.astype(np.int64), device=self.device)
        sums = self._held.new_zeros(len(places), *self._held.shape[1:]).index_add(0, group, self._held)
        indices = np.stack(np.unravel_index(places, self._size[: len(host)])).astype(np.int64)
        made = self._of(creation.as_tensor(indices, device=self.device), sums, self._size)
        made._coalesced = True
        return made

    def to_sparse(self):
        """Itself."""
        return self

    def to_dense(self):
        """The tensor with its zeros written out."""
        sparse = self._size[: self._places.shape[0]]
        steps = creation.as_tensor([int(np.prod(sparse[dim + 1 :])) for dim in range(len(sparse))], device=self.device)
        flat = (self._places * steps.unsqueeze(1)).sum(0)
        zeros = self._held.new_zeros(int(np.prod(sparse)), *self._held.shape[1:])
        return zeros.index_add(0, flat, self._held).reshape(tuple(self._size))

    # ------------------------------------------------------------------------------------------- arithmetic

    def mm(self, mat2):
        """The product of this matrix and a dense one, which is dense."""
        if self.ndim != 2 or mat2.is_sparse or mat2.ndim not in (1, 2):
            raise NotImplementedError("a sparse matrix is multiplied by dense matrices and vectors only")
        if self._size[1] != mat2.shape[0]:
            raise RuntimeError(f"addmm: Argument #3 (dense): Expected dim 0 size {self._size[1]}, got {mat2.shape[0]}")
        rows, columns = self._places.unbind(0)
        values = self._held if mat2.ndim == 1 else self._held.unsqueeze(1)
        terms = values * mat2.index_select(0, columns)
        return mat2.new_zeros(self._size[0], *mat2.shape[1:]).index_add(0, rows, terms)

    matmul = mv = spmm = __matmul__ = mm

    def __mul__(self, other):
        return self._with(self._held * other)

    __rmul__ = mul = __mul__

    def __truediv__(self, other):
        return self._with(self._held / other)

    div = __truediv__

    def __neg__(self):
        return self._with(-self._held)

    def __add__(self, other):
        if not isinstance(other, SparseTensor):
            return self.to_dense() + other
        if self._size != other._size:
            raise RuntimeError(f"add: expected sizes of self and other to match, but {self._size} != {other._size}")
        places = EXPORTS["cat"]([self._places, other._places], 1)
        return self._of(places, EXPORTS["cat"]([self._held, other._held]), self._size).coalesce()

    __radd__ = add = __add__

    def sum(self, dim=None):
        """The sum of all values, or over dimensions."""
        return self._held.sum() if dim is None else self.to_dense().sum(dim)


def mm(sparse, dense):
    """The product of a sparse matrix and a dense one; gradients flow to the values of one and to the other."""
    return sparse.mm(dense) if sparse.is_sparse else EXPORTS["mm"](sparse, dense)


spmm = mm


def addmm(mat, mat1, mat2, *, beta=1.0, alpha=1.0):
    """beta * mat + alpha * mat1 @ mat2, with a sparse mat1."""
    return beta * mat + alpha * mm(mat1, mat2)


def sum(input, dim=None, dtype=None):
    """The sum of a sparse tensor's values, or over dimensions, as a dense tensor."""
    return (input if dtype is None else input.to(dtype)).sum(dim)


def from_dense(input):
    """The sparse tensor of what is not zero in `input`; gradients flow back."""
    places = input.detach().nonzero()
    made = SparseTensor._of(places.t(), input[tuple(places.unbind(1))], input.shape)
    made._coalesced = True
    return made


def _old(kind):
    def make(*args, device=None):
        """The old constructor: indices, values, size; or a size alone for a tensor of zeros."""
        if args and isinstance(args[0], Tensor):
            return sparse_coo_tensor(*args, dtype=kind, device=device)
        size = args[0] if len(args) == 1 and not isinstance(args[0], int) else args
        indices = creation.zeros(len(size), 0, dtype=dtypes.int64, device=device)
        return sparse_coo_tensor(indices, creation.zeros(0, dtype=kind, device=device), size)

    return make


FloatTensor, DoubleTensor, HalfTensor = map(_old, (dtypes.float32, dtypes.float64, dtypes.float16))
LongTensor, IntTensor = map(_old, (dtypes.int64, dtypes.int32))
