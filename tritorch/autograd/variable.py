"""Variable: what the engine knows of a tensor. `Tensor` adds everything people call.

Attributes that most tensors leave alone are class attributes, so that making a tensor sets two.
"""

from __future__ import annotations

import itertools
import warnings

from tritorch.autograd.grad_mode import state
from tritorch.runtime import transfer


class Variable:
    """An array on a device, with the node that made it.

    array, device     the elements and where they are
    node, slot        the recorded call that made it, and which of its outputs this is
    requires          whether a gradient is wanted (leaf) or flows through (not a leaf)
    version           a counter shared by all that share memory, raised by every in-place write; made when needed
    view_of           where it is a view: how to make it again from what it views
    """

    array: object
    device: object
    node = None
    slot = 0
    requires = False
    version = None
    view_of = None
    _grad = None
    hooks = None
    post_accumulate_hooks = None
    retains = False
    about_to_change = False  # what an in-place op is given: the elements as they are before it writes
    level = None  # of the vmap it is a batch of examples of, see func/batched.py
    made_as: type
    size_type: type
    # A leaf is a node of the graph itself: the last one, with a number given when a graph first uses it.
    sequence = 0
    graph = -1
    edges = ()
    accumulator = None  # what stands for a leaf where somebody walks the graph

    def __new__(cls, data=None, requires_grad=False, volatile=None):
        """The old `Variable(tensor)`: a tensor on the memory of `data`, without its history."""
        if data is None:
            data = cls.made_as()
        if not isinstance(data, Variable):
            raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        if volatile:
            text = "volatile was removed and now has no effect. Use `with torch.no_grad():` instead."
            warnings.warn(text, UserWarning, stacklevel=2)
        return data.detach().requires_grad_(requires_grad)

    def counter(self):
        """The version counter, made on first need."""
        if self.version is None:
            self.version = [0]
        return self.version

    def gradient_edge(self):
        """The node and output number that gradients of this tensor go to."""
        view = self.view_of
        if view is not None and view.generation != view.root.generation_of_views:
            self.refresh_view()
        if self.node is not None:
            return self.node, self.slot
        if self.graph != graphs.run and not graphs.frozen:
            self.sequence, self.graph = next_sequence(), graphs.run
        return self, 0

    def name(self):
        """What stands for a leaf among the nodes."""
        return "AccumulateGrad"

    def wants_gradient(self):
        """Whether a gradient is wanted or flows through, for a view by its base as the last in-place write left it."""
        view = self.view_of
        if view is not None and view.generation != view.root.generation_of_views:
            self.refresh_view()
        return self.requires

    def made_alike(self, made):
        """What stands for `made`, a new tensor like this one: where this is a batch of examples, each has its own."""
        return made

    def on_host(self):
        """The elements as a NumPy array; where this is a batch of examples, those of all."""
        return transfer.to_host(self.array)

    generation_of_views = 0

    def refresh_view(self):
        """Record the view again, from its base as an in-place write through another view left it."""
        before, state.recording = state.recording, True  # the history is the base's, whoever asks for it
        try:
            self._record_views_again()
        finally:
            state.recording = before

    def _record_views_again(self):
        chain, tensor = [], self
        while tensor.view_of is not None and tensor.view_of.generation != tensor.view_of.root.generation_of_views:
            chain.append(tensor)
            tensor = tensor.view_of.parent
        for tensor in reversed(chain):
            view = tensor.view_of
            fresh = view.again(view.parent)
            tensor.node, tensor.slot, tensor.requires = fresh.node, fresh.slot, fresh.requires
            view.generation = view.root.generation_of_views


class View:
    """How a tensor views another: `op.apply(parent, *rest)`, out of `root`, which owns the memory."""

    __slots__ = ("generation", "op", "parent", "rest", "root")

    def __init__(self, parent, op, rest):
        self.parent, self.op, self.rest = parent, op, rest
        self.root = parent if parent.view_of is None else parent.view_of.root
        self.generation = self.root.generation_of_views

    def again(self, tensor):
        """The same view of another tensor."""
        return self.op.apply(tensor, *self.rest)

    def path(self):
        """All views between the root and here, outermost first."""
        steps, view = [], self
        while view is not None:
            steps.append(view)
            view = view.parent.view_of
        return steps[::-1]


# A number larger than all before it: nodes made later have their gradients computed earlier.
next_sequence = itertools.count(1).__next__


class graphs:
    """How many backward passes let their graph go: a leaf used after one belongs to a new graph.

    While they are `frozen`, a backward pass computes what it needs again, and its leaves keep their numbers.
    """

    run = 0
    frozen = False
