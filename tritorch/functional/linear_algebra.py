"""Products of matrices and vectors under PyTorch's several names, each with its own demands on dimensions."""

from __future__ import annotations

from tritorch.ops.base import TABLE, export
from tritorch.ops.guard import need_tensors
from tritorch.runtime import precision

export("get_float32_matmul_precision")(precision.get_float32_matmul_precision)
export("set_float32_matmul_precision")(precision.set_float32_matmul_precision)


def _product(input, other):
    return TABLE["matmul"].call(input, other)


@export("Tensor.__rmatmul__")
def matmul_from_right(self, other):
    """other @ self."""
    return _product(other, self)


@export("mm", "Tensor.mm")
def mm(input, mat2):
    """The product of two matrices."""
    need_tensors("mm", input=input, mat2=mat2)
    for name, each in (("self", input), ("mat2", mat2)):
        if each.ndim != 2:
            raise RuntimeError(f"{name} must be a matrix")
    return _product(input, mat2)


@export("bmm", "Tensor.bmm")
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


@export("mv", "Tensor.mv")
def mv(input, vec):
    """The product of a matrix and a vector."""
    need_tensors("mv", input=input, vec=vec)
    if input.ndim != 2 or vec.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {input.ndim}, {vec.ndim}")
    return _product(input, vec)


@export("dot", "Tensor.dot")
def dot(input, tensor):
    """The sum of the products of two vectors' elements."""
    need_tensors("dot", input=input, tensor=tensor)
    if input.ndim != 1 or tensor.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {input.ndim}D and {tensor.ndim}D tensors")
    return _product(input, tensor)


@export("outer", "ger", "Tensor.outer", "Tensor.ger")
def outer(input, vec2):
    """Every element of `input` times every element of `vec2`: a matrix."""
    need_tensors("outer", input=input, vec2=vec2)
    for name, each in (("self", input), ("vec2", vec2)):
        if each.ndim != 1:
            raise RuntimeError(f"outer: Expected 1-D argument {name}, but got {each.ndim}-D")
    return input.unsqueeze(1) * vec2


@export("addmm", "Tensor.addmm")
def addmm(input, mat1, mat2, *, beta=1, alpha=1):
    """beta * input + alpha * (mat1 @ mat2)."""
    need_tensors("addmm", input=input, mat1=mat1, mat2=mat2)
    for name, each in (("mat1", mat1), ("mat2", mat2)):
        if each.ndim != 2:
            raise RuntimeError(f"{name} must be a matrix, got {each.ndim}-D tensor")
    return _scaled_sum(input, _product(mat1, mat2), beta, alpha)


@export("baddbmm", "Tensor.baddbmm")
def baddbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """beta * input + alpha * (batch1 @ batch2), for stacks of matrices."""
    need_tensors("baddbmm", input=input, batch1=batch1, batch2=batch2)
    _check_stacks(batch1, batch2)
    return _scaled_sum(input, _product(batch1, batch2), beta, alpha)


@export("addmv", "Tensor.addmv")
def addmv(input, mat, vec, *, beta=1, alpha=1):
    """beta * input + alpha * (mat @ vec)."""
    return _scaled_sum(input, mv(mat, vec), beta, alpha)


@export("addr", "Tensor.addr")
def addr(input, vec1, vec2, *, beta=1, alpha=1):
    """beta * input + alpha * outer(vec1, vec2)."""
    return _scaled_sum(input, outer(vec1, vec2), beta, alpha)


def _scaled_sum(input, product, beta, alpha):
    product = product if alpha == 1 else product * alpha
    if beta == 0:  # what `input` holds does not matter then, not even a NaN
        return product
    input = input.expand(product.shape)
    return product + (input if beta == 1 else input * beta)
