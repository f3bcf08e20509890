"""Images: datasets, transforms, models and drawing under the names that torchvision gives them.

Rooms are imported when they are first used, and Pillow only where a picture is read, written or changed, so that
importing this package costs nothing.
"""

from __future__ import annotations

import importlib as _importlib

__version__ = "0.28.0"  # of torchvision: the one whose names and rules these are

_ROOMS = ("datasets", "io", "models", "ops", "transforms", "utils")


def __getattr__(name):
    if name in _ROOMS:
        return _importlib.import_module(f"tritorch.vision.{name}")
    raise AttributeError(f"module 'torchvision' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_ROOMS})
