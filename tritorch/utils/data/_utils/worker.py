"""Workers by PyTorch's private names."""

from __future__ import annotations

from tritorch.utils.data.worker import WorkerInfo as WorkerInfo
from tritorch.utils.data.worker import get_worker_info as get_worker_info
