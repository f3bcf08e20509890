"""Agreement: that all ranks of a group call the same collective, found by a tiny reduction before data moves."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

_WIDTH = 256  # bytes of a call's description that ranks show each other when they disagree


class Disagreement(RuntimeError):
    """Ranks called different collectives; every one of them gets the same message."""


class Agreement:
    """One group's question whether all its ranks mean the same call."""

    def __init__(self, comm):
        from mpi4py import MPI

        self.comm, self._max = comm, MPI.MAX
        self._asked, self._found = np.empty(2, np.int64), np.empty(2, np.int64)
        self._shown = np.zeros((comm.Get_size(), _WIDTH), np.uint8)

    def ask(self, what):
        """The request for the largest and the smallest hash of all ranks' calls."""
        number = int.from_bytes(blake2b(what.encode(), digest_size=7).digest(), "little")
        self._asked[:] = number, -number
        return self.comm.Iallreduce(self._asked, self._found, op=self._max)

    def reached(self):
        """Whether all ranks had the same hash, once the request is done."""
        return self._found[0] == -self._found[1]

    def show(self, what):
        """The request that gives every rank the descriptions of all."""
        own = np.frombuffer(what.encode()[:_WIDTH].ljust(_WIDTH), np.uint8)
        return self.comm.Iallgather(own.copy(), self._shown)

    def difference(self, description):
        """Which ranks called what, as one sentence."""
        calls = {}
        for rank, row in enumerate(self._shown):
            calls.setdefault(bytes(row).decode(errors="replace").strip(), []).append(rank)
        parts = (f"{_ranks(ranks)} called {call}" for call, ranks in calls.items())
        return f"Ranks disagree on call {description.rpartition(' ')[2]}: {'; '.join(parts)}"


def _ranks(ranks):
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"
