"""Python functions called for each element of a host tensor: `apply_`, `map_`, `map2_`."""

from __future__ import annotations

import numpy as np

from tritorch.autograd.inplace import bump, check_writable
from tritorch.ops.base import export


def _write(op, tensor, call, *others):
    if not tensor.device.is_host:
        raise TypeError(f"{op}() is only implemented on CPU tensors")
    if tensor.requires_grad:
        raise RuntimeError(f"Can't call {op}() on Variable that requires grad. Use var.detach().{op}() instead.")
    check_writable(tensor, op)
    columns = [np.broadcast_to(each.detach().cpu().array, tensor.array.shape) for each in (tensor, *others)]
    values = [call(*row) for row in zip(*(column.reshape(-1).tolist() for column in columns), strict=True)]
    tensor.array[...] = np.array(values, tensor.array.dtype).reshape(tensor.array.shape)
    bump(tensor)
    return tensor


@export("Tensor.apply_")
def apply_(self, callable):
    """Write callable(x) over every element x; slow, for the CPU."""
    return _write("apply_", self, callable)


@export("Tensor.map_")
def map_(self, tensor, callable):
    """Write callable(x, y) over every element x, y that of `tensor`; slow, for the CPU."""
    return _write("map_", self, callable, tensor)


@export("Tensor.map2_")
def map2_(self, x, y, callable):
    """Write callable(own, x, y) over every element; slow, for the CPU."""
    return _write("map2_", self, callable, x, y)
