"""Transforms of pictures and tensor images: torchvision.transforms."""

from __future__ import annotations

from tritorch.rooms import found_when_asked
from tritorch.vision.transforms import functional as functional
from tritorch.vision.transforms.autoaugment import *
from tritorch.vision.transforms.functional.images import InterpolationMode as InterpolationMode
from tritorch.vision.transforms.transforms import *

__getattr__ = found_when_asked("tritorch.vision.transforms")  # v2
