"""Making a module whose parameters somebody else will fill."""

from __future__ import annotations

import inspect

from tritorch import random
from tritorch.nn.modules.module import Module


def skip_init(module_cls, *args, **kwargs):
    """module_cls(*args, **kwargs) whose parameters may hold anything; no random numbers are used up."""
    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    kwargs.setdefault("device", "cpu")
    with random.fork_rng():
        return module_cls(*args, **kwargs)
