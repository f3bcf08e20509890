"""The number that is explained: of each example, the model's score for one class."""

from __future__ import annotations

import contextlib
import numbers

from tritorch import creation
from tritorch.autograd import enable_grad, grad
from tritorch.functional.indexing import take_along_dim
from tritorch.tensor import Tensor


def score(output, target):
    """Of each example the output that `target` names, as a vector: the score that is explained.

    output (N,), (N, 1) or (N, classes, ...); target a class, a tensor of N classes, or None for the highest of each
    (the only one, where there is one). What lies behind the classes, as the pixels of a segmentation, is summed.
    """
    if not isinstance(output, Tensor):
        raise TypeError(f"explain: the model must return a Tensor, but returned {type(output).__name__}")
    if output.dim() < 2:
        if target is not None:
            raise ValueError(f"explain: target must be None for an output of shape {list(output.shape)}")
        return output.reshape(-1)
    if target is None:
        target = answers(output)
    output = _of_classes(output)
    count, classes = output.shape
    if isinstance(target, numbers.Integral):
        target = creation.full((count,), int(target), device=output.device)
    if target.shape != (count,):
        got = list(target.shape)
        raise ValueError(f"explain: target must be a class or a tensor of {count} classes, but got {got}")
    if target.numel() and not 0 <= int(target.min()) <= int(target.max()) < classes:
        raise IndexError(f"explain: target {target.tolist()} is out of range for {classes} classes")
    return take_along_dim(output, target.unsqueeze(1), 1).squeeze(1)


def answers(output):
    """The classes the model itself chooses, or None where it gives one number."""
    return None if output.dim() < 2 else _of_classes(output.detach()).argmax(1)


def _of_classes(output):
    return output.flatten(2).sum(2) if output.dim() > 2 else output


@contextlib.contextmanager
def evaluating(model):
    """The model in eval mode, each of its modules put back afterwards."""
    modes = {module: module.training for module in model.modules()} if hasattr(model, "modules") else {}
    for module in modes:
        module.training = False
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def gradient_of_score(model, inputs, target, arguments=()):
    """The gradient of the summed scores by `inputs`, which is that of each example's score by its own input."""
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
        got = inputs.dtype if isinstance(inputs, Tensor) else type(inputs).__name__
        raise TypeError(f"explain: inputs must be a floating-point Tensor, but got {got}")
    with enable_grad():
        leaf = inputs.detach().requires_grad_()
        (found,) = grad(score(model(leaf, *arguments), target).sum(), leaf)
    return found
