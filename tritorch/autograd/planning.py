"""Plans: what an op's `forward` did is noted once, and done again without `forward` at calls of the same signature.

A launch needs microseconds, what decides about it (shapes, strides, promotion, the config, the grid) ten times as much,
and depends on nothing but the *signature* of a call: the op, the layout of each array (shape, strides, dtype, device,
alignment) and the other arguments. The first call with a signature on a GPU runs as it always does, so that kernels
are compiled and configs found. The second is noted: `forward` gets stand-ins of its arrays, so that whatever it makes
a view of can be told from what it allocates, even where two arguments share memory. What was noted becomes a function,
the plan, in which a pointer is one of an argument or of an allocation, plus bytes, and everything else a constant.
Calls from the third on run the plan: allocate, launch, wrap.

Not planned is a call whose `forward` does anything besides launching (`plans.spoil`), reads memory that is neither an
argument's nor its own, or takes an argument that is neither an array nor a plain value. Plans become void where
something else changes that ops look at (`plans.invalidate`), and a plan whose launch fails is dropped and its call run
again, so that errors and recovery are those of any call. Numbers that change at each call, such as a seed, are named
by the op in `Op.passed`.

The text of a plan's function is compiled once for all plans of one shape; making one more costs a closure.
"""

from __future__ import annotations

import threading

import numpy as np

from tritorch.runtime import dtypes, launcher, plans
from tritorch.runtime.cuda.array import CudaArray, layout_of
from tritorch.runtime.cuda.driver import translated
from tritorch.runtime.cuda.memory import OutOfMemoryError
from tritorch.runtime.device import Device
from tritorch.runtime.kernel import Kernel
from tritorch.runtime.launch_key import type_of

MOST = 4096  # plans that are kept, and signatures that are remembered
NEVER = -1  # a generation: a call with this signature cannot be replayed

_seen: dict = {}  # signature -> the generation in which it was first seen, or NEVER
_lock = threading.Lock()


# ------------------------------------------------------------------------------------------------ signatures


def signature_of(cls, values):
    """What a call's launches depend on, hashable; None where an argument is nothing that plans know."""
    parts = [cls]
    if cls.passed:
        parts.append(tuple(map(type_of, cls.numbers(*values))))
        values = cls.rest(*values)
    for value in values:
        kind = value.__class__
        if kind is CudaArray:
            parts.append(value.layout or layout_of(value))
        elif kind in _PLAIN:
            parts.append(kind)  # since 1, True and 1.0 are equal
            parts.append(value)
        else:
            part = part_of(value)
            if part is None:
                return None
            parts.append(part)
    return tuple(parts)


def part_of(value):
    """A plain value with its type; None for what is not plain."""
    kind = value.__class__
    if kind in _PLAIN:
        return kind, value
    if kind is float:
        return kind, value or str(value)  # zeros of both signs are equal
    if kind is slice:
        bounds = part_of((value.start, value.stop, value.step))
        return bounds and (kind, bounds)
    if isinstance(value, tuple):
        kinds = tuple(map(type, value))
        if _PLAIN.issuperset(kinds):
            return kind, kinds, value
        parts = tuple([part_of(each) for each in value])
        return None if None in parts else (kind, parts)
    return (kind, value) if isinstance(value, _CONSTANT) else None


_PLAIN = frozenset({int, bool, str, type(None), type(...)})
_CONSTANT = (np.dtype, dtypes.dtype, Device, Kernel)


# ------------------------------------------------------------------------------------------------ noting a call


def wants_plan(signature):
    """Whether a call whose signature has no plan should be noted: from the second on."""
    generation = _seen.get(signature)
    if generation == NEVER or plans.state.forbidding:
        return False
    if generation == plans.state.generation:
        return True
    if len(_seen) >= MOST:
        _seen.clear()
    _seen[signature] = plans.state.generation
    return False


def noted(cls, signature, values, forward):
    """The results of `forward(*values)`, of which a plan is made where one is possible."""
    from tritorch.autograd.plan_text import NoPlan, make_plan

    generation = plans.state.generation
    if cls.replay is not None:  # an op that launches with tables of its own makes its plan itself
        results, plan = forward(*values), cls.replay(*values)
        if plan is None:
            _seen[signature] = NEVER
        else:
            plans.keep(signature, plan, generation, MOST)
        return results
    given = [Origin.stand_in(value) for value in values]
    with _tracing() as trace:
        results = forward(*given)
    try:
        if trace.spoiled:
            raise NoPlan
        plans.keep(signature, make_plan(cls, given, trace, results), generation, MOST)
    except NoPlan:
        _seen[signature] = NEVER
    return _returned(results, dict(zip(map(id, given), values, strict=True)))


def drop(signature, error):
    """Forget a plan that ended with an error, since its call will run again; raise what that would not help.

    An op that writes in place may have done so already.
    """
    plans.ready.pop(signature, None)
    if isinstance(error, OutOfMemoryError) or getattr(signature[0], "in_place", False):
        raise translated(error, f"launching {signature[0].op_name} again")


class Origin:
    """The block of a stand-in: that of an argument, as an object of its own."""

    __slots__ = ("block", "nbytes", "pointer")

    def __init__(self, block):
        self.block = block
        self.pointer, self.nbytes = (block.pointer, block.nbytes) if block else (0, 0)

    def record_stream(self, stream):
        self.block.record_stream(stream)

    @classmethod
    def stand_in(cls, value):
        """An array on the same memory with an origin, for an array; any other value as it is."""
        if value.__class__ is not CudaArray:
            return value
        return CudaArray(cls(value.block), value.pointer, value.shape, value.strides, value.dtype, value.device)


def _returned(result, actual):
    """What `forward` gave, with arguments and views of arguments in the place of those of stand-ins."""
    if isinstance(result, tuple):
        each = [_returned(each, actual) for each in result]
        return type(result)._make(each) if hasattr(result, "_make") else tuple(each)
    if id(result) in actual:
        return actual[id(result)]
    if isinstance(getattr(result, "block", None), Origin):
        result.block = result.block.block
    return result


class _tracing:
    """A context that gives the Trace of what this thread does inside."""

    def __enter__(self):
        trace = plans.Trace()
        with _lock:
            plans.traces[threading.get_ident()] = trace
            launcher.set_launch_note(_note)
        return trace

    def __exit__(self, *_):
        with _lock:
            del plans.traces[threading.get_ident()]
            if not plans.traces:
                launcher.set_launch_note(None)


def _note(entry, config, values):
    trace = plans.current_trace()
    if trace is not None:
        trace.launches.append((entry, config, values))
