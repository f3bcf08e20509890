"""All ops. Every module in this folder is imported, so that adding an op is adding its class and nothing else."""

from __future__ import annotations

import importlib
import pkgutil

if __name__ == "ops":
    raise ImportError("import tritorch.ops, not ops: this would be a second copy of every op")

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
