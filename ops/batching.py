"""Batching rules: how an op runs on a whole batch of examples at once, which is what `vmap` makes of its calls.

A rule is the class method `batch` of an op, said once by its family. It is given an Examples, a call whose tensors have
the batch as their first dimension where there is one, and returns the results with the batch first; or None, where it
has nothing to say: the op then runs on one example after the other. Rules are written with ops, on Tensors as
`backward` sees them, so gradients through a batch need no rules of their own.
"""

from __future__ import annotations

import functools

from tritorch.ops.outputs import tensors_in


class Examples:
    """A call of an op on `size` examples: its arguments, and which of them have the batch as dimension 0."""

    __slots__ = ("args", "batched", "size")

    def __init__(self, size, args, batched):
        self.size, self.args, self.batched = size, args, batched

    def rank(self, at):
        """How many dimensions one example of argument `at` has."""
        return self.args[at].array.ndim - self.batched[at]

    def shape(self, at):
        """The shape of one example of argument `at`."""
        return tuple(self.args[at].array.shape)[self.batched[at] :]

    def tensors(self):
        """The positions of the tensors among the arguments."""
        return [at for at, arg in enumerate(self.args) if hasattr(arg, "array")]

    def front(self, at):
        """Argument `at` with the batch as dimension 0, repeated over it where it has none."""
        arg = self.args[at]
        if self.batched[at] or not hasattr(arg, "array"):
            return arg
        return arg.unsqueeze(0).expand(self.size, *arg.array.shape)

    def in_front(self):
        """All arguments, the tensors with the batch as dimension 0."""
        return [self.front(at) for at in range(len(self.args))]

    def padded(self, at, rank):
        """Argument `at` with dimensions of one element before its own, so that an example has `rank`; else as it is."""
        arg, own = self.args[at], self.shape(at)
        if len(own) == rank:
            return arg
        ones = (1,) * (rank - len(own))
        return arg.reshape((self.size, *ones, *own) if self.batched[at] else (*ones, *own))

    def aligned(self):
        """All arguments, so that tensors broadcast from the right as those of one example do."""
        ranks = {self.rank(at) for at in self.tensors()}
        rank = max(ranks)
        if len(ranks) == 1:
            return list(self.args)
        return [
            self.padded(at, rank) if batched and hasattr(arg, "array") else arg
            for at, (arg, batched) in enumerate(zip(self.args, self.batched, strict=True))
        ]

    def all_batched(self):
        """The same call, with the batch in all of its tensors."""
        batched = tuple([hasattr(arg, "array") for arg in self.args])
        return Examples(self.size, self.in_front(), batched)

    def folded(self, *positions):
        """Arguments at `positions` with the batch and their own first dimension as one."""
        found = (self.front(at) for at in positions)
        return [each.flatten(0, 1) if hasattr(each, "array") else each for each in found]

    def unfolded(self, found, length):
        """Results whose first dimension is the batch and `length` in one, with the two apart."""
        if isinstance(found, tuple):
            return tuple(self.unfolded(each, length) for each in found)
        return found.reshape((self.size, length, *found.array.shape[1:]))


def shift(dim, rank):
    """`dim`, of one example, in the batch: a number, several, or None for all `rank`."""
    if dim is None:
        return tuple(range(1, rank + 1))
    return tuple([each + 1 for each in dim]) if isinstance(dim, tuple) else dim + 1


def moved(tensor, source, target):
    """The tensor with one dimension elsewhere."""
    order = [dim for dim in range(tensor.array.ndim) if dim != source]
    order.insert(target, source)
    return tensor.permute(tuple(order))


def rule(function):
    """A function of a class and a call as the class method `batch` of an op, or of many."""
    return classmethod(function)


def by_example(function):
    """A composition that looks at elements: under `vmap` it runs on one example after the other."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        levels = [each.level for each in tensors_in((*args, *kwargs.values())) if each.level is not None]
        if not levels:
            return function(*args, **kwargs)
        return max(levels, key=lambda level: level.depth).loop(function, args, kwargs)

    return call


@rule
def leading(cls, call):
    """The rule of ops that work over the last dimensions, or on whole tensors, however many come before."""
    return cls.apply(*call.in_front())


@rule
def broadcast(cls, call):
    """The rule of ops whose arguments broadcast in their first dimensions."""
    return cls.apply(*call.aligned())


@rule
def broadcast_whole(cls, call):
    """The same, for ops with results of some of their arguments alone: all of those have to be the batch's."""
    return cls.apply(*call.all_batched().aligned())


@rule
def folded(cls, call):
    """The rule of ops on (N, ...), for which a batch of batches is a larger batch."""
    first = call.tensors()[0]
    if not all(call.rank(at) for at in call.tensors()):
        return None
    return call.unfolded(cls.apply(*call.folded(*range(len(call.args)))), call.shape(first)[0])


def shifted(*names, scalars=False):
    """The rule of ops whose arguments `names` number dimensions: they are one further on.

    `scalars` says that a tensor without dimensions, which then has one, is nothing special.
    """

    def batch(cls, call):
        rank = call.rank(call.tensors()[0])
        if rank == 0 and not scalars:
            return None
        args = call.in_front()
        for name in names:
            at = cls.names.index(name)
            args[at] = shift(args[at], rank)
        return cls.apply(*args)

    return rule(batch)
