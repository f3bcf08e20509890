"""Autocast: the dtype that an op runs in where `torch.autocast` is on.

Every op or composition says for itself what becomes of its floating-point tensors: `autocast = LOWER` in the class of
an op, or of its family, and `@export(..., autocast=LOWER)` for a composition. Where autocast is off, nobody looks.
Float64 is never touched. What happens inside a call whose arguments were cast is left alone, as in PyTorch.

PyTorch's lists for CPUs and for GPUs differ; the interpreter device stands for a GPU.
"""

from __future__ import annotations

import functools
import threading

from tritorch.runtime import dtypes


class _State(threading.local):
    """Of this thread: the lower dtype of each device type that autocast is on for, or None where it is on for none."""

    active: dict | None = None
    cache: dict | None = None  # casts of parameters, so that one used twice is cast once


state = _State()


def lower(lowest, found):
    """The dtype of autocast."""
    return lowest


def float32(lowest, found):
    """Single precision."""
    return dtypes.float32


def widest(lowest, found):
    """The widest of what is there."""
    return dtypes.float32 if dtypes.float32 in found else lowest


def untouched(lowest, found):
    """None: nothing is cast, nor inside the call."""


def like_first(lowest, found):
    """The dtype of the first."""
    return found[0]


class Policy:
    """What becomes of the floating-point tensors among the arguments of a call, on CPUs and on GPUs.

    Each is None, where only what is called inside decides, or a function of the dtype of autocast and those of the
    tensors, in order, that gives the dtype they are cast to.
    """

    def __init__(self, cpu=None, gpu=None):
        self.choices = {"cpu": cpu, "cuda": gpu, "interpreter": gpu}

    def cast(self, args):
        """`args` with the tensors cast, and those in lists and tuples; None where this device has no rule."""
        active = state.active
        tensors = [each for each in _tensors(args) if each.device.type in active]
        choose = self.choices[tensors[0].device.type] if tensors else None
        if choose is None:
            return None
        dtype = choose(active[tensors[0].device.type], [each.dtype for each in tensors])
        chosen = {id(each) for each in tensors if dtype not in (None, each.dtype)}
        return _replaced(args, chosen, dtype) if chosen else args

    def around(self, function):
        """`function`, called on the arguments cast, its inside left alone."""
        return functools.partial(self._call, function)

    def _call(self, function, *args, **kwargs):
        values, active = (*args, *kwargs.values()), state.active
        if not any(isinstance(each, dtypes.dtype) for each in values):  # who names a dtype gets it
            values = self.cast(values)
            if values is None:
                return function(*args, **kwargs)
        state.active = None
        try:
            return function(*values[: len(args)], **dict(zip(kwargs, values[len(args) :], strict=True)))
        finally:
            state.active = active


def _tensors(args):
    """The tensors that may be cast."""
    for each in args:
        if hasattr(each, "requires_grad"):
            if each.is_floating_point() and each.dtype is not dtypes.float64:
                yield each
        elif type(each) in (tuple, list):
            yield from _tensors(each)


def _replaced(args, chosen, dtype):
    return tuple(
        [
            _cast(each, dtype)
            if id(each) in chosen
            else type(each)(_replaced(each, chosen, dtype))
            if type(each) in (tuple, list)
            else each
            for each in args
        ]
    )


def _cast(tensor, dtype):
    """The tensor in `dtype`: a parameter is cast once while autocast lasts, or until it is written."""
    if state.cache is None or dtype is dtypes.float32 or not tensor.requires_grad or not tensor.is_leaf:
        return tensor.to(dtype)
    version, known = tensor._version, state.cache.get((id(tensor), dtype))
    if known is not None and known[1] == version and known[0] is tensor and known[2].requires_grad:
        return known[2]
    made = tensor.to(dtype)
    if made.requires_grad:  # else it was made under no_grad, and is of no use to those who record
        state.cache[id(tensor), dtype] = tensor, version, made
    return made


LOWER = Policy(lower, lower)  # products: accurate enough, and much faster on tensor cores
FLOAT32 = Policy(float32, float32)  # sums and steep functions, where digits or range would be lost
FLOAT32_ON_CPUS = Policy(cpu=float32)
FLOAT32_ON_GPUS = Policy(gpu=float32)
LOWER_ON_GPUS = Policy(gpu=lower)
LOWER_OR_FIRST = Policy(cpu=like_first, gpu=lower)
WIDEST_ON_CPUS = Policy(cpu=widest)  # arguments of one dtype are wanted
WIDEST_ON_GPUS = Policy(gpu=widest)
