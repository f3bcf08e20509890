"""What all transforms stand on: a function run on fresh leaves, and gradients of what it gave by them.

A run inside vmaps is recorded on whole batches: its leaves have the batch of every level around, so examples that share
a tensor do not share its gradient. Levels that come later, when a gradient is asked for, are those of its seeds alone:
the graph does not know them, and its gradient ops run by their batching rules.
"""

from __future__ import annotations

from contextlib import contextmanager

from tritorch.autograd import engine
from tritorch.autograd.grad_mode import state
from tritorch.autograd.variable import Variable, next_sequence
from tritorch.func.batched import bare, dressed, levels, without
from tritorch.ops.shape.views import alias_view
from tritorch.utils.pytree import tree_flatten, tree_map_only, tree_unflatten


@contextmanager
def transforming():
    """Inside, a transform is running: nothing may touch `.grad` or ask leaves for gradients by hand."""
    state.transforms += 1
    try:
        yield
    finally:
        state.transforms -= 1


@contextmanager
def recording(mode):
    """Calls inside are recorded, or not."""
    before, state.recording = state.recording, mode
    try:
        yield
    finally:
        state.recording = before


class Run:
    """One call of a function whose arguments in the tree `primals` can be differentiated.

    result       what it returned, as the function saw it
    leaves       the fresh tensors in place of those of `primals`, without the levels around
    connected    whether what it returned depends on tensors outside that want gradients themselves
    """

    def __init__(self, function, primals):
        flat, spec = tree_flatten(primals)
        self.levels, self.outer, self.began = levels(), state.recording, next_sequence()
        self.leaves = [self._leaf(each) for each in flat]
        seen = tree_unflatten([self.seen(each) for each in self.leaves], spec)
        with transforming(), recording(True):
            self.result = function(*seen)
        self.connected = self.outer and reaches_out(tree_flatten(self.result)[0], self.leaves, self.began)

    def _leaf(self, tensor):
        if not isinstance(tensor, Variable):
            raise ValueError(f"Thing passed to transform API must be Tensor, got {type(tensor)}")
        if not tensor.is_floating_point():
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        tensor = self.bare(tensor)
        if self.outer and tensor.requires_grad:
            return alias_view(tensor)  # part of the graph outside
        tensor = tensor.detach()
        tensor.requires = True
        return tensor

    def bare(self, tensor):
        """A tensor without the levels that were around when the function ran."""
        for level in reversed(self.levels):
            tensor = bare(tensor, level)
        return tensor

    def seen(self, tensor):
        """The reverse of `bare`."""
        for level in self.levels:
            tensor = dressed(tensor, level)
        return tensor

    def handed_on(self, tree):
        """Results as the world outside sees them: with their history only where it is part of a graph there."""
        return tree if self.connected else tree_map_only(Variable, lambda each: each.detach(), tree)

    def pull(self, outputs, seeds, retain_graph=True):
        """The gradients by the leaves of sum(seed * output), zero where there is none."""
        create = state.recording and (self.connected or any(seed.requires_grad for seed in seeds))
        pairs = [
            (self.bare(output), self.bare(seed))
            for output, seed in zip(outputs, seeds, strict=True)
            if isinstance(output, Variable)
        ]
        with without(self.levels):
            found = gradients(pairs, self.leaves, retain_graph, create)
            found = [leaf.new_zeros(leaf.shape) if g is None else g for leaf, g in zip(self.leaves, found, strict=True)]
        return [self.seen(each) for each in found]


def reaches_out(results, leaves, began=0):
    """Whether the graph of the results has other leaves than these, or nodes with numbers below `began`."""
    wanted = (each for each in results if isinstance(each, Variable) and each.wants_gradient())
    stack, known = [each.gradient_edge()[0] for each in wanted], {id(leaf) for leaf in leaves}
    while stack:
        node = stack.pop()
        if id(node) in known:
            continue
        known.add(id(node))
        if isinstance(node, Variable) or node.sequence < began:
            return True
        stack.extend(edge[0] for edge in node.edges if edge is not None)
    return False


def gradients(pairs, inputs, retain_graph, create_graph):
    """The gradients of sum(seed * output), by pairs of those, by each of `inputs`; None where there is none."""
    pairs = [(output, seed) for output, seed in pairs if output.wants_gradient()]
    if not pairs:
        return [None] * len(inputs)
    places = [each.gradient_edge() for each in inputs]
    targets = {place: engine.Target() for place in places}
    outputs, seeds = zip(*pairs, strict=True)
    engine.run(outputs, seeds, targets, retain_graph, create_graph)
    return [targets[place].gradient for place in places]
