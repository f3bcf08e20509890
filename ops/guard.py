"""What a user is told who calls a public function wrongly: PyTorch's words, about the function, not about our insides.

An error that our code raises on purpose passes as it is. Any other (a missing attribute, Python's complaint about an
argument, NumPy's about a shape) comes from an argument of the wrong kind and becomes a TypeError that names the
function and what it got; where all arguments were tensors it may be our fault, and stays visible as the cause.
"""

from __future__ import annotations

import functools
import inspect
import linecache
import numbers
import re

from tritorch.ops.autocast import state as autocast
from tritorch.ops.old_signatures import modern

_KINDS = {  # what arguments of these names have to be, wherever they occur; PyTorch's names for the kinds
    "Tensor": (
        "other",
        "index",
        "mask",
        "mat1",
        "mat2",
        "batch1",
        "batch2",
        "vec",
        "vec2",
        "tensor",
        "target",
        "weight",
    ),
    "int": ("dim", "dim0", "dim1", "start_dim", "end_dim", "k", "n", "chunks", "num_samples", "num_classes", "seed"),
    "Number": ("fill_value", "negative_slope", "alpha", "beta", "lambd", "threshold", "end"),
    "tuple of ints": ("dims", "shape", "size", "repeats", "kernel_size", "shifts", "split_sizes"),
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names}

# NumPy's names of arguments, which PyTorch takes for its own wherever it has those.
NUMPY_NAMES = {"axis": "dim", "keepdims": "keepdim", "x": "input", "a": "input", "x1": "input", "x2": "other"}

ACCIDENTS = (TypeError, AttributeError, ValueError, IndexError, KeyError, StopIteration)
_ABOUT_CALLS = re.compile(r"\w+\(\) (missing|got|takes) (.*)$")


def guarded(function, name, keep_out=None, policy=None, in_python=False, op=None):
    """`function` with errors in a user's words; with `keep_out`, a way to write results to `out=`.

    `policy` says what becomes of its arguments where autocast is on. `in_python` says that PyTorch's own function is
    written in Python, whose words about missing arguments differ. `op` is what a call with all its arguments by
    position is a call of, so that it need not go through `function`.
    """
    count = None if op is None else len(op.names)

    def call(*args, **kwargs):
        try:
            if not kwargs and (policy is None or autocast.active is None):
                return op.apply(*args) if len(args) == count else function(*args)
            if kwargs and not NUMPY_NAMES.keys().isdisjoint(kwargs):
                kwargs = _renamed(function, kwargs)
            run = function if policy is None or autocast.active is None else policy.around(function)
            if not kwargs or keep_out is None:
                return run(*args, **kwargs)
            out = kwargs.pop("out", None)
            result = run(*args, **kwargs)
        except ACCIDENTS as error:
            old = modern(name, args, kwargs) if isinstance(error, TypeError) else None
            if old is not None:
                return call(*old[0], **old[1])
            better = explained(name, function, args, kwargs, error, in_python)
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


def explained(name, function, args, kwargs, error, in_python=False):
    """The error a user should see for `error`, which may be it."""
    about_call = _ABOUT_CALLS.search(str(error)) if isinstance(error, TypeError) else None
    if _is_deliberate(error):
        return error
    if about_call:
        return TypeError(f"{name}() {_about_call(about_call, function, in_python)}")
    given = [*args, *kwargs.values()]
    return (
        _wrong_first(name, function, given)
        or _wrong_later(name, function, args, kwargs)
        or _wrong_combination(name, function, args, kwargs)
    )


def _about_call(found, function, in_python):
    """What Python says of a call, counted without the class that the function is bound to."""
    verb, rest = found.groups()
    if verb == "takes":
        own = 1 if inspect.ismethod(function) else 0
        rest = re.sub(r"\b\d+\b", lambda number: str(int(number.group()) - own), rest)
    names = re.findall(r"'(\w+)'", rest)
    if verb == "missing" and names and not in_python:  # PyTorch has the plural for one and the singular for more
        quoted = ", ".join(f'"{name}"' for name in names)
        return f"missing {len(names)} required positional argument{'s' if len(names) == 1 else ''}: {quoted}"
    return f"{verb} {rest}"


def kind_of(value):
    """The name PyTorch's errors give the type of a value."""
    kind = type(value)
    return f"numpy.{kind.__name__}" if kind.__module__ == "numpy" else kind.__name__


def _is_kind(kind, value):
    if kind == "Tensor":
        return _is_tensor(value)
    if kind == "tuple of ints":
        return isinstance(value, (tuple, list)) and all(hasattr(each, "__index__") for each in value)
    return hasattr(value, "__index__") or (kind == "Number" and isinstance(value, numbers.Number))


def _wrong_later(name, function, args, kwargs):
    """The TypeError for the argument whose name says what it has to be and which is something else."""
    signature = inspect.signature(function)
    try:
        bound = signature.bind_partial(*args, **kwargs)
    except TypeError:
        return None
    wrong = []
    for position, (parameter, value) in enumerate(bound.arguments.items(), 1):
        kind, declared = _KIND_OF.get(parameter), signature.parameters[parameter]
        if declared.kind is declared.VAR_POSITIONAL and len(value) == 1:
            value = value[0]
        if kind is None or value is None or _is_kind(kind, value) or (kind == "int" and declared.default is None):
            continue  # a dim that may be left out may be several, too
        text = f"{name}(): argument '{parameter}' (position {position}) must be {kind}, not {kind_of(value)}"
        if isinstance(value, (tuple, list)) and kind == "tuple of ints":
            at = next(at for at, each in enumerate(value) if not hasattr(each, "__index__"))
            text = unpacking(name, parameter, at + 1, value[at])
        is_number = isinstance(value, numbers.Number) and kind == "Tensor"  # which many take in place of a Tensor
        wrong.append((is_number, position, text))
    return TypeError(min(wrong)[2]) if wrong else None


def unpacking(name, parameter, position, value):
    """PyTorch's words for something else among integers, such as sizes."""
    return (
        f"{name}(): argument '{parameter}' failed to unpack the object at pos {position} with error "
        f'"type must be tuple of ints,but got {kind_of(value)}"'
    )


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
            raise TypeError(f"{op}(): argument '{name}' (position {position}) must be Tensor, not {kind_of(value)}")


def _wrong_first(name, function, given):
    """The TypeError for something else where a tensor comes first, or in a sequence of tensors."""
    if not given:
        return None
    first, parameter = given[0], next(iter(inspect.signature(function).parameters))
    if isinstance(first, (tuple, list)):
        for position, each in enumerate(first):
            if not _is_tensor(each):
                return TypeError(f"expected Tensor as element {position} in argument 0, but got {kind_of(each)}")
        return None
    if _is_tensor(first):
        return None
    kind = _KIND_OF.get(parameter, "Tensor")
    if kind != "Tensor" and _is_kind(kind, first):
        return None
    return TypeError(f"{name}(): argument '{parameter}' (position 1) must be {kind}, not {kind_of(first)}")


def _wrong_combination(name, function, args, kwargs):
    got = [type(each).__name__ for each in args] + [f"{key}={type(each).__name__}" for key, each in kwargs.items()]
    return TypeError(
        f"{name}() received an invalid combination of arguments - got ({', '.join(got)}), "
        f"but expected {inspect.signature(function)}"
    )
