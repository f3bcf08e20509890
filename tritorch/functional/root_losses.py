"""Losses as PyTorch's root has them: the reduction is a number, 0 for none, 1 for the mean, 2 for the sum."""

from __future__ import annotations

from tritorch.functional import embedding, likelihood_loss, loss, margin_loss
from tritorch.functional.loss import REDUCTIONS, reduced
from tritorch.functional.searching import searchsorted
from tritorch.ops.base import export
from tritorch.ops.guard import need_tensors

_BAG_MODES = ("sum", "mean", "max")


@export("kl_div")
def kl_div(input, target, reduction=0, *, log_target=False):
    """target (log target - input), reduced."""
    need_tensors("kl_div", input=input, target=target)
    return reduced(loss.kl_div(input, target, reduction="none", log_target=log_target), REDUCTIONS[reduction])


@export("binary_cross_entropy_with_logits")
def binary_cross_entropy_with_logits(input, target, weight=None, pos_weight=None, reduction=0):
    """binary_cross_entropy of sigmoid(input), reduced."""
    need_tensors("binary_cross_entropy_with_logits", input=input, target=target)
    return loss.binary_cross_entropy_with_logits(
        input, target, weight, pos_weight=pos_weight, reduction=REDUCTIONS[reduction]
    )


@export("hinge_embedding_loss")
def hinge_embedding_loss(input, target, margin=1.0, reduction=0):
    """input where the target is 1, max(0, margin - input) where it is -1, reduced."""
    return margin_loss.hinge_embedding_loss(input, target, margin, reduction=REDUCTIONS[reduction])


@export("margin_ranking_loss")
def margin_ranking_loss(input1, input2, target, margin=0.0, reduction=0):
    """max(0, -target * (input1 - input2) + margin), reduced."""
    return margin_loss.margin_ranking_loss(input1, input2, target, margin, reduction=REDUCTIONS[reduction])


@export("cosine_embedding_loss")
def cosine_embedding_loss(input1, input2, target, margin=0.0, reduction=0):
    """1 - cos(input1, input2) where the target is 1, max(0, cos - margin) where it is -1, reduced."""
    return margin_loss.cosine_embedding_loss(input1, input2, target, margin, reduction=REDUCTIONS[reduction])


@export("triplet_margin_loss")
def triplet_margin_loss(anchor, positive, negative, margin=1.0, p=2.0, eps=1e-6, swap=False, reduction=0):
    """max(0, margin + d(anchor, positive) - d(anchor, negative)), reduced."""
    return margin_loss.triplet_margin_loss(
        anchor, positive, negative, margin, p, eps, swap, reduction=REDUCTIONS[reduction]
    )


@export("poisson_nll_loss")
def poisson_nll_loss(input, target, log_input, full, eps, reduction):
    """The negative log likelihood of counts whose rate, or its logarithm, is `input`, reduced."""
    return likelihood_loss.poisson_nll_loss(input, target, log_input, full, eps=eps, reduction=REDUCTIONS[reduction])


@export("embedding_bag")
def embedding_bag(
    weight, indices, offsets, scale_grad_by_freq=False, mode=0, sparse=False, per_sample_weights=None,
    include_last_offset=False, padding_idx=None,
):  # fmt: skip
    """(result, bag of each index, size of each bag, row of each maximum) for bags that begin at `offsets`.

    Mode 0 sums the rows that a bag numbers, 1 takes their mean, 2 their maximum. What comes after the result is
    PyTorch's own bookkeeping for the gradient; rows of maxima are not told apart, the sizes stand there again.
    """
    result = embedding.embedding_bag(
        indices, weight, offsets, None, 2, scale_grad_by_freq, _BAG_MODES[mode], sparse, per_sample_weights,
        include_last_offset, padding_idx,
    )  # fmt: skip
    places = offsets.new_tensor(range(indices.numel()))
    starts = offsets[:-1] if include_last_offset else offsets
    bag_of = searchsorted(starts, places, right=True) - 1
    ends = starts.new_full((starts.numel() + 1,), indices.numel())
    ends[:-1] = starts
    return result, bag_of, ends[1:] - ends[:-1], ends[1:] - ends[:-1]
