"""Names that scripts import from PyTorch's private `utils.data._utils`."""

from __future__ import annotations

from tritorch.utils.data._utils import collate as collate
from tritorch.utils.data._utils import pin_memory as pin_memory
from tritorch.utils.data._utils import worker as worker
