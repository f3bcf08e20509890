"""All parameters as one vector, and back."""

from __future__ import annotations

from tritorch.ops.base import EXPORTS
from tritorch.tensor import Tensor


def parameters_to_vector(parameters):
    """The elements of all parameters, one behind the other."""
    return EXPORTS["cat"]([each.reshape(-1) for each in parameters])


def vector_to_parameters(vec, parameters):
    """Make the parameters views of the parts of a vector."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    for each, part in parts_of(vec, parameters):
        each.data = part.data


def parts_of(vec, tensors):
    """Each of `tensors` with its part of a vector, in its shape: a view where the vector is contiguous."""
    start = 0
    for each in tensors:
        yield each, vec[start : start + each.numel()].reshape(each.shape)
        start += each.numel()
