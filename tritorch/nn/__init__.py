"""Layers: modules with parameters, the functions they call, and how parameters start."""

from __future__ import annotations

from tritorch.nn import functional as functional
from tritorch.nn import init as init
from tritorch.nn import parallel as parallel
from tritorch.nn import utils as utils
from tritorch.nn.modules import *
from tritorch.nn.parallel import DataParallel as DataParallel
from tritorch.nn.parameter import Buffer as Buffer
from tritorch.nn.parameter import Parameter as Parameter
from tritorch.nn.parameter import UninitializedBuffer as UninitializedBuffer
from tritorch.nn.parameter import UninitializedParameter as UninitializedParameter
from tritorch.rooms import found_when_asked

__getattr__ = found_when_asked(__name__)  # nn.attention is imported when first asked for
