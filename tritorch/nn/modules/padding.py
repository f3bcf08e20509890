"""Padding: elements added around the last dimensions, constant or taken from the input."""

from __future__ import annotations

from tritorch.nn import functional as F
from tritorch.nn.modules.batchnorm import refuse_dims
from tritorch.nn.modules.module import Module
from tritorch.nn.modules.utils import _ntuple

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class _Pad(Module):
    """One number for all sides, or (before, after) of the last dimension, then of the one before it, ..."""

    mode, spatial = "constant", 1

    def __init__(self, padding):
        super().__init__()
        self.padding = _ntuple(2 * self.spatial)(padding)

    def forward(self, input):
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self):
        return f"{self.padding}"


class _ConstantPadNd(_Pad):
    def __init__(self, padding, value):
        super().__init__(padding)
        self.value = value

    def forward(self, input):
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self):
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPadNd):
    """One value before and after the last dimension."""


class ConstantPad2d(_ConstantPadNd):
    """One value around the last two dimensions."""

    spatial = 2


class ConstantPad3d(_ConstantPadNd):
    """One value around the last three dimensions."""

    spatial = 3


class _Zeros:
    """Constant padding with 0, which its printed form does not show."""

    def __init__(self, padding):
        super().__init__(padding, 0.0)

    def extra_repr(self):
        return f"{self.padding}"


class ZeroPad1d(_Zeros, ConstantPad1d):
    """Zeros before and after the last dimension."""


class ZeroPad2d(_Zeros, ConstantPad2d):
    """Zeros around the last two dimensions."""


class ZeroPad3d(_Zeros, ConstantPad3d):
    """Zeros around the last three dimensions."""


class _ReflectionPadNd(_Pad):
    mode = "reflect"


class ReflectionPad1d(_ReflectionPadNd):
    """The last dimension mirrored at its ends, which are not repeated."""


class ReflectionPad2d(_ReflectionPadNd):
    """The last two dimensions mirrored at their ends, which are not repeated."""

    spatial = 2


class ReflectionPad3d(_ReflectionPadNd):
    """The last three dimensions mirrored at their ends, which are not repeated."""

    spatial = 3


class _ReplicationPadNd(_Pad):
    mode = "replicate"


class ReplicationPad1d(_ReplicationPadNd):
    """The ends of the last dimension repeated."""


class ReplicationPad2d(_ReplicationPadNd):
    """The ends of the last two dimensions repeated."""

    spatial = 2


class ReplicationPad3d(_ReplicationPadNd):
    """The ends of the last three dimensions repeated."""

    spatial = 3


class _CircularPadNd(_Pad):
    mode = "circular"

    def forward(self, input):
        refuse_dims(input, self.spatial + 1, self.spatial + 2)
        return super().forward(input)


class CircularPad1d(_CircularPadNd):
    """The last dimension continued at its other end."""


class CircularPad2d(_CircularPadNd):
    """The last two dimensions continued at their other ends."""

    spatial = 2


class CircularPad3d(_CircularPadNd):
    """The last three dimensions continued at their other ends."""

    spatial = 3
