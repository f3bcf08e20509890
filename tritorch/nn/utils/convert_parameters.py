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
    start = 0
    for each in parameters:
        each.data = vec[start : start + each.numel()].reshape(each.shape).data
        start += each.numel()
