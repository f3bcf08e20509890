"""torch.linalg: functions under their names there."""

from __future__ import annotations

from tritorch.namespaces import exported
from tritorch.ops.linalg.errors import LinAlgError as LinAlgError

matmul = exported("")["matmul"]
globals().update(exported("linalg"))
