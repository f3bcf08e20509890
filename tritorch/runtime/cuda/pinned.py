"""Pinned host memory: pages that the GPU copies from and to by itself while the host goes on.

A block returns to the pool when its owner is collected, and is handed out again after the events of the copies that
used it have passed.
"""

from __future__ import annotations

import math
import threading
from collections import deque

import numpy as np

from tritorch.runtime.cuda import driver

SMALLEST = 4096  # bytes; a page, and what the smallest block holds


class HostMemory:
    """What the pool asks of the driver; tests put a pretended one in its place."""

    def allocate(self, nbytes):
        driver.activate(driver.current_device())
        api = driver.api()
        return int(driver.call(api.cuMemHostAlloc, nbytes, api.CU_MEMHOSTALLOC_PORTABLE))

    def free(self, pointer):
        driver.activate(driver.current_device())
        driver.call(driver.api().cuMemFreeHost, pointer)


class PinnedBlock:
    """One owner's hold on pinned bytes; NumPy arrays made from it keep it alive as their base."""

    __slots__ = ("__array_interface__", "_give_back", "capacity", "events", "pointer")

    def __init__(self, pointer, capacity, give_back):
        self.pointer, self.capacity, self.events = pointer, capacity, []
        self._give_back = give_back
        self.__array_interface__ = {"data": (pointer, False), "shape": (capacity,), "typestr": "|u1", "version": 3}

    def __del__(self):
        self._give_back((self.pointer, self.capacity, self.events))

    def array(self, shape, dtype):
        """A NumPy array in this block, uninitialised."""
        dtype = np.dtype(dtype)
        return np.asarray(self)[: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)

    def add_event(self, event):
        """Keep this block from reuse until `event` has passed."""
        self.events = [each for each in self.events if not each.query()]
        self.events.append(event)


class PinnedPool:
    """Pinned blocks by power-of-two size, reused after their copies are done."""

    def __init__(self, host):
        self.host = host
        self._lock = threading.Lock()  # never taken by collection, which may interrupt its holder
        self._returned: deque = deque()
        self._free: dict = {}
        self.reserved = 0

    def acquire(self, nbytes):
        """A block of at least `nbytes`."""
        capacity = max(SMALLEST, 1 << (nbytes - 1).bit_length()) if nbytes else SMALLEST
        with self._lock:
            self._collect()
            pointers = self._free.get(capacity)
            if pointers:
                pointer = pointers.pop()
            else:
                pointer = self.host.allocate(capacity)
                self.reserved += capacity
        return PinnedBlock(pointer, capacity, self._returned.append)

    def _collect(self):
        for _ in range(len(self._returned)):
            pointer, capacity, events = self._returned.popleft()
            pending = [event for event in events if not event.query()]
            if pending:
                self._returned.append((pointer, capacity, pending))
            else:
                self._free.setdefault(capacity, []).append(pointer)

    def empty_cache(self):
        """Give the idle blocks back to the operating system."""
        with self._lock:
            self._collect()
            for capacity, pointers in self._free.items():
                while pointers:
                    self.host.free(pointers.pop())
                    self.reserved -= capacity


pool = PinnedPool(HostMemory())


def empty(shape, dtype):
    """An uninitialised NumPy array in pinned memory."""
    shape = tuple(shape)
    return pool.acquire(math.prod(shape) * np.dtype(dtype).itemsize).array(shape, dtype)


def pin_memory(array):
    """`array` itself if it lies in pinned memory, else a copy that does."""
    if is_pinned(array):
        return array
    copy = empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def is_pinned(array):
    """Whether a NumPy array lies in pinned memory."""
    return owner(array) is not None


def owner(array):
    """The pinned block that a NumPy array lies in, or None."""
    while isinstance(array, np.ndarray):
        array = array.base
    return array if isinstance(array, PinnedBlock) else None
