"""Ops that have no kernel: on every device NumPy runs them, on the host, and each says so.

Factorisations of small matrices and the like are LAPACK's work, and no kernel of ours would be faster at the sizes that
people give them. On `cuda` the arrays are copied to the host, which waits for the device, and the results back.
"""

from __future__ import annotations

import numpy as np

from tritorch.ops.base import Op
from tritorch.ops.batching import broadcast_whole
from tritorch.runtime import transfer
from tritorch.runtime.quiet import restore, silence


class HostOp(Op, abstract=True):
    """An op that NumPy runs on the host, whatever the device; a member's docstring says it."""

    batch = broadcast_whole  # matrices after any number of dimensions

    def forward(self, *args):
        """Copy to the host, run there, copy back."""
        device = next((a.device for a in args if hasattr(a, "strides") and not isinstance(a, np.ndarray)), None)
        before = silence()
        try:
            results = type(self).host(*[a if not hasattr(a, "strides") else transfer.to_host(a) for a in args])
        finally:
            restore(before)
        if device is None:  # the interpreter device: arrays are on the host already
            return results
        if isinstance(results, tuple):
            return tuple(transfer.mirror(np.asarray(each), device) for each in results)
        return transfer.mirror(np.asarray(results), device)
