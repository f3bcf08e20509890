"""TorchScript's names: there is no other language here, code runs as Python.

`script` gives back a function or class as it is, with a warning, since that computes the same; what would compile,
save or load a module is refused. The marks that scripts put on methods pass.
"""

import warnings
from typing import Final as Final
from typing import NamedTuple

from tritorch.jit import annotations as annotations  # a future import of this name would stand in its place
from tritorch.nn import Module
from tritorch.refused import refuse_all
from tritorch.rooms import found_when_asked

__getattr__ = found_when_asked(__name__)

_ADVICE = (
    "use the module as it is, or tritorch.compile() to make it faster; save its state_dict() with tritorch.save(), or "
    "export it with tritorch.onnx."
)
globals().update(
    refuse_all(
        "jit",
        ("trace", "trace_module", "load", "save", "freeze", "optimize_for_inference", "fork", "wait"),
        _ADVICE,
    )
)


class ScriptModule(Module):
    """A compiled module: nothing is one here."""


class ScriptFunction:
    """A compiled function: nothing is one here."""


class Attribute(NamedTuple):
    """A value of a module with its TorchScript type."""

    value: object
    type: object


def script(obj, *args, **kwargs):
    """The function or class itself, with a warning that it stays Python; a Module is refused."""
    if isinstance(obj, Module):
        raise NotImplementedError(f"jit.script() of a Module is not in tritorch: {_ADVICE}")
    name = getattr(obj, "__qualname__", type(obj).__name__)
    warnings.warn(f"torch.jit.script: {name} is not compiled, it runs as Python.", UserWarning, stacklevel=2)
    return obj


def _itself(fn):
    """The method itself."""
    return fn


script_if_tracing = script_method = export = interface = _itself


def ignore(drop=False, **kwargs):
    """The method itself; also as `@ignore(drop=True)`."""
    return drop if callable(drop) else _itself


def unused(fn):
    """The method itself."""
    return fn


def annotate(the_type, the_value):
    """The value; the type is for TorchScript."""
    return the_value


def is_scripting():
    """Whether this is compiled TorchScript: never."""
    return False


def is_tracing():
    """Whether a trace is being recorded: never."""
    return False
