"""Negative log likelihoods of distributions, and cross entropy of a linear layer's result."""

from __future__ import annotations

import math

from tritorch.autograd.grad_mode import state
from tritorch.functional.distance import at_least
from tritorch.functional.loss import REDUCTIONS, cross_entropy, reduced, reduction_of
from tritorch.ops.autocast import FLOAT32
from tritorch.ops.base import EXPORTS, TABLE, export
from tritorch.ops.guard import need_tensors
from tritorch.ops.loss.linear_cross_entropy import rows_at_once
from tritorch.runtime import dtypes


@export("nn.functional.gaussian_nll_loss")
def gaussian_nll_loss(input, target, var, full=False, eps=1e-6, reduction="mean"):
    """The mean of (log var + (input - target)^2 / var) / 2, var at least `eps`; with `full`, plus log(2 pi) / 2.

    `var` is a number, has the input's shape, or one number along a dimension, of which the last may be left out.
    """
    need_tensors("gaussian_nll_loss", input=input, target=target)
    if isinstance(var, (int, float)):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = input.new_full(input.shape, var)
    var = _variance_like(input, var)
    if reduction not in REDUCTIONS:
        raise ValueError(f"{reduction} is not valid")
    if (var < 0).any():
        raise ValueError("var has negative entry/entries")
    var = at_least(var, eps)
    difference = input - target
    loss = 0.5 * (var.log() + difference * difference / var)
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


def _variance_like(input, var):
    shape, own = input.array.shape, var.array.shape
    if shape == own:
        return var
    if shape[:-1] == own:
        return var.unsqueeze(-1)
    if len(shape) == len(own) and [each for size, each in zip(shape, own, strict=True) if size != each] == [1]:
        return var
    raise ValueError("var is of incorrect size")


@export("nn.functional.poisson_nll_loss", autocast=FLOAT32)
def poisson_nll_loss(
    input, target, log_input=True, full=False, size_average=None, eps=1e-8, reduce=None, reduction="mean"
):  # fmt: skip
    """The mean of exp(input) - target * input, or of input - target * log(input + eps) without `log_input`.

    With `full`, Stirling's approximation of log(target!) is added where target is above 1.
    """
    need_tensors("poisson_nll_loss", input=input, target=target)
    reduction = reduction_of(size_average, reduce, reduction)
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        large = TABLE["where"].apply(target > 1, target, 1.0)
        stirling = large * large.log() - large + 0.5 * (2 * math.pi * large).log()
        loss = loss + TABLE["where"].apply(target > 1, stirling, 0.0)
    return reduced(loss, reduction)


@export("nn.functional.linear_cross_entropy", autocast=FLOAT32)
def linear_cross_entropy(
    input, linear_weight, target, *, linear_bias=None, weight=None, reduction="mean", ignore_index=None,
    label_smoothing=0.0, options=None,
):  # fmt: skip
    """cross_entropy of input @ linear_weight^T + linear_bias.

    A weight (C, d_1, ..., in_features) gives losses over d_1, .... On a GPU the scores of many rows and classes are
    never there all at once: their gradients are made with them, some rows at a time. `options`, which chunk PyTorch's
    computation, are taken and change nothing.
    """
    need_tensors("linear_cross_entropy", input=input, linear_weight=linear_weight, target=target)
    logits_shape = _check_linear(input, linear_weight, target, linear_bias, ignore_index)
    ignored = -100 if ignore_index is None else ignore_index
    if _goes_in_parts(input, linear_weight, linear_bias, target, weight, reduction, label_smoothing):
        wanted = state.recording and any(
            each is not None and each.wants_gradient() for each in (input, linear_weight, linear_bias)
        )
        return TABLE["linear_cross_entropy"].apply(
            input, linear_weight, linear_bias, target, weight, ignored, reduction, float(label_smoothing), wanted
        )[0]
    flat = linear_weight.reshape(-1, linear_weight.array.shape[-1])
    bias = None if linear_bias is None else linear_bias.reshape(-1)
    logits = EXPORTS["nn.functional.linear"](input, flat, bias).reshape(logits_shape)
    return cross_entropy(
        logits, target, weight, ignore_index=ignored, reduction=reduction, label_smoothing=label_smoothing
    )


def _goes_in_parts(input, weight, bias, target, class_weight, reduction, smoothing):
    """Whether there are more scores than should be there at once, and all arguments fit as they are."""
    if input.device.type == "cpu" or reduction == "none" or not 0 <= smoothing <= 1:
        return False
    (rows, *width), (classes, *_) = input.array.shape, weight.array.shape
    if len(width) != 1 or weight.array.ndim != 2 or rows <= rows_at_once(classes, input.array.dtype.itemsize):
        return False
    vectors = [each for each in (bias, class_weight) if each is not None]
    return (
        input.is_floating_point() and target.dtype is dtypes.int64 and target.array.shape == (rows,)
        and all(each.dtype is input.dtype for each in (weight, *vectors))
        and all(each.array.shape == (classes,) for each in vectors)
    )  # fmt: skip


def _check_linear(input, weight, target, bias, ignore_index):
    """The shape of the logits, or PyTorch's error."""
    shape, own = input.array.shape, weight.array.shape
    if len(shape) not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {len(shape)}")
    if len(own) < 2:
        raise RuntimeError(f"expected linear_weight with dimensionality at least 2, got {len(own)}")
    if shape[-1] != own[-1]:
        raise RuntimeError(
            "expected equal input and linear_weight last dimensions (in_features), "
            f"got {shape[-1]} and {own[-1]}, respectively"
        )
    if len(own) > 2 and len(shape) == 1:
        raise RuntimeError(
            f"K-dimensional loss defined by linear_weight shape {tuple(own)} requires batched input, (N, {own[-1]}), "
            f"got unbatched input with shape ({shape[0]},)"
        )
    logits = (*shape[:-1], *own[:-1])
    if ignore_index is not None and target.is_floating_point():
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    if bias is not None and bias.array.shape != own[:-1]:
        raise RuntimeError(f"expected linear_bias shape {tuple(own[:-1])}, got {tuple(bias.array.shape)}")
    return logits
