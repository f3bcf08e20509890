"""Tables that kernels read, kept on a GPU for calls of one kind: what never changes, and addresses while they stay."""

from __future__ import annotations

import numpy as np

from tritorch.runtime.cuda.array import from_host
from tritorch.runtime.cuda.memory import allocator
from tritorch.runtime.cuda.stream import current_stream


class KeptTables:
    """The tables of one kind of call on GPU `index`, on each stream on which it is made.

    `fixed` are those that never change. The table of addresses of the call before is used again where they are the
    same. That is all that is asked of them, so no array is held.
    """

    def __init__(self, index, fixed):
        self.index, self.fixed = index, fixed
        self.found: dict = {}  # stream -> (addresses, their table, the fixed tables)

    def tables(self, addresses):
        """The table with a tuple of addresses, and the fixed ones, for launches on the current stream."""
        stream = current_stream(self.index)
        if allocator(self.index).captures(stream):  # they are the graph's, which reads them at each replay
            return self._made(addresses), [self._made(each) for each in self.fixed]
        before, table, fixed = self.found.get(stream) or (None, None, None)
        if before != addresses:
            table = self._made(addresses)
            fixed = fixed or [self._made(each) for each in self.fixed]
            self.found[stream] = addresses, table, fixed
        return table, fixed

    def _made(self, numbers):
        return from_host(np.asarray(numbers, np.int64), self.index)
