"""What a dtype can hold: torch.finfo and torch.iinfo."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from tritorch.runtime import dtypes


class _Info:
    """The limits of one dtype, named by PyTorch's words."""

    def __repr__(self):
        values = [(name, value) for name, value in vars(self).items() if name != "bits"]
        shown = ", ".join(f"{name}={value:g}" if type(value) is float else f"{name}={value}" for name, value in values)
        return f"{type(self).__name__}({shown})"

    def __eq__(self, other):
        return type(self) is type(other) and self.dtype == other.dtype

    def __hash__(self):
        return hash(self.dtype)


class finfo(_Info):
    """Limits of a floating dtype (the default one if none is given): bits, eps, max, min, tiny, resolution."""

    def __init__(self, type=None):
        kind = dtypes.get_default_dtype() if type is None else dtypes.as_dtype(type, "finfo")
        if not kind.is_floating_point:
            raise TypeError(
                "torch.finfo() requires a floating point input type. Use torch.iinfo to handle 'torch.finfo'"
            )
        found = ml_dtypes.finfo(kind.numpy)
        self.resolution = float(f"1e-{found.precision}")  # the decimal digits that are kept
        self.min, self.max, self.eps = float(found.min), float(found.max), float(found.eps)
        self.smallest_normal = self.tiny = float(found.smallest_normal)
        self.bits, self.dtype = int(found.bits), kind.name


class iinfo(_Info):
    """Limits of an integer dtype: bits, max, min."""

    def __init__(self, type):
        kind = dtypes.as_dtype(type, "iinfo")
        if kind.is_floating_point or kind is dtypes.bool_:
            raise TypeError("torch.iinfo() requires an integer input type. Use torch.finfo to handle 'torch.iinfo'")
        found = np.iinfo(kind.numpy)
        self.min, self.max, self.bits, self.dtype = int(found.min), int(found.max), int(found.bits), kind.name
