"""Compositions: functions of Tensors that are built from ops, and exported like them.

Every module in this folder is imported, so that adding a function is adding it to one file.
"""

from __future__ import annotations

import importlib
import pkgutil

from tritorch.runtime import collector

with collector.paused():
    for _module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{_module.name}")
