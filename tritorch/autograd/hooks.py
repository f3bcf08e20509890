"""Hooks on tensors: called with the gradient when it is computed."""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict

from tritorch.autograd.variable import Variable
from tritorch.ops.base import Node

_numbers = itertools.count()


class RemovableHandle:
    """Takes a hook off again with `remove()`, also out of dicts that note something about it."""

    def __init__(self, hooks, notes=()):
        self.hooks, self.id = weakref.ref(hooks), next(_numbers)
        self.notes = tuple(weakref.ref(each) for each in notes)

    def remove(self):
        """Take the hook off; a second call does nothing."""
        for reference in (self.hooks, *self.notes):
            hooks = reference()
            if hooks is not None:
                hooks.pop(self.id, None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    def __reduce__(self):  # a module that keeps handles is copied with its hooks
        return _handle_of, (self.hooks(), self.id, tuple(each() for each in self.notes))


def _handle_of(hooks, number, notes):
    handle = RemovableHandle(OrderedDict() if hooks is None else hooks, [each for each in notes if each is not None])
    handle.id = number
    return handle


def add_hook(hooks, hook):
    """Enter a hook in an OrderedDict and return its handle."""
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


def register_tensor_hook(tensor, hook):
    """On a leaf the hook runs before the gradient is added; elsewhere before the node that made the tensor runs."""
    if not tensor.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if tensor.grad_fn is None:
        if tensor.hooks is None:
            tensor.hooks = OrderedDict()
        return add_hook(tensor.hooks, hook)
    node = tensor.node
    if node.hooks is None:
        node.hooks = {}
    return add_hook(node.hooks.setdefault(tensor.slot, OrderedDict()), hook)


def register_post_accumulate_hook(tensor, hook):
    """Call `hook(tensor)` each time a gradient was added to the leaf `tensor`."""
    if not tensor.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if tensor.grad_fn is not None:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    return add_hook(tensor.__dict__.setdefault("post_accumulate_hooks", OrderedDict()), hook)


def _register(node, when, hook):
    if node.hooks is None:
        node.hooks = {}
    return add_hook(node.hooks.setdefault(when, OrderedDict()), hook)


def register_node_hook(node, hook):
    """Call `hook(grad_inputs, grad_outputs)` after a node's backward ran; what it returns replaces grad_inputs."""
    return _register(node, "post", hook)


def register_node_prehook(node, hook):
    """Call `hook(grad_outputs)` before a node's backward runs; what it returns replaces them."""
    return _register(node, "pre", hook)


class AccumulateGrad(Node):
    """What stands for a leaf at the end of the graph, for those who walk it."""

    def __init__(self, variable):
        self.variable, self.edges = variable, []

    def __repr__(self):
        return f"<AccumulateGrad object at {id(self):#x}>"

    def name(self):
        return "torch::autograd::AccumulateGrad"

    def __eq__(self, other):
        return isinstance(other, AccumulateGrad) and other.variable is self.variable

    def __hash__(self):
        return id(self.variable)


def next_functions(node):
    """The nodes that gradients flow to from here, each with the number of its output."""
    return tuple([(None, 0) if edge is None else (_as_node(edge[0]), edge[1]) for edge in node.edges])


def _as_node(target):
    if not isinstance(target, Variable):
        return target
    if target.accumulator is None:
        target.accumulator = AccumulateGrad(target)
    return target.accumulator


def metadata(node):
    """A dict in which anybody may keep something about a node."""
    return node.__dict__.setdefault("_metadata", {})


Node.register_hook = register_node_hook  # type: ignore[attr-defined]  # ops below never import this room
Node.register_prehook = register_node_prehook  # type: ignore[attr-defined]
Node.next_functions = property(next_functions)  # type: ignore[attr-defined]
Node.metadata = property(metadata)  # type: ignore[attr-defined]
