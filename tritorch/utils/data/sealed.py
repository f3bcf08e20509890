"""The plan of a worker on its way to its process: inherited under fork, pickled on the way to a spawned process."""

from __future__ import annotations

import pickle

from tritorch.utils.data import transport

REMEDY = (
    "DataLoader: {name} cannot be pickled, which the start method of the workers (spawn or forkserver) needs: {error}. "
    "Define its classes and functions at the top level of a module instead of in a function or as a lambda, open "
    "files, locks and connections in worker_init_fn or on first use instead of in __init__, or load in the main "
    "process with num_workers=0."
)


class Sealed:
    """Holds a Plan; pickling it copies tensors from any device to host memory."""

    def __init__(self, plan):
        self.plan = plan

    def open(self):
        """The plan."""
        return self.plan

    def __reduce__(self):
        try:
            data, buffers = transport.pickled(self.plan)
        except Exception as error:  # whatever the user's own __reduce__ raises
            raise pickle.PicklingError(REMEDY.format(name=self._culprit(), error=error)) from error
        return Packed, (bytes(data), [bytearray(buffer) for buffer in buffers])

    def _culprit(self):
        loading = self.plan.loading
        parts = {"dataset": loading.dataset, "collate_fn": loading.collate_fn}
        for name, part in parts.items():
            if not _pickles(part):
                return f"{name} ({type(part).__name__})"
        return "worker_init_fn"


class Packed:
    """A sealed plan that arrived in another process; opened there when an error can be reported."""

    def __init__(self, data, buffers):
        self.data, self.buffers = data, buffers

    def open(self):
        """The plan."""
        return pickle.loads(self.data, buffers=self.buffers)


def _pickles(value):
    try:
        transport.pickled(value)
    except Exception:  # only asked to name the culprit of an error that is being raised
        return False
    return True
