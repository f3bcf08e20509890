"""Buckets: parameters of one rank that travel to all other ranks in one broadcast."""

from __future__ import annotations

from collections import deque

from tritorch import creation
from tritorch import distributed as dist
from tritorch.autograd.grad_mode import no_grad
from tritorch.nn.utils.convert_parameters import parameters_to_vector, parts_of

BYTES = 25 << 20  # of one broadcast: long enough that its start costs nothing, short enough to overlap with copies
WINDOW = 4  # broadcasts under way at once, which bounds the memory for packed parameters
ALIGNED = 64  # bytes: where parameters begin in a bucket that they are views of


class Bucket:
    """Parameters of one dtype and device that rank `source` of the group updates."""

    def __init__(self, source, members):
        self.source, self.members = source, members
        self.flat = None  # what travels: the memory of the parameters themselves, or packed copies while under way
        self.addresses = None  # of the parameters that are views of `flat`

    def become_views(self):
        """Move the parameters into one piece of memory, which then travels without copies."""
        first = self.members[0]
        step = ALIGNED // first.element_size()
        sizes = [-(-each.numel() // step) * step for each in self.members]
        self.flat = creation.zeros(sum(sizes), dtype=first.dtype, device=first.device)
        for each, piece in zip(self.members, self.flat.split(sizes), strict=True):
            view = piece[: each.numel()].view(each.shape)
            view.copy_(each.detach())
            each.data = view
        self.addresses = [each.data_ptr() for each in self.members]

    @property
    def has_views(self):
        """Whether the parameters still are views, which they are not after `module.to()`."""
        return self.addresses == [each.data_ptr() for each in self.members]

    @property
    def is_packed(self):
        """Whether the parameters lie apart, and travel as a copy."""
        return self.addresses is None and not (len(self.members) == 1 and self.members[0].is_contiguous())

    def start(self, group):
        """Begin to broadcast the parameters; `finish` is to be called next."""
        if self.is_packed:
            self.flat = parameters_to_vector(self.members) if dist.get_rank(group) == self.source else self._room()
        elif self.addresses is None:
            self.flat = self.members[0].detach()
        source = dist.get_global_rank(group, self.source)
        self.work = dist.broadcast(self.flat, source, group=group, async_op=True)
        return self

    def _room(self):
        first = self.members[0]
        return creation.empty(sum(each.numel() for each in self.members), dtype=first.dtype, device=first.device)

    def finish(self, group):
        """Wait for the broadcast, and have the parameters take what came."""
        self.work.wait()
        if self.is_packed and dist.get_rank(group) != self.source:
            for each, part in parts_of(self.flat, self.members):
                each.copy_(part)
        if self.addresses is None:
            self.flat = None


def in_buckets(params_of_rank, as_views):
    """The buckets of all ranks, the same on each, for lists of parameters by the rank that updates them.

    With `as_views` there is one bucket for each rank, dtype and device, and parameters become views of it.
    """
    found = []
    for source, params in enumerate(params_of_rank):
        alike: dict = {}
        for each in params:
            if each.numel():
                alike.setdefault((each.dtype, each.device), []).append(each)
        for members in alike.values():
            found += [Bucket(source, some) for some in ([members] if as_views else _cut(members))]
    if as_views:
        for each in found:
            each.become_views()
    return found


def _cut(members):
    """Parameters one after the other, in pieces of at most BYTES where they are not larger themselves."""
    pieces, size = [], BYTES
    for each in members:
        own = each.numel() * each.element_size()
        if size + own > BYTES:
            pieces.append([])
            size = 0
        pieces[-1].append(each)
        size += own
    return pieces


@no_grad()
def broadcast(buckets, group):
    """Have every rank's parameters be those of the rank that updates them."""
    under_way: deque = deque()
    for each in buckets:
        under_way.append(each.start(group))
        if len(under_way) == WINDOW:
            under_way.popleft().finish(group)
    for each in under_way:
        each.finish(group)
