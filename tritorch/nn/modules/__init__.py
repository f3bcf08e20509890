"""The layers, a file a family, under the names that PyTorch's files have."""

from __future__ import annotations

from tritorch.nn.modules.activation import *
from tritorch.nn.modules.adaptive import *
from tritorch.nn.modules.batchnorm import *
from tritorch.nn.modules.channelshuffle import *
from tritorch.nn.modules.container import *
from tritorch.nn.modules.conv import *
from tritorch.nn.modules.distance import *
from tritorch.nn.modules.dropout import *
from tritorch.nn.modules.flatten import *
from tritorch.nn.modules.fold import *
from tritorch.nn.modules.instancenorm import *
from tritorch.nn.modules.lazy import *
from tritorch.nn.modules.linear import *
from tritorch.nn.modules.linear_cross_entropy_options import *
from tritorch.nn.modules.loss import *
from tritorch.nn.modules.module import *
from tritorch.nn.modules.normalization import *
from tritorch.nn.modules.padding import *
from tritorch.nn.modules.pixelshuffle import *
from tritorch.nn.modules.pooling import *
from tritorch.nn.modules.rnn import *
from tritorch.nn.modules.sparse import *
from tritorch.nn.modules.transformer import *
from tritorch.nn.modules.upsampling import *

__all__ = [name for name, value in globals().items() if isinstance(value, type)]  # the layers, not the files
