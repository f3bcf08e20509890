"""`tl` before Triton is needed: names that stand for triton.language until the first kernel is used.

`from tritorch.runtime import tl` costs nothing and works without Triton. When a kernel is first launched or compiled,
`tritorch.runtime.kernel.materialise` puts the real modules and constants in the place of these stand-ins in the globals
of every module that holds a kernel.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from typing import TYPE_CHECKING


class _Lock:
    """A reentrant lock that its holder lends to threads that work for it while it waits for them."""

    def __init__(self):
        self._lock, self._here = threading.RLock(), threading.local()

    def lend(self):
        """Let the thread that calls this count as the holder from now on."""
        self._here.lent = True

    def acquire(self):
        """Wait until no other thread holds it."""
        if not hasattr(self._here, "lent"):
            self._lock.acquire()

    def release(self):
        """Undo one `acquire`."""
        if not hasattr(self._here, "lent"):
            self._lock.release()

    def __enter__(self):
        self.acquire()

    def __exit__(self, *_):
        self.release()


# Held while Triton compiles and while kernels are interpreted: the interpreter swaps parts of triton.language.
triton_lock = _Lock()


class constexpr:  # the name of Triton's class, so that an annotation made without the future import reads the same
    """A compile-time constant of a module, `WIDTH = tl.constexpr(4)`; becomes Triton's own on first use."""

    def __init__(self, value):
        self.value = value
        self._loaded = None

    def __repr__(self):
        return f"constexpr[{self.value}]"

    def load(self):
        """The triton.language.constexpr that this stands for, one object however many modules hold it."""
        if self._loaded is None:
            self._loaded = importlib.import_module("triton.language").constexpr(self.value)
        return self._loaded


class LazyModule:
    """A module of Triton that is imported when an attribute other than `constexpr` is asked for."""

    constexpr = constexpr

    def __init__(self, name):
        self._name = name

    def __repr__(self):
        return f"<{self._name}, not yet imported>"

    def __getattr__(self, name):
        if name.startswith("__"):  # inspect and doctest ask every global for these
            raise AttributeError(name)
        reason = triton_missing()
        if reason:
            raise RuntimeError(f"{self._name}.{name}: {reason}")
        return getattr(self.load(), name)

    def load(self):
        """The module that this stands for."""
        return importlib.import_module(self._name)


if TYPE_CHECKING:
    import triton.language as tl
    import triton.language.extra.libdevice as libdevice
else:
    tl = LazyModule("triton.language")
    libdevice = LazyModule("triton.language.extra.libdevice")


def triton_missing():
    """Why kernels cannot run here and what to do about it, or None where Triton is installed."""
    if "triton" in sys.modules and sys.modules["triton"] is not None:
        return None
    if importlib.util.find_spec("triton") is not None:
        return None
    if not sys.platform.startswith("linux"):
        return (
            f"Triton is not available on this platform ({sys.platform}), so kernels cannot be compiled or interpreted. "
            "Use device='cpu', which needs no Triton, or run on Linux."
        )
    return (
        "Triton is not installed, so kernels cannot be compiled or interpreted. "
        "Install it with `pip install triton`, or use device='cpu', which needs no Triton."
    )
