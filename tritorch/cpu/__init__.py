"""The CPU by the names that accelerators have: one device, which is always there and never waited for."""

from __future__ import annotations

from contextlib import contextmanager

from tritorch.rooms import found_when_asked


def is_available():
    """Whether there is a CPU: always."""
    return True


def is_initialized():
    """Whether it is ready: always."""
    return True


def device_count():
    """How many CPUs tensors can be on: one."""
    return 1


def current_device():
    """The device that "cpu" means."""
    return "cpu"


def set_device(device):
    """Accepted: there is one."""


def synchronize(device=None):
    """Accepted: ops on the CPU are done when they return."""


class Stream:
    """The order of work on the CPU: there is one."""


def current_stream(device=None):
    """The order of work on the CPU."""
    return _stream


_stream = Stream()


@contextmanager
def stream(stream):
    """Accepted: changes nothing."""
    yield


__getattr__ = found_when_asked(__name__)  # cpu.amp is imported when first asked for
