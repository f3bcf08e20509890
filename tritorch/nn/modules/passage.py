"""Gradients on their way through a module, as its backward hooks see and change them."""

from __future__ import annotations

import warnings

from tritorch.ops.base import TABLE
from tritorch.tensor import Tensor

Boundary = TABLE["boundary"]


def passes(*owners):
    """Whether any of them has backward hooks."""
    return any(owner._backward_hooks or owner._backward_pre_hooks for owner in owners)


class Passage:
    """One call of a module with backward hooks: gradients of outputs come in, those of inputs go out."""

    def __init__(self, module, everywhere):
        self.module, self.grad_output, self.places, self.count = module, None, (), 0
        self.pre_hooks = [*everywhere._backward_pre_hooks.values(), *module._backward_pre_hooks.values()]
        self.hooks = [*everywhere._backward_hooks.values(), *module._backward_hooks.values()]

    def enter(self, args):
        """The arguments, behind a boundary that runs the hooks."""
        self.count = len(args)
        places, tensors = _tensors_of(args)
        if not any(each.requires_grad for each in tensors):
            return args
        self.places = places
        return _put(args, places, Boundary.apply(self.finish, *tensors))

    def leave(self, output):
        """The output, behind a boundary that notes its gradients."""
        outputs = output if isinstance(output, tuple) else (output,)
        places, tensors = _tensors_of(outputs)
        if not tensors and not isinstance(output, tuple):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors but received "
                f"{type(output)}",
                stacklevel=5,
            )
        if not any(each.requires_grad for each in tensors):
            return output
        self.width, self.marked = len(outputs), places
        passed = _put(outputs, places, Boundary.apply(self.begin, *tensors))
        if not isinstance(output, tuple):
            return passed[0]
        return passed if type(output) is tuple else type(output)(*passed)

    def begin(self, grads):
        """Gradients of the outputs: run the pre-hooks, and without gradients of inputs all hooks."""
        grads = _put((None,) * self.width, self.marked, grads)
        for hook in self.pre_hooks:
            grads = _replaced(hook(self.module, grads), grads, "pre hook returned an invalid number of grad_output")
        self.grad_output = grads
        if not self.places and self.hooks:
            self._run_without_inputs()
        return tuple(grads[at] for at in self.marked)

    def _run_without_inputs(self):
        warnings.warn(
            "Full backward hook is firing when gradients are computed with respect to module outputs since no inputs "
            "require gradients.",
            stacklevel=2,
        )
        for hook in self.hooks:
            result = hook(self.module, (None,) * self.count, self.grad_output)
            if result is not None and not (isinstance(result, tuple) and all(each is None for each in result)):
                raise RuntimeError(
                    "Backward hook for Modules where no input requires gradient should always return None or None for "
                    "all gradients."
                )

    def finish(self, grads):
        """Gradients of the inputs: run the hooks, where the outputs passed the other boundary."""
        if self.grad_output is None:
            return grads
        grad_input = _put((None,) * self.count, self.places, grads)
        for hook in self.hooks:
            result = hook(self.module, grad_input, self.grad_output)
            grad_input = _replaced(result, grad_input, "hook returned an invalid number of grad_input")
        return tuple(grad_input[at] for at in self.places)


def _tensors_of(values):
    places = [at for at, each in enumerate(values) if isinstance(each, Tensor)]
    return places, [values[at] for at in places]


def _put(values, places, tensors):
    """The values as a tuple with `tensors` at `places`; gradients may end with the last one that there is."""
    values = list(values)
    for at, each in zip(places, tensors, strict=False):
        values[at] = each
    return tuple(values)


def _replaced(result, grads, complaint):
    if result is None:
        return grads
    result = result if isinstance(result, tuple) else (result,)
    if len(result) != len(grads):
        raise RuntimeError(f"Backward {complaint}, got {len(result)}, but expected {len(grads)}")
    return result
