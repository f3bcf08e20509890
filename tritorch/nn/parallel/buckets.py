"""Buckets: gradients that are reduced together, in one flat tensor."""

from __future__ import annotations

from tritorch import creation
from tritorch.autograd import no_grad
from tritorch.nn.utils.convert_parameters import parameters_to_vector, parts_of

FIRST_BYTES = 1 << 20  # of the first bucket: a small one begins to be reduced sooner


def assign(sizes, kinds, capacity, first=FIRST_BYTES):
    """Positions in buckets, in the given order: `sizes` in bytes, one bucket for each of `kinds` at a time.

    A bucket is closed when it has reached `capacity` bytes, the first one when it has reached `first`.
    """
    found, open_, filled, limit = [], {}, {}, {}
    for position, (size, kind) in enumerate(zip(sizes, kinds, strict=True)):
        open_.setdefault(kind, []).append(position)
        filled[kind] = filled.get(kind, 0) + size
        if filled[kind] >= limit.setdefault(kind, min(first, capacity)):
            found.append(open_.pop(kind))
            filled[kind], limit[kind] = 0, capacity
    return sorted([*found, *open_.values()], key=lambda bucket: bucket[-1])


class Bucket:
    """Parameters of one dtype and device, and the flat tensor in which their gradients are reduced."""

    def __init__(self, index, places, parameters, as_view):
        self.index, self.places, self.parameters = index, places, parameters
        self.flat = self.views = self.pending = None
        self.as_view = as_view
        if as_view:
            size = sum(each.numel() for each in parameters)
            self.flat = creation.zeros(size, dtype=parameters[0].dtype, device=parameters[0].device)
            self.views = self._views(self.flat)
        self.missing = len(places)

    def _views(self, flat):
        return [part for _, part in parts_of(flat, self.parameters)]

    def fill(self):
        """Bring the gradients into the flat tensor: a parameter without one counts as zeros."""
        with no_grad():
            if not self.as_view:
                given = [creation.zeros_like(each) if each.grad is None else each.grad for each in self.parameters]
                self.flat = parameters_to_vector(given)
                self.views = self._views(self.flat)
                return
            for each, view in zip(self.parameters, self.views, strict=True):
                if each.grad is None:
                    view.zero_()
                elif each.grad is not view:
                    view.copy_(each.grad)

    def give_back(self, reduced, used):
        """Let each parameter that some rank used have its part of `reduced` as its gradient."""
        with no_grad():
            views = self.views
            if reduced is not self.flat:  # of a hook that made a tensor of its own
                if self.as_view:
                    self.flat.copy_(reduced)
                else:
                    views = self._views(reduced)
            for place, each, view in zip(self.places, self.parameters, views, strict=True):
                if used is None or used[place]:
                    _become(each, view)
        if not self.as_view:
            self.flat = self.views = None


def _become(parameter, view):
    """The tensor that is the gradient stays it, so that who holds it sees what was reduced."""
    if parameter.grad is None:
        parameter.grad = view
    elif parameter.grad is not view:
        parameter.grad.data = view


class GradBucket:
    """What a communication hook gets: a bucket's gradients as one flat tensor."""

    def __init__(self, bucket, count):
        self._bucket, self._last = bucket, bucket.index == count - 1

    def index(self):
        """The bucket's number, in the order of reduction."""
        return self._bucket.index

    def is_last(self):
        """Whether no bucket of this backward follows."""
        return self._last

    def buffer(self):
        """The gradients, flat."""
        return self._bucket.flat

    def set_buffer(self, buffer):
        """Put another tensor of as many elements in the place of the gradients."""
        self._bucket.flat.copy_(buffer)

    def gradients(self):
        """A tensor for each parameter, a part of the buffer."""
        return list(self._bucket.views)

    def parameters(self):
        """The parameters."""
        return list(self._bucket.parameters)
