"""Making the tensors of all ranks alike: whether they can be, and by few broadcasts."""

from __future__ import annotations

from tritorch import distributed as dist
from tritorch.autograd import no_grad
from tritorch.ops.base import TABLE


def check_alike(named, group):
    """Refuse modules whose parameters differ between the ranks in number, shape or dtype."""
    own = [[name, list(each.shape), str(each.dtype)] for name, each in named]
    found = [None] * dist.get_world_size(group)
    dist.all_gather_object(found, own, group=group)
    expected = found[0]
    for rank, other in enumerate(found):
        if len(other) != len(expected):
            raise RuntimeError(
                f"DDP expects same model across all ranks, but Rank 0 has {len(expected)} params, while rank {rank} "
                f"has inconsistent {len(other)} params."
            )
        for index, ((_, shape, dtype), (name, its_shape, its_dtype)) in enumerate(zip(expected, other, strict=True)):
            if (shape, dtype) != (its_shape, its_dtype):
                raise RuntimeError(
                    f"DDP: params[{index}] ({name}) of rank {rank} with sizes {its_shape} and dtype {its_dtype} "
                    f"appears not to match sizes {shape} and dtype {dtype} of the same param on rank 0."
                )


def broadcast_flat(tensors, group, capacity, source=0):
    """Every rank's tensors become those of the group's rank `source`, few broadcasts for many tensors."""
    runs = {}
    for each in tensors:
        runs.setdefault((each.dtype, each.device), []).append(each)
    with no_grad():
        for same in runs.values():
            for part in _pieces(same, capacity):
                flat = TABLE["cat"].call([each.detach().reshape(-1) for each in part])
                dist.broadcast(flat, group=group, group_src=source)
                _spread(flat, part)


def _pieces(tensors, capacity):
    piece, filled = [], 0
    for each in tensors:
        piece.append(each)
        filled += each.numel() * each.element_size()
        if filled >= capacity:
            yield piece
            piece, filled = [], 0
    if piece:
        yield piece


def _spread(flat, tensors):
    start = 0
    for each in tensors:
        each.detach().copy_(flat.narrow(0, start, each.numel()).view(each.shape))
        start += each.numel()
