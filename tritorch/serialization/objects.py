"""Classes and functions by their names in files: importing can run code, so the user has to say so."""

from __future__ import annotations

import argparse
import datetime
import importlib
import pathlib
import sys
import types

from tritorch.alias import own_name
from tritorch.nn import Module
from tritorch.serialization import safe
from tritorch.serialization.unpickler import Global

PLAIN = {
    f"{each.__module__}.{each.__qualname__}": each
    for each in (
        argparse.Namespace, types.SimpleNamespace, pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.PosixPath,
        datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone,
    )
}  # fmt: skip


NAMESPACES = ("tritorch.nn.functional", "tritorch")  # where exported functions are, whatever module wrote them


def path_of(value):
    """The name under which a class or function is found again, "module:name", or None where it is not."""
    name = getattr(value, "__qualname__", None)
    for module in (getattr(value, "__module__", None), *NAMESPACES) if name else ():
        if module in sys.modules and _walk(sys.modules[module], name) is value:
            return f"{module}:{name}"
    return None


def _walk(module, name):
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def resolve(module, name):
    """What a module holds under a dotted name, imported; PyTorch's modules are ours. None where there is none."""
    try:
        return _walk(importlib.import_module(own_name(module) or module), name)
    except ImportError:
        return None


def find(path, trust):
    """What a file of ours means by a path; None where it is not found, or not allowed."""
    module, _, name = path.partition(":")
    known = safe.allowed(f"{module}.{name}")
    if known is not None:
        return known.value
    if trust:
        return resolve(module, name)
    # The types of our own results, such as PackedSequence: making one runs nothing.
    found = resolve(module, name) if module.startswith("tritorch.") and "__main__" not in module else None
    return found if isinstance(found, type) and issubclass(found, tuple) else None


def refusal(path, trust):
    """Why a path was not followed."""
    module, _, name = path.partition(":")
    if trust:
        return (
            f"it needs {name} of module {module}, which cannot be found; define or import the class in the script that "
            "loads it, under the name it had"
        )
    return f"{unsupported(f'{module}.{name}', name)} Or load it with weights_only=False, which imports {module}."


def unsupported(full, name):
    """PyTorch's words for a name that is not allowed."""
    return (
        f"Unsupported global: GLOBAL {full} was not an allowed global by default. Please use "
        f"`torch.serialization.add_safe_globals([{name}])` or the `torch.serialization.safe_globals([{name}])` context "
        "manager to allowlist this global if you trust this class/function."
    )


def find_global(module, name):
    """What a trusted file of PyTorch may name beside weights: modules, plain data, PyTorch's functions; else None.

    Functions can be named, as activations are, and are not called.
    """
    plain = PLAIN.get(f"{module}.{name}")
    if plain is not None:
        return safe.trusted(plain)
    found = resolve(module, name)
    if isinstance(found, type) and issubclass(found, Module):
        return safe.trusted(found)
    return Global(found) if callable(found) and own_name(module) else None
