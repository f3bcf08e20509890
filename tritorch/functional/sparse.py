"""Sparse tensors: coordinates of the elements that are there, and their values, a dense tensor that has the gradient.

What is worked out is what sparse matrices are used for in training: products with dense matrices, sums, scaling, and
the way to dense tensors and back. Everything else says that a dense tensor is wanted.
"""

from __future__ import annotations

import math

from tritorch import printing
from tritorch.ops.base import EXPORTS, export
from tritorch.runtime import dtypes
from tritorch.runtime.memory_format import sparse_coo
from tritorch.size import Size
from tritorch.tensor import Tensor


class NoDenseMemory(NotImplementedError, AttributeError):
    """A function that reads a tensor's elements in order was given a sparse tensor."""


class SparseTensor(Tensor):
    """A tensor of `size` that holds `values[k]` at `indices[:, k]` and zero elsewhere; equal places add up.

    The first `indices.shape[0]` dimensions are sparse; the values may have more, which are dense.
    """

    is_sparse = True
    layout = sparse_coo

    def __new__(cls, indices, values, size, coalesced=False):
        self = object.__new__(cls)
        self._where, self._what, self._sizes, self._sorted = indices, values, Size(size), coalesced
        return self

    def __init__(self, *args, **kwargs):
        """All is done by __new__."""

    @property
    def array(self):
        raise NoDenseMemory("this function takes no sparse tensors: call to_dense() first")

    device = property(lambda self: self._what.device)
    dtype = property(lambda self: self._what.dtype)
    shape = property(lambda self: self._sizes)
    ndim = property(lambda self: len(self._sizes))
    requires = property(lambda self: self._what.requires)
    grad_fn = property(lambda self: self._what.grad_fn)
    is_leaf = property(lambda self: self._what.is_leaf)
    is_cuda = property(lambda self: self._what.is_cuda)

    @property
    def requires_grad(self):
        return self._what.requires_grad

    @requires_grad.setter
    def requires_grad(self, value):
        self.requires_grad_(value)

    @property
    def grad(self):
        """The gradient of the values, at their places."""
        return None if self._what.grad is None else self._with(self._what.grad)

    @grad.setter
    def grad(self, value):
        self._what.grad = value if value is None else value._values()

    def requires_grad_(self, requires_grad=True):
        """Say whether the gradient of the values of this leaf is wanted; their places are put in order for it."""
        if requires_grad and not self._what.requires:
            whole = self.coalesce()
            self._where, self._what, self._sorted = whole._where, whole._what, True
        self._what.requires_grad_(requires_grad)
        return self

    def _with(self, values):
        return SparseTensor(self._where, values, self._sizes, self._sorted)

    # ------------------------------------------------------------------------------ what it is made of

    def size(self, dim=None):
        """The sizes of all dimensions, or of dimension `dim`."""
        return self._sizes if dim is None else self._sizes[dim]

    def dim(self):
        """The number of dimensions."""
        return len(self._sizes)

    def numel(self):
        """The number of elements, zeros included."""
        return self._sizes.numel()

    def __len__(self):
        return self._sizes[0]

    def sparse_dim(self):
        """How many dimensions are sparse."""
        return self._where.array.shape[0]

    def dense_dim(self):
        """How many dimensions the values have beside the first."""
        return self._what.array.ndim - 1

    def _nnz(self):
        return self._where.array.shape[1]

    def _indices(self):
        return self._where

    def _values(self):
        return self._what

    def is_coalesced(self):
        """Whether places are in order and none comes twice."""
        return self._sorted

    def _coalesced(self, what):
        if not self._sorted:
            raise RuntimeError(f"Cannot get {what} on an uncoalesced tensor, please call .coalesce() first")
        return self

    def indices(self):
        """The places of the values, a column each."""
        return self._coalesced("indices")._where

    def values(self):
        """The values, in the order of their places."""
        return self._coalesced("values")._what

    def _rows(self):
        """The places as numbers in row-major order."""
        number, sizes = 0, self._sizes[: self.sparse_dim()]
        for dim, size in enumerate(sizes):
            number = number * size + self._where[dim]
        return number if sizes else self._where.new_zeros(self._nnz())

    def coalesce(self):
        """The same tensor with its places in order and values of equal places added."""
        if self._sorted:
            return self
        numbers, inverse = self._rows().unique(return_inverse=True)
        start = self._what.detach().new_zeros(len(numbers), *self._what.shape[1:])
        values, places = start.index_add(0, inverse, self._what), []
        for size in reversed(self._sizes[: self.sparse_dim()]):
            places.append(numbers % size)
            numbers = numbers // size
        where = EXPORTS["stack"](places[::-1]) if places else self._where[:, :1]
        return SparseTensor(where, values, self._sizes, True)

    def to_dense(self, dtype=None, *, masked_grad=None):
        """The dense tensor."""
        sparse = self._sizes[: self.sparse_dim()]
        start = self._what.detach().new_zeros(math.prod(sparse), *self._what.shape[1:])
        found = start.index_add(0, self._rows(), self._what).reshape(self._sizes)
        return found if dtype is None else found.to(dtype)

    def to_sparse(self, *args, **kwargs):
        """Itself."""
        return self

    to_sparse_coo = to_sparse

    def sparse_mask(self, mask):
        """The elements of this tensor at the places of a sparse tensor."""
        return sparse_mask(self.to_dense(), mask)

    # ------------------------------------------------------------------------------ other dtypes, devices, histories

    def to(self, *args, **kwargs):
        """The tensor with another dtype or on another device; itself where nothing changes."""
        values = self._what.to(*args, **kwargs)
        if values is self._what:
            return self
        return SparseTensor(self._where.to(values.device), values, self._sizes, self._sorted)

    def detach(self):
        """The same memory without the history."""
        return self._with(self._what.detach())

    def clone(self, *, memory_format=None):
        """A copy, with the history."""
        return SparseTensor(self._where.clone(), self._what.clone(), self._sizes, self._sorted)

    def type(self, dtype=None):
        """The old name of the tensor's type; with an argument, the tensor as that type."""
        if dtype is None:
            room, _, name = self._what.type().rpartition(".")
            return f"{room}.sparse.{name}"
        return self.to(dtypes.as_dtype(dtype, "type"))

    # ------------------------------------------------------------------------------ arithmetic

    def t(self):
        """The matrix with its dimensions exchanged."""
        return self.transpose(0, 1) if self.dim() == 2 else self

    T = mT = property(t, doc="The matrix with its dimensions exchanged.")

    def transpose(self, dim0, dim1):
        """The tensor with two sparse dimensions exchanged."""
        dims = [dim % self.dim() for dim in (dim0, dim1)]
        if max(dims) >= self.sparse_dim():
            raise NoDenseMemory("transpose(): only sparse dimensions can be exchanged: call to_dense() first")
        order, sizes = list(range(self.sparse_dim())), list(self._sizes)
        for each in (order, sizes):
            each[dims[0]], each[dims[1]] = each[dims[1]], each[dims[0]]
        return SparseTensor(self._where[order], self._what, sizes)

    def matmul(self, other):
        """The product with a dense matrix or vector, dense; with a sparse matrix, sparse."""
        if self.dim() != 2 or self.sparse_dim() != 2:
            raise NoDenseMemory("matmul(): sparse products are those of matrices: call to_dense() first")
        if other.is_sparse:
            return (self @ other.to_dense()).to_sparse()
        if other.dim() not in (1, 2) or other.shape[0] != self._sizes[1]:
            shapes = "x".join(map(str, self._sizes)), "x".join(map(str, other.shape))
            raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({shapes[0]} and {shapes[1]})")
        if other.dtype is not self.dtype:
            raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: {self.dtype!r} != {other.dtype!r}")
        values = self._what if other.dim() == 1 else self._what.unsqueeze(1)
        start = self._what.detach().new_zeros(self._sizes[0], *other.shape[1:])
        return start.index_add(0, self._where[0], values * other.index_select(0, self._where[1]))

    mm = mv = smm = __matmul__ = matmul

    def __rmatmul__(self, other):
        return (self.t() @ other.t()).t()

    def add(self, other, *, alpha=1):
        """The sum with a sparse tensor of the same size, sparse."""
        if not getattr(other, "is_sparse", False):
            raise RuntimeError("add(sparse, dense) is not supported. Use add(dense, sparse) instead.")
        if other._sizes != self._sizes:
            raise RuntimeError(f"add(): sizes of sparse tensors must be equal, got {self._sizes} and {other._sizes}")
        other = other._what if alpha == 1 else other._what * alpha, other._where
        if other[1] is self._where:
            return self._with(self._what + other[0])
        join = EXPORTS["cat"]
        return SparseTensor(join((self._where, other[1]), 1), join((self._what, other[0])), self._sizes)

    __add__ = add

    def __radd__(self, other):
        return other + self.to_dense()

    def neg(self):
        """The tensor with the values' signs changed."""
        return self._with(-self._what)

    __neg__ = neg

    def sub(self, other, *, alpha=1):
        """The difference to a sparse tensor of the same size, sparse."""
        return self.add(other, alpha=-alpha)

    __sub__ = sub

    def __rsub__(self, other):
        return other - self.to_dense()

    def mul(self, other):
        """The product with a number, or element by element with a tensor of the same size, sparse."""
        if not isinstance(other, Tensor) or (not other.is_sparse and not other.dim()):
            return self._with(self._what * other)
        dense = other.to_dense() if other.is_sparse else other.expand(self._sizes)
        return self._with(self._what * at_places(dense, self._where))

    __mul__ = __rmul__ = multiply = mul

    def div(self, other):
        """The quotient by a number."""
        return self._with(self._what / other)

    __truediv__ = div

    def sum(self, dim=None, keepdim=False, *, dtype=None):
        """The sum of all elements; along dimensions, that of the dense tensor."""
        if dim is None:
            return self._what.sum(dtype=dtype)
        return self.to_dense().sum(dim, keepdim, dtype=dtype)

    def __getitem__(self, key):
        if isinstance(key, tuple) and len(key) == self.dim() and all(isinstance(each, int) for each in key):
            return self.to_dense()[key]
        if not isinstance(key, int):
            raise NoDenseMemory("a sparse tensor takes a whole number as index: call to_dense() first")
        return self.to_dense()[key].to_sparse()

    def index_select(self, dim, index):
        """The slices along `dim` that `index` numbers."""
        return self.to_dense().index_select(dim, index).to_sparse()

    def __repr__(self, *, tensor_contents=None):
        return printing.sparse_text(self, self._where, self._what)

    def __reduce__(self):
        return SparseTensor, (self._where, self._what.detach(), tuple(self._sizes), self._sorted)

    def __deepcopy__(self, memo):
        return self.detach().clone().requires_grad_(self.requires_grad)


def _of_values(name):
    """A function of zero-preserving kind: that of the coalesced values."""

    def method(self, *args, **kwargs):
        whole = self.coalesce()
        return whole._with(getattr(whole._what, name)(*args, **kwargs))

    method.__name__ = name
    method.__doc__ = f"`{name}` of each value; zeros stay zeros."
    return method


for _name in ("abs", "sqrt", "relu", "sign", "sin", "tan", "tanh", "sinh", "asin", "atan", "expm1", "log1p",
              "floor", "ceil", "round", "trunc", "pow", "square"):  # fmt: skip
    setattr(SparseTensor, _name, _of_values(_name))
for _name, _by in (("__abs__", "abs"), ("__pow__", "pow")):
    setattr(SparseTensor, _name, getattr(SparseTensor, _by))


def _converted(name):
    def method(self, *args, **kwargs):
        values = getattr(self._what, name)(*args, **kwargs)
        return self if values is self._what else self.to(values.device, values.dtype)

    method.__name__ = name
    method.__doc__ = f"The tensor with its values as `{name}()` makes them."
    return method


for _name in ("float", "double", "half", "bfloat16", "long", "int", "bool", "cpu", "cuda"):
    setattr(SparseTensor, _name, _converted(_name))


def at_places(dense, where):
    """The elements of a dense tensor at the places of columns, with its later dimensions whole."""
    return dense[tuple(where.unbind(0))] if where.array.shape[0] else dense.unsqueeze(0)


@export("Tensor.sparse_mask")
def sparse_mask(self, mask):
    """The elements at the places of a sparse tensor, as one."""
    if not getattr(mask, "is_sparse", False):
        raise NotImplementedError("sparse_mask(): argument 'mask' must be a sparse tensor of layout torch.sparse_coo")
    return mask._with(at_places(self, mask._where))
