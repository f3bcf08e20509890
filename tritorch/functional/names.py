"""What things are called: `typename`, and the modules of devices by name."""

from __future__ import annotations

import importlib

from tritorch.autograd.variable import Variable
from tritorch.ops.base import export
from tritorch.runtime import device as devices
from tritorch.runtime.device import Device


@export("typename")
def typename(obj):
    """The name of a tensor's old type, or of a class, function or an object's class with its module."""
    if isinstance(obj, Variable):
        return obj.type()
    named = obj if hasattr(obj, "__qualname__") else type(obj)
    module = getattr(named, "__module__", None) or ""
    return named.__qualname__ if module in ("", "builtins") else f"{module}.{named.__qualname__}"


@export("get_device_module")
def get_device_module(device=None):
    """The room of a kind of device, such as `tritorch.cuda`; without an argument, that of the default device."""
    kind = (devices.get_default_device() if device is None else Device(device)).type
    return importlib.import_module(f"tritorch.{'cuda' if kind == 'cuda' else 'cpu'}")


@export("is_vulkan_available")
def is_vulkan_available():
    """Whether Vulkan can be used: never."""
    return False


@export("compiled_with_cxx11_abi")
def compiled_with_cxx11_abi():
    """True: nothing here is compiled with the old one."""
    return True
