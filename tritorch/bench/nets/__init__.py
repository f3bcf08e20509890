"""The nets of `tritorch bench step`, one module each, written for either library: `lib` is what PyTorch's names are in.

A module has a docstring, USUAL, the dtypes in which people train the net, and `training(quick, small)`, which gives a
Training. A net's forward takes the inputs of a step and gives the loss.
"""

from __future__ import annotations

import importlib
import pkgutil


def nets():
    """The nets' modules by name: every module here that has `training`."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        loaded = importlib.import_module(f"{__name__}.{module.name}")
        if hasattr(loaded, "training"):
            found[module.name.replace("_", "-")] = loaded
    return found
