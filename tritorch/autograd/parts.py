"""Gradients of parts of one tensor, such as chunks or steps of time: written side by side, where no two overlap.

By itself each of them is zeros as large as the whole with the part written in, and is added to what is there: for n
parts n times the whole is filled, and n - 1 times added. Here the first makes the whole, and the others are written
into it.
"""

from __future__ import annotations

from typing import NamedTuple

from tritorch.ops.pointwise.cast import copy_elements
from tritorch.runtime.device import CPU


class _Whole(NamedTuple):
    """A gradient that the engine alone holds; of dimension `dim` only start to stop were written, the rest is zero."""

    gradient: object
    dim: int
    start: int
    stop: int


class Parts:
    """What parts of one pass have been written: by the output of a node that their gradients belong to."""

    def __init__(self):
        self.found = {}

    def join(self, node, gradient, pending):
        """Whether the gradient of `node`, a BasicIndex, was written beside those of parts that came before it."""
        if not self.found:
            return False
        to, slot, *_ = node.edges[0]
        whole, region = self.found.get((to, slot)), _region(node)
        if whole is None or region is None or pending.get(to, {}).get(slot) is not whole.gradient:
            return False
        dim, start, stop = region
        if dim != whole.dim or not (stop <= whole.start or start >= whole.stop):
            return False
        if whole.gradient.array.dtype != gradient.array.dtype or whole.gradient.device != gradient.device:
            return False
        _write(gradient, whole.gradient, node.inputs[1])
        self.found[to, slot] = _Whole(whole.gradient, dim, min(start, whole.start), max(stop, whole.stop))
        return True

    def begin(self, node, gradient, pending):
        """Note what `node`, a BasicIndex, just delivered, where it is the gradient of this part and of nothing else."""
        to, slot, *_ = node.edges[0]
        region = _region(node)
        if region is not None and pending[to][slot] is gradient:
            self.found[to, slot] = _Whole(gradient, *region)

    def forget(self, node, received):
        """Hold nothing of a node whose gradients are used now."""
        if self.found:
            for slot in received:
                self.found.pop((node, slot), None)


def _region(node):
    """(dimension, first index, the one after the last) where a key takes a range of one dimension, else None."""
    *key, last = node.inputs[1]
    if last is not ... or any(each is None or each is ... for each in key):
        return None
    found = [(dim, each) for dim, each in enumerate(key) if each != slice(None)]
    if len(found) != 1:
        return None
    ((dim, each),) = found
    size = node.edges[0][2][dim]
    if type(each) is not slice:
        return dim, each % size, each % size + 1
    start, stop, step = each.indices(size)
    return (dim, start, max(start, stop)) if step == 1 else None


def _write(part, whole, key):
    """Write the gradient of a part where the part lies."""
    if part.device == CPU:
        whole.array[key] = part.array
    else:
        copy_elements(part.array, whole.array[key])
