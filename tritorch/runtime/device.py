"""Devices by name, and which one new tensors land on.

`cuda` runs compiled kernels, `cpu` the NumPy references, `interpreter` the same kernels interpreted on the host.
Nothing here touches CUDA before somebody asks for a default device or a cuda tensor.
"""

from __future__ import annotations

import os
import threading
from typing import ClassVar

KINDS = ("cpu", "cuda", "interpreter")


class Device:
    """Where a tensor's elements live and what runs its ops, such as `device("cuda", 1)`; `tritorch.device`."""

    __slots__ = ("index", "is_cuda", "is_host", "type")
    type: str
    index: int | None
    is_cuda: bool
    is_host: bool
    _known: ClassVar[dict] = {}

    def __new__(cls, type, index=None):
        known = cls._known.get((type, index))  # one object a device, so that `is` compares them
        if known is not None:
            return known
        if isinstance(type, Device):
            return type if index is None else cls(type.type, index)
        kind, index = _parse(type, index)
        if kind == "cpu" or kind == "interpreter":
            index = index or None
        self = cls._known.get((kind, index))
        if self is None:
            self = object.__new__(cls)
            self.type, self.index = kind, index
            self.is_cuda, self.is_host = kind == "cuda", kind != "cuda"
            cls._known[kind, index] = self
        return self

    def __repr__(self):
        return (
            f"device(type='{self.type}')" if self.index is None else f"device(type='{self.type}', index={self.index})"
        )

    def __str__(self):
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __reduce__(self):
        return Device, (self.type, self.index)

    def __deepcopy__(self, memo):
        return self

    def __enter__(self):
        _state.stack = [*getattr(_state, "stack", ()), resolve(self)]
        return self

    def __exit__(self, *_):
        _state.stack = _state.stack[:-1]


_state = threading.local()
_default: Device | None = None


def _parse(kind, index):
    if isinstance(kind, int) and not isinstance(kind, bool):
        return "cuda", kind
    if not isinstance(kind, str):
        raise TypeError(f"device(): argument 'type' must be str, not {type(kind).__name__}")
    name, colon, number = kind.partition(":")
    if colon:
        if index is not None:
            raise RuntimeError(f"type (string) must not include an index because index was passed explicitly: {kind}")
        if not number.isdigit():
            raise RuntimeError(f"Invalid device string: '{kind}'")
        index = int(number)
    if not name.replace("_", "").isalpha():
        raise RuntimeError(f"Invalid device string: '{kind}'")
    if name not in KINDS:
        raise RuntimeError(f"Expected one of {', '.join(KINDS)} device type at start of device string: {kind}")
    if index is not None and index < 0:
        raise RuntimeError(f"Device index must be non-negative, got {index}")
    return name, index


CPU = Device("cpu")
INTERPRETER = Device("interpreter")


def get_default_device():
    """The device that new tensors land on: set by hand, else TRITORCH_DEVICE, else cuda where a GPU is, else cpu."""
    stack = getattr(_state, "stack", None)
    if stack:
        return stack[-1]
    return _default or _find_default()


def _find_default():
    global _default
    named = os.environ.get("TRITORCH_DEVICE")
    if named:
        _default = resolve(named)
        return _default
    from tritorch.runtime.cuda import driver

    _default = Device("cuda", 0) if driver.is_available() else CPU
    return _default


def set_default_device(device):
    """Make `device` what new tensors land on; None returns to the rule of `get_default_device`."""
    global _default
    _default = None if device is None else resolve(device)


def resolve(device):
    """The concrete device for what a user passed as `device=`: None is the default, "cuda" its current GPU."""
    if device is None:
        return get_default_device()
    if type(device) is not Device:
        device = Device(device)
    if device.type == "cuda":
        from tritorch.runtime.cuda import driver

        driver.require(device.index)
        if device.index is None:
            return Device("cuda", driver.current_device())
    return device
