"""torch.linalg: functions under their names there."""

from __future__ import annotations

from tritorch.namespaces import exported

matmul = exported("")["matmul"]

__all__ = ["matmul"]
