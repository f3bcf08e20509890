"""Calls as PyTorch took them before 1.5, with scale factors before the tensors: `add_(2, x)`, `addmm_(b, a, x, y)`.

Optimizers in old scripts are full of them, and PyTorch still takes them, with a warning.
"""

from __future__ import annotations

import numbers
import sys
import warnings

# The factors by name, in the order in which they came; each stood before a tensor or, the first, before `input` itself.
_FACTORS = {
    "add": ("alpha",), "sub": ("alpha",), "addcmul": ("value",), "addcdiv": ("value",),
    **dict.fromkeys(("addmm", "addmv", "addr", "addbmm", "baddbmm"), ("beta", "alpha")),
}  # fmt: skip
_TENSORS = {"add": 2, "sub": 2}  # others have three


def modern(name, args, kwargs):
    """(args, kwargs) of today for such a call of `name`, and a warning; None if it is none."""
    factors = _FACTORS.get(name)
    if factors is None or kwargs:
        return None
    given = [each for each in args if isinstance(each, numbers.Number)]
    tensors = [each for each in args if not isinstance(each, numbers.Number)]
    tensors_last = not any(isinstance(each, numbers.Number) for each in args[-1 if name in _TENSORS else -2 :])
    if not 1 <= len(given) <= len(factors) or len(tensors) != _TENSORS.get(name, 3) or not tensors_last:
        return None
    scaled = ", ".join(f"Number {factor}" for factor in factors[: len(given)])
    today = ", ".join(f"Number {factor} = 1" for factor in factors)
    warnings.warn(
        f"This overload of {name} is deprecated:\n\t{name}({scaled}, Tensors)\n"
        f"Consider using one of the following signatures instead:\n\t{name}(Tensors, *, {today})",
        stacklevel=_levels_inside() + 1,
    )
    return tensors, dict(zip(factors, given, strict=False))


def _levels_inside():
    """How many frames of ours are above the caller's: a method passes more of them than a function."""
    levels, frame = 0, sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("tritorch."):
        levels, frame = levels + 1, frame.f_back
    return levels
