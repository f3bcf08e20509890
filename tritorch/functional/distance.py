"""Distances and similarities of vectors, row by row."""

from __future__ import annotations

from tritorch.autograd.grad_mode import no_grad
from tritorch.ops.autocast import FLOAT32_ON_GPUS
from tritorch.ops.base import export
from tritorch.ops.dimensions import wrap_dim
from tritorch.ops.guard import need_tensors
from tritorch.ops.layout import broadcast_shape
from tritorch.ops.promotion import KIND_NAMES
from tritorch.runtime import dtypes


def at_least(values, least):
    """`values`, but `least` where they are below it; the gradient is that of `values` everywhere, as in PyTorch."""
    raised = values.clone()
    with no_grad():
        raised.clamp_(min=least)
    return raised


@export("cosine_similarity", "nn.functional.cosine_similarity", autocast=FLOAT32_ON_GPUS)
def cosine_similarity(x1, x2, dim=1, eps=1e-8):
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along `dim`, over broadcast shapes."""
    need_tensors("cosine_similarity", x1=x1, x2=x2)
    common = dtypes.promote_types(x1.dtype, x2.dtype)
    if not common.is_floating_point:
        raise RuntimeError(f"expected common dtype to be floating point, yet common dtype is {KIND_NAMES[common.name]}")
    shape = broadcast_shape("cosine_similarity", x1.array.shape, x2.array.shape)
    dim = wrap_dim(dim, len(shape))
    wide = dtypes.of(common.compute)  # half precision would round at every step
    first, second = (
        each / at_least(each.norm(2, dim, True), eps) for each in (x1.to(wide).expand(shape), x2.to(wide).expand(shape))
    )
    return (first * second).sum(dim).to(common)


@export("pairwise_distance", "nn.functional.pairwise_distance", autocast=FLOAT32_ON_GPUS)
def pairwise_distance(x1, x2, p=2.0, eps=1e-6, keepdim=False):
    """The p-norm of x1 - x2 + eps along the last dimension."""
    need_tensors("pairwise_distance", x1=x1, x2=x2)
    return (x1 - x2 + eps).norm(p, -1, keepdim)
