"""How a tensor becomes a sparse one, and back."""

from __future__ import annotations

from tritorch.ops.base import export


@export("Tensor.to_sparse")
def to_sparse(self):
    """What is not zero, by coordinates; gradients flow back."""
    from tritorch.sparse import from_dense  # found when first asked for

    return from_dense(self)


@export("Tensor.to_dense")
def to_dense(self):
    """The tensor itself, which has all its elements."""
    return self
