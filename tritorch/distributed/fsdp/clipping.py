"""The norm of gradients that are spread over ranks, and what is found not finite in them."""

from __future__ import annotations

import math

from tritorch import creation
from tritorch import distributed as dist
from tritorch.amp.grad_scaler import GradScaler
from tritorch.autograd.grad_mode import no_grad
from tritorch.runtime import dtypes


def clip_units(module, units, max_norm, norm_type):
    """Scale gradients of a model so that their norm over all ranks is at most `max_norm`; gives the norm before."""
    spread, seen = {}, set()
    for unit in units:
        if unit.layout.shards > 1:
            spread.setdefault(unit.layout.group, []).extend(unit.parameters)
            seen.update(map(id, unit.parameters))
    whole = [each for each in module.parameters() if id(each) not in seen]
    total = _power([each.grad for each in whole], norm_type, next(module.parameters()).device)
    is_largest = math.isinf(norm_type)
    for group, parameters in spread.items():
        part = _power([each.grad for each in parameters], norm_type, total.device)
        dist.all_reduce(part, dist.ReduceOp.MAX if is_largest else dist.ReduceOp.SUM, group=group)
        total = total.maximum(part) if is_largest else total + part
    norm = total if is_largest else total ** (1.0 / norm_type)
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for each in module.parameters():
        if each.grad is not None:
            each.grad.mul_(factor.to(each.grad.dtype))
    return norm


def _power(gradients, norm_type, device):
    """The sum of powers of all elements, or the largest, in float32."""
    total = creation.zeros((), dtype=dtypes.float32, device=device)
    for each in gradients:
        if each is None or not each.numel():
            continue
        size = each.detach().to(dtypes.float32).abs()
        total = total.maximum(size.max()) if math.isinf(norm_type) else total + (size**norm_type).sum()
    return total


class ShardedGradScaler(GradScaler):
    """A GradScaler whose ranks agree on whether a gradient was not finite, since each sees parts of them only."""

    def __init__(self, device="cuda", process_group=None, **settings):
        super().__init__(device, **settings)
        self.process_group = process_group

    @no_grad()
    def _unscale(self, optimizer):
        found = super()._unscale(optimizer)
        for each in found.values():
            dist.all_reduce(each, dist.ReduceOp.MAX, group=self.process_group)
        return found
