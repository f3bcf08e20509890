"""Types for annotations, by PyTorch's names."""

from __future__ import annotations

import os
from typing import IO, Any, TypeAlias

from tritorch.functional.storage import UntypedStorage as Storage
from tritorch.runtime import device as devices
from tritorch.runtime.dtypes import dtype
from tritorch.tensor import Size as Size
from tritorch.tensor import Tensor as Tensor

__all__ = ["Device", "FileLike", "Number", "Size", "Storage", "Tensor"]

Number: TypeAlias = int | float | bool
Device: TypeAlias = devices.Device | str | int | None
FileLike: TypeAlias = str | os.PathLike[str] | IO[bytes]
_dtype: TypeAlias = dtype
_device: TypeAlias = devices.Device
_size: TypeAlias = Size | list[int] | tuple[int, ...]
_int, _float, _bool = int, float, bool
_TensorOrTensors: TypeAlias = Tensor | Any
