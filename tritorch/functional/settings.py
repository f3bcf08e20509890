"""Settings of the whole process that scripts make: threads, determinism, denormal numbers, warnings.

Most are kept and change nothing: one thread calls NumPy, whose matrix products take the threads their library was
given, and every op is deterministic already.
"""

from __future__ import annotations

import os

from tritorch.ops.base import export

_threads = {"intraop": os.cpu_count() or 1, "interop": os.cpu_count() or 1}
_DETERMINISM = ("default", "warn", "error")
_determinism = 0
_warns_always = False


def _set_threads(op, kind, count):
    if not isinstance(count, int) or isinstance(count, bool):
        raise RuntimeError(f"{op} expects an int, but got {type(count).__name__}")
    if count < 1:
        raise RuntimeError(f"{op} expects a positive integer")
    _threads[kind] = count


@export("set_num_threads")
def set_num_threads(num):
    """Remember how many threads an op may take; how many NumPy takes is set by OMP_NUM_THREADS before the start."""
    _set_threads("set_num_threads", "intraop", num)


@export("get_num_threads")
def get_num_threads():
    """How many threads an op may take."""
    return _threads["intraop"]


@export("set_num_interop_threads")
def set_num_interop_threads(num):
    """Remember how many ops may run at once on the CPU; one does."""
    _set_threads("set_num_interop_threads", "interop", num)


@export("get_num_interop_threads")
def get_num_interop_threads():
    """How many ops may run at once on the CPU, as set."""
    return _threads["interop"]


@export("use_deterministic_algorithms")
def use_deterministic_algorithms(mode, *, warn_only=False):
    """Remember that only deterministic algorithms are wanted; there are no others here."""
    if not isinstance(mode, bool):
        raise TypeError(
            f"use_deterministic_algorithms(): argument 'mode' (position 1) must be bool, not {type(mode).__name__}"
        )
    set_deterministic_debug_mode((1 if warn_only else 2) if mode else 0)


@export("are_deterministic_algorithms_enabled")
def are_deterministic_algorithms_enabled():
    """Whether only deterministic algorithms are wanted."""
    return _determinism > 0


@export("is_deterministic_algorithms_warn_only_enabled")
def is_deterministic_algorithms_warn_only_enabled():
    """Whether others, if there were any, should only be warned of."""
    return _determinism == 1


@export("set_deterministic_debug_mode")
def set_deterministic_debug_mode(debug_mode):
    """The same wish as a word or its number: "default" (0), "warn" (1), "error" (2)."""
    global _determinism
    if isinstance(debug_mode, str):
        if debug_mode not in _DETERMINISM:
            raise RuntimeError(
                f"invalid value of debug_mode, expected one of `default`, `warn`, `error`, but got {debug_mode}"
            )
        debug_mode = _DETERMINISM.index(debug_mode)
    if not isinstance(debug_mode, int):
        raise TypeError(f"debug_mode must be str or int, but got {type(debug_mode)}")
    if debug_mode not in (0, 1, 2):
        raise RuntimeError(f"invalid value of debug_mode, expected 0, 1, or 2, but got {debug_mode}")
    _determinism = debug_mode


@export("get_deterministic_debug_mode")
def get_deterministic_debug_mode():
    """The wish as a number: 0, 1 or 2."""
    return _determinism


@export("set_flush_denormal")
def set_flush_denormal(mode):
    """Whether denormal numbers can be taken for zero on the CPU: False, NumPy keeps them."""
    return False


@export("set_warn_always")
def set_warn_always(b):
    """Remember whether warnings that PyTorch gives once should come each time; ours follow Python's filters."""
    global _warns_always
    _warns_always = bool(b)


@export("is_warn_always_enabled")
def is_warn_always_enabled():
    """What `set_warn_always` was last told."""
    return _warns_always
