"""A kernel with a space and a default config by formula."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from tritorch.autotune.space import Space
from tritorch.runtime.kernel import Kernel


@dataclass(frozen=True)
class DeviceInfo:
    """What a default config may depend on: the kind of device and, on a GPU, its size."""

    kind: str
    sms: int = 1
    shared_memory: int = 1 << 30
    capability: int = 0


INTERPRETER = DeviceInfo("interpreter")


@functools.cache
def _cuda_info(index):
    from tritorch.runtime.cuda import driver

    found = driver.properties(index)
    major, minor = found.capability
    return DeviceInfo("cuda", found.sms, found.shared_memory, major * 10 + minor)


def device_info(array):
    """The DeviceInfo of the device that `array` makes a kernel run on."""
    return INTERPRETER if isinstance(array, np.ndarray) else _cuda_info(array.device.index)


class TunableKernel(Kernel):
    """A kernel whose launch config comes from its space: for now, from the default formula."""

    def __init__(self, fn, space, default):
        super().__init__(fn)
        self.space, self.default = space, default

    def config(self, array, **sizes):
        """The knobs for a launch on `array`'s device; `sizes` are what the formula depends on."""
        return self.config_for(device_info(array), **sizes)

    def config_for(self, device, **sizes):
        """The knobs for a launch on a device described by `device`."""
        return self.default(device, **sizes)


def kernel(fn=None, *, space=None, default=None):
    """Make a Triton kernel of a function. With a space, `default(device, **sizes)` must give one config of it."""
    if fn is not None:
        return Kernel(fn)
    if space is None:
        return Kernel
    if default is None:
        raise TypeError("a kernel with a space needs a default config by formula: nothing must be tuned to run")
    return lambda function: TunableKernel(function, space if isinstance(space, Space) else Space(**space), default)
