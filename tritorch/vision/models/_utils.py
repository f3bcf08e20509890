"""Names that scripts import from here in torchvision."""

from __future__ import annotations

from tritorch.vision.models.feature_extraction import IntermediateLayerGetter as IntermediateLayerGetter
from tritorch.vision.models.initialise import make_divisible as _make_divisible  # noqa: F401
