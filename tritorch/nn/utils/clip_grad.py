"""Clipping gradients, all together by their norm or each element by value."""

from __future__ import annotations

import warnings

from tritorch import creation
from tritorch.autograd.grad_mode import no_grad
from tritorch.autograd.inplace import bump
from tritorch.ops.base import EXPORTS, TABLE
from tritorch.ops.optimizer.gradients import alike
from tritorch.tensor import Tensor

_norm, _stack = EXPORTS["linalg.vector_norm"], EXPORTS["stack"]
TotalNorm, ClipByNorm, ClipToNorm = TABLE["total_norm"], TABLE["clip_by_norm"], TABLE["clip_to_norm"]


def _as_list(tensors):
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _gradients(parameters):
    return [each.grad for each in _as_list(parameters) if each.grad is not None]


@no_grad()
def get_total_norm(tensors, norm_type=2.0, error_if_nonfinite=False, foreach=None):
    """The norm of all elements of all tensors together: two launches for those of one device and dtype."""
    tensors, kind = _as_list(tensors), float(norm_type)
    if not tensors:
        return creation.tensor(0.0)
    if kind in TotalNorm.ORDERS:
        norms = [TotalNorm.apply(kind, *some) for some in alike(tensors).values()]
    else:
        norms = [_norm(each, kind) for each in tensors]
    total = norms[0]
    if len(norms) > 1 or kind not in TotalNorm.ORDERS:
        total = _norm(_stack([each.to(tensors[0].device) for each in norms]), kind)
    if error_if_nonfinite and not total.isfinite().item():
        raise RuntimeError(
            f"The total norm of order {kind} for gradients from `parameters` is non-finite, so it cannot be clipped. "
            "To disable this error and scale the gradients by the non-finite norm anyway, "
            "set `error_if_nonfinite=False`"
        )
    return total


@no_grad()
def clip_grads_with_norm_(parameters, max_norm, total_norm, foreach=None):
    """Scale all gradients by max_norm / total_norm where that makes them smaller; nobody waits for the norm."""
    for (device, _), some in alike(_gradients(parameters)).items():
        ClipToNorm.apply(float(max_norm), total_norm.to(device), *some)
        _written(some)


@no_grad()
def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False, foreach=None):
    """Scale all gradients so that their norm together is at most `max_norm`; returns what it was.

    Gradients of one device and dtype take two launches in all.
    """
    parameters, kind = _as_list(parameters), float(norm_type)
    gradients = _gradients(parameters)
    groups = list(alike(gradients).values())
    if len(groups) == 1 and kind in TotalNorm.ORDERS and not error_if_nonfinite:
        total, *_ = ClipByNorm.apply(float(max_norm), kind, *gradients)
        _written(gradients)
        return total
    total = get_total_norm(gradients, norm_type, error_if_nonfinite)
    clip_grads_with_norm_(parameters, max_norm, total)
    return total


def _written(gradients):
    for each in gradients:
        bump(each)


def clip_grad_norm(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False, foreach=None):
    """The old name of clip_grad_norm_."""
    warnings.warn(
        "`torch.nn.utils.clip_grad_norm` is now deprecated in favor of `torch.nn.utils.clip_grad_norm_`.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite)


@no_grad()
def clip_grad_value_(parameters, clip_value, foreach=None):
    """Clamp every element of the gradients between -clip_value and clip_value."""
    clip_value = float(clip_value)
    for each in _gradients(parameters):
        each.clamp_(min=-clip_value, max=clip_value)
