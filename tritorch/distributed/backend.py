"""What an engine that moves data between ranks gives: the one small interface over MPI and NCCL.

An engine belongs to one group. It sees arrays (NumPy's for host devices, CudaArray for GPUs) that are contiguous and
whole, ranks of its own group, and never lists of tensors: collectives.py packs those. Every call starts its collective
and returns a Work at once; collectives of a group run in the order of the calls, on every rank alike. `after`, if
given, is called when the result is in the array (MPI: by the thread that finished it; NCCL: with the communication
stream current, right behind the launch), to copy out of a packed array or to divide a sum.
"""

from __future__ import annotations

from abc import ABC, abstractmethod


class Engine(ABC):
    """One group's way to move data between its ranks."""

    name = ""  # as in init_process_group
    device_types: tuple[str, ...] = ()

    def __init__(self, rank, size, timeout, name):
        self.rank, self.size, self.timeout, self.group_name = rank, size, timeout, name
        self.ranks = list(range(size))  # their numbers in the default group, which new_group sets

    @abstractmethod
    def all_reduce(self, array, op, after=None):
        """Every rank's `array` becomes the reduction of all, the same bits on each."""

    @abstractmethod
    def reduce(self, array, root, op, after=None):
        """The root's `array` becomes the reduction of all; the others' stay as they are."""

    @abstractmethod
    def broadcast(self, array, root, after=None):
        """Every rank's `array` becomes the root's."""

    @abstractmethod
    def all_gather(self, out, array, after=None):
        """`out`, of size x len(array) elements, becomes every rank's `array` one behind the other."""

    @abstractmethod
    def gather(self, out, array, root, after=None):
        """The root's `out` becomes every rank's `array` one behind the other; `out` is None elsewhere."""

    @abstractmethod
    def scatter(self, array, source, root, after=None):
        """`array` becomes this rank's part of the root's `source`, which is None elsewhere."""

    @abstractmethod
    def reduce_scatter(self, array, source, op, after=None):
        """`array` becomes this rank's part of the reduction of every rank's `source`."""

    @abstractmethod
    def all_to_all(self, out, array, received, sent, after=None):
        """Part r of `array` (`sent[r]` elements) goes to rank r; `out` takes `received[r]` elements from rank r."""

    @abstractmethod
    def barrier(self):
        """Complete when every rank has called it."""

    @abstractmethod
    def send(self, array, peer, tag, after=None):
        """Send to rank `peer`; beside the order of the collectives."""

    @abstractmethod
    def receive(self, array, peer, tag, after=None):
        """Receive from rank `peer`, or from any if None; `work.source` says from whom."""

    def together(self):
        """A context in which sends and receives are gathered and start as one."""
        from contextlib import nullcontext

        return nullcontext()

    @abstractmethod
    def split(self, ranks, timeout, name):
        """An engine for the group of these ranks of this one, or None for a rank that is not one of them.

        Every rank of this group calls it.
        """

    def flush(self):  # noqa: B027
        """Let what was called go on by itself: nobody waits for it at once. An engine may need no telling."""

    @abstractmethod
    def close(self):
        """Finish what was started and give back what the engine holds; every rank of the group calls it."""

    @abstractmethod
    def abort(self, error):
        """End every Work that is under way with `error`, without waiting for other ranks."""
