"""DLPack by PyTorch's names."""

from __future__ import annotations

from tritorch.functional.interop import DLDeviceType as DLDeviceType
from tritorch.functional.interop import from_dlpack as from_dlpack
from tritorch.functional.interop import to_dlpack as to_dlpack
