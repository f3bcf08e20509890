"""Making the tensors of all ranks alike: whether they can be, and by few broadcasts."""

from __future__ import annotations

from tritorch import distributed as dist
from tritorch.autograd import no_grad
from tritorch.nn.parallel.buckets import assign
from tritorch.nn.utils.convert_parameters import parameters_to_vector, parts_of

_BYTES = 250 << 20  # of a broadcast, about


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


@no_grad()
def broadcast_flat(tensors, group, source=0):
    """Every rank's tensors become those of the group's rank `source`, few broadcasts for many tensors."""
    sizes = [each.numel() * each.element_size() for each in tensors]
    kinds = [(each.dtype, each.device) for each in tensors]
    for places in assign(sizes, kinds, _BYTES, first=_BYTES):
        some = [tensors[place] for place in places]
        flat = parameters_to_vector(some)
        dist.broadcast(flat, group=group, group_src=source)
        for each, part in parts_of(flat, some):
            each.detach().copy_(part)
