"""Images: datasets, transforms, models and drawing under the names that torchvision gives them.

Rooms are imported when they are first used, and Pillow only where a picture is read, written or changed, so that
importing this package costs nothing.
"""

from __future__ import annotations

from tritorch.rooms import found_when_asked

__version__ = "0.28.0"  # of torchvision: the one whose names and rules these are
__getattr__ = found_when_asked("tritorch.vision")


def get_image_backend():
    """What reads pictures: always Pillow."""
    return "PIL"


def set_image_backend(backend):
    """Say what reads pictures; there is Pillow alone."""
    if backend != "PIL":
        raise ValueError(f"Invalid backend '{backend}'. Options are 'PIL'")
