"""cuDNN's switches: kept, and without effect, since no cuDNN is used.

What they ask for holds anyway: kernels are deterministic and chosen by tuning, and float32 convolutions are computed
as exactly as `set_float32_matmul_precision` says.
"""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

enabled = True
benchmark = False
benchmark_limit = None
deterministic = False
allow_tf32 = True
fp32_precision = "none"
conv = SimpleNamespace(fp32_precision="tf32")
rnn = SimpleNamespace(fp32_precision="tf32")


def is_available():
    """Whether cuDNN is used: never."""
    return False


def version():
    """The version of cuDNN: None, since none is used."""


def is_acceptable(tensor):
    """Whether cuDNN could compute on a tensor: never."""
    return False


def set_flags(_enabled=None, _benchmark=None, _benchmark_limit=None, _deterministic=None, _allow_tf32=None):
    """Set the switches that are given; returns what they were, in the same order."""
    given = {"enabled": _enabled, "benchmark": _benchmark, "benchmark_limit": _benchmark_limit,
             "deterministic": _deterministic, "allow_tf32": _allow_tf32}  # fmt: skip
    before = tuple(globals()[name] for name in given)
    globals().update({name: value for name, value in given.items() if value is not None})
    return before


@contextmanager
def flags(enabled=False, benchmark=False, benchmark_limit=10, deterministic=False, allow_tf32=True):
    """The switches as given inside a `with` block."""
    before = set_flags(enabled, benchmark, benchmark_limit, deterministic, allow_tf32)
    try:
        yield
    finally:
        names = ("enabled", "benchmark", "benchmark_limit", "deterministic", "allow_tf32")
        globals().update(zip(names, before, strict=True))
