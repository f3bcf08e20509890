"""Classes by name, for files that the user trusts: importing the module of one runs its code."""

from __future__ import annotations

import argparse
import datetime
import importlib
import pathlib
import types

PLAIN = {
    f"{each.__module__}.{each.__qualname__}": each
    for each in (
        argparse.Namespace, types.SimpleNamespace, pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.PosixPath,
        datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone,
    )
}  # fmt: skip


def resolve(module, name):
    """What a module holds under a dotted name, imported; PyTorch's modules are ours. None where there is none."""
    if module == "torch" or module.startswith("torch."):
        module = f"tri{module}"
    try:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return None
    return found


def find_class(module, name):
    """A class of modules, or of plain data; None for everything else."""
    from tritorch.nn import Module

    plain = PLAIN.get(f"{module}.{name}")
    if plain is not None:
        return plain
    found = resolve(module, name)
    return found if isinstance(found, type) and issubclass(found, Module) else None
