"""Clipping gradients, all together by their norm or each element by value."""

from __future__ import annotations

import math
import warnings

from tritorch import creation
from tritorch.autograd.grad_mode import no_grad
from tritorch.tensor import Tensor


def _gradients(parameters):
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [each.grad for each in parameters if each.grad is not None]


def _norm(tensor, kind):
    if kind == math.inf:
        return tensor.abs().max() if tensor.numel() else tensor.sum()
    if kind == 2:
        return (tensor * tensor).sum().sqrt()
    return tensor.abs().pow(kind).sum().pow(1 / kind)


def get_total_norm(tensors, norm_type=2.0, error_if_nonfinite=False, foreach=None):
    """The norm of all elements of all tensors together."""
    kind, tensors = float(norm_type), list(tensors)
    if not tensors:
        return creation.tensor(0.0)
    parts = [_norm(each.detach(), kind) for each in tensors]
    if kind == math.inf:
        total = parts[0]
        for each in parts[1:]:
            total = total.maximum(each)
    else:
        total = sum(each.pow(kind) for each in parts).pow(1 / kind)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(
            f"The total norm of order {kind} for gradients from `parameters` is non-finite, so it cannot be clipped. "
            "To disable this error and scale the gradients by the non-finite norm anyway, "
            "set `error_if_nonfinite=False`"
        )
    return total


def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False, foreach=None):
    """Scale all gradients so that their norm together is at most `max_norm`; returns what it was."""
    gradients = _gradients(parameters)
    with no_grad():
        total = get_total_norm(gradients, norm_type, error_if_nonfinite)
        factor = (float(max_norm) / (total + 1e-6)).clamp(max=1.0)
        for each in gradients:
            each.mul_(factor.to(each.dtype))
    return total


def clip_grad_norm(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False, foreach=None):
    """The old name of clip_grad_norm_."""
    warnings.warn(
        "torch.nn.utils.clip_grad_norm is now deprecated in favor of torch.nn.utils.clip_grad_norm_.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite)


def clip_grad_value_(parameters, clip_value, foreach=None):
    """Clamp every element of the gradients between -clip_value and clip_value."""
    with no_grad():
        for each in _gradients(parameters):
            each.clamp_(min=-float(clip_value), max=float(clip_value))
