"""`tritorch autotune COMMAND` and `python -m tritorch.autotune COMMAND`: one module here is one command."""

from __future__ import annotations

import importlib
import pkgutil

from tritorch.autotune import command as _command


def commands():
    """The command modules, by name: every module here that has `run`."""
    found = {}
    for module in pkgutil.iter_modules(_command.__path__):
        loaded = importlib.import_module(f"{_command.__name__}.{module.name}")
        if hasattr(loaded, "run"):
            found[loaded.__dict__.get("NAME", module.name)] = loaded
    return found
