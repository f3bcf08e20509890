"""tritorch: a GPU-first deep-learning runtime. Every op is a Triton kernel; the API is PyTorch's."""

from __future__ import annotations

import importlib as _importlib
import os as _os
from math import e as e
from math import inf as inf
from math import nan as nan
from math import pi as pi
from pkgutil import iter_modules as _iter_modules

__version__ = "0.1.0"

from tritorch import autograd as autograd
from tritorch import creation as creation
from tritorch import functional as functional
from tritorch import ops as ops
from tritorch import printing as printing
from tritorch import random as random
from tritorch.autograd import enable_grad as enable_grad
from tritorch.autograd import inference_mode as inference_mode
from tritorch.autograd import is_grad_enabled as is_grad_enabled
from tritorch.autograd import is_inference_mode_enabled as is_inference_mode_enabled
from tritorch.autograd import no_grad as no_grad
from tritorch.autograd import set_grad_enabled as set_grad_enabled
from tritorch.namespaces import bind_tensor, exported, in_place_functions
from tritorch.random import Generator as Generator
from tritorch.random import default_generator as default_generator
from tritorch.rooms import found_when_asked
from tritorch.runtime import dtypes as _dtypes
from tritorch.runtime.device import Device as device  # noqa: F401, PyTorch's name for it
from tritorch.runtime.device import get_default_device as get_default_device
from tritorch.runtime.device import set_default_device as set_default_device
from tritorch.runtime.dtypes import dtype as dtype
from tritorch.runtime.dtypes import get_default_dtype as get_default_dtype
from tritorch.runtime.dtypes import promote_types as promote_types
from tritorch.runtime.dtypes import set_default_dtype as set_default_dtype
from tritorch.runtime.limits import finfo as finfo
from tritorch.runtime.limits import iinfo as iinfo
from tritorch.runtime.memory_format import channels_last as channels_last
from tritorch.runtime.memory_format import channels_last_3d as channels_last_3d
from tritorch.runtime.memory_format import contiguous_format as contiguous_format
from tritorch.runtime.memory_format import layout as layout
from tritorch.runtime.memory_format import memory_format as memory_format
from tritorch.runtime.memory_format import preserve_format as preserve_format
from tritorch.runtime.memory_format import sparse_bsc as sparse_bsc
from tritorch.runtime.memory_format import sparse_bsr as sparse_bsr
from tritorch.runtime.memory_format import sparse_coo as sparse_coo
from tritorch.runtime.memory_format import sparse_csc as sparse_csc
from tritorch.runtime.memory_format import sparse_csr as sparse_csr
from tritorch.runtime.memory_format import strided as strided
from tritorch.tensor import Size as Size
from tritorch.tensor import Tensor as Tensor

bind_tensor(Tensor)
globals().update(exported(""))
globals().update(in_place_functions(Tensor))
globals().update(_dtypes.NAMES | _dtypes.COMPLEX_NAMES)
newaxis = None

# Rooms above the tensors are imported when they are first asked for, so that `import tritorch` is short. These names of
# PyTorch's root live in such rooms.
_room = found_when_asked(__name__)
_NAMES_IN_ROOMS = {
    "amp": ("GradScaler", "autocast"),
    "amp.autocast_mode": (
        "autocast_decrement_nesting", "autocast_increment_nesting", "clear_autocast_cache", "get_autocast_dtype",
        "is_autocast_cache_enabled", "is_autocast_enabled", "set_autocast_cache_enabled", "set_autocast_dtype",
        "set_autocast_enabled",
    ),
    "amp.old_names": (
        "get_autocast_cpu_dtype", "get_autocast_gpu_dtype", "is_autocast_cpu_enabled", "set_autocast_cpu_dtype",
        "set_autocast_cpu_enabled", "set_autocast_gpu_dtype",
    ),
    "compiler": ("compile",),
    "cuda": ("AcceleratorError", "Event", "OutOfMemoryError", "Stream"),
    "func": ("vmap",),
    "serialization": ("load", "save"),
    "storage": ("TypedStorage", "UntypedStorage"),
    "utils.summary": ("summary",),
}  # fmt: skip
_FROM_ROOMS = {name: room for room, names in _NAMES_IN_ROOMS.items() for name in names}


def __getattr__(name):
    if name in _FROM_ROOMS:
        return getattr(_importlib.import_module(f"tritorch.{_FROM_ROOMS[name]}"), name)
    return _room(name)


def __dir__():
    rooms = (room.name for room in _iter_modules(__path__) if not room.name.startswith("_"))
    return sorted({*globals(), *rooms, *_FROM_ROOMS})


if _os.environ.get("TRITORCH_AUTOTUNE") == "1":
    from tritorch.autotune.training import start as _start

    _start()
