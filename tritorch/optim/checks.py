"""What the constructors of optimizers refuse, in PyTorch's words."""

from __future__ import annotations

from tritorch.tensor import Tensor


def check_one_element(lr):
    """Refuse a learning rate that is a tensor of several."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")


def check_rate(lr):
    """Refuse a learning rate that is negative, or a tensor of several."""
    check_one_element(lr)
    if not lr >= 0.0:
        raise ValueError(f"Invalid learning rate: {lr}")


def check_not_negative(**options):
    """Refuse an option that is negative; `epsilon` is what errors call eps."""
    for name, value in options.items():
        if not value >= 0.0:
            raise ValueError(f"Invalid {name} value: {value}")


def check_betas(betas):
    """Refuse decay rates that are not in [0, 1)."""
    for at in range(2):
        if not 0.0 <= betas[at] < 1.0:
            raise ValueError(f"Invalid beta parameter at index {at}: {betas[at]}")


def check_ways(foreach, fused, differentiable):
    """Refuse two ways to take a step at once, though here they are the same or chosen elsewhere."""
    if fused and differentiable:
        raise RuntimeError("`fused` does not support `differentiable`")
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
