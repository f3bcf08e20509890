"""The graph for those who look at it: nodes and edges, hooks on what is saved, and on several gradients together."""

from __future__ import annotations

from typing import NamedTuple

from tritorch.autograd import engine
from tritorch.autograd.hooks import AccumulateGrad, RemovableHandle
from tritorch.autograd.inplace import bump
from tritorch.autograd.saved import disable_saved_tensors_hooks as disable_saved_tensors_hooks
from tritorch.autograd.saved import saved_tensors_hooks as saved_tensors_hooks
from tritorch.autograd.variable import Variable
from tritorch.ops.base import Node as Node
from tritorch.runtime.device import CPU


class save_on_cpu(saved_tensors_hooks):
    """Inside, what is saved for gradients waits in host memory, page-locked with `pin_memory`."""

    def __init__(self, pin_memory=False, device_type="cuda"):
        def pack(tensor):
            kept = tensor.to(CPU)
            return tensor.device, kept.pin_memory() if pin_memory and tensor.is_cuda else kept

        super().__init__(pack, lambda packed: packed[1].to(packed[0], non_blocking=pin_memory))


class allow_mutation_on_saved_tensors(saved_tensors_hooks):
    """Inside, what is saved for gradients is a copy, so that the tensor itself may be written over."""

    def __init__(self):
        super().__init__(lambda tensor: tensor.clone(), lambda tensor: tensor)


class GradientEdge(NamedTuple):
    """Where gradients of a tensor go: a node, and the number of its output."""

    node: Node
    output_nr: int
    ownership_token: Node | None = None


def get_gradient_edge(tensor):
    """Where gradients of `tensor` go."""
    if not tensor.requires_grad:
        raise RuntimeError("It is not possible to get the gradient edge of a Tensor that does not require gradients")
    node, number = tensor.gradient_edge()
    return GradientEdge(AccumulateGrad(node) if isinstance(node, Variable) else node, number)


def increment_version(tensor):
    """Say that a tensor, or each of several, was written to by somebody whom autograd cannot see."""
    for each in (tensor,) if isinstance(tensor, Variable) else tensor:
        bump(each)


class _Handles(RemovableHandle):
    """Takes several hooks off together."""

    def __init__(self, handles):
        self.handles = tuple(handles)

    def remove(self):
        """Take all of them off."""
        for each in self.handles:
            each.remove()


class _Together:
    """A hook that waits in each backward pass until all gradients that will come are there."""

    def __init__(self, tensors, function):
        self.nodes = [tensor.gradient_edge()[0] for tensor in tensors]
        self.function, self.run = function, None

    def at(self, place):
        """The hook of the tensor number `place`."""

        def hook(gradient):
            run = engine.current.run
            if self.run is not run:
                self.run, self.found = run, [None] * len(self.nodes)
                self.missing = sum(map(run.will_reach, self.nodes))
            self.found[place] = gradient
            self.missing -= 1
            if self.missing == 0:
                found, self.run = self.found, None
                self.function(found)

        return hook


def register_multi_grad_hook(tensors, fn, *, mode="all"):
    """Call `fn` with the gradients of `tensors`, None where there is none; with `mode="any"` with the first to come."""
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    if mode == "all":
        together = _Together(tensors, fn)
        return _Handles([tensor.register_hook(together.at(place)) for place, tensor in enumerate(tensors)])
    last = [None]

    def first(gradient):
        if last[0] is not engine.current.run:
            last[0] = engine.current.run
            fn(gradient)

    return _Handles([tensor.register_hook(first) for tensor in tensors if tensor.requires_grad])
