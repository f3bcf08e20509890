"""Losses built from ops, with PyTorch's arguments, old ones included, and its errors."""

from __future__ import annotations

import warnings

from tritorch.ops.autocast import FLOAT32, Policy, float32
from tritorch.ops.base import TABLE, export
from tritorch.ops.promotion import KIND_NAMES
from tritorch.runtime import dtypes

REDUCTIONS = ("none", "mean", "sum")


def reduction_of(size_average, reduce, reduction):
    """The reduction asked for, by its name or by the two old flags."""
    if size_average is not None or reduce is not None:
        average, summed = size_average in (None, True), reduce in (None, True)
        reduction = "none" if not summed else "mean" if average else "sum"
        warnings.warn(
            f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.",
            stacklevel=4,
        )
    if reduction not in REDUCTIONS:
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def reduced(loss, reduction):
    """The losses themselves, their mean or their sum."""
    if reduction == "mean":
        return loss.mean()
    return loss.sum() if reduction == "sum" else loss


def warn_of_sizes(input, target):
    """Warn where a target is broadcast, which is seldom meant."""
    if input.array.shape != target.array.shape:
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). "
            "This will likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            stacklevel=4,
        )


def _need_floats(kernel, input, target):
    """Refuse integers, as the kernel of this name does."""
    if not (input.is_floating_point() or target.is_floating_point()):
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{KIND_NAMES[input.dtype.name]}'")


def _weighted(loss, weight, reduction):
    if weight is None:
        return reduced(loss, reduction)
    if weight.array.shape != loss.array.shape:
        raise ValueError("Weights and input must have the same size.")
    loss = loss * weight
    return loss.sum() / weight.expand(loss.shape).sum() if reduction == "mean" else reduced(loss, reduction)


@export("nn.functional.mse_loss", autocast=FLOAT32)
def mse_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """The mean of (input - target)^2."""
    reduction = reduction_of(size_average, reduce, reduction)
    warn_of_sizes(input, target)
    _need_floats("mse_cpu", input, target)
    return _weighted(TABLE["squared_difference"].apply(input, target), weight, reduction)


@export("nn.functional.l1_loss", autocast=FLOAT32)
def l1_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """The mean of |input - target|."""
    reduction = reduction_of(size_average, reduce, reduction)
    warn_of_sizes(input, target)
    return _weighted((input - target).abs(), weight, reduction)


@export("nn.functional.smooth_l1_loss", autocast=FLOAT32)
def smooth_l1_loss(input, target, size_average=None, reduce=None, reduction="mean", beta=1.0):
    """The mean of d^2 / (2 beta) where d = |input - target| is below beta, else of d - beta / 2."""
    reduction = reduction_of(size_average, reduce, reduction)
    warn_of_sizes(input, target)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    _need_floats("smooth_l1_cpu", input, target)
    distance = (input - target).abs()
    if beta == 0:
        return reduced(distance, reduction)
    near = distance * distance * (0.5 / beta)
    return reduced(TABLE["where"].apply(distance < beta, near, distance - 0.5 * beta), reduction)


@export("nn.functional.huber_loss", autocast=FLOAT32)
def huber_loss(input, target, reduction="mean", delta=1.0, weight=None):
    """The mean of d^2 / 2 where d = |input - target| is at most delta, else of delta (d - delta / 2)."""
    reduction = reduction_of(None, None, reduction)
    warn_of_sizes(input, target)
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    _need_floats("huber_cpu", input, target)
    distance = (input - target).abs()
    far = (distance - 0.5 * delta) * delta
    return _weighted(TABLE["where"].apply(distance <= delta, distance * distance * 0.5, far), weight, reduction)


def _refuse(lowest, found):
    raise RuntimeError(
        "torch.nn.functional.binary_cross_entropy and torch.nn.BCELoss are unsafe to autocast.\n"
        "Many models use a sigmoid layer right before the binary cross entropy layer.\n"
        "In this case, combine the two layers using torch.nn.functional.binary_cross_entropy_with_logits\n"
        "or torch.nn.BCEWithLogitsLoss.  binary_cross_entropy_with_logits and BCEWithLogits are\n"
        "safe to autocast."
    )


@export("nn.functional.binary_cross_entropy", autocast=Policy(cpu=float32, gpu=_refuse))
def binary_cross_entropy(input, target, weight=None, size_average=None, reduce=None, reduction="mean"):
    """The mean of -(target log input + (1 - target) log(1 - input)), logarithms clamped at -100."""
    reduction = reduction_of(size_average, reduce, reduction)
    if input.array.shape != target.array.shape:
        raise ValueError(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}) is deprecated. "
            "Please ensure they have the same size."
        )
    if input.array.dtype != target.array.dtype:
        raise RuntimeError(f"Found dtype {KIND_NAMES[target.dtype.name]} but expected {KIND_NAMES[input.dtype.name]}")
    if not input.is_cuda and input.array.size and not (input.on_host().min() >= 0 and input.on_host().max() <= 1):
        raise RuntimeError("all elements of input should be between 0 and 1")
    loss = TABLE["binary_cross_entropy"].apply(input, target)
    return reduced(loss if weight is None else loss * weight, reduction)


@export("nn.functional.binary_cross_entropy_with_logits", autocast=FLOAT32)
def binary_cross_entropy_with_logits(
    input, target, weight=None, size_average=None, reduce=None, reduction="mean", pos_weight=None
):
    """binary_cross_entropy of sigmoid(input), without overflow; positive targets weigh `pos_weight`."""
    reduction = reduction_of(size_average, reduce, reduction)
    if input.array.shape != target.array.shape:
        raise ValueError(f"Target size ({target.shape}) must be the same as input size ({input.shape})")
    if not target.is_floating_point() and input.is_floating_point():
        names = KIND_NAMES[input.dtype.name], KIND_NAMES[target.dtype.name]
        raise RuntimeError(f"result type {names[0]} can't be cast to the desired output type {names[1]}")
    if pos_weight is None:
        loss = TABLE["binary_cross_entropy_with_logits"].apply(input, target)
    else:
        factor = (pos_weight - 1) * target + 1
        loss = (1 - target) * input - factor * TABLE["log_sigmoid"].apply(input)
    return reduced(loss if weight is None else loss * weight, reduction)


@export("nn.functional.kl_div", autocast=FLOAT32)
def kl_div(input, target, size_average=None, reduce=None, reduction="mean", log_target=False):
    """The mean of target (log target - input), where input holds logarithms; "batchmean" divides by the rows."""
    if reduction == "batchmean" and size_average is None and reduce is None:
        rows = input.array.shape[0] if input.array.ndim else 1
        return kl_div(input, target, reduction="sum", log_target=log_target) / rows
    reduction = reduction_of(size_average, reduce, reduction)
    if reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size.'batchmean' divides "
            "only by the batch size, and aligns with the KL div math definition.'mean' will be changed to behave the "
            "same as 'batchmean' in the next major release.",
            stacklevel=3,
        )
    if log_target:
        return reduced(target.exp() * (target - input), reduction)
    return reduced(TABLE["xlogy"].apply(target, target) - target * input, reduction)


@export("nll_loss", "nn.functional.nll_loss", autocast=FLOAT32)
def nll_loss(input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean"):
    """The mean of -weight[target] input[target] over rows whose target is not `ignore_index`."""
    reduction = reduction_of(size_average, reduce, reduction)
    target = checked_classes(input, target, weight)
    return TABLE["nll_loss"].apply(input, target, weight, ignore_index, reduction)[0]


def checked_classes(input, target, weight):
    """The target; one that does not fit the input, or a weight, is refused in PyTorch's words."""
    shape, own = input.array.shape, target.array.shape
    if not shape:
        raise ValueError("Expected 1 or more dimensions (got 0)")
    batch = own[0] if own else 0  # PyTorch counts none in a number
    if len(shape) > 1 and shape[0] != batch:
        raise ValueError(f"Expected input batch_size ({shape[0]}) to match target batch_size ({batch}).")
    if len(shape) == 1 and len(own) == 1 and own != (1,):
        raise ValueError(f"For 1D input, 1D target must have size 1, but got target size: {own[0]}")
    if len(shape) <= 2 and len(own) > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if target.dtype not in (dtypes.int64, dtypes.uint8):
        raise RuntimeError(f"expected target dtype to be Long or Byte, but got {KIND_NAMES[target.dtype.name]}")
    expected = (*shape[:1], *shape[2:]) if len(shape) > 1 else own
    if own != expected:
        raise RuntimeError(_size_error(shape, own, expected))
    classes = shape[1] if len(shape) > 1 else shape[0]
    if weight is not None and weight.array.shape != (classes,):
        raise RuntimeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but got weight tensor of "
            f"shape: {list(weight.array.shape)}"
        )
    if weight is not None and weight.dtype is not input.dtype:
        raise RuntimeError(
            f"expected scalar type {KIND_NAMES[input.dtype.name]} but found {KIND_NAMES[weight.dtype.name]}"
        )
    return target.reshape(()) if len(shape) == 1 == len(own) else target


def _size_error(shape, own, expected):
    """PyTorch's words for a target of a wrong size; those for images are of their own."""
    if len(shape) == 2:
        return "0D or 1D target tensor expected, multi-target not supported"
    if len(shape) != 4:
        return f"Expected target size {list(expected)}, got {list(own)}"
    if len(own) != 3:
        return f"only batches of spatial targets supported (3D tensors) but got targets of dimension: {len(own)}"
    return f"size mismatch (got input: {list(shape)} , target: {list(own)}"


@export("nn.functional.cross_entropy", autocast=FLOAT32)
def cross_entropy(
    input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean",
    label_smoothing=0.0,
):  # fmt: skip
    """nll_loss of log_softmax(input); a target of the input's shape holds the probabilities of the classes."""
    reduction = reduction_of(size_average, reduce, reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing:g}")
    axis = 1 if input.array.ndim > 1 else 0
    if target.array.shape != input.array.shape and input.is_floating_point():
        target = checked_classes(input, target, weight)
        smoothing = float(label_smoothing)
        return TABLE["cross_entropy"].apply(input, target, weight, ignore_index, reduction, smoothing)[0]
    logs = TABLE["log_softmax"].call(input, axis)  # which refuses integers
    if ignore_index >= 0:
        raise RuntimeError("ignore_index is not supported for floating point target")
    return _soft_cross_entropy(logs, target, weight, reduction, label_smoothing, axis)


def _soft_cross_entropy(logs, target, weight, reduction, label_smoothing, axis):
    if not target.is_floating_point():
        raise RuntimeError(
            f"Expected floating point type for target with class probabilities, got {KIND_NAMES[target.dtype.name]}"
        )
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / target.array.shape[axis]
    loss = -(logs * target)
    if weight is not None:
        loss = loss * _over_classes(weight, logs, axis)
    if reduction == "mean":
        rows = max(logs.array.size // max(logs.array.shape[axis], 1), 1)
        return loss.sum() / rows
    return loss.sum() if reduction == "sum" else loss.sum(axis)


def _over_classes(weight, logs, axis):
    shape = [1] * logs.array.ndim
    shape[axis] = weight.array.shape[0]
    return weight.reshape(shape)
