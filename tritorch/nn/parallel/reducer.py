"""The reducer: averages gradients over ranks, bucket by bucket, while backward goes on."""

from __future__ import annotations

from tritorch import creation
from tritorch import distributed as dist
from tritorch.autograd import engine, no_grad
from tritorch.autograd.variable import Variable
from tritorch.nn.parallel.buckets import Bucket, GradBucket, assign


class Reducer:
    """Knows when the gradient of each parameter is final, and reduces buckets in one order on all ranks.

    Parameters are expected in the reverse of their order at first, and from the second step on in the order in which
    rank 0's gradients came. A bucket is reduced when it is full and those before it were.
    """

    def __init__(self, named, group, capacity, as_view, find_unused, static):
        self.names = [name for name, _ in named]
        self.parameters = [each for _, each in named]
        self.group, self.capacity, self.as_view = group, capacity, as_view
        self.find_unused, self.static = find_unused, static
        self.hook = None  # (state, function) of register_comm_hook
        self.armed = self.begun = self.ordered = False
        self.arrived, self.used = [], None
        self.calls = self.expected = None  # of a static graph: gradients of each parameter, counted in the first step
        self.anywhere = None  # of a static graph: which parameters some rank uses
        self.active = None  # the work that counts the ranks whose mean it is, if not all
        self._make_buckets(list(reversed(range(len(self.parameters)))))
        self.handles = [
            each.register_post_accumulate_grad_hook(self._hook_of(place)) for place, each in enumerate(self.parameters)
        ]

    def _make_buckets(self, order):
        parameters = [self.parameters[place] for place in order]
        sizes = [each.numel() * each.element_size() for each in parameters]
        kinds = [(each.dtype, each.device) for each in parameters]
        self.buckets = [
            Bucket(index, [order[at] for at in places], [parameters[at] for at in places], self.as_view)
            for index, places in enumerate(assign(sizes, kinds, self.capacity))
        ]
        self.bucket_of = {place: bucket for bucket in self.buckets for place in bucket.places}

    # ------------------------------------------------------------------------------------------ before backward

    def prepare(self, outputs, active=None):
        """Expect a backward from `outputs`: called after each forward whose gradients are to be reduced.

        `active` is the work of counting the ranks that the mean is over, where these are not all of the group's.
        """
        self.check_finished()
        self._reorder()
        self.armed, self.begun, self.next, self.active = True, False, 0, active
        for bucket in self.buckets:
            bucket.missing, bucket.pending = len(bucket.places), None
        self.ready = [False] * len(self.parameters)
        self.used, self.calls = None, [0] * len(self.parameters)
        if self.expected is not None:
            self.used = [count > 0 for count in self.expected]
        elif self.find_unused and not self.static:
            reached = _leaves_of(outputs)
            self.used = [each in reached for each in self.parameters]

    def check_finished(self):
        """Refuse to begin a step after one in which some gradient never came."""
        if not (self.armed and self.begun):
            return
        missing = [place for place, done in enumerate(self.ready) if not done]
        raise RuntimeError(
            "Expected to have finished reduction in the prior iteration before starting a new one. This error "
            "indicates that your module has parameters that were not used in producing loss. You can enable unused "
            "parameter detection by passing the keyword argument `find_unused_parameters=True` to "
            "`torch.nn.parallel.DistributedDataParallel`, and by making sure all `forward` function outputs "
            "participate in calculating loss.\n"
            f"Parameters which did not receive grad for rank {dist.get_rank(self.group)}: "
            f"{', '.join(self.names[place] for place in missing)}\n"
            f"Parameter indices which did not receive grad for rank {dist.get_rank(self.group)}: {missing}"
        )

    def _reorder(self):
        """After the first step, the buckets of the order in which gradients came on rank 0."""
        if self.ordered or self.find_unused or self.static or len(self.arrived) != len(self.parameters):
            return
        order = creation.tensor(self.arrived, device=self.parameters[0].device)
        dist.broadcast(order, group=self.group, group_src=0)
        self.ordered, self.arrived = True, []
        self._make_buckets(order.tolist())

    # ---------------------------------------------------------------------------------------------- in backward

    def _hook_of(self, place):
        def hook(parameter):
            if self.armed:
                self._gradient_came(place)

        return hook

    def _gradient_came(self, place):
        if not self.begun:
            self._begin()
        self.calls[place] += 1
        if self.static and (self.expected is None or self.calls[place] < self.expected[place]):
            return
        if self.ready[place]:
            raise RuntimeError(
                "Expected to mark a variable ready only once. This error is caused by one of the following reasons: "
                "1) Use of a module parameter outside the `forward` function. 2) Reused parameters in multiple "
                "reentrant backward passes. You can try to use `_set_static_graph()` if your module graph does not "
                f"change over iterations. Parameter at index {place} with name {self.names[place]} has been marked as "
                "ready twice."
            )
        if not self.ordered:
            self.arrived.append(place)
        self._mark(place)

    def _begin(self):
        self.begun = True
        if not self.ordered:
            self.arrived = []
        engine.outermost().at_end.append(self._end)
        if self.used is not None:
            for place, used in enumerate(self.used):
                if not used:
                    self._mark(place)

    def _mark(self, place):
        self.ready[place] = True
        self.bucket_of[place].missing -= 1
        self._reduce_full_buckets()

    def _reduce_full_buckets(self):
        while self.next < len(self.buckets) and self.buckets[self.next].missing <= 0:
            bucket = self.buckets[self.next]
            self.next += 1
            bucket.fill()
            bucket.pending = self._average(bucket)

    def _average(self, bucket):
        """Begin the reduction of a bucket; returns what to wait for."""
        if self.hook is None:
            return dist.all_reduce(bucket.flat, dist.ReduceOp.AVG, self.group, async_op=True)
        state, function = self.hook
        return function(state, GradBucket(bucket, len(self.buckets)))

    def _end(self):
        """Wait for what was reduced; called when the pass is through."""
        if self.static and self.expected is None:  # the graph is known now: what did not come never will
            self.expected = self.calls
            self.used = [count > 0 for count in self.expected]
            for bucket in self.buckets:
                bucket.missing = 0
            self._reduce_full_buckets()
        used = self._used_anywhere()
        for bucket in self.buckets[: self.next]:
            reduced = bucket.pending.wait()
            if self.hook is None:
                reduced = bucket.flat
                self._rescale(reduced)
            elif isinstance(reduced, (list, tuple)):
                reduced = reduced[0]
            bucket.pending = None
            bucket.give_back(reduced, used)
        if self.next == len(self.buckets):
            self.armed = False

    def _rescale(self, mean):
        """Make the mean over all ranks one over those that still have batches, where a join asked for it."""
        if self.active is not None:
            with no_grad():
                mean.mul_(dist.get_world_size(self.group) / self.active.result()[0].item())

    def _used_anywhere(self):
        """Which parameters some rank used; None if all were, or where nobody asked."""
        if self.used is None or self.next < len(self.buckets):
            return None
        return self._any_rank(self.used)

    def _any_rank(self, used):
        """Which parameters some rank used, from what this one did; asked once where the graph is static."""
        if self.anywhere is not None:
            return self.anywhere
        count = creation.tensor([int(each) for each in used], device=self.parameters[0].device)
        dist.all_reduce(count, dist.ReduceOp.MAX, self.group)
        found = count.tolist()
        if self.static:
            self.anywhere = found
        return found

    # ------------------------------------------------------------------------------------- ranks that are through

    def shadow(self):
        """Take part in the reductions of a step of the others, with gradients of zero."""
        self._reorder()
        # Buckets of their own, which begin as zeros: this rank's gradients stay what they are.
        zeros = [Bucket(each.index, each.places, each.parameters, as_view=True) for each in self.buckets]
        for pending in [self._average(each) for each in zeros]:
            pending.wait()
        if not self.ordered:
            self.arrived = list(range(len(self.parameters)))  # rank 0's order comes with its next step
        if self.find_unused or self.static:
            self._any_rank([False] * len(self.parameters))


def _leaves_of(outputs):
    """The leaves whose gradient a backward from some tensors would reach."""
    found, seen = set(), set()
    stack = [each.gradient_edge()[0] for each in outputs if each.requires]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if isinstance(node, Variable):
            found.add(node)
        else:
            stack.extend(edge[0] for edge in node.edges if edge is not None)
    return found
