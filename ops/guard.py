"""What a user is told who calls a public function wrongly: PyTorch's words, about the function, not about our insides.

An error that our code raises on purpose passes as it is. Any other (a missing attribute, Python's complaint about an
argument, NumPy's about a shape) comes from an argument of the wrong kind and becomes a TypeError that names the
function and what it got; where all arguments were tensors it may be our fault, and stays visible as the cause.
"""

from __future__ import annotations

import functools
import inspect
import linecache
import re

from tritorch.ops.autocast import state as autocast

# NumPy's names of arguments, which PyTorch takes for its own wherever it has those.
NUMPY_NAMES = {"axis": "dim", "keepdims": "keepdim", "x": "input", "a": "input", "x1": "input", "x2": "other"}

ACCIDENTS = (TypeError, AttributeError, ValueError, IndexError, KeyError, StopIteration)
_ABOUT_CALLS = re.compile(r"\w+\(\) (missing|got|takes) (.*)$")


def guarded(function, name, keep_out=None, policy=None):
    """`function` with errors in a user's words; with `keep_out`, a way to write results to `out=`.

    `policy` says what becomes of its arguments where autocast is on.
    """

    def call(*args, **kwargs):
        try:
            if kwargs and not NUMPY_NAMES.keys().isdisjoint(kwargs):
                kwargs = _renamed(function, kwargs)
            run = function if policy is None or autocast.active is None else policy.around(function)
            if not kwargs or keep_out is None:
                return run(*args, **kwargs)
            out = kwargs.pop("out", None)
            result = run(*args, **kwargs)
        except ACCIDENTS as error:
            better = explained(name, function, args, kwargs, error)
            if better is error:
                raise
            raise better from (error if all(map(_is_tensor, args)) else None)
        return result if out is None else keep_out(out, result)

    functools.update_wrapper(call, function)
    call.__name__ = call.__qualname__ = name
    return call


@functools.cache
def _parameters(function):
    return frozenset(inspect.signature(function).parameters)


def _renamed(function, kwargs):
    """Keyword arguments with NumPy's names turned into PyTorch's, where the function has PyTorch's only."""
    known = _parameters(function)
    names = {name: NUMPY_NAMES[name] for name in kwargs if name in NUMPY_NAMES and name not in known}
    return {names[name] if names.get(name) in known else name: value for name, value in kwargs.items()}


def explained(name, function, args, kwargs, error):
    """The error a user should see for `error`, which may be it."""
    about_call = _ABOUT_CALLS.search(str(error)) if isinstance(error, TypeError) else None
    if about_call and not _is_deliberate(error):
        return TypeError(f"{name}() {about_call.group(1)} {about_call.group(2)}")
    if _is_deliberate(error):
        return error
    given = [*args, *kwargs.values()]
    return _wrong_first(name, function, given) or _wrong_combination(name, function, args, kwargs)


def _is_deliberate(error):
    """Whether the innermost line is a `raise` of ours."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return linecache.getline(trace.tb_frame.f_code.co_filename, trace.tb_lineno).lstrip().startswith("raise")


def _is_tensor(value):
    return hasattr(value, "requires_grad")


def need_tensors(op, **arguments):
    """Refuse what is not a Tensor, as PyTorch does."""
    for position, (name, value) in enumerate(arguments.items(), 1):
        if not _is_tensor(value):
            raise TypeError(
                f"{op}(): argument '{name}' (position {position}) must be Tensor, not {type(value).__name__}"
            )


def _wrong_first(name, function, given):
    """The TypeError for something else where a tensor comes first, or in a sequence of tensors."""
    if not given:
        return None
    first, parameter = given[0], next(iter(inspect.signature(function).parameters))
    if isinstance(first, (tuple, list)):
        for position, each in enumerate(first):
            if not _is_tensor(each):
                kind = type(each).__name__
                return TypeError(f"{name}(): expected Tensor as element {position} in argument 0, but got {kind}")
        return None
    if _is_tensor(first):
        return None
    return TypeError(f"{name}(): argument '{parameter}' (position 1) must be Tensor, not {type(first).__name__}")


def _wrong_combination(name, function, args, kwargs):
    got = [type(each).__name__ for each in args] + [f"{key}={type(each).__name__}" for key, each in kwargs.items()]
    return TypeError(
        f"{name}() received an invalid combination of arguments - got ({', '.join(got)}), "
        f"but expected {inspect.signature(function)}"
    )
