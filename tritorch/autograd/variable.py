"""Variable: what the engine knows of a tensor. `Tensor` adds everything people call.

Attributes that most tensors leave alone are class attributes, so that making a tensor sets two.
"""

from __future__ import annotations

import weakref

from tritorch.ops.base import Node


class Variable:
    """An array on a device, with the node that made it.

    array, device     the elements and where they are
    node, slot        the recorded call that made it, and which of its outputs this is
    requires          whether a gradient is wanted (leaf) or flows through (not a leaf)
    version           a counter shared by all that share memory, raised by every in-place write; made when needed
    view              where it is a view: how to make it again from what it views
    """

    array: object
    device: object
    node = None
    slot = 0
    requires = False
    version = None
    view = None
    _grad = None
    hooks = None
    retains = False
    _accumulator = None
    made_as: type

    def counter(self):
        """The version counter, made on first need."""
        if self.version is None:
            self.version = [0]
        return self.version

    def gradient_edge(self):
        """The node and output number that gradients of this tensor go to."""
        view = self.view
        if view is not None and view.generation != view.root.generation_of_views:
            self.refresh_view()
        if self.node is not None:
            return self.node, self.slot
        accumulator = self._accumulator and self._accumulator()
        if accumulator is None:
            accumulator = AccumulateGrad(self)
            self._accumulator = weakref.ref(accumulator)
        return accumulator, 0

    generation_of_views = 0

    def refresh_view(self):
        """Record the view again, from its base as an in-place write through another view left it."""
        chain, tensor = [], self
        while tensor.view is not None and tensor.view.generation != tensor.view.root.generation_of_views:
            chain.append(tensor)
            tensor = tensor.view.parent
        for tensor in reversed(chain):
            view = tensor.view
            fresh = view.again(view.parent)
            tensor.node, tensor.slot, tensor.requires = fresh.node, fresh.slot, fresh.requires
            view.generation = view.root.generation_of_views


class View:
    """How a tensor views another: `op.apply(parent, *rest)`, out of `root`, which owns the memory."""

    __slots__ = ("generation", "op", "parent", "rest", "root")

    def __init__(self, parent, op, rest):
        self.parent, self.op, self.rest = parent, op, rest
        self.root = parent if parent.view is None else parent.view.root
        self.generation = self.root.generation_of_views

    def again(self, tensor):
        """The same view of another tensor."""
        return self.op.apply(tensor, *self.rest)

    def path(self):
        """All views between the root and here, outermost first."""
        steps, view = [], self
        while view is not None:
            steps.append(view)
            view = view.parent.view
        return steps[::-1]


_count = 0


def next_sequence():
    """A number larger than all before it: nodes made later have their gradients computed earlier."""
    global _count
    _count += 1
    return _count


class AccumulateGrad(Node):
    """Where a gradient ends: adds it to a leaf's `.grad`."""

    __slots__ = ("variable",)

    def __init__(self, variable):
        self.variable, self.edges, self.hooks, self.sequence = variable, (), None, next_sequence()

    def name(self):
        return "AccumulateGrad"
