"""The one place that imports Pillow, on first use."""

from __future__ import annotations

import functools
import importlib
import sys

_PARTS = ("Image", "ImageColor", "ImageDraw", "ImageEnhance", "ImageFilter", "ImageFont", "ImageOps")


@functools.cache
def pillow():
    """The package PIL with the modules that pictures are handled by."""
    try:
        for part in _PARTS:
            found = importlib.import_module(f"PIL.{part}")
    except ImportError as error:
        raise ImportError(f"pictures need Pillow ({error}): pip install 'tritorch[vision]'") from error
    return sys.modules[found.__package__]


def is_pillow(image):
    """Whether it is a picture of Pillow's, asked without importing Pillow."""
    known = sys.modules.get("PIL.Image")
    return known is not None and isinstance(image, known.Image)
