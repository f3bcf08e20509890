"""What networks for images are made of beside `nn`, and boxes: torchvision.ops."""

from __future__ import annotations

from tritorch.vision.ops.boxes import *
from tritorch.vision.ops.focal_loss import sigmoid_focal_loss as sigmoid_focal_loss
from tritorch.vision.ops.misc import *
from tritorch.vision.ops.roi_align import *
from tritorch.vision.ops.stochastic_depth import *
