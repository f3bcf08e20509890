"""Products of matrices and vectors under PyTorch's several names, each with its own demands on dimensions."""

from __future__ import annotations

import numpy as np

from tritorch import creation
from tritorch.functional.matrices import check_floating, kind_of, wide
from tritorch.functional.shapes import broadcast_tensors, slice_dim
from tritorch.ops.autocast import LOWER, LOWER_ON_GPUS, WIDEST_ON_GPUS, Policy, lower, untouched, widest
from tritorch.ops.base import TABLE, export, operator_of
from tritorch.ops.dimensions import wrap_dim
from tritorch.ops.guard import need_tensors
from tritorch.ops.matrix.matmul import product_shape
from tritorch.ops.matrix.products import rows_of
from tritorch.runtime import dtypes, precision

export("get_float32_matmul_precision")(precision.get_float32_matmul_precision)
export("set_float32_matmul_precision")(precision.set_float32_matmul_precision)


_product = TABLE["matmul"].call  # type: ignore[attr-defined]  # which each class has of its own


def _operands(tensor, other):
    """A tensor and the other operand of `@`, where that is an array as a tensor too, of the dtype both promote to."""
    if not isinstance(other, np.ndarray):
        return tensor, other
    other = creation.as_tensor(other, device=tensor.device)
    kind = dtypes.promote_types(tensor.dtype, other.dtype)
    return tensor.to(kind), other.to(kind)


_PER_VECTOR = Policy(cpu=untouched, gpu=lower)


@operator_of
def matmul_from_left(self, other):
    """self @ other."""
    return _product(*_operands(self, other)) if isinstance(other, np.ndarray) else _product(self, other)


@operator_of
def matmul_from_right(self, other):
    """other @ self."""
    return _product(*_operands(self, other)[::-1])


export("Tensor.__matmul__", autocast=LOWER)(matmul_from_left)
export("Tensor.__rmatmul__")(matmul_from_right)


@export("mm", "Tensor.mm", out=True, autocast=LOWER)
def mm(input, mat2):
    """The product of two matrices."""
    need_tensors("mm", input=input, mat2=mat2)
    for name, each in (("self", input), ("mat2", mat2)):
        if each.ndim != 2:
            raise RuntimeError(f"{name} must be a matrix")
    return _product(input, mat2)


@export("bmm", "Tensor.bmm", out=True, autocast=LOWER)
def bmm(input, mat2):
    """The products of two equally long stacks of matrices."""
    need_tensors("bmm", input=input, mat2=mat2)
    _check_stacks(input, mat2)
    return _product(input, mat2)


def _check_stacks(batch1, batch2):
    for name, each in (("batch1", batch1), ("batch2", batch2)):
        if each.ndim != 3:
            raise RuntimeError(f"{name} must be a 3D tensor")
    expected, got = [batch1.shape[0], batch1.shape[2]], list(batch2.shape[:2])
    if expected != got:
        raise RuntimeError(f"Expected size for first two dimensions of batch2 tensor to be: {expected} but got: {got}.")


@export("mv", "Tensor.mv", out=True, autocast=_PER_VECTOR)
def mv(input, vec):
    """The product of a matrix and a vector."""
    need_tensors("mv", input=input, vec=vec)
    if input.ndim != 2 or vec.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {input.ndim}, {vec.ndim}")
    return _product(input, vec)


@export("dot", "vdot", "Tensor.dot", "Tensor.vdot", out=True, autocast=Policy(cpu=untouched, gpu=widest))
def dot(input, tensor):
    """The sum of the products of two vectors' elements."""
    need_tensors("dot", input=input, tensor=tensor)
    if input.ndim != 1 or tensor.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {input.ndim}D and {tensor.ndim}D tensors")
    if input.array.dtype != tensor.array.dtype:
        raise RuntimeError(
            f"dot : expected both vectors to have same dtype, but found {kind_of(input)} and {kind_of(tensor)}"
        )
    return _product(input, tensor)


@export("inner", "Tensor.inner", out=True)
def inner(input, other):
    """The sums of products along the last dimensions of both; a number scales the other."""
    need_tensors("inner", input=input, other=other)
    if input.array.ndim == 0 or other.array.ndim == 0:
        return input * other
    shapes = input.array.shape, other.array.shape
    if shapes[0][-1] != shapes[1][-1]:
        raise RuntimeError(
            "inner() the last dimension must match on both input tensors but got shapes "
            f"{list(shapes[0])} and {list(shapes[1])}"
        )
    if input.array.dtype != other.array.dtype:
        raise RuntimeError("both inputs should have same dtype")
    return _product(rows_of(input), rows_of(other).t()).reshape((*shapes[0][:-1], *shapes[1][:-1]))


@export("linalg.vecdot", out=True, autocast=LOWER)
def vecdot(x, y, *, dim=-1):
    """The sums of products along one dimension, the others broadcast."""
    check_floating("linalg.vecdot", x)
    if x.array.dtype != y.array.dtype:
        raise RuntimeError(
            f"linalg.vecdot: Expected x and y to have the same dtype, but found x of type {kind_of(x)} and y of type "
            f"{kind_of(y)} instead"
        )
    return (wide(x) * wide(y)).sum(dim).to(x.dtype)


@export("outer", "ger", "Tensor.outer", "Tensor.ger", out=True)
def outer(input, vec2):
    """Every element of `input` times every element of `vec2`: a matrix."""
    need_tensors("outer", input=input, vec2=vec2)
    for name, each in (("self", input), ("vec2", vec2)):
        if each.ndim != 1:
            raise RuntimeError(f"outer: Expected 1-D argument {name}, but got {each.ndim}-D")
    return input.unsqueeze(1) * vec2


# ---------------------------------------------------------------- sums of a tensor and a product


@export("addmm", "Tensor.addmm", out=True, autocast=LOWER)
def addmm(input, mat1, mat2, *, beta=1, alpha=1):
    """beta * input + alpha * (mat1 @ mat2)."""
    need_tensors("addmm", input=input, mat1=mat1, mat2=mat2)
    for name, each in (("mat1", mat1), ("mat2", mat2)):
        if each.ndim != 2:
            raise RuntimeError(f"{name} must be a matrix, got {each.ndim}-D tensor")
    if input.array.dtype != mat2.array.dtype:
        raise RuntimeError(f"self and mat2 must have the same dtype, but got {kind_of(input)} and {kind_of(mat2)}")
    return _sum_with_product(input, mat1, mat2, beta, alpha)


@export("baddbmm", "Tensor.baddbmm", out=True, autocast=LOWER)
def baddbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """beta * input + alpha * (batch1 @ batch2), for stacks of matrices."""
    need_tensors("baddbmm", input=input, batch1=batch1, batch2=batch2)
    _check_stacks(batch1, batch2)
    return _sum_with_product(input, batch1, batch2, beta, alpha)


@export("addbmm", "Tensor.addbmm", out=True, autocast=LOWER)
def addbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """beta * input + alpha * the sum of the products in two stacks of matrices: one product of long matrices."""
    need_tensors("addbmm", input=input, batch1=batch1, batch2=batch2)
    for name, each in (("batch1", batch1), ("batch2", batch2)):
        if each.ndim != 3:
            raise RuntimeError(f"{name} must be a 3D tensor")
    (count, rows, inside), (other, inner_size, columns) = batch1.array.shape, batch2.array.shape
    if count != other:
        raise RuntimeError(f"batch1 and batch2 must have same number of batches, got {count} and {other}")
    if inside != inner_size:
        raise RuntimeError(f"Incompatible matrix sizes for bmm ({rows}x{inside} and {inner_size}x{columns})")
    long = batch1.transpose(0, 1).reshape((rows, count * inside))
    return _sum_with_product(input, long, batch2.reshape((count * inside, columns)), beta, alpha)


@export("addmv", "Tensor.addmv", out=True, autocast=_PER_VECTOR)
def addmv(input, mat, vec, *, beta=1, alpha=1):
    """beta * input + alpha * (mat @ vec)."""
    need_tensors("addmv", input=input, mat=mat, vec=vec)
    if mat.ndim != 2 or vec.ndim != 1 or input.ndim > 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got {input.ndim}, {mat.ndim}, {vec.ndim}")
    rows, columns = mat.array.shape
    if columns != vec.array.shape[0] or (input.array.size not in (1, rows)):
        raise RuntimeError(
            f"size mismatch, got input ({input.array.size}), mat ({rows}x{columns}), vec ({vec.array.shape[0]})"
        )
    if not input.array.dtype == mat.array.dtype == vec.array.dtype:
        raise RuntimeError(
            f"addmv input tensors must have the same dtype, but got {kind_of(input)}, {kind_of(mat)}, and "
            f"{kind_of(vec)}"
        )
    return _scaled_sum(input, _product(mat, vec), beta, alpha)


@export("addr", "Tensor.addr", out=True, autocast=LOWER_ON_GPUS)
def addr(input, vec1, vec2, *, beta=1, alpha=1):
    """beta * input + alpha * outer(vec1, vec2)."""
    need_tensors("addr", input=input, vec1=vec1, vec2=vec2)
    for name, each in (("vec1", vec1), ("vec2", vec2)):
        if each.ndim != 1:
            raise RuntimeError(f"addr: Expected 1-D argument {name}, but got {each.ndim}-D")
    if input.array.dtype.kind in "iub":
        for name, each in (("beta", beta), ("alpha", alpha)):
            if isinstance(each, float):
                raise RuntimeError(f"For integral input tensors, argument {name} must not be a floating point number.")
    return _scaled_sum(input, outer(vec1, vec2), beta, alpha)


def _sum_with_product(input, first, second, beta, alpha):
    """beta * input + alpha * (first @ second): in one op where all are floating-point numbers of one dtype."""
    kind = dtypes.of(input.array.dtype)
    plain = kind.is_floating_point and isinstance(beta, int | float) and isinstance(alpha, int | float)
    if not plain or first.is_sparse or not first.array.dtype == second.array.dtype == input.array.dtype:
        return _scaled_sum(input, _product(first, second), beta, alpha)
    shape = product_shape(first.array, second.array)
    return TABLE["add_matmul"].apply(input.expand(shape), first, second, beta, alpha)


def _scaled_sum(input, product, beta, alpha):
    """beta * input + alpha * product, with the numbers as the tensors' dtype holds them; of bools, "or" and "and"."""
    kind = dtypes.result_type(input.array, product.array)
    if kind is dtypes.bool_:
        product = product if alpha else product.new_zeros(product.array.shape, dtype=dtypes.bool_)
        return product | input.expand(product.array.shape) if beta else product
    if not kind.is_floating_point:
        beta, alpha = int(beta), int(alpha)
    product = product if alpha == 1 else product * alpha
    input = input.expand(product.array.shape)
    if beta == 0:  # what `input` holds does not matter then, not even a NaN
        return product.to(kind)
    return product + (input if beta == 1 else input * beta)


# ---------------------------------------------------------------- vectors in space


@export("linalg.cross", out=True)
def linalg_cross(input, other, *, dim=-1):
    """The vectors at right angles to both, as long as the parallelogram of both is large; `dim` has three elements."""
    need_tensors("linalg.cross", input=input, other=other)
    if input.ndim != other.ndim:
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    place = wrap_dim(dim, input.ndim)
    sizes = [each.array.shape[place] for each in (input, other)]
    if sizes != [3, 3]:
        raise RuntimeError(f"linalg.cross: inputs dimension {dim} must have length 3. Got {sizes[0]} and {sizes[1]}")
    if input.array.dtype.kind == "b":
        raise NotImplementedError("\"cross\" not implemented for 'Bool'")
    if input.array.dtype != other.array.dtype:
        raise RuntimeError(f"expected scalar type {kind_of(input)} but found {kind_of(other)}")
    a, b = (_cyclic(each, place) for each in broadcast_tensors(wide(input), wide(other)))
    found = a[0] * b[1] - a[1] * b[0]
    return found.to(input.dtype)


def _cyclic(x, dim):
    """The elements 1, 2, 0 and 2, 0, 1 of a dimension of three: views of one copy."""
    x = TABLE["cat"].call([x, slice_dim(x, dim, 0, 2)], dim)
    return slice_dim(x, dim, 1, 4), slice_dim(x, dim, 2, 5)


@export("cross", "Tensor.cross", out=True, autocast=WIDEST_ON_GPUS)
def cross(input, other, dim=None):
    """As linalg.cross, by default along the first dimension of three elements."""
    need_tensors("cross", input=input, other=other)
    if dim is None:
        sizes = input.array.shape
        if 3 not in sizes:
            raise RuntimeError("no dimension of size 3 in input")
        dim = sizes.index(3)
    return linalg_cross(input, other, dim=dim)
