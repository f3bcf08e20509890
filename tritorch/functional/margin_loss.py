"""Losses that ask for a margin between what is right and what is not, with PyTorch's arguments and errors."""

from __future__ import annotations

from tritorch.functional.distance import pairwise_distance
from tritorch.functional.loss import reduced, reduction_of
from tritorch.ops.autocast import FLOAT32, FLOAT32_ON_GPUS
from tritorch.ops.base import EXPORTS, TABLE, export
from tritorch.ops.guard import need_tensors
from tritorch.ops.promotion import KIND_NAMES
from tritorch.runtime import dtypes


@export("nn.functional.soft_margin_loss", autocast=FLOAT32)
def soft_margin_loss(input, target, size_average=None, reduce=None, reduction="mean"):
    """The mean of log(1 + exp(-target * input)), for targets 1 and -1."""
    need_tensors("soft_margin_loss", input=input, target=target)
    reduction = reduction_of(size_average, reduce, reduction)
    return reduced(-TABLE["log_sigmoid"].apply(input * target), reduction)


@export("nn.functional.margin_ranking_loss", autocast=FLOAT32)
def margin_ranking_loss(input1, input2, target, margin=0, size_average=None, reduce=None, reduction="mean"):
    """The mean of max(0, -target * (input1 - input2) + margin): target 1 ranks input1 higher, -1 input2."""
    need_tensors("margin_ranking_loss", input1=input1, input2=input2, target=target)
    reduction = reduction_of(size_average, reduce, reduction)
    if not input1.array.ndim == input2.array.ndim == target.array.ndim:
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: input1: "
            f"{input1.shape}, input2: {input2.shape}, target: {target.shape} "
        )
    return reduced((-target * (input1 - input2) + margin).clamp_min(0), reduction)


@export("nn.functional.hinge_embedding_loss", autocast=FLOAT32)
def hinge_embedding_loss(input, target, margin=1.0, size_average=None, reduce=None, reduction="mean"):
    """The mean of input where target is 1, of max(0, margin - input) where it is -1."""
    need_tensors("hinge_embedding_loss", input=input, target=target)
    reduction = reduction_of(size_average, reduce, reduction)
    where = TABLE["where"].apply
    apart = where(target != 1, (margin - input).clamp_min(0), 0.0)
    return reduced(apart + where(target != -1, input, 0.0), reduction)


@export("nn.functional.cosine_embedding_loss", autocast=FLOAT32)
def cosine_embedding_loss(input1, input2, target, margin=0, size_average=None, reduce=None, reduction="mean"):
    """The mean of 1 - cos(input1, input2) where target is 1, of max(0, cos - margin) where it is -1."""
    need_tensors("cosine_embedding_loss", input1=input1, input2=input2, target=target)
    reduction = reduction_of(size_average, reduce, reduction)
    rank = target.array.ndim
    if rank > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if not input1.array.ndim == input2.array.ndim == rank + 1:
        raise RuntimeError(
            f"{rank}D target tensor expects {rank + 1}D input tensors, but found inputs with sizes "
            f"{list(input1.array.shape)} and {list(input2.array.shape)}."
        )
    squares = ((input1 * input1).sum(rank) + _TINY) * ((input2 * input2).sum(rank) + _TINY)
    cosine = (input1 * input2).sum(rank) / squares.sqrt()
    where = TABLE["where"].apply
    alike = where(target == 1, 1 - cosine, 0.0)
    return reduced(alike + where(target == -1, (cosine - margin).clamp_min(0), 0.0), reduction)


_TINY = 1e-12  # keeps a cosine with the zero vector finite


def _check_rows(input, target, expected):
    """Refuse what is no vector or matrix of scores, and targets that are no class indices."""
    shape = input.array.shape
    if len(shape) > 2 or (shape and shape[-1] == 0):
        raise RuntimeError(
            f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(shape)}"
        )
    if target.array.shape != expected and not target.array.size == input.array.size == 1:
        raise RuntimeError(_wrong_size(shape, target.array.shape, expected))
    if target.dtype is not dtypes.int64:
        raise RuntimeError(f"expected scalar type Long but found {KIND_NAMES[target.dtype.name]}")


def _wrong_size(shape, given, expected):
    if expected == shape:
        return f"inconsistent target size: {list(given)} for input of size: {list(shape)}"
    return (
        "multi_margin_loss: target tensor should be 1-D with size equal to the number of input samples (batch size). "
        f"Expected target size {list(expected)}, but got {list(given)}. Input has shape {list(shape)}."
    )


def _check_places(target, least, classes, message):
    """Refuse class indices that are out of range, where looking at them does not wait for a device."""
    known = target.on_host() if target.device.is_host and target.array.size else None
    if known is not None and not least <= known.min() <= known.max() < classes:
        raise RuntimeError(message)


@export("nn.functional.multi_margin_loss", autocast=FLOAT32)
def multi_margin_loss(
    input, target, p=1, margin=1.0, weight=None, size_average=None, reduce=None, reduction="mean"
):  # fmt: skip
    """The mean of sum over i != y of max(0, margin - input[y] + input[i])^p weight[y] / classes, y the target."""
    need_tensors("multi_margin_loss", input=input, target=target)
    reduction = reduction_of(size_average, reduce, reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    classes = input.array.shape[-1] if input.array.ndim else 1
    if weight is not None and weight.array.ndim != 1:
        raise ValueError("weight must be one-dimensional")
    batched = input.array.ndim > 1
    rows = input.array.shape[0] if batched else 1
    expected = target.array.shape if not batched and target.array.size == 1 else (rows,)
    _check_rows(input, target, expected)
    if weight is not None and weight.array.shape != (classes,):
        raise RuntimeError(f"inconsistent weight size, expected {classes} but got {list(weight.array.shape)}")
    _check_places(target, 0, classes, "target out of range")
    scores, places = input.reshape(rows, classes), target.reshape(rows, 1)
    behind = (margin - scores.gather(1, places) + scores).relu()
    behind = behind if p == 1 else behind * behind
    if weight is not None:
        behind = behind * weight[places]
    loss = behind.scatter(1, places, 0.0).sum(1) / classes
    return reduced(loss if target.array.ndim else loss.reshape(()), reduction)


@export("nn.functional.multilabel_margin_loss", autocast=FLOAT32)
def multilabel_margin_loss(input, target, size_average=None, reduce=None, reduction="mean"):
    """The mean of sum over labels y and others i of max(0, 1 - input[y] + input[i]) / classes.

    The labels of a row are the entries of `target` before its first -1.
    """
    need_tensors("multilabel_margin_loss", input=input, target=target)
    reduction = reduction_of(size_average, reduce, reduction)
    _check_rows(input, target, input.array.shape)
    classes = input.array.shape[-1] if input.array.ndim else 1
    _check_places(target, -1, classes, "argument #2 'target' is out of range")
    scores, labels = input.reshape(-1, classes), target.reshape(-1, classes)
    valid = (labels == -1).cumsum(1) == 0
    places = TABLE["where"].apply(valid, labels, 0)
    counts = valid.to(input.dtype)
    is_label = counts.new_zeros(counts.shape).scatter_add(1, places, counts) > 0
    behind = (1 - scores.gather(1, places).unsqueeze(2) + scores.unsqueeze(1)).relu()
    counted = valid.unsqueeze(2) & is_label.logical_not().unsqueeze(1)
    loss = TABLE["where"].apply(counted, behind, 0.0).sum((1, 2)) / classes
    return reduced(loss if input.array.ndim > 1 else loss.reshape(()), reduction)


@export("nn.functional.multilabel_soft_margin_loss", autocast=FLOAT32_ON_GPUS)
def multilabel_soft_margin_loss(input, target, weight=None, size_average=None, reduce=None, reduction="mean"):
    """The mean of -(target log sigmoid(input) + (1 - target) log sigmoid(-input)) over classes, then over rows."""
    need_tensors("multilabel_soft_margin_loss", input=input, target=target)
    reduction = reduction_of(size_average, reduce, reduction)
    logs = TABLE["log_sigmoid"].apply
    loss = -(target * logs(input) + (1 - target) * logs(-input))
    return reduced((loss if weight is None else loss * weight).mean(-1), reduction)


def _check_triplet(anchor, positive, negative, margin):
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    ranks = [each.array.ndim for each in (anchor, positive, negative)]
    if len(set(ranks)) > 1:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {ranks[0]}D, positive {ranks[1]}D, and negative {ranks[2]}D inputs"
        )


@export("nn.functional.triplet_margin_loss", autocast=FLOAT32)
def triplet_margin_loss(
    anchor, positive, negative, margin=1.0, p=2, eps=1e-6, swap=False, size_average=None, reduce=None,
    reduction="mean",
):  # fmt: skip
    """The mean of max(0, margin + d(anchor, positive) - d(anchor, negative)), d the p-norm of the difference + eps.

    With `swap`, d(positive, negative) counts instead of d(anchor, negative) where it is smaller [Balntas et al. 2016].
    """

    def distance(x, y):
        return pairwise_distance(x, y, p, eps)

    return triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=distance, margin=margin, swap=swap,
        reduction=reduction_of(size_average, reduce, reduction),
    )  # fmt: skip


@export("nn.functional.triplet_margin_with_distance_loss")
def triplet_margin_with_distance_loss(
    anchor, positive, negative, *, distance_function=None, margin=1.0, swap=False, reduction="mean"
):
    """triplet_margin_loss with any distance; pairwise_distance where none is given."""
    need_tensors("triplet_margin_with_distance_loss", anchor=anchor, positive=positive, negative=negative)
    reduction = reduction_of(None, None, reduction)
    _check_triplet(anchor, positive, negative, margin)
    distance = pairwise_distance if distance_function is None else distance_function
    far = distance(anchor, negative)
    if swap:
        far = EXPORTS["minimum"](far, distance(positive, negative))
    return reduced((margin + distance(anchor, positive) - far).clamp_min(0), reduction)
