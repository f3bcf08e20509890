"""Anomaly mode: where a gradient is NaN or cannot be computed, say which forward call is behind it, and where."""

from __future__ import annotations

import traceback
import warnings
import weakref
from pathlib import Path

import numpy as np

from tritorch.ops import base
from tritorch.ops.base import export
from tritorch.runtime import transfer


class _State:
    enabled, check_nan = False, True
    running = None  # the node whose gradient is being computed


state = _State()
_calls: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # node -> its call, and the node that was running then
_OWN = (str(Path(__file__).parents[1]), str(Path(base.__file__).parent))


@export("is_anomaly_enabled")
def is_anomaly_enabled():
    """Whether gradients are being watched."""
    return state.enabled


@export("is_anomaly_check_nan_enabled")
def is_anomaly_check_nan_enabled():
    """Whether gradients are looked through for NaN where they are being watched."""
    return state.check_nan


@export("set_anomaly_enabled")
def set_anomaly_enabled(mode, check_nan=True):
    """Watch gradients, or stop to."""
    state.enabled, state.check_nan = bool(mode), bool(check_nan)


class set_detect_anomaly:
    """Watch gradients, or stop to; as a context manager, only inside."""

    def __init__(self, mode, check_nan=True):
        self.before = state.enabled, state.check_nan
        set_anomaly_enabled(mode, check_nan)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        set_anomaly_enabled(*self.before)


class detect_anomaly:
    """Watch gradients inside a `with` block: NaN is an error unless `check_nan` is False."""

    def __init__(self, check_nan=True):
        self.check_nan = check_nan
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for "
            "debugging.",
            stacklevel=2,
        )

    def __enter__(self):
        self.before = state.enabled, state.check_nan
        set_anomaly_enabled(True, self.check_nan)
        return self

    def __exit__(self, *_):
        set_anomaly_enabled(*self.before)


def remember(node):
    """Keep where the op of `node` was called: the stack down to the last line that is not ours."""
    frames = traceback.extract_stack()
    while len(frames) > 1 and frames[-1].filename.startswith(_OWN):
        frames.pop()
    _calls[node] = "".join(frames.format()), state.running


def watched(call, node, create_graph, received):
    """The gradients that `call` computes; an error tells of the forward call, and NaN is one."""
    outer, state.running = state.running, node
    try:
        gradients = call(node, create_graph, *received)
    except Exception as error:
        error.add_note(f"Error detected in {node.name()}. {_told(node)}")
        raise
    finally:
        state.running = outer
    if state.check_nan:
        _check(node, gradients if type(gradients) is tuple else (gradients,))
    return gradients


def _told(node):
    """What is known of the call that made `node`, and of those in whose gradients that was."""
    if node not in _calls:
        return "No forward pass information available. Enable detect anomaly during forward pass for more information."
    place, node = _calls[node]
    text = f"Traceback of forward call that caused the error:\n{place}"
    while node is not None:
        place, parent = _calls.get(node, ("", None))
        text += (
            f"\nPrevious calculation was induced by {node.name()}. "
            f"Traceback of forward call that induced the previous calculation:\n{place}"
        )
        node = parent
    return text


def _check(node, gradients):
    for position, gradient in enumerate(gradients):
        if gradient is None:
            continue
        values = transfer.to_host(gradient.array)
        if values.dtype.kind in "fV" and np.isnan(values.astype(np.float64)).any():
            raise RuntimeError(
                f"Function '{node.name()}' returned nan values in its {position}th output. {_told(node)}"
            )
