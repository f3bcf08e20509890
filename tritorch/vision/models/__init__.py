"""Networks for images under torchvision's names, and some others that everybody starts with: torchvision.models."""

from __future__ import annotations

from tritorch.vision.models import _utils as _utils
from tritorch.vision.models import feature_extraction as feature_extraction
from tritorch.vision.models.alexnet import *
from tritorch.vision.models.convnext import *
from tritorch.vision.models.densenet import *
from tritorch.vision.models.efficientnet import *
from tritorch.vision.models.googlenet import *
from tritorch.vision.models.gpt import *
from tritorch.vision.models.inception import *
from tritorch.vision.models.lenet import *
from tritorch.vision.models.mobilenetv2 import *
from tritorch.vision.models.mobilenetv3 import *
from tritorch.vision.models.registry import get_model as get_model
from tritorch.vision.models.registry import get_model_builder as get_model_builder
from tritorch.vision.models.registry import get_model_weights as get_model_weights
from tritorch.vision.models.registry import get_weight as get_weight
from tritorch.vision.models.registry import list_models as list_models
from tritorch.vision.models.resnet import *
from tritorch.vision.models.shufflenetv2 import *
from tritorch.vision.models.squeezenet import *
from tritorch.vision.models.unet import *
from tritorch.vision.models.vgg import *
from tritorch.vision.models.vision_transformer import *
from tritorch.vision.models.weights import Weights as Weights
from tritorch.vision.models.weights import WeightsEnum as WeightsEnum
