"""Batch normalisation over the batches of several ranks, which may have different sizes: one collective a direction."""

from __future__ import annotations

from tritorch import distributed
from tritorch.autograd.function import Function, once_differentiable
from tritorch.autograd.inplace import bump
from tritorch.creation import empty, full, zeros
from tritorch.functional.joining import cat
from tritorch.functional.normalization import check_channels
from tritorch.functional.reduction import var_mean
from tritorch.ops.base import TABLE
from tritorch.ops.normalization.layout import over_batch
from tritorch.runtime import dtypes


def ranks_to_join(process_group):
    """The group whose ranks share their statistics, or None where this process is on its own."""
    if not distributed.is_initialized():
        return None
    group = process_group or distributed.group.WORLD
    return group if distributed.get_world_size(group) > 1 else None


def sync_batch_norm(input, running_mean, running_var, weight, bias, momentum, eps, group):
    """Each channel of (N, C, *) normalised by its mean and variance over the inputs of all ranks of a group.

    The running ones, where given, move as `batch_norm` moves them. The gradients of weight and bias are this rank's.
    """
    check_channels(input, True, running_mean, running_var, weight, bias, eps)
    return SyncBatchNorm.apply(input, weight, bias, running_mean, running_var, momentum, eps, group)


class SyncBatchNorm(Function):
    """batch_norm by statistics of all ranks, in float32 at least."""

    @staticmethod
    def forward(ctx, input, weight, bias, running_mean, running_var, momentum, eps, group):
        """One all_gather of each rank's means, variances and number of elements."""
        layout = over_batch(tuple(input.array.shape))
        mean, variance, total = _together(_own_moments(input, layout), group)
        if running_mean is not None:
            # Of all there is, estimated from a sample: the number stays on the device.
            estimate = variance * (total / (total - 1))
            TABLE["update_running"].apply(running_mean.detach(), running_var.detach(), mean, estimate, momentum, 1.0)
            bump(running_mean)
            bump(running_var)
        ctx.save_for_backward(input, weight, mean, variance, total)
        ctx.layout, ctx.eps, ctx.group = layout, eps, group
        return TABLE["batch_norm_inference"].apply(input, weight, bias, mean, variance, layout, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        """One all_reduce of the sums of grad and of grad x, for the input's gradient."""
        input, weight, mean, variance, total = ctx.saved_tensors
        layout, eps, needed = ctx.layout, ctx.eps, ctx.needs_input_grad
        products, sums = TABLE["channel_sums"].apply(grad, input, mean, variance, layout, eps)
        slope = None
        if needed[0]:
            combined = cat([products, sums])
            distributed.all_reduce(combined, group=ctx.group)
            # The op divides by the count of its own layout.
            shared = (combined * (layout.count / total)).reshape(2, -1)
            slope = TABLE["batch_norm_backward"].apply(grad, input, weight, mean, variance, *shared, layout, eps)
        return slope, products if needed[1] else None, sums if needed[2] else None, None, None, None, None, None


def _own_moments(input, layout):
    """Means, variances and the number of elements of this rank's channels, behind each other; zeros for nothing."""
    kind = dtypes.of(dtypes.COMPUTE[input.array.dtype])
    if not layout.count:
        return zeros(2 * layout.rows + 1, dtype=kind, device=input.device)
    variance, mean = var_mean(input.to(kind), layout.axes, correction=0)
    return cat([mean, variance, full((1,), float(layout.count), dtype=kind, device=input.device)])


def _together(own, group):
    """The means and variances over all ranks, and the number of elements, from each rank's."""
    ranks = distributed.get_world_size(group)
    found = empty(ranks, len(own), dtype=own.dtype, device=own.device)
    distributed.all_gather_into_tensor(found, own, group=group)
    means, variances = found[:, :-1].reshape(ranks, 2, -1).unbind(1)
    counts = found[:, -1:]
    total = counts.sum()
    mean = (means * counts).sum(0) / total
    # The squares are about each rank's mean, which avoids the cancellation of sums of squares.
    variance = ((variances + (means - mean).square()) * counts).sum(0) / total
    return mean, variance, total
