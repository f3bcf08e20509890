"""All ops, one folder a family. Every module in here is imported: adding an op is adding its class and nothing else."""

from __future__ import annotations

import importlib
import pkgutil

from tritorch.runtime import collector

if __name__ == "ops":
    raise ImportError("import tritorch.ops, not ops: this would be a second copy of every op")

with collector.paused():
    for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
        importlib.import_module(_module.name)
