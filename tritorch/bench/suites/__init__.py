"""The suites, one module each: a docstring, DTYPES, and `cases(dtypes, quick, small)`, which yields them.

`quick` asks for fewer and smaller cases; `small` for what a processor does in some milliseconds.
"""

from __future__ import annotations

import importlib
import pkgutil


def suites():
    """The suites' modules by name: every module here that has `cases`."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        loaded = importlib.import_module(f"{__name__}.{module.name}")
        if hasattr(loaded, "cases"):
            found[module.name] = loaded
    return found
