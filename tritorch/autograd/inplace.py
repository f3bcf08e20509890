"""In-place writes: `x.add_(y)`, `x[key] = y`, `x.copy_(y)`.

The op runs as always and its result is written over `x` (overwriting.py: or goes there by itself), whose version rises,
so that whoever saved the old value for a gradient notices. A write through a view is a write to its root: the root's
history becomes "what it was, with the view's region replaced", and other views of it are recorded again when they are
next used.
"""

from __future__ import annotations

import sys

import numpy as np

from tritorch.autograd.apply import apply
from tritorch.autograd.grad_mode import state
from tritorch.autograd.overwriting import record_written, written_straight
from tritorch.autograd.variable import Variable, next_sequence
from tritorch.ops.base import Node
from tritorch.ops.layout import element_strides
from tritorch.ops.promotion import KIND_NAMES
from tritorch.ops.shape.strided_views import AsStrided, LaidOut
from tritorch.runtime import dtypes, transfer


def apply_inplace(function, name, tensor, *args, **kwargs):
    """Write `function(tensor, *args)` over `tensor` and make it the result, for gradients too; returns `tensor`."""
    if tensor.level is not None:
        return tensor.write_in_place(function, name, args, kwargs)
    recorded = state.recording
    check_writable(tensor, name, recorded)
    straight = written_straight(function, tensor, args, kwargs)
    if straight is not None:
        _follow(tensor, *straight)
        return tensor
    before = alias(tensor)
    before.about_to_change = True
    result = function(before, *args, **kwargs)
    check_fits(tensor, result, name)
    if result.array.dtype != tensor.array.dtype:
        result = result.to(dtypes.of(tensor.array.dtype))
    if sys.getrefcount(before) > 2:  # somebody saved the old value for a gradient: let it keep one
        before.array, before.version = transfer.duplicate(tensor.array), None
    write(tensor.array, result.array)
    bump(tensor)
    if result.requires and recorded:
        rebase(tensor, before, result)
    for interceptor in state.interceptors:
        interceptor.written(tensor, result)
    return tensor


def _follow(tensor, op, arguments, wanted):
    """Raise the version of what an op wrote itself, and record the call where a gradient is wanted."""
    before = alias(tensor) if wanted else None
    bump(tensor)
    if wanted:
        rebase(tensor, before, record_written(op, arguments, tensor, before))


def check_writable(tensor, name, recorded=True, expanded=False):
    """Refuse what PyTorch refuses: leaves that require a gradient, their views, and, unless let, `expanded` memory."""
    if recorded and tensor.wants_gradient():
        view = tensor.view_of
        if view is not None:
            if view.root.node is None and view.root.requires:
                raise RuntimeError(
                    "a view of a leaf Variable that requires grad is being used in an in-place operation."
                )
        elif tensor.node is None:
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
    if not expanded:
        check_apart(tensor.array, name)


def check_apart(array, name):
    """Refuse to write an array that is expanded: several of its elements are one."""
    if (
        0 in array.strides
        and array.size
        and any(stride == 0 and size > 1 for stride, size in zip(array.strides, array.shape, strict=True))
    ):
        raise RuntimeError(
            f"{name}: unsupported operation: more than one element of the written-to tensor refers to a single memory "
            "location. Please clone() the tensor before performing the operation."
        )


def check_fits(tensor, result, name):
    """Refuse a result of another shape, of a kind that the dtype does not hold, or for more examples than there are."""
    if result.level is not None and (tensor.level is None or tensor.level.depth < result.level.depth):
        raise RuntimeError(
            "vmap: inplace arithmetic(self, *extra_args) is not possible because there exists a Tensor `other` in "
            "extra_args that has more elements than `self`. This happened due to `other` being vmapped over but `self` "
            "not being vmapped over in a vmap. Please try to use out-of-place operators instead of inplace arithmetic. "
            "If said operator is being called inside the PyTorch framework, please file a bug report instead."
        )
    if result.array.shape != tensor.array.shape:
        raise RuntimeError(
            f"output with shape {list(tensor.array.shape)} doesn't match the broadcast shape {list(result.array.shape)}"
            f" (in {name})"
        )
    if dtypes.of(result.array.dtype).category > dtypes.of(tensor.array.dtype).category:
        kinds = [KIND_NAMES[dtypes.of(each.array.dtype).name] for each in (result, tensor)]
        raise RuntimeError(f"result type {kinds[0]} can't be cast to the desired output type {kinds[1]}")


def write(destination, source):
    """Copy an array's elements over another's, on whichever device both are."""
    if isinstance(destination, np.ndarray):
        destination[...] = source
    else:
        destination.copy_from(source)


def bump(tensor):
    """Raise the version of the memory that `tensor` stands in."""
    tensor.counter()[0] += 1


def alias(tensor):
    """The same array with the same history, unmoved by what happens to `tensor`."""
    other = Variable.made_as.__new__(Variable.made_as)
    other.array, other.device, other.version = tensor.array, tensor.device, tensor.counter()
    if tensor.wants_gradient():
        other.node, other.slot = tensor.gradient_edge()
        other.requires = tensor.requires
    return other


def rebase(tensor, before, result):
    """Make `result`'s history that of `tensor`, and of the root it views."""
    view = tensor.view_of
    if view is None:
        tensor.node, tensor.slot, tensor.requires = result.node, result.slot, True
        tensor.generation_of_views += 1
        return
    root = view.root
    node = ReplaceRegion(view.path(), alias(root), result)
    root.node, root.slot, root.requires = node, 0, True
    root.generation_of_views += 1
    tensor.refresh_view()


class ReplaceRegion(Node):
    """The history of a tensor one of whose views was written: gradients of the region go to what was written."""

    def __init__(self, path, root, written):
        self.path = [(step.op, step.rest) for step in path]
        by_strides = any(step.op is AsStrided for step in path)
        self.strides = element_strides(root.array) if by_strides else None  # such a view needs the root's own layout
        self.edges = [
            (*each.gradient_edge(), each.array.shape, each.array.dtype) if each.requires else None
            for each in (root, written)
        ]
        self.sequence = next_sequence()

    def name(self):
        return "CopySlices"

    def backward(self, grad):
        """The gradient with the region zeroed, and the region's gradient."""
        region = self._view(self._own(grad))
        rest = None
        if self.edges[0] is not None:
            rest = self._own(grad.clone())
            self._view(rest).zero_()
        return rest, region

    def _own(self, tensor):
        return tensor if self.strides is None else LaidOut.apply(tensor, self.strides)

    def _view(self, tensor):
        for op, rest in self.path:
            tensor = apply(op, tensor, *rest)
        return tensor
