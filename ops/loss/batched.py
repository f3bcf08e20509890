"""How losses over classes run on a batch of examples: row by row, summed for each example."""

from __future__ import annotations

from tritorch.ops.base import TABLE
from tritorch.ops.batching import rule


@rule
def by_class(cls, call):
    """The rule of losses of (input, target, weight, ignore_index, reduction, ...), with the total weight and more."""
    _, _, weight, ignored, reduction, *rest = call.args
    if call.batched[2]:
        return None
    input, target = call.folded(0, 1) if call.rank(0) > 1 else (call.front(0), call.front(1))
    loss, _, *more = cls.apply(input, target, weight, ignored, "none", *rest)
    shape = (call.size, *call.shape(1))
    loss, *more = (each.reshape(shape) for each in (loss, *more))
    if reduction == "none":
        return loss, loss.detach().new_zeros((call.size,)), *more
    target = target.reshape((call.size, -1))
    counted = target != ignored
    if weight is None:
        total = counted.to(loss.dtype).sum(1)
    else:
        picked = TABLE["index"].apply(weight, (0,), TABLE["where"].apply(counted, target, 0))
        total = TABLE["where"].apply(counted, picked, 0).sum(1)
    loss = loss.reshape((call.size, -1)).sum(1)
    return loss / total if reduction == "mean" else loss, total, *more


def spread_gradient(call, target, total):
    """The gradient of an example's loss, at position 0, for each row of its target, and divided by the total weight."""
    rank = call.rank(target)
    grad = call.padded(0, rank).expand(call.size, *call.shape(target))
    return grad if call.args[total] is None else grad / call.padded(total, rank)
