"""Submodules that are imported when first asked for as attributes, so that importing their package is short."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec


def found_when_asked(package):
    """The `__getattr__` of a package: `package.name` imports the submodule of that name, if there is one."""

    def __getattr__(name):
        if not name.startswith("_") and find_spec(f"{package}.{name}"):
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module '{package}' has no attribute {name!r}")

    return __getattr__
