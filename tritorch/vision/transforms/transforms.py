"""The transforms under the name of the file that torchvision keeps them in."""

from __future__ import annotations

from tritorch.vision.transforms.coloring import *
from tritorch.vision.transforms.container import *
from tritorch.vision.transforms.conversion import *
from tritorch.vision.transforms.functional.images import InterpolationMode as InterpolationMode
from tritorch.vision.transforms.geometry import *
from tritorch.vision.transforms.tensors import *
from tritorch.vision.transforms.warping import *
