"""Parameter: a tensor that a Module counts among what is to be learned."""

from __future__ import annotations

from tritorch.runtime import dtypes
from tritorch.tensor import Tensor


class Parameter(Tensor):
    """A leaf tensor on the memory of `data` that wants a gradient unless told otherwise."""

    def __new__(cls, data=None, requires_grad=True):
        self = object.__new__(cls)
        if data is None:
            data = Tensor()
        if not isinstance(data, Tensor):
            raise TypeError(f"Parameter(): argument 'data' (position 1) must be Tensor, not {type(data).__name__}")
        if requires_grad and not dtypes.of(data.array.dtype).is_floating_point:
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        self.array, self.device, self.requires = data.array, data.device, bool(requires_grad)
        return self

    def __init__(self, data=None, requires_grad=True):
        """All is done by __new__, which copies and pickles use alone."""

    def __repr__(self):
        return "Parameter containing:\n" + super().__repr__()
