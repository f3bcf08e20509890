"""The short way: a tensor or two of which nothing special is known go straight to an op's host function or kernels.

To find out, for any arguments, that no interceptor, second device or view is there takes longer than a small op has
time for. An op that says of its arguments how many are tensors gets an `apply` of its own, which asks that by one
expression and leaves all other calls to the dispatch point. The two do the same: this one may be left out.
"""

from __future__ import annotations

from numpy import asarray, generic

from tritorch.autograd.apply import apply, make_as, on_device, record
from tritorch.autograd.grad_mode import intercepting, state
from tritorch.ops.base import TABLE
from tritorch.runtime.device import CPU
from tritorch.runtime.quiet import restore, silence

_new = object.__new__


def _of_one(cls, Tensor):
    def call(first, *rest):
        if type(first) is not Tensor or first.view_of is not None or (intercepting and state.interceptors):
            return apply(cls, first, *rest)
        device = first.device
        if device is CPU:
            before = silence()
            try:
                result = cls.host(first.array, *rest)
            finally:
                restore(before)
        else:
            result = on_device(cls, (first, *rest), [first.array, *rest], device)
        output = _new(Tensor)
        output.array = asarray(result) if isinstance(result, generic) else result
        output.device, output.requires, output.view_of = device, False, None
        if first.requires and state.recording:
            record(cls, (first, *rest), output)
        return output

    return call


def _of_two(cls, Tensor):
    def call(first, second, *rest):
        if (
            type(first) is not Tensor or type(second) is not Tensor or (device := first.device) is not second.device
            or first.view_of is not None or second.view_of is not None or (intercepting and state.interceptors)
        ):  # fmt: skip
            return apply(cls, first, second, *rest)
        if device is CPU:
            before = silence()
            try:
                result = cls.host(first.array, second.array, *rest)
            finally:
                restore(before)
        else:
            result = on_device(cls, (first, second, *rest), [first.array, second.array, *rest], device)
        output = _new(Tensor)
        output.array = asarray(result) if isinstance(result, generic) else result
        output.device, output.requires, output.view_of = device, False, None
        if (first.requires or second.requires) and state.recording:
            record(cls, (first, second, *rest), output)
        return output

    return call


_WAYS = {1: _of_one, 2: _of_two}


def settle(tensor_type):
    """Have results be of `tensor_type`, and give the ops of the table their short ways."""
    make_as(tensor_type)
    for cls in TABLE.values():
        if cls.tensors in _WAYS:
            call = _WAYS[cls.tensors](cls, tensor_type)
            call.one_call = lambda *args, _op=cls: (_op, args)  # as `apply` is, the method of an op
            cls.apply = staticmethod(call)
