"""Anomaly mode: where a NaN appears in a gradient, name the forward op and the line that called it."""

from __future__ import annotations

import traceback
import weakref

import numpy as np

from tritorch.runtime import transfer


class _State:
    enabled = False


state = _State()
_places: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # node -> where its op was called


def is_anomaly_enabled():
    """Whether gradients are being watched for NaN."""
    return state.enabled


class set_detect_anomaly:
    """Watch gradients for NaN, or stop to; as a context manager, only inside."""

    def __init__(self, mode, check_nan=True):
        self.before = state.enabled
        state.enabled = bool(mode)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        state.enabled = self.before


class detect_anomaly(set_detect_anomaly):
    """Watch gradients for NaN inside a `with` block."""

    def __init__(self, check_nan=True):
        super().__init__(True)


def remember(node):
    """Keep where the op of `node` was called."""
    _places[node] = "".join(traceback.format_stack()[:-3])


def check(node, gradients):
    """Raise a RuntimeError if a gradient that `node` computed holds NaN."""
    for position, gradient in enumerate(gradients):
        if gradient is None:
            continue
        values = transfer.to_host(gradient.array)
        if values.dtype.kind in "fV" and np.isnan(values.astype(np.float64)).any():
            place = _places.get(node, "  (the op ran before anomaly detection was enabled)\n")
            raise RuntimeError(
                f"Function '{node.name()}' returned nan values in its {position}th output. "
                f"The forward call that caused it:\n{place}"
            )
