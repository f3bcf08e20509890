"""Which memory is written for tensors that may share it: every region once, under the name of a tensor that fills it.

A tensor is stored as its elements in the order of their indices, as other programs expect, whatever its strides. Those
that overlap without being alike are stored as one region, and remember where in it they lie.
"""

from __future__ import annotations

from tritorch.runtime import transfer, views


class Names:
    """The arrays to be written by name; a name that is taken gets a number."""

    def __init__(self):
        self.arrays: dict = {}

    def add(self, path, array):
        """Keep an array under a name made of `path`."""
        name = base = ".".join(path) or "tensor"
        number = 1
        while name in self.arrays or name == "__metadata__":
            name, number = f"{base}#{number}", number + 1
        self.arrays[name] = array
        return name


class Member:
    """A tensor to be stored: its entry in the structure, which learns the name, and its place in memory."""

    def __init__(self, entry, key, array, path):
        self.entry, self.key, self.array, self.path = entry, key, array, path
        self.low = transfer.pointer(array) if array.size else 0
        steps = ((size - 1) * step for size, step in zip(array.shape, array.strides, strict=True))
        self.high = self.low + array.itemsize + sum(steps) if array.size else 0

    @property
    def geometry(self):
        """What makes two tensors the same view of the same memory."""
        return self.low, self.array.shape, self.array.strides


def store(members, names):
    """Give every tensor's entry the name of its elements, and where it is not all of them, its place among them."""
    shared = []
    for member in members:
        if member.array.size and min(member.array.strides, default=0) >= 0:
            shared.append(member)
        else:
            member.entry[member.key] = names.add(member.path, member.array)
    for cluster in clusters(shared):
        first = cluster[0]
        if all(member.geometry == first.geometry for member in cluster):
            _store_alike(cluster, names)
        else:
            _store_region(cluster, names)


def clusters(members):
    """Members whose bounds overlap, together, in the order in which they came."""
    order = {id(member): number for number, member in enumerate(members)}
    spaces: dict = {}
    for member in members:
        place = member.array.dtype, str(member.entry["device"]) if hasattr(member.array, "pointer") else "host"
        spaces.setdefault(place, []).append(member)
    found = []
    for space in spaces.values():
        end = None
        for member in sorted(space, key=lambda member: (member.low, member.high)):
            if end is None or member.low >= end:
                found.append([])
                end = member.high
            found[-1].append(member)
            end = max(end, member.high)
    for cluster in found:
        cluster.sort(key=lambda member: order[id(member)])
    return sorted(found, key=lambda cluster: order[id(cluster[0])])


def _store_alike(cluster, names):
    """One array: in the order of its indices, its repeated dimensions once."""
    first = cluster[0]
    array, place = first.array, None
    if 0 in array.strides and array.size > 1:
        array = array[tuple(slice(0, 1) if step == 0 else slice(None) for step in array.strides)]
        place = [0, list(first.array.shape), _expanded_strides(array.shape, first.array.strides)]
    order = _order(array) if place is None else None
    name = names.add(first.path, array)
    for member in cluster:
        member.entry[member.key] = name
        if place is not None:
            member.entry["view"] = place
        elif order is not None:
            member.entry["order"] = order


def _expanded_strides(shape, steps):
    """The strides, in elements, of an array of this shape, with zeros where `steps` has them."""
    found, step = [], 1
    for size, old in zip(reversed(shape), reversed(steps), strict=True):
        found.append(step if old else 0)
        step *= size
    return found[::-1]


def _order(array):
    """The dimensions from the slowest in memory to the fastest, where that is not their own order; else None."""
    if transfer.is_contiguous(array):
        return None
    order = sorted(range(array.ndim), key=lambda dim: (-array.strides[dim], dim))
    step = array.itemsize
    for dim in reversed(order):
        if array.shape[dim] != 1 and array.strides[dim] != step:
            return None  # it has gaps, which are not kept
        step *= array.shape[dim]
    return order if order != sorted(order) else None


def _store_region(cluster, names):
    """All memory from the lowest to the highest member; one that fills it gives it its shape."""
    low, high = min(member.low for member in cluster), max(member.high for member in cluster)
    size = cluster[0].array.itemsize
    whole = next((m for m in cluster if m.low == low and m.high == high and transfer.is_contiguous(m.array)), None)
    if whole is None:
        lowest = next(member for member in cluster if member.low == low)
        stored = views.as_strided(lowest.array, ((high - low) // size,), (size,))
        name = names.add(cluster[0].path, stored)
    else:
        name = names.add(whole.path, whole.array)
    for member in cluster:
        member.entry[member.key] = name
        if whole is None or member.geometry != whole.geometry:
            strides = [step // size for step in member.array.strides]
            member.entry["view"] = [(member.low - low) // size, list(member.array.shape), strides]
