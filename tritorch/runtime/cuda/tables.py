"""Tables that kernels read, kept on a GPU for calls of one kind: what never changes, and addresses while they stay."""

from __future__ import annotations

import numpy as np

from tritorch.runtime.cuda.array import from_host
from tritorch.runtime.cuda.memory import allocator
from tritorch.runtime.cuda.stream import current_stream

MOST = 4  # tables of addresses that are kept: memory that is used again comes in the same few orders, by turns


class KeptTables:
    """The tables of one kind of call on GPU `index`, on each stream on which it is made.

    `fixed` are those that never change. A table of addresses is known by them, so that no array is held.
    """

    def __init__(self, index, fixed):
        self.index, self.fixed = index, fixed
        self.found: dict = {}  # stream -> (the fixed tables, tables by their addresses, the newest last)

    def tables(self, addresses):
        """The table with a tuple of addresses, and the fixed ones, for launches on the current stream."""
        stream = current_stream(self.index)
        if allocator(self.index).captures(stream):  # they are the graph's, which reads them at each replay
            return self._made(addresses), [self._made(each) for each in self.fixed]
        found = self.found.get(stream)
        if found is None:
            found = self.found[stream] = [self._made(each) for each in self.fixed], {}
        fixed, tables = found
        table = tables.get(addresses)
        if table is None:
            table = self._made(addresses)
            if len(tables) >= MOST:
                tables.pop(next(iter(tables)), None)
            tables[addresses] = table
        return table, fixed

    def _made(self, numbers):
        return from_host(np.asarray(numbers, np.int64), self.index)
