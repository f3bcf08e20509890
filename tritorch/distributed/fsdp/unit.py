"""Unit: parameters that are gathered together, of which each rank keeps one run of neighbours.

All parameters of a unit lie one behind the other in a flat array, padded so that every rank has as much of it. Between
uses a Parameter has the elements of this rank's run only, as one dimension (none, where the run passes it by); while
the unit is gathered the same Parameter has all elements in their shape, as a view of the gathered array. Nodes of the
graph hold Parameters and not their arrays, so that backward reads whatever is gathered then.
Source: Zhao et al., "PyTorch FSDP: experiences on scaling fully sharded data parallel", 2023.
"""

from __future__ import annotations

import math

from tritorch import creation
from tritorch import distributed as dist
from tritorch.autograd import engine
from tritorch.autograd.grad_mode import no_grad
from tritorch.distributed.shards import Shard


class Layout:
    """Among whom a unit is spread, and in which dtypes it travels.

    group     the ranks that hold one copy together; None where each has its own
    replicas  the ranks that hold other copies of the same run, whose gradients are averaged too; None for none
    """

    def __init__(self, group, replicas, param_dtype=None, reduce_dtype=None):
        self.group, self.replicas = group, replicas
        self.shards = 1 if group is None else dist.get_world_size(group)
        self.rank = 0 if group is None else dist.get_rank(group)
        self.param_dtype = param_dtype
        self.reduce_dtype = param_dtype if reduce_dtype is None else reduce_dtype


class Unit:
    """The parameters of one module, less those of units inside it."""

    def __init__(self, named, layout, keeps_gathered=False, zeros_for_unused=False):
        self.names: dict = {}  # parameter -> its names within the module
        for name, each in named:
            self.names.setdefault(each, []).append(name)
        self.parameters, self.layout = list(self.names), layout
        self.keeps_gathered, self.zeros_for_unused = keeps_gathered, zeros_for_unused
        self.full = self.gathering = None  # the gathered array; the same while it comes, with its Work
        self.unreduced = None  # the sum of gradients that `no_sync` kept back
        self.found: dict = {}  # whole gradients of this backward by the parameter's number
        self.kept: dict = {}  # local gradients that were there before
        self.waiting: set = set()  # numbers of parameters whose gradients `no_sync` kept back
        self.schedule = self.run = None
        self.expected = 0
        self.has_frozen = not all(each.requires_grad for each in self.parameters)
        self._split()
        for number, each in enumerate(self.parameters):
            if each.requires_grad:
                each.register_hook(self._before(number))
                each.register_post_accumulate_grad_hook(self._after(number))

    @no_grad()
    def _split(self):
        """Keep this rank's run of the flat array."""
        for what in ("dtype", "device"):
            kinds = {getattr(each, what) for each in self.parameters}
            if len(kinds) > 1:
                listed = ", ".join(sorted(map(str, kinds)))
                raise ValueError(f"Must flatten tensors with uniform {what} but got {listed}")
        self.shapes = [tuple(each.shape) for each in self.parameters]
        self.starts, total = [], 0
        for shape in self.shapes:
            self.starts.append(total)
            total += math.prod(shape)
        self.length = max(1, -(-total // self.layout.shards))
        first = self.parameters[0]
        self.dtype, self.device = first.dtype, first.device
        self.local = self._flat([each.detach() for each in self.parameters])[self._own()].clone()
        self.pieces = self._pieces_of(self.local)
        for number, each in enumerate(self.parameters):
            if self.layout.shards > 1:
                begin, _ = self._span(number)
                each.shard = Shard(self.shapes[number], begin - self.starts[number], self.layout.group)
            each.data = self.pieces[number]

    def _flat(self, tensors, dtype=None):
        """Whole tensors by number, or in a list, in one flat array; what is missing is zero."""
        flat = creation.zeros(self.length * self.layout.shards, dtype=dtype or self.dtype, device=self.device)
        for number, each in tensors.items() if isinstance(tensors, dict) else enumerate(tensors):
            start = self.starts[number]
            flat[start : start + each.numel()].copy_(each.reshape(-1))
        return flat

    def _own(self):
        return slice(self.layout.rank * self.length, (self.layout.rank + 1) * self.length)

    def _span(self, number):
        """Where this rank's part of a parameter begins and ends in the flat array."""
        start, stop = self.starts[number], self.starts[number] + math.prod(self.shapes[number])
        own = self._own()
        begin = min(max(start, own.start), stop)
        return begin, max(begin, min(stop, own.stop))

    def _pieces_of(self, local):
        """The part of each parameter in this rank's run; whole where there is one shard."""
        pieces = []
        for number, shape in enumerate(self.shapes):
            begin, end = self._span(number)
            offset = min(begin - self._own().start, self.length) if end > begin else 0
            piece = local[offset : offset + end - begin]
            pieces.append((piece.view(shape) if self.layout.shards == 1 else piece).data)
        return pieces

    def part_of(self, number, whole):
        """This rank's part of a whole tensor that is shaped as a parameter."""
        if self.layout.shards == 1:
            return whole
        begin, end = self._span(number)
        start = self.starts[number]
        return whole.reshape(-1)[begin - start : end - start]

    # -------------------------------------------------------------------------------------------- parameters

    def start_gather(self):
        """Begin to gather the parameters, unless they are there or on their way."""
        if self.full is not None or self.gathering is not None:
            return
        with no_grad():
            self._take_back()
            source, layout = self.local, self.layout
            if layout.param_dtype is not None and layout.param_dtype != self.dtype:
                source = source.to(layout.param_dtype)
            if layout.shards == 1:
                self.gathering = source, None
                return
            full = creation.empty(self.length * layout.shards, dtype=source.dtype, device=self.device)
            self.gathering = full, dist.all_gather_into_tensor(full, source, group=layout.group, async_op=True)

    def _take_back(self):
        """Follow parameters that were given other memory, as by `module.to()`."""
        if all(each.array is piece.array for each, piece in zip(self.parameters, self.pieces, strict=True)):
            return
        self.device, self.dtype = self.parameters[0].device, self.parameters[0].dtype
        local = creation.zeros(self.length, dtype=self.dtype, device=self.device)
        pieces = self._pieces_of(local)
        for each, piece in zip(self.parameters, pieces, strict=True):
            piece.copy_(each.detach())
            each.data = piece
        self.local, self.pieces = local, pieces

    def unshard(self):
        """Give the parameters all their elements."""
        if self.full is not None:
            return
        self.start_gather()
        self.full, work = self.gathering
        self.gathering = None
        if work is not None:
            work.wait()
        with no_grad():
            for each, shape, start in zip(self.parameters, self.shapes, self.starts, strict=True):
                each.data = self.full[start : start + math.prod(shape)].view(shape)

    def reshard(self):
        """Leave the parameters this rank's part, and let go of the gathered array."""
        if self.gathering is not None:
            if self.gathering[1] is not None:
                self.gathering[1].wait()
            self.gathering = None
        if self.full is None:
            return
        self.full = None
        for each, piece in zip(self.parameters, self.pieces, strict=True):
            each.data = piece

    @no_grad()
    def write_back(self):
        """Make what was written to gathered parameters this rank's run."""
        self.local.copy_(self.full[self._own()] if self.layout.shards > 1 else self.full)

    # -------------------------------------------------------------------------------------------- gradients

    def _before(self, number):
        def hook(gradient):
            parameter = self.parameters[number]
            self.unshard()
            self.kept[number], parameter._grad = parameter._grad, None

        return hook

    def _after(self, number):
        def hook(parameter):
            whole, parameter._grad = parameter._grad, self.kept.pop(number)
            self.found[number] = whole if number not in self.found else self.found[number] + whole
            run = engine.current.run
            self.schedule.watch()
            if self.run is not run:
                self.run = run
                self.expected = sum(run.will_reach(each) for each in self.parameters if each.requires_grad)
            if len(self.found) >= self.expected:
                self.reduce()

        return hook

    @no_grad()
    def reduce(self):
        """Begin to reduce the gradients that were found, and let go of the parameters if nobody needs them."""
        layout = self.layout
        flat = self._flat(self.found, layout.reduce_dtype)
        numbers = self.waiting | self.found.keys()
        self.found, self.run = {}, None
        if not self.has_frozen:
            self.reshard()
        if self.unreduced is not None:
            flat += self.unreduced
            self.unreduced = None
        if not self.schedule.sync:
            self.unreduced, self.waiting = flat, numbers
            return
        self.waiting = set()
        if self.zeros_for_unused:
            numbers = {number for number, each in enumerate(self.parameters) if each.requires_grad}
        local, work = flat, None
        if layout.shards > 1:
            local = creation.empty(self.length, dtype=flat.dtype, device=self.device)
            work = dist.reduce_scatter_tensor(local, flat, dist.ReduceOp.AVG, group=layout.group, async_op=True)
        elif layout.replicas is not None:
            work = dist.all_reduce(local, dist.ReduceOp.AVG, group=layout.replicas, async_op=True)
        self.schedule.add(self, local, flat, work, numbers)

    @no_grad()
    def take(self, local, work, numbers):
        """Add reduced gradients to those of the parameters' parts, once they are there."""
        if work is not None:
            work.wait()
        if self.layout.shards > 1 and self.layout.replicas is not None:
            dist.all_reduce(local, dist.ReduceOp.AVG, group=self.layout.replicas)
        pieces = self._pieces_of(local.to(self.dtype))
        for number in sorted(numbers):
            parameter = self.parameters[number]
            if parameter._grad is None:
                parameter._grad = pieces[number]
            else:
                parameter._grad.add_(pieces[number])
