"""The CPU by the names that the GPU has: there is one, and it is always ready."""

from __future__ import annotations

from tritorch.rooms import found_when_asked


def is_available():
    """Whether there is a CPU: always."""
    return True


def device_count():
    """The number of CPU devices: one, whatever its cores."""
    return 1


def current_device():
    """The name of the CPU device."""
    return "cpu"


def synchronize(device=None):
    """Nothing to wait for."""


__getattr__ = found_when_asked(__name__)  # cpu.amp is imported when first asked for
