"""Many tensors, one launch: tables that say where they lie, which kernels read on the device.

A launch over lists of tensors (parameters, gradients, each state) takes two tables of 64-bit integers. *Addresses* has
a row for each list, and in it the address of each tensor. *Spans* has for each tensor its first block and its count of
elements, and for each program which tensor it works on. How many tensors there are is no constant of the kernel. Spans
depend on sizes alone; where a call is replayed, addresses are uploaded anew only where a tensor lies elsewhere than
before (runtime/cuda/tables.py).
"""

from __future__ import annotations

import numpy as np

from tritorch.autotune import kernel
from tritorch.ops.layout import as_contiguous, as_they_lie
from tritorch.runtime import dtypes, tl, transfer

ALIGNMENT = 16  # bytes; what a vector load asks of an address

# ------------------------------------------------------------------------------------------------ in kernels


@kernel
def span(spans, tensors, block, BLOCK: tl.constexpr):
    """Which tensor a block belongs to, where it begins in there, and the count of elements there."""
    which = tl.load(spans + 2 * tensors + block)
    return which, (block - tl.load(spans + which)) * BLOCK, tl.load(spans + tensors + which)


@kernel
def pointer(addresses, row, which, tensors, DTYPE: tl.constexpr, ALIGNED: tl.constexpr):
    """The pointer to the first element of tensor `which` of a list."""
    place = tl.load(addresses + row * tensors + which).to(tl.pointer_type(DTYPE))
    if ALIGNED:
        place = tl.multiple_of(place, 16)
    return place


@kernel
def load(places, inside, MASKED: tl.constexpr):
    """What lies at `places`, and 0 outside; a load without a mask is a vector's, whatever the compiler knows of it."""
    if MASKED:
        return tl.load(places, mask=inside, other=0)
    else:  # noqa: RET505, the other return is compiled away
        return tl.load(places)


@kernel
def store(places, values, inside, MASKED: tl.constexpr):
    """Write `values`, cast to what lies at `places`."""
    values = values.to(places.dtype.element_ty)
    if MASKED:
        tl.store(places, values, mask=inside)
    else:
        tl.store(places, values)


# ------------------------------------------------------------------------------------------------ on the host


class Lists:
    """Equally long lists of arrays, ready for a launch: without empty ones, each as it lies in memory.

    `own` are the arrays themselves, `flat` the same or contiguous copies.
    """

    def __init__(self, lists):
        self.lists = lists
        rows = [as_they_lie(*row) for row in zip(*lists, strict=True) if row[0].size]
        self.own = list(zip(*rows, strict=True))
        self.flat = [[as_contiguous(each) for each in group] for group in self.own]
        self.counts = [row[0].size for row in rows]

    def __bool__(self):
        return bool(self.counts)

    @property
    def first(self):
        """The first array of each list."""
        return tuple([group[0] for group in self.flat])

    @property
    def element_types(self):
        """The type of each list's elements."""
        return tuple([getattr(tl, dtypes.BY_NUMPY[each.dtype].name) for each in self.first])

    @property
    def aligned(self):
        """Whether every array begins where a vector may be loaded."""
        return all(transfer.pointer(each) % ALIGNMENT == 0 for group in self.flat for each in group)

    def spans(self, block):
        """The table of spans for blocks of so many elements, on the host, and the number of blocks."""
        counts = np.asarray(self.counts, np.int64)
        blocks = -(-counts // block)
        firsts = np.cumsum(blocks) - blocks
        return np.concatenate([firsts, counts, np.repeat(np.arange(len(counts)), blocks)]), int(blocks.sum())

    def tables(self, *spans):
        """The table of addresses and those of spans, on the device."""
        places = np.asarray([[transfer.pointer(each) for each in group] for group in self.flat], np.int64)
        return _on_device(places, self.first[0], self.flat), [_on_device(each, self.first[0]) for each in spans]

    def put_back(self):
        """Write over the arrays what their copies got."""
        for own, used in self._pairs():
            if own is not used:
                _copy(own, used)

    def _pairs(self):
        return [pair for groups in zip(self.own, self.flat, strict=True) for pair in zip(*groups, strict=True)]

    def kept(self, *spans):
        """What gives, for arrays that lie as these do, list by list, what `tables` gives; None where copies are made.

        It holds no array.
        """
        from tritorch.runtime.cuda.tables import KeptTables

        if not self or any(own is not used for own, used in self._pairs()):
            return None
        kept, given = KeptTables(self.first[0].device.index, spans), [each for group in self.lists for each in group]
        there = None if all(each.size for each in given) else [at for at, each in enumerate(given) if each.size]

        def tables(arrays):
            if there is not None:
                arrays = [arrays[at] for at in there]
            return kept.tables(tuple([each.pointer for each in arrays]))

        return tables


def _on_device(table, like, held=()):
    """A table on the device of an array, which keeps `held` alive; the host does not wait."""
    if isinstance(like, np.ndarray):
        return np.asarray(_Holding(table, held))
    made = transfer.from_host(table, like.device)
    made.block = _HoldingBlock(made.block, held)
    return made


class _Holding:
    """A table of the host that keeps what it points to."""

    def __init__(self, table, held):
        self.table, self.held = table, held
        self.__array_interface__ = table.__array_interface__


class _HoldingBlock:
    """The block of a table on a GPU, which keeps what the table points to."""

    def __init__(self, block, held):
        self.block, self.held = block, held
        self.pointer, self.nbytes = block.pointer, block.nbytes

    def record_stream(self, stream):
        self.block.record_stream(stream)


def _copy(destination, source):
    if isinstance(destination, np.ndarray):
        destination[...] = source
    else:
        destination.copy_from(source)
